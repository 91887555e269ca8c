"""What the outside asks of the core: one frozen dataclass a command, in the imperative or as what was just received.

A command carries everything a decision needs that is not in the state: who asks, fresh ids, facts that were checked on
disk beforehand. Times come separately (`Now`). Messages of workers are carried as the codec made them, never copied.
Nothing here decides; `decide` has one handler for each command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from casparian_protocol.jobs import JobSpec, JobState
from casparian_protocol.tagging import TagRule
from casparian_sentinel.core.registry.commands import (
    ContractFacts as ContractFacts,
)
from casparian_sentinel.core.registry.commands import (
    DecideContract as DecideContract,
)
from casparian_sentinel.core.registry.commands import (
    PauseParser as PauseParser,
)
from casparian_sentinel.core.registry.commands import (
    RegisterParser as RegisterParser,
)
from casparian_sentinel.core.registry.commands import (
    RegistryCommand as RegistryCommand,
)
from casparian_sentinel.core.registry.commands import (
    ResumeParser as ResumeParser,
)
from casparian_sentinel.core.registry.commands import (
    RetireParser as RetireParser,
)
from casparian_sentinel.core.registry.commands import (
    SetParameters as SetParameters,
)
from casparian_sentinel.core.registry.commands import (
    SetQuarantinePolicy as SetQuarantinePolicy,
)
from casparian_sentinel.core.registry.commands import (
    UseVersion as UseVersion,
)
from casparian_sentinel.core.workers.commands import (
    BeatReceived as BeatReceived,
)
from casparian_sentinel.core.workers.commands import (
    ByeReceived as ByeReceived,
)
from casparian_sentinel.core.workers.commands import (
    FailReceived as FailReceived,
)
from casparian_sentinel.core.workers.commands import (
    FinishedItem as FinishedItem,
)
from casparian_sentinel.core.workers.commands import (
    FinishReceived as FinishReceived,
)
from casparian_sentinel.core.workers.commands import (
    FromWorker as FromWorker,
)
from casparian_sentinel.core.workers.commands import (
    HelloReceived as HelloReceived,
)
from casparian_sentinel.core.workers.commands import (
    JobsStarted as JobsStarted,
)
from casparian_sentinel.core.workers.commands import (
    ProgressReceived as ProgressReceived,
)
from casparian_sentinel.core.workers.commands import (
    ReleaseReceived as ReleaseReceived,
)
from casparian_sentinel.core.workers.commands import (
    SinksReceived as SinksReceived,
)
from casparian_sentinel.core.workers.commands import (
    WantReceived as WantReceived,
)
from casparian_sentinel.core.workers.commands import (
    WorkerCommand as WorkerCommand,
)

SENTINEL = "sentinel"


class Now(NamedTuple):
    """Wall time is data only; whatever is decided about liveness is decided on monotonic time."""

    wall_us: int
    monotonic_s: float


# --- about workers ---


@dataclass(frozen=True, slots=True)
class AbandonAttempt:
    """What the worker says about this attempt's end fails here again and again: it ends, and the fault is ours."""

    worker_id: str
    job_id: str
    epoch: int
    reason: str
    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A local worker's process ended: noticed at once, no need to wait for its silence."""

    worker_id: str
    reason: str
    actor: str = SENTINEL


# --- from the shell itself ---


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; sent about once a second, always after the sockets were drained, so that waiting beats count."""

    actor: str = SENTINEL
    #: One of `clock.DUTIES`; empty: all of them.
    duty: str = ""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Lease what is ready to whoever has credit; sent after each drained batch of other commands. Cheap when idle."""

    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class Promoted:
    """A commit's files are in place; `damaged` names files that were neither staged nor in place."""

    job_id: str
    epoch: int
    damaged: tuple[str, ...] = ()
    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class RecordStart:
    """This process owns the log now; the first command after the fold."""

    pid: int
    version: str
    host: str
    boot_id: str
    mode: Literal["daemon", "local"]
    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class RecordStop:
    reason: str
    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class RecordTornTail:
    segment: str
    offset: int
    bytes: int
    kept_as: str
    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class PauseIntake:
    """No new work is queued or leased (disk full); what runs may finish."""

    reason: str
    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class ResumeIntake:
    reason: str
    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class Drain:
    """Lease nothing more; workers finish what they run and say bye."""

    actor: str = SENTINEL


