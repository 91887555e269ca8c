"""One job as the screens know it, and the bucket it belongs to.

A bucket holds the jobs of one type, parser and version that have the same standing (failed by the same cause, running,
waiting, done). It counts all of its jobs and has some of them loaded: from events, or from a page of the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sortedcontainers import SortedKeyList

from casparian_console.canvas import shared_folder
from casparian_console.kinds import look_of
from casparian_protocol.events import (
    Event,
    JobCompleted,
    JobDeadLettered,
    JobDue,
    JobFailed,
    JobLeased,
    JobOutputsCommitted,
    JobRetryScheduled,
    JobStarted,
    LeaseExpired,
)
from casparian_protocol.job_life import JobLife, advance
from casparian_protocol.jobs import ENDED, IN_PROGRESS, OPEN, JobError, JobSpec, JobState, ParseWork
from casparian_protocol.wire import Progress


class Standing(IntEnum):
    """The standing of a job; members are in the order of the list."""

    FAILED = 0
    RUNNING = 1
    WAITING = 2
    DONE = 3
    CANCELLED = 4


STANDINGS: dict[str, Standing] = {
    **{state.value: Standing.RUNNING for state in IN_PROGRESS},
    JobState.QUEUED.value: Standing.WAITING,
    JobState.LEASED.value: Standing.WAITING,
    JobState.RETRY_WAIT.value: Standing.WAITING,
    JobState.FAILED.value: Standing.FAILED,
    JobState.DEAD_LETTER.value: Standing.FAILED,
    JobState.COMPLETED.value: Standing.DONE,
    JobState.PARTIAL_SUCCESS.value: Standing.DONE,
    JobState.CANCELLED.value: Standing.CANCELLED,
}
OPEN_STATES = frozenset(state.value for state in OPEN)
ENDED_STATES = frozenset(state.value for state in ENDED)
#: A job without progress for this long is stalled; used until the daemon's `liveness.stalled_after_seconds` is known.
STALLED_US = 30_000_000
#: The cause that stands for closed failures.
CLOSED = "closed"

BucketKey = tuple[int, str, str, str, str]
#: Type, parser (or a scan's path) and version.
Kin = tuple[str, str, str]
SECOND_US = 1_000_000


@dataclass(slots=True, eq=False)
class Job(JobLife):
    """One job as the screens know it: its life, its work, and what it read and wrote. Times are µs UTC, 0 = not yet."""

    job_id: str
    type: str = ParseWork.kind
    parser: str = ""
    version: str = ""
    input: str = ""
    topic: str = ""
    queued_at: int = 0
    #: The event that queued it: its place in the queue.
    queued_seq: int = 0
    #: The progress of the running attempt; None before its first report.
    progress: Progress | None = None
    progressed_at: int = 0
    rows: int = 0
    quarantined: int = 0
    skipped: int = 0
    bytes: int = 0
    #: The number of files that a SCAN job found.
    files: int = 0
    seconds: float = 0.0
    outputs: tuple[str, ...] = ()
    error_code: str = ""
    error_message: str = ""
    fingerprint: str = ""
    #: What closed the failure: a job that succeeded since, or a person.
    closed_by: str = ""
    #: The owner. A book changes jobs and buckets of its own era, and copies the others first.
    era: object = None

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @classmethod
    def of(cls, spec: JobSpec, *, seq: int, at: int) -> Job:
        """The job as an event queued or replayed it."""
        work = spec.work
        return cls(
            spec.job_id,
            work.kind,
            work.parser,
            work.parser_version,
            work.subject,
            work.topic,
            spec.queued_at or at,
            seq,
            last_seq=seq,
        )

    def take(self, seq: int, at: int, event: Event) -> None:
        """Apply an event of the job's life."""
        advance(self, seq, at, event)
        match event:
            case JobLeased() | LeaseExpired() | JobDue():
                self.progress = None
            case JobStarted():
                self.progressed_at = at
            case JobRetryScheduled(error=error) | JobFailed(error=error):
                self._failed_of(error)
            case JobDeadLettered(error=error) if error is not None:
                self._failed_of(error)
            case JobOutputsCommitted(manifest=manifest, versions=versions):
                files = manifest.files if manifest is not None else []
                self.outputs = tuple(sorted(versions or (manifest.outputs if manifest is not None else ())))
                self.bytes = sum(file.bytes for file in files if file.kind == "data")
            case JobCompleted():
                self.rows, self.quarantined, self.skipped = event.rows, event.quarantined, event.skipped
                self.seconds = event.seconds
                self.error_code = self.error_message = self.fingerprint = ""

    def _failed_of(self, error: JobError) -> None:
        self.error_code, self.error_message, self.fingerprint = error.code, error.message, error.fingerprint

    @property
    def standing(self) -> Standing:
        return Standing.CANCELLED if self.is_closed else STANDINGS[self.state]

    @property
    def is_closed(self) -> bool:
        """Whether this is a failure that needs no more attention."""
        return bool(self.closed_by) and STANDINGS[self.state] is Standing.FAILED

    @property
    def at(self) -> int:
        """The time of the last change of state."""
        return self.ended_at or self.started_at or self.queued_at

    @property
    def bucket_key(self) -> BucketKey:
        standing = self.standing
        cause = self.fingerprint or self.error_code if standing is Standing.FAILED else CLOSED if self.is_closed else ""
        return (int(standing), *self.kin, cause)

    @property
    def kin(self) -> Kin:
        return (self.type, look_of(self.type).group(self.parser, self.input), self.version)

    def is_stalled(self, now_us: int, after_us: int) -> bool:
        """Whether the job made no progress for `after_us`."""
        return self.state == "RUNNING" and now_us - max(self.progressed_at, self.started_at) >= after_us


