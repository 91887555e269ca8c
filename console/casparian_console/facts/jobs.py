"""Jobs and their groups, always in the order in which they are shown. Pure: folds events, reads no clock.

A group is what a person handles at once: the jobs of one type, parser and version that stand alike (failed by the same
cause, running, waiting, done). A job moves between groups as it changes; its row never moves while only its numbers do.

A book can be forked in a few milliseconds, however many jobs it holds: both books share what neither has changed since
(`era` says whose it is), which is how the console goes back in time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from enum import IntEnum
from heapq import nsmallest
from itertools import count
from statistics import median
from typing import Any, NamedTuple

from sortedcontainers import SortedKeyList

from casparian_console.text import shared_folder
from casparian_protocol.jobs import ENDED, IN_PROGRESS, OPEN, JobState


class Standing(IntEnum):
    """How a job stands, in the order of the list."""

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
#: No progress for so long: stalled, until the daemon tells what its setting is (bus.md, "Liveness").
STALLED_US = 30_000_000
#: Running longer than so many medians of its group's finished jobs: a straggler.
STRAGGLER = 3.0

#: The cause of a group of failures that are closed.
CLOSED = "closed"

BucketKey = tuple[int, str, str, str, str]


@dataclass(slots=True, eq=False)
class Job:
    """One job as the screens know it. Times are µs UTC, 0 = not yet."""

    job_id: str
    type: str
    state: str
    parser: str = ""
    version: str = ""
    input: str = ""
    topic: str = ""
    attempt: int = 0
    epoch: int = 0
    worker_id: str = ""
    retry_count: int = 0
    not_before: int = 0
    queued_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    #: `progress.Progress` as a map, of the running attempt.
    progress: dict[str, Any] = field(default_factory=dict)
    progressed_at: int = 0
    rows: int = 0
    quarantined: int = 0
    skipped: int = 0
    bytes: int = 0
    #: That a SCAN found.
    files: int = 0
    seconds: float = 0.0
    outputs: tuple[str, ...] = ()
    error_code: str = ""
    error_message: str = ""
    fingerprint: str = ""
    reason: str = ""
    #: Of a failure that needs no more attention: the job that succeeded since, or the person who says so.
    closed_by: str = ""
    #: Sequence of the event that last changed it; 0 when it is known from an answer only.
    seq: int = 0
    #: Whose it is: a book changes jobs and groups of its own era only, and a copy of the others.
    era: object = None

    @property
    def standing(self) -> Standing:
        return Standing.CANCELLED if self.is_closed else STANDINGS[self.state]

    @property
    def is_closed(self) -> bool:
        """A failure that counts no more."""
        return bool(self.closed_by) and STANDINGS[self.state] is Standing.FAILED

    @property
    def at(self) -> int:
        """When it last changed its state."""
        return self.ended_at or self.started_at or self.queued_at

    @property
    def bucket_key(self) -> BucketKey:
        standing = self.standing
        cause = self.fingerprint or self.error_code if standing is Standing.FAILED else CLOSED if self.is_closed else ""
        which = self.input if self.type == "SCAN" else self.parser
        return (int(standing), self.type, which, self.version, cause)

    def is_stalled(self, now_us: int, after_us: int) -> bool:
        """Whether it made no progress for `after_us`."""
        return self.state == "RUNNING" and now_us - max(self.progressed_at, self.started_at) >= after_us


def recency(job: Job) -> tuple[int, str]:
    """The place of a job in its group: the youngest change first."""
    return (-job.at, job.job_id)


class Move(NamedTuple):
    """A job came into a group (`sign` 1) or left it (-1); `recency` is its place there, whatever it became since."""

    sign: int
    key: BucketKey
    recency: tuple[int, str]
    job: Job


@dataclass(slots=True, eq=False)
class Bucket:
    """Jobs that stand alike; the youngest change first."""

    key: BucketKey
    jobs: Any = field(default_factory=lambda: SortedKeyList(key=recency))
    rows: int = 0
    quarantined: int = 0
    skipped: int = 0
    bytes: int = 0
    #: output → jobs that wrote it.
    outputs: Counter[str] = field(default_factory=Counter)
    #: The directory that all inputs lie below, with its slash; None before the first job. It never grows again.
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
        return self.key[2] if self.type != "SCAN" else ""

    @property
    def version(self) -> str:
        return self.key[3]

    @property
    def first(self) -> Job:
        """The job that changed last."""
        job: Job = self.jobs[0]
        return job

    @property
    def size(self) -> int:
        return len(self.jobs)

    def members(self) -> Iterator[Job]:
        return iter(self.jobs)

    def copied(self, era: object) -> Bucket:
        fresh = copy(self)
        fresh.jobs, fresh.outputs, fresh.era = SortedKeyList(self.jobs, key=recency), self.outputs.copy(), era
        return fresh

    def _count(self, job: Job, sign: int) -> None:
        self.rows += sign * job.rows
        self.quarantined += sign * job.quarantined
        self.skipped += sign * job.skipped
        self.bytes += sign * job.bytes
        for output in job.outputs:
            self.outputs[output] += sign
            if not self.outputs[output]:
                del self.outputs[output]

    def _narrow(self, path: str) -> None:
        if self.root is None:
            self.root = path[: path.rfind("/") + 1]
        elif not path.startswith(self.root):
            self.root = shared_folder(self.root, path)

    def put(self, job: Job) -> None:
        self.jobs.add(job)
        self._narrow(job.input)
        self._count(job, 1)

    def put_all(self, jobs: list[Job]) -> None:
        """As `put`, for many at once."""
        self.jobs.update(jobs)
        for job in jobs:
            self._count(job, 1)
            self._narrow(job.input)

    def take(self, job: Job) -> None:
        self.jobs.remove(job)
        self._count(job, -1)


def _bucket_order(bucket: Bucket) -> tuple[int, int, BucketKey]:
    return (bucket.key[0], -bucket.first.at if bucket.size else 0, bucket.key)


#: Moves that a book remembers for those who keep lists of their own; whoever missed more reads the whole book again.
MOVES_KEPT = 10_000

#: Of all books together, so that a list which was made from one book is never taken for that of another.
_REVISIONS = count(1)


class JobBook:
    """All known jobs by id and by group. `replace` is the only way in; a job's fields change nowhere else."""

    def __init__(self) -> None:
        self.by_id: dict[str, Job] = {}
        self.buckets: dict[BucketKey, Bucket] = {}
        self.by_state: Counter[str] = Counter()
        #: (type, parser, input) → its open failures.
        self._failures: dict[tuple[str, str, str], tuple[str, ...]] = {}
        #: Seconds of finished jobs by (type, parser, version), the latest 200, for the median.
        self._seconds: dict[tuple[str, str, str], list[float]] = {}
        #: Raised with every change, so that whoever caches a list knows when it is old.
        self.revision = next(_REVISIONS)
        #: The last moves, and how many there ever were.
        self.moves: deque[Move] = deque(maxlen=MOVES_KEPT)
        self.moved = 0
        self._era: object = None
        self._latest: dict[tuple[Standing, int], tuple[int, list[Bucket]]] = {}

    def fork(self) -> JobBook:
        """A book of the same jobs; what is changed in one of the two stays as it was in the other.

        It remembers no moves: whoever kept a list reads it anew.
        """
        fresh = copy(self)
        fresh.by_id, fresh.buckets = self.by_id.copy(), self.buckets.copy()
        fresh.by_state, fresh._failures = self.by_state.copy(), self._failures.copy()
        fresh.moves, fresh.moved = deque(maxlen=MOVES_KEPT), self.moved + 1
        fresh._seconds = {kind: kept[:] for kind, kept in self._seconds.items()}
        fresh.revision, fresh._latest = next(_REVISIONS), {}
        self._era, fresh._era = object(), object()  # what there was belongs to neither from here on
        return fresh

    def get(self, job_id: str) -> Job | None:
        return self.by_id.get(job_id)

    def replace(self, job_id: str, **changes: Any) -> Job:
        """Make or change a job; it moves to the group where it belongs now."""
        self.revision = next(_REVISIONS)
        job = self.by_id.get(job_id)
        if job is None:
            kind, state = changes.pop("type", "PARSE"), changes.pop("state", "QUEUED")
            job = self.by_id[job_id] = Job(job_id, kind, state, era=self._era)
        else:
            self._leave(job)
            if job.era is not self._era:
                job = self.by_id[job_id] = copy(job)
                job.era = self._era
        for name, value in changes.items():
            setattr(job, name, value)
        self._join(job)
        return job

    def add_all(self, jobs: list[Job]) -> None:
        """Many new jobs at once: a hundred thousand in half a second. None of them may be known."""
        self.revision = next(_REVISIONS)
        fresh: dict[BucketKey, list[Job]] = {}
        for job in jobs:
            self.by_id[job.job_id] = job
            job.era = self._era
            fresh.setdefault(job.bucket_key, []).append(job)
            self.by_state[job.state] += 1
            self._remember_seconds(job)
            self._note_failure(job, 1)
        for key, members in fresh.items():
            self._bucket(key).put_all(members)
        self.moved += len(jobs)
        self.moves.clear()

    def close_failures(self, job: Job, seq: int) -> list[str]:
        """This job succeeded, and closes the failures of its parser on its input; the states of those."""
        failures = self._failures.get((job.type, job.parser, job.input), ())
        return [self.replace(job_id, closed_by=job.job_id, seq=seq).state for job_id in failures]

    def touch(self, job_id: str, progress: dict[str, Any], at_us: int, seq: int) -> None:
        """Progress: numbers only, so the job stays where it is."""
        job = self.by_id.get(job_id)
        if job is not None:
            if job.era is not self._era:
                job = self.replace(job_id)
            job.progress, job.progressed_at, job.seq = progress, at_us, max(job.seq, seq)
            self.revision = next(_REVISIONS)

    def forget_open(self) -> None:
        """Before a snapshot: what is open is in it."""
        self.revision = next(_REVISIONS)
        for job in [job for job in self.by_id.values() if job.state in OPEN_STATES]:
            self._leave(job)
            del self.by_id[job.job_id]

    def _leave(self, job: Job) -> None:
        bucket = self._bucket(job.bucket_key)
        self._note(-1, job)
        bucket.take(job)
        self._note_failure(job, -1)
        if not bucket.size:
            del self.buckets[bucket.key]
        self.by_state[job.state] -= 1

    def _join(self, job: Job) -> None:
        self._bucket(job.bucket_key).put(job)
        self._note(1, job)
        self._note_failure(job, 1)
        self.by_state[job.state] += 1
        self._remember_seconds(job)

    def _note(self, sign: int, job: Job) -> None:
        self.moved += 1
        self.moves.append(Move(sign, job.bucket_key, recency(job), job))

    def _note_failure(self, job: Job, sign: int) -> None:
        if job.standing is Standing.FAILED:
            key = (job.type, job.parser, job.input)
            others = tuple(job_id for job_id in self._failures.pop(key, ()) if job_id != job.job_id)
            if sign > 0 or others:
                self._failures[key] = (*others, job.job_id) if sign > 0 else others

    def _bucket(self, key: BucketKey) -> Bucket:
        """The group, to be changed: a new one, or a copy of one that another book has too, where needed."""
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = Bucket(key, era=self._era)
        elif bucket.era is not self._era:
            bucket = self.buckets[key] = bucket.copied(self._era)
        return bucket

    def _remember_seconds(self, job: Job) -> None:
        if job.state in ENDED_STATES and job.seconds:
            kept = self._seconds.setdefault((job.type, job.parser, job.version), [])
            kept.append(job.seconds)
            del kept[:-200]

    def ordered(self) -> list[Bucket]:
        """The groups as they are listed: failed, running, waiting, done, cancelled; each by recency."""
        return sorted(self.buckets.values(), key=_bucket_order)

    def latest(self, standing: Standing, limit: int) -> list[Bucket]:
        """Of the groups that stand so, those that changed last; kept until the next change, for whoever draws often."""
        revision, found = self._latest.get((standing, limit), (-1, []))
        if revision != self.revision:
            alike = (bucket for bucket in self.buckets.values() if bucket.standing is standing)
            found = nsmallest(limit, alike, key=_bucket_order)
            self._latest[standing, limit] = (self.revision, found)
        return found

    def median_seconds(self, job: Job) -> float:
        """Of the finished jobs like this one; 0 when there is none."""
        kept = self._seconds.get((job.type, job.parser, job.version))
        return median(kept) if kept else 0.0

    def is_straggler(self, job: Job, now_us: int) -> bool:
        typical = self.median_seconds(job)
        return (
            job.state in ("RUNNING", "COMMITTED")
            and typical > 0
            and bool(job.started_at)
            and (now_us - job.started_at) / 1e6 > STRAGGLER * typical
        )

    def open_jobs(self) -> Iterable[Job]:
        for bucket in self.buckets.values():
            if bucket.standing in (Standing.RUNNING, Standing.WAITING):
                yield from bucket.members()
