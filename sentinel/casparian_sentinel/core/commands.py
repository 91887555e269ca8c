"""The requests to the core: one frozen dataclass for each command, named as an imperative or as what was received.

A command carries everything a decision needs that the state does not hold: who asks, fresh ids, facts that were checked on disk
beforehand. Times come separately (`Now`). A command's base class says who sent it. Commands from workers are in
`worker_commands`; `handlers` has one handler for each command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from casparian_protocol.bounds import Json, Scalar
from casparian_protocol.contract import Misfit
from casparian_protocol.events import WeakerSandboxAccepted
from casparian_protocol.jobs import JobSpec, JobState
from casparian_protocol.tagging import TagRule
from casparian_sentinel.core.worker_commands import FromWorker

SENTINEL = "sentinel"


class Now(NamedTuple):
    """The time of a decision. Wall time is only recorded; decisions about liveness use monotonic time."""

    wall_us: int
    monotonic_s: float


class FromSentinel:
    """The sentinel itself asks; there is no outside caller."""

    __slots__ = ()
    actor: ClassVar[str] = SENTINEL


class FromClient:
    """`actor` asks, through an operation."""

    __slots__ = ()
    actor: str


Command: TypeAlias = FromWorker | FromSentinel | FromClient


# --- about workers ---


@dataclass(frozen=True, slots=True)
class AbandonAttempt(FromSentinel):
    """The report of this attempt's end repeatedly fails to be processed here, so the attempt is ended with an internal error."""

    worker_id: str
    job_id: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerGone(FromSentinel):
    """A local worker's process ended; this is known at once, without waiting for its lease to expire."""

    worker_id: str
    reason: str


# --- from the shell itself ---


@dataclass(frozen=True, slots=True)
class Tick(FromSentinel):
    """Time passed. Sent about once a second, always after the sockets were drained, so that heartbeats in the queue count."""

    duty: str = ""  # one of `clock.DUTIES`; empty means all of them


@dataclass(frozen=True, slots=True)
class Dispatch(FromSentinel):
    """Lease ready jobs to workers with credit. Sent after each drained batch of other commands; cheap when nothing is ready."""


@dataclass(frozen=True, slots=True)
class Promoted(FromSentinel):
    """A commit's files are in place; `damaged` names files that were neither staged nor in place."""

    job_id: str
    epoch: int
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept(FromSentinel):
    """The quarantine of a failed attempt is in place; `missing` names files that were neither staged nor in place."""

    job_id: str
    epoch: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FilesDone(FromSentinel):
    """The results of a group of file work."""

    items: tuple[Promoted | Kept, ...]


@dataclass(frozen=True, slots=True)
class RedoFileWork(FromSentinel):
    """Sent each minute: repeat file work that is overdue, and sweep the staging of dead attempts."""


@dataclass(frozen=True, slots=True)
class RecordStart(FromSentinel):
    """This process owns the log now. It is the first command after the fold."""

    pid: int
    version: str
    host: str
    boot_id: str
    mode: Literal["daemon", "local"]
    #: What the user who started it accepts, and who that is.
    accepted: WeakerSandboxAccepted | None = None
    accepted_by: str = ""


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
    """Queue and lease no new work (the disk is full); running jobs may finish."""

    reason: str


@dataclass(frozen=True, slots=True)
class ResumeIntake(FromSentinel):
    reason: str


@dataclass(frozen=True, slots=True)
class Drain(FromSentinel):
    """Lease nothing more; workers finish what they run and leave."""


@dataclass(frozen=True, slots=True)
class Stop(FromSentinel):
    """Workers stop their guests now and give back their leases."""


# --- about jobs ---