def recency(job: Job) -> tuple[int, str]:
    """The sort key of a job in its bucket: the latest change first; among waiting jobs, the next to run first."""
    return (job.queued_seq if job.standing is Standing.WAITING else -job.at, job.job_id)


@dataclass(slots=True)
class Counts:
    """Sums over jobs."""

    jobs: int = 0
    rows: int = 0
    quarantined: int = 0
    skipped: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, job: Job) -> Counts:
        return cls(1, job.rows, job.quarantined, job.skipped, job.bytes)

    def add(self, other: Counts, sign: int = 1) -> None:
        self.jobs += sign * other.jobs
        self.rows += sign * other.rows
        self.quarantined += sign * other.quarantined
        self.skipped += sign * other.skipped
        self.bytes += sign * other.bytes


@dataclass(slots=True, eq=False)
class Bucket:
    """Jobs of the same standing: all of them are counted, those in `jobs` are loaded."""

    key: BucketKey
    jobs: Any = field(default_factory=lambda: SortedKeyList(key=recency))
    counted: Counts = field(default_factory=Counts)
    #: The time of the last change of any counted job, from an answer.
    counted_at: int = 0
    #: output → jobs that wrote it.
    outputs: Counter[str] = field(default_factory=Counter)
    #: The common directory of all known inputs, with its slash; None before the first job. It only gets shorter.
    root: str | None = None
    era: object = None

    @property
    def standing(self) -> Standing:
        return Standing(self.key[0])

    @property
    def type(self) -> str:
        return self.key[1]

    @property
    def parser(self) -> str:
        return self.key[2] if look_of(self.type).is_grouped_by_parser else ""

    @property
    def version(self) -> str:
        return self.key[3]

    @property
    def cause(self) -> str:
        return self.key[4]

    @property
    def kin(self) -> Kin:
        return self.key[1:4]

    @property
    def first(self) -> Job | None:
        """The loaded job that changed last (of waiting jobs: the next to run)."""
        return self.jobs[0] if self.jobs else None

    @property
    def latest_at(self) -> int:
        """The time of the last change of one of its jobs."""
        return max(self.counted_at, self.jobs[0].at if self.jobs else 0)

    @property
    def size(self) -> int:
        return max(self.counted.jobs, len(self.jobs))

    @property
    def is_whole(self) -> bool:
        """Whether all of its jobs are loaded."""
        return len(self.jobs) >= self.counted.jobs

    @property
    def rows(self) -> int:
        return self.counted.rows

    @property
    def quarantined(self) -> int:
        return self.counted.quarantined

    @property
    def skipped(self) -> int:
        return self.counted.skipped

    @property
    def bytes(self) -> int:
        return self.counted.bytes

    def members(self) -> Iterator[Job]:
        """The loaded jobs."""
        return iter(self.jobs)

    def copied(self, era: object) -> Bucket:
        fresh = copy(self)
        fresh.jobs, fresh.outputs, fresh.era = SortedKeyList(self.jobs, key=recency), self.outputs.copy(), era
        fresh.counted = copy(self.counted)
        return fresh

    def _narrow(self, path: str) -> None:
        if self.root is None:
            self.root = path[: path.rfind("/") + 1]
        elif not path.startswith(self.root):
            self.root = shared_folder(self.root, path)

    def list_all(self, jobs: list[Job]) -> None:
        """Add loaded jobs; they are counted elsewhere."""
        if len(jobs) == 1:
            self.jobs.add(jobs[0])  # `update` is slow for a single job
        else:
            self.jobs.update(jobs)
        for job in jobs:
            self._narrow(job.input)

    def count(self, job: Job, sign: int) -> None:
        self.counted.add(Counts.of(job), sign)
        for output in job.outputs:
            self.outputs[output] += sign
            if self.outputs[output] <= 0:
                del self.outputs[output]
