"""Events of a job's life. `jobs.NEXT` says which may follow which; `JobLeased`'s own sequence is the lease's epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from casparian_protocol.events.base import Event, event
from casparian_protocol.jobs import JobError, JobSpec, JobState, Manifest
from casparian_protocol.wire import Progress

Epoch = Annotated[int, "sequence of the event that leased it; fences late answers"]


class JobEvent(Event):
    """An event of one job's life."""

    __slots__ = ()


class QuarantineCount(NamedTuple):
    """So many rows were set aside for this reason."""

    code: str
    column: str
    rows: int


@event(version=3, leads_to=(JobState.QUEUED,))
class JobQueued(JobEvent):
    """There is work to do."""

    job: Annotated[JobSpec, "JobSpec as a map"]

    @property
    def subject(self) -> str:
        return self.job.job_id


@event(leads_to=(JobState.LEASED,))
class JobLeased(JobEvent):
    """A worker has it; the event's own seq is the lease's epoch."""

    job_id: str
    worker_id: str
    attempt: Annotated[int, "from 1"]
    sandbox: Annotated[str, "level"]


@event(leads_to=(JobState.RUNNING,))
class JobStarted(JobEvent):
    """The guest runs."""

    job_id: str
    epoch: Epoch
    guest_pid: int


@event(is_lazy=True)
class JobProgressed(JobEvent):
    """How far it is, at most once a second and only on change."""

    job_id: str
    epoch: Epoch
    progress: Annotated[Progress, "Progress as a map"]


@event(version=2, leads_to=(JobState.COMMITTED,))
class JobOutputsCommitted(JobEvent):
    """The commit: durable means committed."""

    job_id: str
    epoch: Epoch
    manifest: Annotated[Manifest | None, "Manifest as a map"] = None
    manifest_blob: Annotated[str, "the manifest's blob when it is too large"] = ""
    versions: Annotated[Mapping[str, int], "{output: version} that the files go to"]
    rows: Annotated[int, "valid rows"]
    quarantined: Annotated[int, "rows set aside"]
    skipped: Annotated[int, "declared non-records"]
    records_given: Annotated[
        int | None, "records that the SDK's readers gave out; missing when the parser reads the file itself"
    ] = None
    records_unaccounted: Annotated[int | None, "of these, the ones that the parser may drop and dropped"] = None
    bytes_accounted: Annotated[int | None, "of the input, in records and in declared skips of the readers"] = None
    seconds: Annotated[float, "of the attempt, by the worker's clock"]
    part_names: Annotated[int, "how its parts are named: 1 = job and number, 2 = also a digest"]


@event(leads_to=(JobState.COMPLETED, JobState.PARTIAL_SUCCESS))
class JobCompleted(JobEvent):
    """Its files are in place."""

    job_id: str
    epoch: Epoch
    status: Annotated[JobState, "COMPLETED|PARTIAL_SUCCESS"]
    rows: Annotated[int, "valid rows"]
    quarantined: int
    skipped: int
    seconds: float
    damaged: Annotated[tuple[str, ...], "files that were neither staged nor in place, at most 8 KiB of paths"]
    damaged_left_out: Annotated[int, "how many more there are; all files of the job count as damaged then"] = 0


@event(leads_to=(JobState.FAILED,))
class JobFailed(JobEvent):
    """It failed for good."""

    job_id: str
    epoch: Epoch
    error: Annotated[JobError, "JobError as a map"]
    uncommitted: Annotated[Manifest | None, "manifest of kept quarantine"] = None
    uncommitted_blob: Annotated[str, "that manifest's blob when it is too large"] = ""
    tells_when_kept: Annotated[bool, "QuarantineKept follows; false in logs of before that event"] = False


@event(leads_to=(JobState.RETRY_WAIT,))
class JobRetryScheduled(JobEvent):
    """An attempt failed in a way that may pass; the next one is due later."""

    job_id: str
    epoch: Epoch
    error: Annotated[JobError, "JobError as a map"]
    retry_count: int
    not_before: Annotated[int, "µs UTC"]
    delay_seconds: float


@event(leads_to=(JobState.QUEUED,))
class JobDue(JobEvent):
    """The wait of a retry is over."""

    job_id: str


@event(leads_to=(JobState.DEAD_LETTER,))
class JobDeadLettered(JobEvent):
    """Its retries are used up, or it took too many workers with it."""

    job_id: str
    epoch: Epoch
    reason: Annotated[Literal["retries", "poison"], "retries|poison"]
    error: Annotated[JobError | None, "JobError as a map"] = None
    retry_count: int


@event(version=3, leads_to=(JobState.QUEUED,))
class JobReplayed(JobEvent):
    """An ended job waits again, its counts reset."""

    job: Annotated[JobSpec, "JobSpec as a map"]
    from_state: Annotated[JobState, "FAILED|DEAD_LETTER|CANCELLED"]

    @property
    def subject(self) -> str:
        return self.job.job_id


@event()
class JobCancelRequested(JobEvent):
    """An operator wants it stopped."""

    job_id: str
    reason: str


@event(leads_to=(JobState.CANCELLED,))
class JobCancelled(JobEvent):
    """It is stopped and left nothing."""

    job_id: str
    reason: str


@event(leads_to=(JobState.QUEUED,))
class LeaseExpired(JobEvent):
    """The attempt is over without a verdict; the job waits again without a retry counted."""

    job_id: str
    epoch: Epoch
    worker_id: str
    reason: Annotated[str, "lost|released|fenced|paused|recalled|shutdown|taken over"]
    is_loss: Annotated[bool, "counts as a loss"]


@event()
class QuarantineRecorded(JobEvent):
    """Rows of one output were set aside."""

    job_id: str
    output: str
    version: Annotated[int, "of the output"]
    counts: Annotated[
        tuple[QuarantineCount, ...],
        "[[code, column, rows]…], the most frequent, at most 50 and 6 KiB; the manifest has all",
    ]
    rows: Annotated[int, "all of them"]
    files: Annotated[tuple[str, ...], "paths relative to the home, at most 50 and 6 KiB; the manifest has all"]
    is_committed: Annotated[bool, "false: kept apart, of an attempt that failed"]
    left_out: Annotated[int, "how many `counts` were left out"] = 0
    left_out_rows: Annotated[int, "their sum"] = 0
    files_left_out: Annotated[int, "how many files were left out"] = 0


@event()
class QuarantineKept(JobEvent):
    """The quarantine files of a failed attempt are in their place."""

    job_id: str
    epoch: Epoch
    missing: Annotated[tuple[str, ...], "files that were neither staged nor in place, at most 8 KiB of paths"] = ()
    missing_left_out: Annotated[int, "how many more there are"] = 0


@event()
class FailureClosed(JobEvent):
    """Somebody looked into a failed job and it needs no more attention."""

    job_id: str
    reason: str
