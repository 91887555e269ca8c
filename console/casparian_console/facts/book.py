"""The book of jobs: every bucket, the jobs that are loaded one by one, and the moves since a list was last read.

`fold` applies events; `count_open` and `count_ended` take the sums of answers, `know` takes their jobs. The console goes back
in time by forking a book, which takes a few milliseconds for any number of jobs: the two books share what neither has changed
since (`era` marks the owner).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import count, islice
from statistics import median
from typing import NamedTuple

from casparian_console.facts.jobs import (
    ENDED_STATES,
    OPEN_STATES,
    SECOND_US,
    STANDINGS,
    Bucket,
    BucketKey,
    Counts,
    Job,
    Kin,
    Standing,
    recency,
)
from casparian_console.kinds import look_of
from casparian_protocol.events import (
    Event,
    FailureClosed,
    JobCancelRequested,
    JobEvent,
    JobProgressed,
    JobQueued,
    JobReplayed,
    ScanFinished,
)
from casparian_protocol.wire import Progress

_OPEN_STANDINGS = (Standing.RUNNING, Standing.WAITING)
#: How many jobs of a bucket are loaded one by one. All running jobs are loaded; an open group may load more.
KEPT = {Standing.FAILED: 2_000, Standing.WAITING: 5_000, Standing.DONE: 200, Standing.CANCELLED: 200}
MOST_LISTED = 20_000
#: A straggler runs longer than this many times the median of finished jobs of the same kin.
STRAGGLER = 3.0
#: How many moves a book remembers for the lists that follow it. A list that missed more reads the whole book again.
MOVES_KEPT = 10_000
#: One counter for all books, so that a list made from one book is never taken for that of another.
_REVISIONS = count(1)


class Move(NamedTuple):
    """A job entered a bucket's list (`sign` 1) or left it (-1). `recency` is its place in that list at that time."""

    sign: int
    key: BucketKey
    recency: tuple[int, str]
    job: Job


class Settled(NamedTuple):
    """How an ended, closed or replayed job changes the totals of its state: one job more or less, and its rows."""

    state: str
    sign: int
    rows: int = 0
    quarantined: int = 0


class Change(NamedTuple):
    """How an event changed the sums of a bucket."""

    seq: int
    key: BucketKey
    sign: int
    counts: Counts


def _bucket_order(bucket: Bucket) -> tuple[int, int, BucketKey]:
    return (bucket.key[0], -bucket.latest_at, bucket.key)


@dataclass(slots=True)
class Stretch:
    """A stretch of uninterrupted work of one kin: how many jobs succeeded or failed in it, and when in the last minute."""

    ended: int = 0
    began_at: int = 0
    #: (second, jobs that ended in it), the latest last.
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=60))

    def note_end(self, at_us: int) -> None:
        self.ended += 1
        second = at_us // SECOND_US
        if self.recent and self.recent[-1][0] == second:
            self.recent[-1] = (second, self.recent[-1][1] + 1)
        else:
            self.recent.append((second, 1))

    def ended_since(self, at_us: int) -> int:
        """The number of jobs that ended at this time or later, within the last minute in which any did."""
        second = at_us // SECOND_US
        return sum(jobs for when, jobs in self.recent if when >= second)