@dataclass(frozen=True, slots=True)
class QueueJobs(FromClient):
    """The jobs of a plan that was computed from the projection at `position`; ids and keys were made by the caller."""

    jobs: Sequence[JobSpec]
    position: int
    actor: str = SENTINEL
    #: job → the event that recorded the current state of its file.
    caused_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CancelJob(FromClient):
    job_id: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class CancelJobs(FromClient):
    """Cancel many jobs at once. Jobs that cannot be cancelled stay as they are, and the answer gives the reasons."""

    job_ids: Sequence[str]
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class ReplayJob(FromClient):
    """Run an ended job again. `retry` and `replay` keep its id and key; `rerun` is a new job of the next generation.

    `spec` and `ended_as` come from the projection at `position`. For a rerun `spec` is the new job (new id, key,
    generation, `rerun_of`, current artifact) and `ended_as` the state of the old one.
    """

    kind: Literal["retry", "replay", "rerun"]
    spec: JobSpec
    ended_as: JobState
    position: int
    actor: str


@dataclass(frozen=True, slots=True)
class ReplayJobs(FromClient):
    """Ended jobs wait again, their counts reset; what cannot run stays as it is. They were read at `position`."""

    #: Each with the state that it ended in: FAILED, DEAD_LETTER or CANCELLED.
    jobs: Sequence[tuple[JobSpec, JobState]]
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
    """`selector` is a source's id, a prefix of its id, its name or its path."""

    selector: str
    actor: str


@dataclass(frozen=True, slots=True)
class AddRule(FromClient):
    rule: TagRule
    actor: str


@dataclass(frozen=True, slots=True)
class RemoveRule(FromClient):
    """`selector` is a rule's id, a prefix of its id, or its name. `blob` is a durable list of the tags it gave; empty if none."""

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
    """A durable blob of changes. `counts` has the keys new, changed, vanished, renamed, tagged."""

    scan_id: str
    blob: str
    counts: Mapping[str, int]
    actor: str


@dataclass(frozen=True, slots=True)
class EndScan(FromClient):
    """`facts` has the keys files, bytes, unchanged, unreadable."""

    scan_id: str
    complete: bool
    facts: Mapping[str, int]
    seconds: float
    actor: str


@dataclass(frozen=True, slots=True)
class ReviseFiles(FromClient):
    """What is known about files changed without a scan; `blob` is a durable blob of changes."""

    blob: str
    retagged: int
    rehashed: int
    actor: str


@dataclass(frozen=True, slots=True)
class TagFiles(FromClient):
    """Tag up to 200 files named by id, or any number named in a durable blob."""

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
    """These files have contents that the parser already processed: up to 100 pairs (file id, content hash), or a durable blob."""

    parser: str
    on_change: Literal["replace", "append"]
    #: The projection's position when this was found.
    position: int
    files: int
    actor: str
    contents: Sequence[tuple[str, str]] = ()
    blob: str = ""


@dataclass(frozen=True, slots=True)
class CloseFailures(FromClient):
    """Close failures of ended jobs; the caller knows from the projection that they are open."""

    job_ids: Sequence[str]
    reason: str
    actor: str


# --- about parsers, contracts and versions ---

#: (hash of the existing rows' contract, hash of another contract) → why the rows may not satisfy the other contract.
Fits: TypeAlias = Mapping[tuple[str, str], tuple[Misfit, ...]]


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """A contract as registration proposes it. Its canonical JSON is already a durable blob named by `contract_hash`."""

    contract_id: str
    scope_id: str
    output: str
    contract_hash: str
    columns: int


@dataclass(frozen=True, slots=True)
class RegisterParser(FromClient):
    """Register an artifact whose blobs are durable. `outputs` maps each output to its contract hash, or "" without contract."""

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
    #: Whether approvals are carried over to identical contracts (`approvals.carry_over`).
    carries_over: bool = False
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecideContract(FromClient):
    """`selector` is `parser`, `parser@version`, `parser@version/output`, or a prefix of an id with at least 4 digits."""

    selector: str
    approve: bool
    reason: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UseVersion(FromClient):
    """Make another version of the parser the one that takes new and changed files."""

    parser: str
    version: str
    reason: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetParameters(FromClient):
    """Set parameters that replace the declared defaults. `unset` names return to their defaults; `is_reset` resets all."""

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
    """Store a policy for one output, or for all outputs of a parser when `output` is empty. An empty policy removes it."""

    parser: str
    output: str
    policy: Mapping[str, Scalar]
    actor: str
