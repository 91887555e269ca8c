"""What the outside asks of the core: one frozen dataclass a command, in the imperative or as what was just received.

A command carries everything a decision needs that is not in the state: who asks, fresh ids, facts that were checked on disk
beforehand. Times come separately (`Now`). What workers send stands in `worker_commands`. The base class of a command says who
asked for it. Nothing here decides; `handlers` has one handler for each command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from casparian_protocol.bounds import Json, Scalar
from casparian_protocol.contract import Misfit
from casparian_protocol.jobs import JobSpec, JobState
from casparian_protocol.tagging import TagRule
from casparian_sentinel.core.worker_commands import FromWorker

SENTINEL = "sentinel"


class Now(NamedTuple):
    """Wall time is data only; whatever is decided about liveness is decided on monotonic time."""

    wall_us: int
    monotonic_s: float


class FromSentinel:
    """Nobody outside asked for it."""

    __slots__ = ()
    actor: ClassVar[str] = SENTINEL


class FromClient:
    """`actor` asked for it, with an operation."""

    __slots__ = ()
    actor: str


Command: TypeAlias = FromWorker | FromSentinel | FromClient


# --- about workers ---


@dataclass(frozen=True, slots=True)
class AbandonAttempt(FromSentinel):
    """What the worker says about this attempt's end fails here again and again: it ends, and the fault is ours."""

    worker_id: str
    job_id: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerGone(FromSentinel):
    """A local worker's process ended: noticed at once, no need to wait for its silence."""

    worker_id: str
    reason: str


# --- from the shell itself ---


@dataclass(frozen=True, slots=True)
class Tick(FromSentinel):
    """Time passed; sent about once a second, always after the sockets were drained, so that waiting beats count."""

    duty: str = ""  # one of `clock.DUTIES`; empty: all of them


@dataclass(frozen=True, slots=True)
class Dispatch(FromSentinel):
    """Lease what is ready to workers with credit; sent after each drained batch of other commands. Cheap when idle."""


@dataclass(frozen=True, slots=True)
class Promoted(FromSentinel):
    """A commit's files are in place; `damaged` names files that were neither staged nor in place."""

    job_id: str
    epoch: int
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept(FromSentinel):
    """The quarantine of a failed attempt is in its place; `missing` names files that were neither staged nor in place."""

    job_id: str
    epoch: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RedoFileWork(FromSentinel):
    """Sent each minute: file work that should have been done long ago is done again, staging of dead attempts is swept."""


@dataclass(frozen=True, slots=True)
class RecordStart(FromSentinel):
    """This process owns the log now; the first command after the fold."""

    pid: int
    version: str
    host: str
    boot_id: str
    mode: Literal["daemon", "local"]


@dataclass(frozen=True, slots=True)
class RecordStop(FromSentinel):
    reason: str


@dataclass(frozen=True, slots=True)
class RecordTornTail(FromSentinel):
    segment: str
    offset: int
    bytes: int
    kept_as: str


@dataclass(frozen=True, slots=True)
class PauseIntake(FromSentinel):
    """No new work is queued or leased (disk full); what runs may finish."""

    reason: str


@dataclass(frozen=True, slots=True)
class ResumeIntake(FromSentinel):
    reason: str


@dataclass(frozen=True, slots=True)
class Drain(FromSentinel):
    """Lease nothing more; workers finish what they run and say bye."""


@dataclass(frozen=True, slots=True)
class Stop(FromSentinel):
    """Workers stop their guests now and give back what they hold."""


# --- about jobs ---


@dataclass(frozen=True, slots=True)
class QueueJobs(FromClient):
    """Candidates of a plan that was computed from the projection at `position`; ids and keys were made at the edge."""

    jobs: Sequence[JobSpec]
    position: int
    actor: str = SENTINEL
    #: job → the event that recorded its file as it is now.
    told_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CancelJob(FromClient):
    job_id: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class CancelJobs(FromClient):
    """Many jobs at once; those that cannot be cancelled stay as they are, and the answer says why."""

    job_ids: Sequence[str]
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class ReplayJob(FromClient):
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
class ReplayDeadLetters(FromClient):
    """Dead letters wait again, their counts reset; what cannot run stays dead. They were read at `position`."""

    jobs: Sequence[JobSpec]
    position: int
    actor: str