class JobBook:
    """Jobs by id and in buckets. Events enter through `fold` only; a job's fields change nowhere else."""

    def __init__(self, *, keeps_all: bool = False) -> None:
        self.by_id: dict[str, Job] = {}
        self.buckets: dict[BucketKey, Bucket] = {}
        #: The number of open jobs by state, including jobs that are not loaded.
        self.by_state: Counter[str] = Counter()
        #: Kin → the stretch of work that it is in.
        self.stretches: dict[Kin, Stretch] = {}
        #: Buckets whose jobs are listed. Their jobs are not evicted beyond `KEPT` until `let_go`.
        self.pinned: set[BucketKey] = set()
        #: Pinned buckets in which jobs are looked for: a job that is queued there is loaded wherever it stands in the queue.
        self.searched: set[BucketKey] = set()
        #: Nothing is evicted. Used where a job cannot be loaded again, as in the past.
        self.keeps_all = keeps_all
        #: How events changed the sums while an answer about them is awaited.
        self.journal: list[Change] = []
        self.has_journal = False
        self.seq = 0
        #: The event as of which ended jobs were counted last; an event up to it, folded later, is counted already.
        self.ended_seq = 0
        #: (type, parser, input) → its known open failures.
        self._failures: dict[tuple[str, str, str], tuple[str, ...]] = {}
        #: Seconds of finished jobs by kin, the latest 200, for the median.
        self._seconds: dict[Kin, list[float]] = {}
        #: Grows with every change, so that a cached list can be compared with it.
        self.revision = next(_REVISIONS)
        #: The last moves, and the number of all moves so far.
        self.moves: deque[Move] = deque(maxlen=MOVES_KEPT)
        self.moved = 0
        self._era: object = None
        self._latest: dict[tuple[Standing, int], tuple[int, list[Bucket]]] = {}

    def fork(self) -> JobBook:
        """A copy that shares no later change. It remembers no moves: a list that follows it reads it from the start."""
        fresh = copy(self)
        fresh.by_id, fresh.buckets = self.by_id.copy(), self.buckets.copy()
        fresh.by_state, fresh._failures = self.by_state.copy(), self._failures.copy()
        fresh.moves, fresh.moved = deque(maxlen=MOVES_KEPT), self.moved + 1
        fresh._seconds = {kind: kept[:] for kind, kept in self._seconds.items()}
        fresh.stretches = {
            kin: Stretch(each.ended, each.began_at, each.recent.copy()) for kin, each in self.stretches.items()
        }
        fresh.pinned, fresh.searched, fresh.journal = self.pinned.copy(), self.searched.copy(), self.journal[:]
        fresh.revision, fresh._latest = next(_REVISIONS), {}
        self._era, fresh._era = object(), object()  # from here on neither book owns the shared objects
        return fresh

    def get(self, job_id: str) -> Job | None:
        return self.by_id.get(job_id)

    # --- from events --------------------------------------------------------------------------------------------------

    def fold(self, seq: int, at: int, actor: str, event: Event) -> tuple[Settled, ...]:
        """Apply an event. Returns how it changes the totals of ended jobs."""
        match event:
            case JobProgressed():
                self.touch(event.job_id, event.progress, at, seq)
            case JobQueued(job=spec):
                self.put(Job.of(spec, seq=seq, at=at))
            case JobReplayed(job=spec):
                known = self.by_id.get(spec.job_id)
                was_counted = known is None or not known.is_closed
                self.put(Job.of(spec, seq=seq, at=at))
                return (Settled(event.from_state, -1),) if was_counted else ()
            case FailureClosed():
                known = self.by_id.get(event.job_id)
                if known is not None and known.standing is Standing.FAILED:
                    return (Settled(self._close(known.job_id, actor, seq).state, -1),)
            case ScanFinished() if event.scan_id in self.by_id:  # a SCAN job gives its scan its own id
                with self._moving(event.scan_id) as job:
                    job.files = event.files
            case JobCancelRequested() if event.job_id in self.by_id:
                with self._moving(event.job_id) as job:
                    job.take(seq, at, event)
            case JobEvent() if event.about.leads_to:
                with self._moving(event.subject) as job:
                    job.take(seq, at, event)
                return self._settled(job, seq)
        return ()

    def _settled(self, job: Job, seq: int) -> tuple[Settled, ...]:
        """How a job that has just ended changes the totals. A success closes the failures of its parser on its input."""
        if job.state not in ENDED_STATES:
            return ()
        ended = Settled(job.state, 1, job.rows, job.quarantined)
        if job.standing is not Standing.DONE:
            return (Settled(job.state, 1),)
        failures = self._failures.get((job.type, job.parser, job.input), ())
        closed = [Settled(self._close(job_id, job.job_id, seq).state, -1) for job_id in failures]
        return (ended, *closed)

    def _close(self, job_id: str, by: str, seq: int) -> Job:
        """Close a failure: it needs no more attention."""
        with self._moving(job_id) as job:
            job.closed_by, job.last_seq = by, seq
        return job

    def put(self, fresh: Job) -> None:
        """Replace what was known of a job by the complete job."""
        with self._moving(fresh.job_id, fresh):
            pass

    @contextmanager
    def _moving(self, job_id: str, fresh: Job | None = None) -> Iterator[Job]:
        """Yield the job (or `fresh` in its place) for a change, then put it into the right bucket.

        An unknown job is created: it is older than the console's snapshot.
        """
        self.revision = next(_REVISIONS)
        job = self.by_id.get(job_id)
        was, was_at = (job.standing, job.at) if job is not None else (None, 0)
        if job is not None:
            self._leave(job)
        if fresh is not None or job is None or job.era is not self._era:
            job = fresh or (copy(job) if job is not None else Job(job_id))
            job.era = self._era
            self.by_id[job_id] = job
        yield job
        self._join(job)
        self._note_stretch(job, was, was_at)

    def touch(self, job_id: str, progress: Progress, at_us: int, seq: int) -> None:
        """Apply progress: only numbers change, so the job stays in its bucket."""
        job = self.by_id.get(job_id)
        if job is not None:
            if job.era is not self._era:
                with self._moving(job_id) as job:
                    pass
            job.progress, job.progressed_at, job.last_seq = progress, at_us, max(job.last_seq, seq)
            self.revision = next(_REVISIONS)

    # --- from snapshots and answers -----------------------------------------------------------------------------------

    def forget_open(self) -> None:
        """Forget the open jobs before a snapshot, which holds all of them."""
        self.revision = next(_REVISIONS)
        for job in [job for job in self.by_id.values() if job.state in OPEN_STATES]:
            self._unlist(job)
        for key in [key for key in self.buckets if key[0] in _OPEN_STANDINGS]:
            del self.buckets[key]
        for state in OPEN_STATES:
            del self.by_state[state]

    def count_open(self, counted: Iterable[tuple[str, str, str, str, str, int]]) -> None:
        """Set the number of open jobs by (state, type, parser, version, path of a scan), listed jobs included."""
        sums: Counter[BucketKey] = Counter()
        for state in OPEN_STATES:
            del self.by_state[state]
        for state, kind, parser, version, path, jobs in counted:
            sums[int(STANDINGS[state]), kind, look_of(kind).group(parser, path), version, ""] += jobs
            self.by_state[state] += jobs
        for key, jobs in sums.items():
            self._bucket(key).counted.jobs = jobs
        self._moved_anyhow()

    def count_ended(self, counted: dict[BucketKey, tuple[Counts, int, Collection[str]]], seq: int) -> None:
        """Set the sums of all ended jobs as of `seq`, with the last change and the outputs of each bucket."""
        self.ended_seq = seq
        for change in self.journal:
            if change.seq > seq and change.key[0] not in _OPEN_STANDINGS:
                known = counted.setdefault(change.key, (Counts(), 0, ()))
                known[0].add(change.counts, change.sign)
        ended = [key for key in self.buckets if key[0] not in _OPEN_STANDINGS]
        for key in {*ended, *counted}:
            sums, latest_at, outputs = counted.get(key, (Counts(), 0, ()))
            bucket = self._bucket(key)
            bucket.counted, bucket.counted_at = sums, latest_at
            for output in outputs:
                bucket.outputs[output] = max(bucket.outputs[output], sums.jobs)
            if not bucket.size:
                del self.buckets[key]
        self._moved_anyhow()

    def know(self, jobs: Iterable[Job], seq: int, *, are_moving: bool = False) -> None:
        """Take in the jobs of an answer as of `seq`; they are counted already. Later events about a job win.

        Jobs that `are_moving` are not evicted: the caller folds events about them next."""
        self.revision = next(_REVISIONS)
        fresh: dict[BucketKey, list[Job]] = {}
        for job in jobs:
            known = self.by_id.get(job.job_id)
            is_older = known is not None and known.state in ENDED_STATES and known.last_seq <= seq
            if known is not None and is_older and known.ended_at != job.ended_at:
                self._unlist(known)
                known = None
            if known is None:
                self.by_id[job.job_id] = job
                job.era = self._era
                fresh.setdefault(job.bucket_key, []).append(job)
                self._remember_seconds(job)
                self._note_failure(job, 1)
        for key, members in fresh.items():
            bucket = self._bucket(key)
            bucket.list_all(members)
            for job in members:
                self._note(1, job)
            if not are_moving:
                self._trim(bucket)

    def let_go(self, key: BucketKey) -> None:  # its jobs are no longer listed
        self.pinned.discard(key)
        if key in self.buckets:
            self._trim(self._bucket(key))

    def _moved_anyhow(self) -> None:
        """Sums changed without a move of a job: every list has to be read again."""
        self.moved += 1
        self.moves.clear()
        self.revision = next(_REVISIONS)

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _leave(self, job: Job) -> None:
        bucket = self._bucket(job.bucket_key)
        self._note(-1, job)
        bucket.jobs.remove(job)
        self._count(bucket, job, -1)
        self._note_failure(job, -1)
        if not bucket.size:
            del self.buckets[bucket.key]
        if job.state in OPEN_STATES:
            self.by_state[job.state] -= 1

    def _join(self, job: Job) -> None:
        bucket = self._bucket(job.bucket_key)
        is_behind_unknown = (
            job.state == "QUEUED"
            and not bucket.is_whole
            and (not bucket.jobs or recency(job) > recency(bucket.jobs[-1]))
        )
        self._count(bucket, job, 1)
        if job.state in OPEN_STATES:
            self.by_state[job.state] += 1
        if is_behind_unknown and bucket.key not in self.searched and not self.keeps_all:
            del self.by_id[job.job_id]
            return
        bucket.list_all([job])
        self._note(1, job)
        self._note_failure(job, 1)
        self._remember_seconds(job)
        self._trim(bucket)

    def _count(self, bucket: Bucket, job: Job, sign: int) -> None:
        if self.seq <= self.ended_seq and bucket.standing not in _OPEN_STANDINGS:
            return
        bucket.count(job, sign)
        if self.has_journal:
            self.journal.append(Change(self.seq, bucket.key, sign, Counts.of(job)))

    def _trim(self, bucket: Bucket) -> None:
        """Evict jobs from the end of a list that is too long; a job that a worker has stays."""
        limit = MOST_LISTED if bucket.key in self.pinned else KEPT.get(bucket.standing)
        if limit is not None and not self.keeps_all and len(bucket.jobs) > limit:
            loose = (job for job in reversed(bucket.jobs) if job.state != "LEASED")
            for job in list(islice(loose, len(bucket.jobs) - limit)):
                self._unlist(job)

    def _unlist(self, job: Job) -> None:
        bucket = self._bucket(job.bucket_key)
        self._note(-1, job)
        bucket.jobs.remove(job)
        self._note_failure(job, -1)
        del self.by_id[job.job_id]

    def _note(self, sign: int, job: Job) -> None:
        self.moved += 1
        self.moves.append(Move(sign, job.bucket_key, recency(job), job))

    def _note_failure(self, job: Job, sign: int) -> None:
        if job.standing is Standing.FAILED:
            key = (job.type, job.parser, job.input)
            others = tuple(job_id for job_id in self._failures.pop(key, ()) if job_id != job.job_id)
            if sign > 0 or others:
                self._failures[key] = (*others, job.job_id) if sign > 0 else others

    def _note_stretch(self, job: Job, was: Standing | None, was_at: int) -> None:
        """A stretch begins when work of a kin is queued while none was open."""
        is_open, was_open = job.standing in _OPEN_STANDINGS, was in _OPEN_STANDINGS
        if is_open and not was_open and self.open_of(job.kin) <= 1:
            self.stretches[job.kin] = Stretch(began_at=job.queued_at)
        elif is_open and was is Standing.FAILED and (stretch := self.stretches.get(job.kin)) is not None:
            stretch.ended -= int(was_at >= stretch.began_at)  # it is queued again: it is not counted twice
        elif was_open and job.standing in (Standing.DONE, Standing.FAILED):  # a cancelled job was not worked on
            self.stretches.setdefault(job.kin, Stretch()).note_end(job.at)

    def _bucket(self, key: BucketKey) -> Bucket:
        """The bucket, ready to be changed. It is created if missing, and copied if another book shares it."""
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = Bucket(key, era=self._era)
        elif bucket.era is not self._era:
            bucket = self.buckets[key] = bucket.copied(self._era)
        return bucket

    def _remember_seconds(self, job: Job) -> None:
        if job.state in ENDED_STATES and job.seconds:
            kept = self._seconds.setdefault(job.kin, [])
            kept.append(job.seconds)
            del kept[:-200]

    # --- queries ------------------------------------------------------------------------------------------------------

    def open_of(self, kin: Kin) -> int:
        """The number of open jobs of this kin."""
        keys = [(int(standing), *kin, "") for standing in _OPEN_STANDINGS]
        return sum(self.buckets[key].size for key in keys if key in self.buckets)

    def is_partial(self, standing: Standing) -> bool:
        """Whether some jobs of this standing are counted but not loaded."""
        return any(not bucket.is_whole for bucket in self.buckets.values() if bucket.standing is standing)

    def ordered(self) -> list[Bucket]:
        """The buckets in the order of the list: failed, running, waiting, done, cancelled; each by recency."""
        return sorted(self.buckets.values(), key=_bucket_order)

    def latest(self, standing: Standing, limit: int) -> list[Bucket]:
        """The buckets of this standing that changed last; cached until the next change."""
        revision, found = self._latest.get((standing, limit), (-1, []))
        if revision != self.revision:
            alike = (bucket for bucket in self.buckets.values() if bucket.standing is standing)
            found = nsmallest(limit, alike, key=_bucket_order)
            self._latest[standing, limit] = (self.revision, found)
        return found

    def median_seconds(self, job: Job) -> float:
        """The median duration of finished jobs of the same kin; 0 if there are none."""
        kept = self._seconds.get(job.kin)
        return median(kept) if kept else 0.0

    def is_straggler(self, job: Job, now_us: int) -> bool:
        typical = self.median_seconds(job)
        return (
            job.state in ("RUNNING", "COMMITTED")
            and typical > 0
            and bool(job.started_at)
            and (now_us - job.started_at) / 1e6 > STRAGGLER * typical
        )
