"""The book of jobs: every bucket, the jobs that are known one by one, and what moved since a list was read.

Events come in through `fold`; sums of answers through `count_open` and `count_ended`, jobs of answers through `know`. A fork
of a book takes a few milliseconds, however many jobs it knows, and is how the console goes back in time: both books share
what neither has changed since (`era` says whose it is).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import count
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
#: Jobs of a bucket that are known one by one; running ones always are. An open group may list more.
KEPT = {Standing.FAILED: 2_000, Standing.WAITING: 5_000, Standing.DONE: 200, Standing.CANCELLED: 200}
MOST_LISTED = 20_000
#: Running longer than so many medians of its kin's finished jobs: a straggler.
STRAGGLER = 3.0


class Move(NamedTuple):
    """A job came into a bucket's list (`sign` 1) or left it (-1); `recency` is its place there, whatever it became since."""

    sign: int
    key: BucketKey
    recency: tuple[int, str]
    job: Job


class Settled(NamedTuple):
    """What an ended, closed or replayed job does to the totals of its state: one more or one less, and its rows."""

    state: str
    sign: int
    rows: int = 0
    quarantined: int = 0


class Change(NamedTuple):
    """What an event did to the sums of a bucket."""

    seq: int
    key: BucketKey
    sign: int
    counts: Counts


def _bucket_order(bucket: Bucket) -> tuple[int, int, BucketKey]:
    return (bucket.key[0], -bucket.latest_at, bucket.key)


@dataclass(slots=True)
class Stretch:
    """Work of one kin without a pause: how many jobs ended in it, and when in the last minute."""

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
        """How many ended then or later, within the last minute in which any did."""
        second = at_us // SECOND_US
        return sum(jobs for when, jobs in self.recent if when >= second)


#: Moves that a book remembers for those who keep lists of their own; whoever missed more reads the whole book again.
MOVES_KEPT = 10_000

#: Of all books together, so that a list which was made from one book is never taken for that of another.
_REVISIONS = count(1)


