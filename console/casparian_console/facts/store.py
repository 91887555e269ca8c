"""`Facts`: everything the screens draw from, folded out of snapshots, events, metrics and the answers to `loads`.

Folding all events of a log into empty `Facts` gives the same picture as a snapshot and the loads, as far as events contain it.
This is how the console shows the past. Times are µs UTC and come from events; `tick` sets the clock.
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
from casparian_console.facts.registry import TABLES, Registry, RegistryItem
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
    SentinelStopped,
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

#: Events that are too many and too minor for the list of the latest events.
_COMMON = (JobProgressed, JobQueued, JobLeased, JobStarted)

Link = Literal["connecting", "live", "silent", "stale", "gone"]
#: The metrics that tell what the daemon cannot do.
_TROUBLES = frozenset({"workers", "projection", "trouble"})
#: The time that workers have to connect after the daemon's start.
_START_US = 5_000_000
#: The shortest time between two loads of the same table.
_LOAD_AGAIN_US = 3_000_000


class _Behind(NamedTuple):
    """An event that came while a load was in flight, and how it changes the totals."""

    item: RegistryItem
    settled: tuple[Settled, ...]


class Facts:
    """The picture as of event `seq`."""

    def __init__(self) -> None:
        self.seq = 0
        self.now_us = 0
        self.link: Link = "connecting"
        self.link_problem = ""
        self.silent_seconds = 0.0
        #: Whether the daemon said that it stops, in order.
        self.was_stopped = False
        self.jobs = JobBook()
        self.unlisted = Unlisted()
        #: The queries of filters and searches, with the number of jobs found; None until the answer.
        self.found: dict[JobsMatching, int | None] = {}
        self.registry = Registry()
        self.totals = Totals()
        #: Workers by id, with their live readings.
        self.workers: dict[str, WorkerView] = {}
        self.given_up: list[WorkerGivenUp] = []
        #: What the daemon cannot do and continues without, in sentences, by the metric that reported it.
        self.troubles: dict[str, list[str]] = {}
        #: From `metric.sinks`: what was written since the daemon's start, for each sink and output; never changed in place.
        self.sinks: tuple[SinkReading, ...] = ()
        self.intake_paused = ""
        self.projection_seq = 0
        self.rows_per_second = 0.0
        #: `liveness.stalled_after_seconds` of the daemon.
        self.stalled_after_us = STALLED_US
        self._throughput = Throughput()
        self.bytes_per_second = 0.0
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        #: (seq, at µs, type, actor, data) of events that users care about, the latest last.
        self.recent: deque[FeedEvent] = deque(maxlen=500)
        #: Loads in flight, by table, and every event since the first of them was sent. An answer is older than the latest events,
        #: so the events after it are folded again.
        self._awaited: Counter[str] = Counter()
        self._behind: list[_Behind] = []
        #: Loads that were refused, and the earliest time for the next ones.
        self._refused: set[str] = set()
        #: Queries that were refused; the screen sends them again after the next reading.
        self._refused_finds: list[JobsMatching] = []
        self._next_load_us = 0
        #: Metrics that the daemon has sent since the snapshot.
        self._measured: set[str] = set()
        #: When a worker was last connected, or its absence could not be known.
        self._worker_seen_us = 0

    # --- messages -----------------------------------------------------------------------------------------------------

    def tick(self, now_us: int) -> None:
        self.now_us = now_us
        if self.workers or self.link != "live":
            self._worker_seen_us = now_us

    def hear(self, item: FeedItem) -> list[RunQuery]:
        """Fold one item of the feed. After a snapshot it returns the queries that complete the picture."""
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
        return self.unlisted.identify(self.jobs)

    def gone(self, problem: str) -> None:
        """The connection to the daemon was lost: the picture stays, marked as old. No load will be answered any more."""
        self.link, self.link_problem = "gone", problem
        self._awaited.clear()
        self._refused.clear()
        self._forget_behind()

    def fold(self, record: FeedEvent) -> None:
        """Apply one event of the log, in order."""
        event = record.decoded()
        self.seq = self.jobs.seq = max(self.seq, record.seq)
        self._throughput.fold(event)
        if self.unlisted.holds(self.jobs, record, event):
            return
        self._processes(event)
        self._apply(record, event)

    def refused(self, tag: Tag) -> None:
        """A load failed, for instance while the projector starts. It is sent again later."""
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
        """The loads to send again: refused ones, and tables that changed in a way that events do not describe."""
        for query in self._refused_finds:
            self.found.pop(query, None)
        self._refused_finds.clear()
        wanted = self._refused | self.registry.stale
        asked = [*self.unlisted.identify(self.jobs), *self.unlisted.first_pages(self.jobs)]
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

    def on_answer(self, answer: Answer) -> list[RunQuery]:
        """Take in the answer to a load, then fold the events after it again. Returns the query for the next named jobs."""
        table = answer.tag[1]
        if table == "found":
            self.found[loading.matching_key(answer.tag)] = len(answer.rows)
        if table not in loading.LOADS:
            for record in self.unlisted.on_answer(self.jobs, answer):
                self._refold(record)
            return self.unlisted.identify(self.jobs)
        later = [each for each in self._behind if each.item.seq > answer.seq]
        if table == "jobs":
            self.jobs.know(map(loading.job_of, answer.rows), answer.seq)
        elif table == "groups":
            self.totals = loading.take_groups(self.jobs, answer.rows, answer.seq)
            for each in later:
                self.totals.settle(each.item.seq, each.settled)
        else:
            self.registry.on_answer(table, answer)
            for each in later:
                self.registry.fold(each.item, (table,))
        self._arrived(table)
        return []

    def _arrived(self, table: str) -> None:
        if self._awaited[table] > 1:
            self._awaited[table] -= 1
        else:
            del self._awaited[table]
        if not self._awaited:
            self._forget_behind()

    def _forget_behind(self) -> None:
        """Without a load in flight, no event has to be folded again."""
        self._behind.clear()
        self.jobs.journal.clear()
        self.jobs.has_journal = False

    # --- jobs that are counted but not loaded -------------------------------------------------------------------------

    def find_job(self, job_id: str) -> list[RunQuery]:
        """Query a job that is not loaded."""
        return [loading.by_id([job_id])]

    def find_jobs(self, query: JobsMatching) -> list[RunQuery]:
        """Query the jobs that a filter or a search matches, loaded or not."""
        self.found[query] = None
        return [loading.matching(query)]

    def more(self, key: BucketKey) -> list[RunQuery]:
        """Query the next page of a bucket, unless a query is in flight or no more can be listed."""
        return self.unlisted.more(self.jobs, key)

    def is_loading(self, key: BucketKey) -> bool:
        """Whether a page of the bucket is in flight."""
        return self.unlisted.is_loading(key)

    def pin(self, keys: Collection[BucketKey], searched: Collection[BucketKey] = ()) -> None:
        """Mark these buckets as listed and the others as not listed, which evicts all but the first of their jobs.

        In the `searched` ones, jobs that are queued from now on stay loaded, so that a filter can list them.
        """
        self.unlisted.pin(self.jobs, {*keys, *searched}, searched)

    def _refold(self, record: FeedEvent) -> None:
        """Fold an event that had to wait until its job was loaded."""
        event = record.decoded()
        if self.unlisted.holds(self.jobs, record, event):
            return  # an event before it has moved the job to a place that is not listed
        at, self.jobs.seq = self.jobs.seq, record.seq
        self._apply(record, event)
        self.jobs.seq = at

    def _apply(self, record: FeedEvent, event: Event) -> None:
        """Apply an event to the jobs, and to what follows from them."""
        is_unknown = isinstance(event, JobReplayed | FailureClosed) and self.jobs.get(event.subject) is None
        settled = self.jobs.fold(record.seq, record.ts, record.actor, event)
        # a success may also close failures of its input that are not loaded
        if is_unknown or (isinstance(event, JobCompleted) and self.jobs.is_partial(Standing.FAILED)):
            self.registry.stale.add("groups")  # only the tables know which bucket lost a job
        job = self.jobs.get(event.subject) if isinstance(event, JobEvent) else None
        item = RegistryItem(record.seq, record.ts, event, *((job.parser, job.error_message) if job is not None else ()))
        self.registry.fold(item)
        self.totals.settle(record.seq, settled)
        if self._awaited:
            self._behind.append(_Behind(item, settled))
        if not isinstance(event, _COMMON):
            self.recent.append(record)

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _restart(self, taken: Snapshot) -> list[RunQuery]:
        self.seq, self.link, self.link_problem, self.was_stopped = taken.seq, "live", "", False
        self.jobs.seq = taken.seq
        self.found.clear()
        self._measured.clear()
        loading.take_snapshot(self.jobs, taken, self.now_us, self.stalled_after_us)
        self.unlisted.begin_anew(self.jobs)
        self.workers = {worker.id: worker for worker in taken.workers}
        self._intake(taken.intake)
        return self._load(list(loading.LOADS))  # the old tables are shown until the answers arrive

    def count_from_nothing(self) -> None:
        """Start the totals at zero and exact, before folding a log from its first event."""
        self.totals = Totals(seq=0)
        self.registry.begin_from_nothing()
        self.jobs.keeps_all = True  # an evicted job could not be loaded again
        self._measured = set(_TROUBLES)  # the log has none
        self.link = "live"

    def fork(self) -> Facts:
        """A copy of the picture; folding into one of the two leaves the other as it was. It is quick for any number of jobs."""
        fresh = copy(self)
        fresh.jobs, fresh.registry, fresh.totals = self.jobs.fork(), self.registry.fork(), copy(self.totals)
        fresh.totals.by_state = self.totals.by_state.copy()
        fresh.workers, fresh.given_up = self.workers.copy(), self.given_up[:]
        fresh.troubles, fresh.found = self.troubles.copy(), self.found.copy()
        fresh._refused_finds, fresh._measured = self._refused_finds[:], self._measured.copy()
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
            case SentinelStopped():
                self.was_stopped = True
            case SentinelStarted():
                self.was_stopped = False
                self.workers.clear()
                self.sinks = ()
            case IntakePaused(reason=reason):
                self._intake(reason or "paused")
            case IntakeResumed():
                self._intake(OPEN_INTAKE)

    def _intake(self, reason: str) -> None:
        """Set whether new work is taken, from an event, a snapshot or a metric."""
        self.intake_paused = "" if reason == OPEN_INTAKE else reason

    def _reading(self, reading: Reading | None) -> None:
        if reading is not None:
            self._measured.add(reading.name)
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
        self._throughput.add(reading.workers)
        for held in (held for worker in reading.workers for held in worker.jobs):
            job = self.jobs.get(held.job_id)
            if job is None or held.progress is None or job.epoch != held.epoch:
                continue
            if job.progress is None or held.progress.items_done != job.progress.items_done:
                self.jobs.touch(job.job_id, held.progress, self.now_us, job.last_seq)

    def _throughput_told(self, reading: ThroughputReading) -> None:
        self.rows_per_second = self._throughput.per_second(self.now_us)
        self.bytes_per_second = reading.bytes_per_second
        if self.is_known:  # else the history would begin with zeros that were never measured
            stand = (self.waiting, self.running, self.failed)
            self.samples.append(Sample(self.now_us, *stand, self.rows_per_second, self.bytes_per_second))

    # --- queries ------------------------------------------------------------------------------------------------------

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
        """Whether no worker is connected, and the daemon did not just start."""
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
        """Whether a snapshot has arrived; before that, the numbers mean nothing."""
        return self.totals.is_known

    @property
    def is_complete(self) -> bool:
        """Whether every load has been answered and every trouble reported; before that, a missing item means nothing."""
        return self.is_known and self.registry.knows(*TABLES) and self._measured >= _TROUBLES

    @property
    def absence(self) -> str:
        """Why the daemon sends nothing, as a sentence without its full stop."""
        return "The daemon was stopped" if self.was_stopped else "The daemon does not answer"

    @property
    def is_old(self) -> bool:
        """Whether the picture may be out of date."""
        return self.link != "live"


def is_load(tag: Tag) -> bool:
    return tag[0] == "facts"