# --- about files ---


@dataclass(frozen=True, slots=True)
class AddSource(FromClient):
    source_id: str
    name: str
    path: str
    poll_seconds: int
    actor: str
    options: Mapping[str, Scalar | list[str]] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoveSource(FromClient):
    """`selector`: a source's id, a prefix of it, its name or its path."""

    selector: str
    actor: str


@dataclass(frozen=True, slots=True)
class AddRule(FromClient):
    rule: TagRule
    actor: str


@dataclass(frozen=True, slots=True)
class RemoveRule(FromClient):
    """`selector`: a rule's id, a prefix of it, or its name. `blob` names the tags it gave, durable; empty: none."""

    selector: str
    actor: str
    blob: str = ""
    files: int = 0


@dataclass(frozen=True, slots=True)
class BeginScan(FromClient):
    scan_id: str
    roots: tuple[str, ...]
    actor: str
    source_id: str = ""


@dataclass(frozen=True, slots=True)
class ObserveFiles(FromClient):
    """A durable blob of changes. `counts` has new, changed, vanished, renamed, tagged."""

    scan_id: str
    blob: str
    counts: Mapping[str, int]
    actor: str


@dataclass(frozen=True, slots=True)
class EndScan(FromClient):
    """`facts` has files, bytes, unchanged, unreadable."""

    scan_id: str
    complete: bool
    facts: Mapping[str, int]
    seconds: float
    actor: str


@dataclass(frozen=True, slots=True)
class ReviseFiles(FromClient):
    """What is known of files changed without a scan; `blob` is a durable blob of changes."""

    blob: str
    retagged: int
    rehashed: int
    actor: str


@dataclass(frozen=True, slots=True)
class TagFiles(FromClient):
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
class RecogniseContents(FromClient):
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
class CloseFailures(FromClient):
    """Ended jobs whose failure needs no more attention; the caller knows from the projection that it is open."""

    job_ids: Sequence[str]
    reason: str
    actor: str


# --- about parsers, contracts and versions ---

#: (hash of the contract that rows lie under, hash of another) → why such rows may not satisfy the other.
Fits: TypeAlias = Mapping[tuple[str, str], tuple[Misfit, ...]]


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """A contract as registration proposes it; its canonical JSON is already a durable blob named by `contract_hash`."""

    contract_id: str
    scope_id: str
    output: str
    contract_hash: str
    columns: int


@dataclass(frozen=True, slots=True)
class RegisterParser(FromClient):
    """An artifact whose blobs are durable. `outputs` maps each output to its contract hash, "" without contract."""

    parser_id: str
    name: str
    version: str
    artifact: str
    actor: str
    sha256: str = ""
    source_hash: str = ""
    lock_hash: str = ""
    logic_hash: str = ""
    topics: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    entry: str = ""
    kind: str = "function"
    may_drop_records: bool = False
    signed_by: str = ""
    signature: str = ""
    findings: tuple[Any, ...] = ()
    contracts: tuple[ContractFacts, ...] = ()
    #: Whether approvals of identical contracts carry over (`approvals.carry_over`).
    carries_over: bool = False
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecideContract(FromClient):
    """`selector`: `parser`, `parser@version`, `parser@version/output`, or an id's prefix of at least 4 digits."""

    selector: str
    approve: bool
    reason: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UseVersion(FromClient):
    """Another version of the parser takes new and changed files."""

    parser: str
    version: str
    reason: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetParameters(FromClient):
    """Parameters that jobs get instead of the declared defaults; `unset` names give theirs back, `is_reset` all."""

    parser: str
    values: Mapping[str, Json]
    reason: str
    actor: str
    unset: tuple[str, ...] = ()
    is_reset: bool = False


@dataclass(frozen=True, slots=True)
class PauseParser(FromClient):
    parser: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class ResumeParser(FromClient):
    parser: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class RetireParser(FromClient):
    parser: str
    version: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetQuarantinePolicy(FromClient):
    """A stored override for one output, or for all of a parser's when `output` is empty. An empty policy removes it."""

    parser: str
    output: str
    policy: Mapping[str, Scalar]
    actor: str
