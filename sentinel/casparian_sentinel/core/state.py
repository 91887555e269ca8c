"""The durable state: open jobs, parsers, contracts, outputs, sources, and the queue of ready jobs.

Only `folding.apply` writes it, so a replay of the log and the running sentinel agree. It holds open work, not history: a job is
removed when it ends, and the projection keeps it. Connections, credit and deadlines are in `presence`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from casparian_protocol.bounds import Json, Scalar, trusted
from casparian_protocol.events import Problem, WorkerJoined
from casparian_protocol.job_life import JobLife
from casparian_protocol.jobs import PLAIN_PART_NAMES, JobSpec, JobState, Manifest, OutputStatus
from casparian_protocol.jobs.kinds import JobFacts, ParseWork, Work
from casparian_protocol.tagging import TagRule
from casparian_protocol.wording import JOBS_OPEN
from casparian_sentinel.core.ready import ReadyQueue

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half_open"
#: How many distinct values are remembered; no threshold is higher (`BreakerSettings`).
REMEMBERED = 100


def lane_of(parser: str, version: str) -> str:
    """The lane of the ready queue that jobs of this parser version wait in."""
    return f"{parser}@{version}"


@dataclass(slots=True)
class Breaker:
    """The consecutive failures since the last success."""

    parser: str
    version: str
    state: str = CLOSED
    failures: int = 0
    #: The first two distinct causes: more than one shows that the failures are not all the same accident.
    fingerprints: list[str] = field(default_factory=list)
    #: The distinct contents that it failed on, shortened.
    files: list[str] = field(default_factory=list)
    #: When it last opened (µs UTC), and why.
    opened_at: int = 0
    reason: str = ""
    #: The job that runs as the probe while the breaker is half-open; "" if none is leased.
    probe: str = ""

    @property
    def lane(self) -> str:
        return lane_of(self.parser, self.version)

    def count(self, fingerprint: str, content: str) -> None:
        """Count one more failure."""
        self.failures += 1
        if len(self.fingerprints) < 2 and fingerprint not in self.fingerprints:
            self.fingerprints.append(fingerprint)
        if len(self.files) < REMEMBERED and content not in self.files:
            self.files.append(content)

    def forget(self) -> None:
        """After a success, no earlier failure counts."""
        self.failures = 0
        self.fingerprints.clear()
        self.files.clear()

    def is_beyond(self, failures: int) -> bool:
        """Whether this many failures are enough: they have more than one cause, or each is on another file."""
        return self.failures >= failures and (len(self.fingerprints) > 1 or len(self.files) >= failures)


#: How many ended attempts are remembered, so that a repeated `finish` or `fail` gets the same answer.
ANSWERED_LIMIT = 20_000
_NO_JOBS = dict.fromkeys(JobState, 0)
COMMITTED = "committed"
FAILED = "failed"


@dataclass(slots=True, kw_only=True)
class OpenJob(JobLife):
    """A job that has not ended: its state and its work."""

    job_id: str
    key: str
    work: Work
    priority: int
    generation: int
    rerun_of: str
    queued_at: int
    #: Sequence number of the event that queued it, which is its age. A lost lease keeps it, so that the job keeps its place.
    queued_seq: int
    commit: Commit | None = None
    #: Queued by this process, which checked its work. A job from a log may be of a version with fewer checks.
    is_checked: bool = field(default=False, compare=False)

    @property
    def runs_alone(self) -> bool:
        """The job ran out of memory once, so its next attempt has a host to itself."""
        return self.memory_failures > 0

    @property
    def lane(self) -> str:
        """The lane of the job; jobs of one lane are paused and probed together."""
        return lane_of(self.work.parser, self.work.parser_version)

    @property
    def turn(self) -> tuple[int, int]:
        """The sort key of the queue; the smallest runs first."""
        return -self.priority, self.queued_seq

    def spec(self) -> JobSpec:
        """The job as it was queued. Raises `ValueError` if a version with fewer checks queued it."""
        values: JobFacts = {
            "job_id": self.job_id,
            "key": self.key,
            "work": self.work,
            "priority": self.priority,
            "generation": self.generation,
            "rerun_of": self.rerun_of,
            "queued_at": self.queued_at,
        }
        return trusted(JobSpec, values) if self.is_checked else JobSpec(**values)


@dataclass(slots=True)
class Commit:
    """A durable commit whose files may not all be in place yet."""

    #: None if it is in the blob.
    manifest: Manifest | None
    manifest_blob: str
    versions: Mapping[str, int]
    rows: int
    quarantined: int
    skipped: int
    seconds: float
    part_names: int = PLAIN_PART_NAMES


@dataclass(frozen=True, slots=True)
class Keeping:
    """The quarantine of a failed attempt that may not be in place yet."""

    #: The event that recorded the failure.
    failed_seq: int
    #: None if it is in the blob.
    manifest: Manifest | None
    manifest_blob: str


@dataclass(slots=True)
class Contract:
    contract_id: str
    scope_id: str
    parser: str
    version: str
    output: str
    contract_hash: str
    #: PROPOSED, APPROVED or REJECTED; a decision is final.
    status: str = "PROPOSED"


@dataclass(slots=True)
class ParserVersion:
    """One registered artifact."""

    parser_id: str
    version: str
    artifact: str
    entry: str
    kind: str
    topics: list[str]
    #: output → contract hash, "" if it has no contract.
    outputs: dict[str, str]
    params: Mapping[str, Json]
    #: Outputs with an approved contract.
    approved: set[str] = field(default_factory=set)
    is_retired: bool = False
    #: Why a runnable version is not current: `{output, column, what, code}` each, as recorded.
    waits: list[Problem] = field(default_factory=list)

    @property
    def is_runnable(self) -> bool:
        """Whether jobs may run with it: every output has an approved contract, and the version is not retired."""
        return bool(self.outputs) and not self.is_retired and not self.unapproved()

    def unapproved(self) -> list[str]:
        """Outputs without an approved contract."""
        return [output for output, contract in self.outputs.items() if not contract or output not in self.approved]


@dataclass(slots=True)
class ParserLine:
    """All versions of one parser name."""

    name: str
    versions: dict[str, ParserVersion] = field(default_factory=dict)
    #: The version that takes new files; "" while none may run.
    current: str = ""
    #: Whether `current` is derived from approvals and commits, as in logs older than the first `ParserCurrentChanged`.
    is_derived: bool = False
    #: Whether anything of this parser was committed.
    has_processed: bool = False
    open_jobs: int = 0
    #: The reason a person gave for pausing it, or None. A version that failed too often is paused by its breaker instead.
    paused: str | None = None
    #: Parameters that were set to replace the declared defaults.
    params: dict[str, Json] = field(default_factory=dict)

    def waits_for_jobs(self) -> bool:
        """Whether a version becomes current as soon as no job of another version is open."""
        return any(problem["code"] == JOBS_OPEN for version in self.versions.values() for problem in version.waits)


@dataclass(slots=True)
class OutputVersion:
    """One version of an output. All its rows satisfy `contract_hash`."""

    number: int
    status: OutputStatus
    contract_hash: str
    #: Contracts that may validate incoming rows: `contract_hash`, and contracts that are equally strict or stricter.
    contracts: list[str] = field(default_factory=list)
    has_rows: bool = False


@dataclass(slots=True)
class OutputOwner:
    """The parser that owns an output name, and the output's versions since one of its versions became current."""

    name: str
    parser: str
    versions: dict[int, OutputVersion] = field(default_factory=dict)

    @property
    def live(self) -> OutputVersion | None:
        """The version that queries see and that new jobs write to."""
        return next((each for each in self.versions.values() if each.status is OutputStatus.LIVE), None)