class JobBook:
    """Jobs by id and in buckets. `fold` is the only way in for events; a job's fields change nowhere else."""

    def __init__(self, *, keeps_all: bool = False) -> None:
        self.by_id: dict[str, Job] = {}
        self.buckets: dict[BucketKey, Bucket] = {}
        #: Open jobs by state, those that are not known included.
        self.by_state: Counter[str] = Counter()
        #: Kin → the stretch of work that it is in.
        self.stretches: dict[Kin, Stretch] = {}
        #: Buckets whose jobs are listed: not evicted beyond `KEPT` until they are let go.
        self.pinned: set[BucketKey] = set()
        #: Nothing is evicted: where nobody could be asked for it again, as in the past.
        self.keeps_all = keeps_all
        #: While an answer about sums is awaited: what events did to them meanwhile.
        self.journal: list[Change] = []
        self.has_journal = False
        self.seq = 0
        #: (type, parser, input) → its known open failures.
        self._failures: dict[tuple[str, str, str], tuple[str, ...]] = {}
        #: Seconds of finished jobs by kin, the latest 200, for the median.
        self._seconds: dict[Kin, list[float]] = {}
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
        fresh.stretches = {
            kin: Stretch(each.ended, each.began_at, each.recent.copy()) for kin, each in self.stretches.items()
        }
        fresh.pinned, fresh.journal = self.pinned.copy(), self.journal[:]
        fresh.revision, fresh._latest = next(_REVISIONS), {}
        self._era, fresh._era = object(), object()  # what there was belongs to neither from here on
        return fresh

    def get(self, job_id: str) -> Job | None:
        return self.by_id.get(job_id)

    # --- what events tell ---------------------------------------------------------------------------------------------

    def fold(self, seq: int, at: int, actor: str, event: Event) -> tuple[Settled, ...]:
        """Apply an event; what it does to the totals of ended jobs."""
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
        """What a job that has just ended does to the totals; a success closes the failures of its parser on its input."""
        if job.state not in ENDED_STATES:
            return ()
        ended = Settled(job.state, 1, job.rows, job.quarantined)
        if job.standing is not Standing.DONE:
            return (Settled(job.state, 1),)
        failures = self._failures.get((job.type, job.parser, job.input), ())
        closed = [Settled(self._close(job_id, job.job_id, seq).state, -1) for job_id in failures]
        return (ended, *closed)

    def _close(self, job_id: str, by: str, seq: int) -> Job:
        """A failure needs no more attention."""
        with self._moving(job_id) as job:
            job.closed_by, job.last_seq = by, seq
        return job

    def put(self, fresh: Job) -> None:
        """A job as it is told of as a whole, in place of what was known of it."""
        with self._moving(fresh.job_id, fresh):
            pass

    @contextmanager
    def _moving(self, job_id: str, fresh: Job | None = None) -> Iterator[Job]:
        """The job, to be changed (or `fresh` in its place); then it goes to the bucket where it belongs.

        A job that nobody has told of is made: its snapshot is older than the console's history.
        """
        self.revision = next(_REVISIONS)
        job = self.by_id.get(job_id)
        was = job.standing if job is not None else None
        if job is not None:
            self._leave(job)
        if fresh is not None or job is None or job.era is not self._era:
            job = fresh or (copy(job) if job is not None else Job(job_id))
            job.era = self._era
            self.by_id[job_id] = job
        yield job
        self._join(job)
        self._note_stretch(job, was)

    def touch(self, job_id: str, progress: Progress, at_us: int, seq: int) -> None:
        """Progress: numbers only, so the job stays where it is."""
        job = self.by_id.get(job_id)
        if job is not None:
            if job.era is not self._era:
                with self._moving(job_id) as job:
                    pass
            job.progress, job.progressed_at, job.last_seq = progress, at_us, max(job.last_seq, seq)
            self.revision = next(_REVISIONS)

    # --- what snapshots and answers tell ------------------------------------------------------------------------------

    def forget_open(self) -> None:
        """Before a snapshot: what is open is in it."""
        self.revision = next(_REVISIONS)
        for job in [job for job in self.by_id.values() if job.state in OPEN_STATES]:
            self._unlist(job)
        for key in [key for key in self.buckets if key[0] in _OPEN_STANDINGS]:
            del self.buckets[key]
        for state in OPEN_STATES:
            del self.by_state[state]

    def count_open(self, counted: Iterable[tuple[str, str, str, str, str, int]]) -> None:
        """How many are open by (state, type, parser, version, path of a scan): the listed ones are among them."""
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
        """Sums of all ended jobs as of `seq`, with the last change and the outputs of each bucket."""
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

    def know(self, jobs: Iterable[Job], seq: int) -> None:
        """Jobs of an answer as of `seq`: they are counted already. A job keeps what events told of it since."""
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
            self._trim(bucket)

    def let_go(self, key: BucketKey) -> None:
        """Its jobs are not listed any more."""
        self.pinned.discard(key)
        if key in self.buckets:
            self._trim(self._bucket(key))

    def _moved_anyhow(self) -> None:
        """Sums changed, and no job told of it: whoever keeps a list reads all of it again."""
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
        if is_behind_unknown and not self.keeps_all:
            del self.by_id[job.job_id]
            return
        bucket.list_all([job])
        self._note(1, job)
        self._note_failure(job, 1)
        self._remember_seconds(job)
        self._trim(bucket)

    def _count(self, bucket: Bucket, job: Job, sign: int) -> None:
        bucket.count(job, sign)
        if self.has_journal:
            self.journal.append(Change(self.seq, bucket.key, sign, Counts.of(job)))

    def _trim(self, bucket: Bucket) -> None:
        """Evict what is at the end of a list that is too long."""
        limit = MOST_LISTED if bucket.key in self.pinned else KEPT.get(bucket.standing)
        while limit is not None and not self.keeps_all and len(bucket.jobs) > limit:
            self._unlist(bucket.jobs[-1])

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

    def _note_stretch(self, job: Job, was: Standing | None) -> None:
        """A stretch begins when work of a kin is queued while none was open."""
        is_open, was_open = job.standing in _OPEN_STANDINGS, was in _OPEN_STANDINGS
        if is_open and not was_open and self.open_of(job.kin) <= 1:
            self.stretches[job.kin] = Stretch(began_at=job.queued_at)
        elif was_open and not is_open:
            self.stretches.setdefault(job.kin, Stretch()).note_end(job.at)

    def _bucket(self, key: BucketKey) -> Bucket:
        """The bucket, to be changed: a new one, or a copy of one that another book has too, where needed."""
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

    # --- what is asked ------------------------------------------------------------------------------------------------

    def open_of(self, kin: Kin) -> int:
        """How many jobs of this kin are open."""
        found = (self.buckets.get((int(standing), *kin, "")) for standing in _OPEN_STANDINGS)
        return sum(bucket.size for bucket in found if bucket is not None)

    def is_partial(self, standing: Standing) -> bool:
        """Some jobs that stand so are counted and not known."""
        return any(not bucket.is_whole for bucket in self.buckets.values() if bucket.standing is standing)

    def ordered(self) -> list[Bucket]:
        """The buckets as they are listed: failed, running, waiting, done, cancelled; each by recency."""
        return sorted(self.buckets.values(), key=_bucket_order)

    def latest(self, standing: Standing, limit: int) -> list[Bucket]:
        """Of the buckets that stand so, those that changed last; kept until the next change, for whoever draws often."""
        revision, found = self._latest.get((standing, limit), (-1, []))
        if revision != self.revision:
            alike = (bucket for bucket in self.buckets.values() if bucket.standing is standing)
            found = nsmallest(limit, alike, key=_bucket_order)
            self._latest[standing, limit] = (self.revision, found)
        return found

    def median_seconds(self, job: Job) -> float:
        """Of the finished jobs like this one; 0 when there is none."""
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