@dataclass(frozen=True, slots=True)
class Stop:
    """Workers stop their guests now and give back what they hold."""

    actor: str = SENTINEL


# --- about jobs ---


@dataclass(frozen=True, slots=True)
class QueueJobs:
    """Candidates of a plan that was computed from the projection at `position`; ids and keys were made at the edge."""

    jobs: Sequence[JobSpec]
    position: int
    actor: str = SENTINEL
    #: job → the event that told of its file as it is.
    told_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CancelJob:
    job_id: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """An ended job again. `retry`/`replay` keep its id and key; `rerun` is a new job of the next generation.

    `spec` and `ended_as` come from the projection at `position`. For a rerun `spec` is the new job (new id, key,
    generation, `rerun_of`, current artifact) and `ended_as` the state of the old one.
    """

    kind: Literal["retry", "replay", "rerun"]
    spec: JobSpec
    ended_as: JobState
    position: int
    actor: str


@dataclass(frozen=True, slots=True)
class ReplayDeadLetters:
    """Dead letters wait again, their counts reset; what cannot run stays dead. They were read at `position`."""

    jobs: Sequence[JobSpec]
    position: int
    actor: str


# --- about files ---


@dataclass(frozen=True, slots=True)
class AddSource:
    source_id: str
    name: str
    path: str
    poll_seconds: int
    actor: str
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoveSource:
    """`selector`: a source's id, a prefix of it, its name or its path."""

    selector: str
    actor: str


@dataclass(frozen=True, slots=True)
class AddRule:
    rule: TagRule
    actor: str


@dataclass(frozen=True, slots=True)
class RemoveRule:
    """`selector`: a rule's id, a prefix of it, or its name. `blob` names the tags it gave, durable; empty: none."""

    selector: str
    actor: str
    blob: str = ""
    files: int = 0


@dataclass(frozen=True, slots=True)
class BeginScan:
    scan_id: str
    roots: tuple[str, ...]
    actor: str
    source_id: str = ""


@dataclass(frozen=True, slots=True)
class ObserveFiles:
    """A durable blob of changes. `counts` has new, changed, vanished, renamed, tagged."""

    scan_id: str
    blob: str
    counts: Mapping[str, int]
    actor: str


@dataclass(frozen=True, slots=True)
class EndScan:
    """`facts` has files, bytes, unchanged, unreadable."""

    scan_id: str
    complete: bool
    facts: Mapping[str, int]
    seconds: float
    actor: str


@dataclass(frozen=True, slots=True)
class ReviseFiles:
    """What is known of files changed without a scan; `blob` is a durable blob of changes."""

    blob: str
    retagged: int
    rehashed: int
    actor: str


@dataclass(frozen=True, slots=True)
class TagFiles:
    """Up to 200 files by id, or any number by a durable blob."""

    tag: str
    is_removed: bool
    files: int
    actor: str
    file_ids: tuple[str, ...] = ()
    blob: str = ""
    tag_source: Literal["rule", "manual"] = "manual"
    rule_id: str = ""


@dataclass(frozen=True, slots=True)
class RecogniseContents:
    """Files have contents that the parser has processed. Up to 100 pairs (file id, content hash), or a durable blob."""

    parser: str
    on_change: Literal["replace", "append"]
    #: Where the projection stood when it was seen.
    position: int
    files: int
    actor: str
    contents: Sequence[tuple[str, str]] = ()
    blob: str = ""


@dataclass(frozen=True, slots=True)
class CloseFailures:
    """Ended jobs whose failure needs no more attention; the caller knows from the projection that it is open."""

    job_ids: Sequence[str]
    reason: str
    actor: str


Command: TypeAlias = (
    WorkerCommand
    | AbandonAttempt
    | WorkerGone
    | Tick
    | Dispatch
    | Promoted
    | RecordStart
    | RecordStop
    | RecordTornTail
    | PauseIntake
    | ResumeIntake
    | Drain
    | Stop
    | QueueJobs
    | CancelJob
    | ReplayJob
    | ReplayDeadLetters
    | RegistryCommand
    | AddSource
    | RemoveSource
    | AddRule
    | RemoveRule
    | BeginScan
    | ObserveFiles
    | EndScan
    | ReviseFiles
    | TagFiles
    | RecogniseContents
    | CloseFailures
)