@dataclass(slots=True)
class Source:
    source_id: str
    name: str
    path: str
    poll_seconds: int
    options: Mapping[str, Scalar | list[str]]
    #: Parameters for the parsers that take this source's files.
    params: Mapping[str, Json] = field(default_factory=dict)


class State:
    """The whole durable state. `seq` is the last folded event."""

    __slots__ = (
        *("alone_held", "answered", "breakers", "contracts", "counts", "epochs_held", "intake_paused", "jobs"),
        *("joined", "keeping", "last_works", "open_keys", "outputs", "parsers", "policies"),
        *("promoting", "ready", "ready_alone", "recent_keys", "rules", "scans", "seq"),
        *("sources", "waiting", "waiting_lines"),
    )

    def __init__(self) -> None:
        self.seq = 0
        self.jobs: dict[str, OpenJob] = {}
        #: key → the open job that has it.
        self.open_keys: dict[str, str] = {}
        #: key → sequence number that queued it, oldest first; pruned up to the projection's position (`prune_recent_keys`).
        self.recent_keys: dict[str, int] = {}
        self.ready = ReadyQueue(self._is_ready)
        #: Queued jobs that need a host to themselves; they are in no other queue.
        self.ready_alone = ReadyQueue(self._is_ready_alone)
        #: The leased and running jobs of that kind.
        self.alone_held: dict[str, None] = {}
        #: Jobs in RETRY_WAIT.
        self.waiting: dict[str, None] = {}
        #: Jobs in COMMITTED; their promotion is repeated after a crash.
        self.promoting: dict[str, None] = {}
        #: (job, epoch) of failed attempts → their quarantine until it is in place; also repeated after a crash.
        self.keeping: dict[tuple[str, int], Keeping] = {}
        #: worker → its leases: job → epoch.
        self.epochs_held: dict[str, dict[str, int]] = {}
        #: job → (epoch, COMMITTED or FAILED) of the newest `ANSWERED_LIMIT` answered attempts.
        self.answered: OrderedDict[str, tuple[int, str]] = OrderedDict()
        #: The number of jobs in each state; ended jobs are counted since the log began.
        self.counts: dict[JobState, int] = _NO_JOBS.copy()
        #: Workers that joined and have neither left nor been lost, as they introduced themselves.
        self.joined: dict[str, WorkerJoined] = {}
        self.parsers: dict[str, ParserLine] = {}
        #: Parsers with a version that becomes current when their open jobs have ended.
        self.waiting_lines: dict[str, None] = {}
        #: (parser, version) → its failures since the last success.
        self.breakers: dict[tuple[str, str], Breaker] = {}
        self.contracts: dict[str, Contract] = {}
        self.outputs: dict[str, OutputOwner] = {}
        #: (parser, output or "") → the stored quarantine policy.
        self.policies: dict[tuple[str, str], Mapping[str, Scalar]] = {}
        self.sources: dict[str, Source] = {}
        self.rules: dict[str, TagRule] = {}
        #: Running scans: id → sequence number of the event that began it.
        self.scans: dict[str, int] = {}
        #: Why no new work is accepted, or None if it is.
        self.intake_paused: str | None = None
        #: (parser, version) → the newest works with maps that later works share, and the packed sizes of those maps.
        self.last_works: dict[tuple[str, str], tuple[tuple[ParseWork, int], ...]] = {}

    def queue_of(self, job: OpenJob) -> ReadyQueue:
        """The queue that the job waits in."""
        return self.ready_alone if job.runs_alone else self.ready

    def _is_ready(self, job_id: str, queued_seq: int) -> bool:
        job = self._queued(job_id, queued_seq)
        return job is not None and not job.runs_alone

    def _is_ready_alone(self, job_id: str, queued_seq: int) -> bool:
        job = self._queued(job_id, queued_seq)
        return job is not None and job.runs_alone

    def _queued(self, job_id: str, queued_seq: int) -> OpenJob | None:
        """The job, if this is its newest place in a queue and it is still waiting there."""
        job = self.jobs.get(job_id)
        return job if job is not None and job.state is JobState.QUEUED and job.queued_seq == queued_seq else None

    def is_busy(self) -> bool:
        """Whether any job is open."""
        return bool(self.jobs)

    def needs_staging(self, job_id: str, epoch: int) -> bool:
        """Whether this attempt's staging directory is still needed: it is one of `attempts_with_staging`."""
        job = self.jobs.get(job_id)
        return (job is not None and job.epoch == epoch) or (job_id, epoch) in self.keeping

    def attempts_with_staging(self) -> frozenset[tuple[str, int]]:
        """Attempts that are leased, committed but not promoted, or failed with quarantine that is not in place yet."""
        leased = (attempt for leases in self.epochs_held.values() for attempt in leases.items())
        committed = ((job_id, self.jobs[job_id].epoch) for job_id in self.promoting)
        return frozenset((*leased, *committed, *self.keeping))

    def paused_parsers(self) -> list[tuple[str, str, str]]:
        """(parser, version, reason) of everything that is paused; an empty version means all versions."""
        by_hand = [(name, "", line.paused) for name, line in self.parsers.items() if line.paused is not None]
        return by_hand + [(b.parser, b.version, b.reason) for b in self.breakers.values() if b.state == OPEN]

    def blocked_lanes(self) -> set[str]:
        """Lanes that no job may be leased from: paused by hand, breaker open, or a probe running."""
        blocked = {b.lane for b in self.breakers.values() if b.state == OPEN or b.probe}
        for line in self.parsers.values():
            if line.paused is not None:
                blocked.update(lane_of(line.name, version) for version in line.versions)
        return blocked

    def probing_lanes(self) -> set[str]:
        """Lanes from which one job may be leased as a probe."""
        return {b.lane for b in self.breakers.values() if b.state == HALF_OPEN and not b.probe}

    def prune_recent_keys(self, position: int) -> None:
        """Forget keys queued up to `position`, which the projection knows."""
        known = []
        for key, seq in self.recent_keys.items():
            if seq > position:
                break
            known.append(key)
        for key in known:
            del self.recent_keys[key]
