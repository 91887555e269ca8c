"""The pure core of the sentinel: `decide(state, presence, command, now)` gives a `Decision`, `fold` makes it so.

No clock, socket, file or randomness in this folder: times and ids come in with commands, and what must be done leaves as
effects. The state is what the events say; replaying the log is calling `evolve`. Neither `decide` nor what it calls changes
anything.

A reader begins with `commands` and `worker_commands` (what is asked), `decide` (the handler of each), `decision` (what comes
out), `state` and `evolve` (what events mean), `presence` (what no event holds). `attempts`, `leasing`, `jobs`, `breaker` and
`clock` decide about jobs, `workers` about workers, `files` about files, `registry` about parsers; `kinds` holds what differs
between kinds of jobs.
"""

from __future__ import annotations

from casparian_sentinel.core.attempts import current_attempt
from casparian_sentinel.core.clock import promotion_of
from casparian_sentinel.core.commands import (
    SENTINEL,
    AbandonAttempt,
    AddRule,
    AddSource,
    BeginScan,
    CancelJob,
    CloseFailures,
    Command,
    ContractFacts,
    DecideContract,
    Dispatch,
    Drain,
    EndScan,
    Now,
    ObserveFiles,
    PauseIntake,
    PauseParser,
    Promoted,
    QueueJobs,
    RecogniseContents,
    RecordStart,
    RecordStop,
    RecordTornTail,
    RegisterParser,
    RemoveRule,
    RemoveSource,
    ReplayDeadLetters,
    ReplayJob,
    ResumeIntake,
    ResumeParser,
    RetireParser,
    ReviseFiles,
    SetParameters,
    SetQuarantinePolicy,
    Stop,
    TagFiles,
    Tick,
    UseVersion,
    WorkerGone,
)
from casparian_sentinel.core.decision import (
    Decision,
    DropStaging,
    Effect,
    KeepUncommitted,
    PlanFiles,
    Promote,
    PublishOutputViews,
    Rejected,
    SendToWorker,
)
from casparian_sentinel.core.files import find_source
from casparian_sentinel.core.folding import UnfoldableLog, evolve, validate
from casparian_sentinel.core.handlers import attempts_of, decide, fold, smaller, step
from casparian_sentinel.core.jobs import refusal as refusal_of_job
from casparian_sentinel.core.manifests import needs_blob
from casparian_sentinel.core.presence import ConnectedWorker, RunningAttempt, WorkerPresence, after_boot
from casparian_sentinel.core.registry.parameters import declared_of as declared_parameters
from casparian_sentinel.core.registry.parameters import effective as effective_parameters
from casparian_sentinel.core.registry.parsers import select_contracts
from casparian_sentinel.core.registry.versions import targets_of
from casparian_sentinel.core.snapshot import OtherFormat, UnreadableSnapshot
from casparian_sentinel.core.snapshot import dump as dump_state
from casparian_sentinel.core.snapshot import load as load_state
from casparian_sentinel.core.state import COMMITTED, Contract, OpenJob, ParserLine, ParserVersion, Source, State
from casparian_sentinel.core.worker_commands import (
    BeatReceived,
    ByeReceived,
    FailReceived,
    FinishedItem,
    FinishReceived,
    FromWorker,
    HelloReceived,
    JobsStarted,
    ProgressReceived,
    ReleaseReceived,
    SinksReceived,
    WantReceived,
    WorkerCommand,
)
from casparian_sentinel.core.workers import lives_all_the_same, name_taken_by

__all__ = [
    "COMMITTED",
    "SENTINEL",
    "AbandonAttempt",
    "AddRule",
    "AddSource",
    "BeatReceived",
    "BeginScan",
    "ByeReceived",
    "CancelJob",
    "CloseFailures",
    "Command",
    "ConnectedWorker",
    "Contract",
    "ContractFacts",
    "DecideContract",
    "Decision",
    "Dispatch",
    "Drain",
    "DropStaging",
    "Effect",
    "EndScan",
    "FailReceived",
    "FinishReceived",
    "FinishedItem",
    "FromWorker",
    "HelloReceived",
    "JobsStarted",
    "KeepUncommitted",
    "Now",
    "ObserveFiles",
    "OpenJob",
    "OtherFormat",
    "ParserLine",
    "ParserVersion",
    "PauseIntake",
    "PauseParser",
    "PlanFiles",
    "ProgressReceived",
    "Promote",
    "Promoted",
    "PublishOutputViews",
    "QueueJobs",
    "RecogniseContents",
    "RecordStart",
    "RecordStop",
    "RecordTornTail",
    "RegisterParser",
    "Rejected",
    "ReleaseReceived",
    "RemoveRule",
    "RemoveSource",
    "ReplayDeadLetters",
    "ReplayJob",
    "ResumeIntake",
    "ResumeParser",
    "RetireParser",
    "ReviseFiles",
    "RunningAttempt",
    "SendToWorker",
    "SetParameters",
    "SetQuarantinePolicy",
    "SinksReceived",
    "Source",
    "State",
    "Stop",
    "TagFiles",
    "Tick",
    "UnfoldableLog",
    "UnreadableSnapshot",
    "UseVersion",
    "WantReceived",
    "WorkerCommand",
    "WorkerGone",
    "WorkerPresence",
    "after_boot",
    "attempts_of",
    "current_attempt",
    "decide",
    "declared_parameters",
    "dump_state",
    "effective_parameters",
    "evolve",
    "find_source",
    "fold",
    "lives_all_the_same",
    "load_state",
    "name_taken_by",
    "needs_blob",
    "promotion_of",
    "refusal_of_job",
    "select_contracts",
    "smaller",
    "step",
    "targets_of",
    "validate",
]
