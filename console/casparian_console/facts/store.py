"""`Facts`: everything the screens draw from, folded out of snapshots, events, metrics and the answers to `loads`.

Folding all events of a log into empty `Facts` gives what a snapshot and the loads give, as far as events tell it: that is
how the console stands in the past. Times are µs UTC, taken from events; the clock is told by `tick`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from copy import copy
from typing import Literal, NamedTuple

from casparian_console.facts import loading
from casparian_console.facts.book import JobBook, Settled
from casparian_console.facts.jobs import STALLED_US, BucketKey, Job, Standing
from casparian_console.facts.loading import Totals, Unlisted
from casparian_console.facts.readings import SAMPLES, Sample, Throughput
from casparian_console.facts.registry import TABLES, Registry, Told
from casparian_console.messages import Answer, RunQuery, Tag
from casparian_protocol import wording
from casparian_protocol.events import (
    Event,
    FailureClosed,
    IntakePaused,
    IntakeResumed,
    JobCompleted,
    JobEvent,
    JobLeased,
    JobProgressed,
    JobQueued,
    JobReplayed,
    JobStarted,
    SentinelStarted,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
)
from casparian_protocol.feed import FeedEvent, FeedItem, Gap, Metric, Silence
from casparian_protocol.queries.jobs import JobsMatching
from casparian_protocol.wire.operations.daemon import (
    OPEN_INTAKE,
    ProjectionReading,
    QueueReading,
    Reading,
    SinkReading,
    SinksReading,
    Snapshot,
    ThroughputReading,
    TroubleReading,
    WorkerGivenUp,
    WorkersReading,
    WorkerView,
)

#: Too many of them, and nobody looks for them among what happened last.
_COMMON = (JobProgressed, JobQueued, JobLeased, JobStarted)

Link = Literal["connecting", "live", "silent", "stale", "gone"]
#: Workers come so soon after the daemon.
_START_US = 5_000_000
#: Loads are repeated at most so often.
_LOAD_AGAIN_US = 3_000_000


class _Behind(NamedTuple):
    """An event that came while a load was on its way, and what it does to the totals."""

    told: Told
    settled: tuple[Settled, ...]


class Facts:
    """The picture as of event `seq`."""

    def __init__(self) -> None:
        self.seq = 0
        self.now_us = 0
        self.link: Link = "connecting"
        self.link_problem = ""
        self.silent_seconds = 0.0
        self.jobs = JobBook()
        self.unlisted = Unlisted()
        #: What filters and searches asked the tables: the number of jobs found, None while it is not known.
        self.found: dict[JobsMatching, int | None] = {}
        self.registry = Registry()
        self.totals = Totals()
        #: By their ids, live readings included.
        self.workers: dict[str, WorkerView] = {}
        self.given_up: list[WorkerGivenUp] = []
        #: What the daemon cannot do and goes on without, in sentences, by the metric that told it.
        self.troubles: dict[str, list[str]] = {}
        #: `metric.sinks`: what was written since the sentinel's start, for each sink and output; never changed in place.
        self.sinks: tuple[SinkReading, ...] = ()
        self.intake_paused = ""
        self.projection_seq = 0
        self.rows_per_second = 0.0
        #: `liveness.stalled_after_seconds` of the daemon.
        self.stalled_after_us = STALLED_US
        self._throughput = Throughput()
        self.bytes_per_second = 0.0
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        #: (seq, at µs, type, actor, data) of what people care about, the youngest last.
        self.recent: deque[FeedEvent] = deque(maxlen=500)
        #: Loads on their way, by table, and every event that came since the first of them was asked for: an answer is of
        #: an earlier sequence than the events that are known when it arrives, so those behind it are folded again.
        self._awaited: Counter[str] = Counter()
        self._behind: list[_Behind] = []
        #: Loads that were refused, and the earliest time for the next ones.
        self._refused: set[str] = set()
        #: Questions that were refused: the screen asks again after the next reading.
        self._refused_finds: list[JobsMatching] = []
        self._next_load_us = 0
        #: When a worker was last there; or nothing could be known about it.
        self._worker_seen_us = 0

    # --- what arrives -------------------------------------------------------------------------------------------------

    def tick(self, now_us: int) -> None:
        self.now_us = now_us
        if self.workers or self.link != "live":
            self._worker_seen_us = now_us

    def hear(self, item: FeedItem) -> list[RunQuery]:
        """Fold one item; the queries that complete the picture (after a snapshot) are returned."""
        if isinstance(item, Silence):
            self.silent_seconds = item.seconds
            self.link = "silent" if self.link in ("live", "silent") else self.link
            return []
        if isinstance(item, Gap):
            self.link = "stale"
            return []
        self.silent_seconds = 0.0
        if isinstance(item, Snapshot):
            return self._restart(item)
        if self.link in ("silent", "gone"):
            self.link = "live"
        if isinstance(item, Metric):
            self._reading(item.decoded())
            return self._overdue()
        self.fold(item)
        return self.unlisted.identify()

    def gone(self, problem: str) -> None:
        """The sentinel went away: the picture stays, marked as old."""
        self.link, self.link_problem = "gone", problem

    def fold(self, record: FeedEvent) -> None:
        """One event of the log, in order."""
        event = record.decoded()
        self.seq = self.jobs.seq = max(self.seq, record.seq)
        self._throughput.fold(event)
        if self.unlisted.holds(self.jobs, record, event):
            return
        settled = self.jobs.fold(record.seq, record.ts, record.actor, event)
        is_unknown = isinstance(event, JobReplayed | FailureClosed) and not settled
        # a success may close failures of its input that are not known here, too
        if is_unknown or (isinstance(event, JobCompleted) and self.jobs.is_partial(Standing.FAILED)):
            self.registry.stale.add("groups")  # which bucket lost a job only the tables know
        self._processes(event)
        self._told(record, event, settled)

    def refused(self, tag: Tag) -> None:
        """A load failed, as while the projector starts: it is asked for again."""
        if tag[1] == "found":
            self._refused_finds.append(loading.matching_key(tag))
            return
        if tag[1] not in loading.LOADS:
            self.unlisted.refused(tag)
            return
        self._arrived(tag[1])
        self._refused.add(tag[1])
        self._next_load_us = self.now_us + _LOAD_AGAIN_US

    def _overdue(self) -> list[RunQuery]:
        """Loads that were refused, and tables of which events only tell that they changed."""
        for query in self._refused_finds:
            self.found.pop(query, None)
        self._refused_finds.clear()
        wanted = self._refused | self.registry.stale
        asked = [*self.unlisted.identify(), *self.unlisted.first_pages(self.jobs)]
        if self.now_us < self._next_load_us or not wanted:
            return asked
        return [*asked, *self._load(wanted)]

    def _load(self, wanted: Collection[str]) -> list[RunQuery]:
        self._refused -= set(wanted)
        self.registry.stale -= set(wanted)
        self._next_load_us = self.now_us + _LOAD_AGAIN_US
        self._awaited.update(wanted)
        self.jobs.has_journal = True
        return [loading.load(table) for table in loading.LOADS if table in wanted]

    def on_answer(self, answer: Answer) -> None:
        """The answer to one of the loads, and again what happened behind it."""
        table = answer.tag[1]
        if table == "found":
            self.found[loading.matching_key(answer.tag)] = len(answer.rows)
        if table not in loading.LOADS:
            for record in self.unlisted.on_answer(self.jobs, answer):
                self._refold(record)
            return
        later = [each for each in self._behind if each.told.seq > answer.seq]
        if table == "jobs":
            self.jobs.know(map(loading.job_of, answer.rows), answer.seq)
        elif table == "groups":
            self.totals = loading.take_groups(self.jobs, answer.rows, answer.seq)
            for each in later:
                self.totals.settle(each.told.seq, each.settled)
        else:
            self.registry.on_answer(table, answer)
            for each in later:
                self.registry.fold(each.told, (table,))
        self._arrived(table)

    def _arrived(self, table: str) -> None:
        if self._awaited[table] > 1:
            self._awaited[table] -= 1
        else:
            del self._awaited[table]
        if not self._awaited:
            self._behind.clear()
            self.jobs.journal.clear()
            self.jobs.has_journal = False

    # --- jobs that are counted and not known --------------------------------------------------------------------------

    def find_job(self, job_id: str) -> list[RunQuery]:
        """Ask for a job that is not known here."""
        return [loading.by_id([job_id])]

    def find_jobs(self, query: JobsMatching) -> list[RunQuery]:
        """Ask for jobs that a filter or a search means, known here or not."""
        self.found[query] = None
        return [loading.matching(query)]

    def more(self, key: BucketKey) -> list[RunQuery]:
        """The next page of a bucket of ended jobs, unless it is on its way or all are known."""
        return self.unlisted.more(self.jobs, key)

    def pin(self, keys: Collection[BucketKey]) -> None:
        """These buckets are listed now, the others not any more: what is known of them beyond the first is evicted."""
        self.unlisted.pin(self.jobs, keys)

    def _refold(self, record: FeedEvent) -> None:
        """An event that had to wait until its job was known."""
        event = record.decoded()
        at, self.jobs.seq = self.jobs.seq, record.seq
        settled = self.jobs.fold(record.seq, record.ts, record.actor, event)
        self.jobs.seq = at
        self._told(record, event, settled)

    def _told(self, record: FeedEvent, event: Event, settled: tuple[Settled, ...]) -> None:
        """What an event, about a job or not, does to everything but the jobs."""
        job = self.jobs.get(event.subject) if isinstance(event, JobEvent) else None
        told = Told(record.seq, record.ts, event, *((job.parser, job.error_message) if job is not None else ()))
        self.registry.fold(told)
        self.totals.settle(record.seq, settled)
        if self._awaited:
            self._behind.append(_Behind(told, settled))
        if not isinstance(event, _COMMON):
            self.recent.append(record)

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _restart(self, taken: Snapshot) -> list[RunQuery]:
        self.seq, self.link, self.link_problem = taken.seq, "live", ""
        self.jobs.seq = taken.seq
        self.unlisted.begin_anew()
        self.found.clear()
        loading.take_snapshot(self.jobs, taken, self.now_us, self.stalled_after_us)
        self.workers = {worker.id: worker for worker in taken.workers}
        self._intake(taken.intake)
        return self._load(list(loading.LOADS))  # the old tables are shown until then

    def count_from_nothing(self) -> None:
        """Before folding a log from its first event: totals begin at zero and are exact."""
        self.totals = Totals(seq=0)
        self.registry.begin_from_nothing()
        self.jobs.keeps_all = True  # nobody could be asked again
        self.link = "live"

    def fork(self) -> Facts:
        """The same picture again; folding into one of the two leaves the other as it was. Quick with many jobs, too."""
        fresh = copy(self)
        fresh.jobs, fresh.registry, fresh.totals = self.jobs.fork(), self.registry.fork(), copy(self.totals)
        fresh.totals.by_state = self.totals.by_state.copy()
        fresh.workers, fresh.given_up = self.workers.copy(), self.given_up[:]
        fresh.troubles, fresh.found = self.troubles.copy(), self.found.copy()
        fresh._refused_finds = self._refused_finds[:]
        fresh.samples, fresh.recent = self.samples.copy(), self.recent.copy()
        fresh._refused, fresh._awaited, fresh._behind = self._refused.copy(), self._awaited.copy(), self._behind[:]
        fresh.unlisted, fresh._throughput = self.unlisted.fork(), self._throughput.fork()
        return fresh

    def _processes(self, event: Event) -> None:
        match event:
            case WorkerJoined(worker_id=worker_id):
                fresh = WorkerView(
                    id=worker_id, pid=event.pid, host=event.host, slots=event.slots, state="idle", sandbox=event.sandbox
                )
                known = self.workers.get(worker_id, fresh)
                load = {"cpu_percent": known.cpu_percent, "rss_bytes": known.rss_bytes, "jobs": known.jobs}
                self.workers[worker_id] = fresh.model_copy(update=load)
            case WorkerLost(worker_id=worker_id) | WorkerLeft(worker_id=worker_id):
                self.workers.pop(worker_id, None)
            case SentinelStarted():
                self.workers.clear()
                self.sinks = ()
            case IntakePaused(reason=reason):
                self._intake(reason or "paused")
            case IntakeResumed():
                self._intake(OPEN_INTAKE)

    def _intake(self, told: str) -> None:
        """What an event, a snapshot or a metric says of it."""
        self.intake_paused = "" if told == OPEN_INTAKE else told

    def _reading(self, reading: Reading | None) -> None:
        match reading:
            case WorkersReading():
                self._workers_told(reading)
            case QueueReading():
                self._intake(reading.intake)
            case TroubleReading():
                trouble = wording.say_parked(reading.parked) + wording.say_internal(reading.internal_errors)
                self.troubles[reading.name] = trouble
            case ThroughputReading():
                self._throughput_told(reading)
            case SinksReading():
                self.sinks = tuple(reading.sinks)
            case ProjectionReading():
                self.troubles[reading.name] = wording.say_poison(reading.poison_events)
                self.projection_seq = reading.applied

    def _workers_told(self, reading: WorkersReading) -> None:
        self.workers = {worker.id: worker for worker in reading.workers}
        self.given_up = reading.given_up
        if reading.stalled_after_seconds:
            self.stalled_after_us = round(reading.stalled_after_seconds * 1e6)
        self._throughput.told(reading.workers)
        for held in (held for worker in reading.workers for held in worker.jobs):
            job = self.jobs.get(held.job_id)
            if job is None or held.progress is None or job.epoch != held.epoch:
                continue
            if job.progress is None or held.progress.items_done != job.progress.items_done:
                self.jobs.touch(job.job_id, held.progress, self.now_us, job.last_seq)

    def _throughput_told(self, reading: ThroughputReading) -> None:
        self.rows_per_second = self._throughput.per_second(self.now_us)
        self.bytes_per_second = reading.bytes_per_second
        if self.is_known:  # else the history would begin with zeros that never were
            stand = (self.waiting, self.running, self.failed)
            self.samples.append(Sample(self.now_us, *stand, self.rows_per_second, self.bytes_per_second))

    # --- what is asked ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        states = self.jobs.by_state
        return states["RUNNING"] + states["COMMITTED"]

    def is_stalled(self, job: Job) -> bool:
        return job.is_stalled(self.now_us, self.stalled_after_us)

    @property
    def waiting(self) -> int:
        return sum(self.jobs.by_state[state] for state in ("QUEUED", "LEASED", "RETRY_WAIT"))

    @property
    def is_without_workers(self) -> bool:
        """Nobody works, and not just because the daemon starts."""
        return not self.workers and self.link == "live" and self.now_us - self._worker_seen_us >= _START_US

    @property
    def failed(self) -> int:
        return self.totals.by_state["FAILED"]

    @property
    def dead(self) -> int:
        return self.totals.by_state["DEAD_LETTER"]

    @property
    def done(self) -> int:
        return self.totals.by_state["COMPLETED"] + self.totals.by_state["PARTIAL_SUCCESS"]

    @property
    def is_known(self) -> bool:
        """Whether there is a picture at all; its numbers mean nothing before."""
        return self.totals.is_known

    @property
    def is_complete(self) -> bool:
        """Whether every load has been answered: that something is not there means nothing before."""
        return self.is_known and self.registry.knows(*TABLES)

    @property
    def is_old(self) -> bool:
        """What is shown may no longer be so."""
        return self.link != "live"


def is_load(tag: Tag) -> bool:
    return tag[0] == "facts"
