"""Events of a job's life. `jobs.NEXT` says which may follow which; `JobLeased`'s own sequence is the lease's epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from casparian_protocol.events.base import Event, event
from casparian_protocol.jobs import JobError, JobSpec, JobState, Manifest
from casparian_protocol.wire import Progress

Epoch = Annotated[int, "sequence of the event that leased it; fences late answers"]


class JobEvent(Event):
    """An event in the life of a job."""

    __slots__ = ()


class QuarantineCount(NamedTuple):
    """The number of rows quarantined for one reason."""

    code: str
    column: str
    rows: int


@event(version=3, leads_to=(JobState.QUEUED,))
class JobQueued(JobEvent):
    """A job was queued."""

    job: Annotated[JobSpec, "JobSpec as a map"]

    @property
    def subject(self) -> str:
        return self.job.job_id


@event(leads_to=(JobState.LEASED,))
class JobLeased(JobEvent):
    """A worker leased the job; the event's own sequence is the lease's epoch."""

    job_id: str
    worker_id: str
    attempt: Annotated[int, "from 1"]
    sandbox: Annotated[str, "level"]


@event(leads_to=(JobState.RUNNING,))
class JobStarted(JobEvent):
    """The guest was started."""

    job_id: str
    epoch: Epoch
    guest_pid: int


@event(is_lazy=True)
class JobProgressed(JobEvent):
    """The job's progress, at most once a second and only on a change."""

    job_id: str
    epoch: Epoch
    progress: Annotated[Progress, "Progress as a map"]


@event(version=2, leads_to=(JobState.COMMITTED,))
class JobOutputsCommitted(JobEvent):
    """The outputs were committed: the commit takes effect when this event is durable."""

    job_id: str
    epoch: Epoch
    manifest: Annotated[Manifest | None, "Manifest as a map"] = None
    manifest_blob: Annotated[str, "the manifest's blob when it is too large"] = ""
    versions: Annotated[Mapping[str, int], "{output: version} of the files"]
    rows: Annotated[int, "valid rows"]
    quarantined: Annotated[int, "quarantined rows"]
    skipped: Annotated[int, "declared non-records"]
    records_given: Annotated[
        int | None, "records that the SDK's readers gave out; missing when the parser reads the file itself"
    ] = None
    records_unaccounted: Annotated[int | None, "the number of these that the parser dropped, as it declares"] = None
    bytes_accounted: Annotated[int | None, "of the input, in records and in declared skips of the readers"] = None
    seconds: Annotated[float, "of the attempt, by the worker's clock"]
    part_names: Annotated[int, "the naming of its parts: 1 = job and number, 2 = also a digest"]


@event(leads_to=(JobState.COMPLETED, JobState.PARTIAL_SUCCESS))
class JobCompleted(JobEvent):
    """The job's files are in place."""

    job_id: str
    epoch: Epoch
    status: Annotated[JobState, "COMPLETED|PARTIAL_SUCCESS"]
    rows: Annotated[int, "valid rows"]
    quarantined: int
    skipped: int
    seconds: float
    damaged: Annotated[tuple[str, ...], "files that were neither staged nor in place, at most 8 KiB of paths"]
    damaged_left_out: Annotated[int, "the number of files left out; all files of the job count as damaged then"] = 0


@event(leads_to=(JobState.FAILED,))
class JobFailed(JobEvent):
    """The job failed permanently."""

    job_id: str
    epoch: Epoch
    error: Annotated[JobError, "JobError as a map"]
    uncommitted: Annotated[Manifest | None, "manifest of kept quarantine"] = None
    uncommitted_blob: Annotated[str, "that manifest's blob when it is too large"] = ""
    tells_when_kept: Annotated[bool, "QuarantineKept follows; false in logs older than that event type"] = False


@event(leads_to=(JobState.RETRY_WAIT,))
class JobRetryScheduled(JobEvent):
    """An attempt failed with a transient error; the next one is due later."""

    job_id: str
    epoch: Epoch
    error: Annotated[JobError, "JobError as a map"]
    retry_count: int
    not_before: Annotated[int, "µs UTC"]
    delay_seconds: float


@event(leads_to=(JobState.QUEUED,))
class JobDue(JobEvent):
    """A retry became due."""

    job_id: str


@event(leads_to=(JobState.DEAD_LETTER,))
class JobDeadLettered(JobEvent):
    """The job was given up: its retries are used up, or too many workers were lost while running it."""

    job_id: str
    epoch: Epoch
    reason: Annotated[Literal["retries", "poison"], "retries|poison"]
    error: Annotated[JobError | None, "JobError as a map"] = None
    retry_count: int


@event(version=3, leads_to=(JobState.QUEUED,))
class JobReplayed(JobEvent):
    """An ended job was queued again with its counts reset."""

    job: Annotated[JobSpec, "JobSpec as a map"]
    from_state: Annotated[JobState, "FAILED|DEAD_LETTER|CANCELLED"]

    @property
    def subject(self) -> str:
        return self.job.job_id


@event()
class JobCancelRequested(JobEvent):
    """Cancelling the job was requested."""

    job_id: str
    reason: str


@event(leads_to=(JobState.CANCELLED,))
class JobCancelled(JobEvent):
    """The job was cancelled and left no output."""

    job_id: str
    reason: str


@event(leads_to=(JobState.QUEUED,))
class LeaseExpired(JobEvent):
    """The attempt ended without a result; the job is queued again and no retry is counted."""

    job_id: str
    epoch: Epoch
    worker_id: str
    reason: Annotated[str, "lost|released|fenced|paused|recalled|shutdown|taken over"]
    is_loss: Annotated[bool, "whether it counts as a lost worker"]


@event()
class QuarantineRecorded(JobEvent):
    """Rows of one output were quarantined."""

    job_id: str
    output: str
    version: Annotated[int, "of the output"]
    counts: Annotated[
        tuple[QuarantineCount, ...],
        "[[code, column, rows]…], the most frequent, at most 50 and 6 KiB; the manifest has all",
    ]
    rows: Annotated[int, "the number of all rows"]
    files: Annotated[tuple[str, ...], "paths relative to the home, at most 50 and 6 KiB; the manifest has all"]
    is_committed: Annotated[bool, "false: kept separately, of a failed attempt"]
    left_out: Annotated[int, "the number of `counts` left out"] = 0
    left_out_rows: Annotated[int, "their sum"] = 0
    files_left_out: Annotated[int, "the number of files left out"] = 0


@event()
class QuarantineKept(JobEvent):
    """The quarantine files of a failed attempt are in place."""

    job_id: str
    epoch: Epoch
    missing: Annotated[tuple[str, ...], "files that were neither staged nor in place, at most 8 KiB of paths"] = ()
    missing_left_out: Annotated[int, "how many more there are"] = 0


@event()
class FailureClosed(JobEvent):
    """A failure was closed: it needs no more attention."""

    job_id: str
    reason: str
