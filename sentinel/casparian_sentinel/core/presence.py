"""Which workers are connected and what they report: live facts that no event holds and that end with the process.

`WorkerPresence` is a value that `decide` reads and returns changed (`PresenceDraft`): connections, credit, deadlines, progress.
`SinkBook` holds the totals of sinks. It adds up the cumulative counts of workers by taking the difference between two reports. A
worker that left is eventually forgotten, but its share of the totals stays. Both values are bounded, whatever workers report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any, Generic, TypeAlias, TypeVar

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.events import WorkerJoined
from casparian_protocol.settings import BreakerSettings, LivenessSettings, RetrySettings
from casparian_protocol.wire import Histogram, Progress
from casparian_protocol.wire.messages import OTHER_SINKS, SINKS_LIMIT, Hello, SinkCounts, Sinks
from casparian_protocol.wire.operations.daemon import SinkReading
from casparian_sentinel.core.commands import Now
from casparian_sentinel.core.state import OPEN, State


@dataclass(frozen=True, slots=True)
class ConnectedWorker:
    """A worker that has sent hello to this process and has not been lost since."""

    worker_id: str
    host: str
    pid: int
    slots: int
    labels: dict[str, str]
    version: str
    sandbox: str
    joined_at_s: float
    last_beat_s: float
    credit: int = 0
    #: Running jobs named in the newest heartbeat.
    beating: frozenset[str] = frozenset()
    #: When this worker was last asked about leases it does not mention, and the newest sequence number at that time.
    asked_at_s: float = 0.0
    asked_seq: int = 0
    is_draining: bool = False
    cpu_percent: float = 0.0
    rss_bytes: int = 0
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """The newest progress of a running attempt."""

    job_id: str
    epoch: int
    worker_id: str
    #: When the attempt began here; a job that never reported counts as stalled from this time.
    since_s: float
    changed_at_s: float
    progress: Progress | None = None
    recorded_at_s: float = float("-inf")
    recorded: Progress | None = None
    is_stalled: bool = False


@dataclass(slots=True)
class WorkerPresence:
    """One sentinel process's view of its workers, and the settings that it applies."""

    liveness: LivenessSettings
    retry: RetrySettings
    version: str = ""
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    workers: dict[str, ConnectedWorker] = field(default_factory=dict)
    #: job → its running attempt.
    jobs: dict[str, RunningAttempt] = field(default_factory=dict)
    #: A heap of (time a retry is due, its `not_before`, its job); entries of jobs that no longer wait are stale.
    due: list[tuple[float, int, str]] = field(default_factory=list)
    #: Workers with leases from before this process started that have not rejoined: worker → deadline.
    rejoin_until: dict[str, float] = field(default_factory=dict)
    #: (parser, version) with an open breaker → when a job may probe it; absent if only a person may resume it.
    cooling: dict[tuple[str, str], float] = field(default_factory=dict)
    #: (job, epoch) that is leased and has not started → since when, as seen by ticks.
    ahead_since: dict[tuple[str, int], float] = field(default_factory=dict)
    sinks: SinkBook = field(default_factory=lambda: SinkBook())
    is_draining: bool = False
    is_stopping: bool = False

    def schedule(self, due_s: float, not_before: int, job_id: str) -> None:
        """Schedule a retry for this time."""
        heappush(self.due, (due_s, not_before, job_id))


K = TypeVar("K")
V = TypeVar("V")


class Draft(Mapping[K, V], Generic[K, V]):
    """A map as a decision changes it: the original, with entries added and removed."""

    __slots__ = ("_before", "put", "removed")

    def __init__(self, before: dict[K, V]) -> None:
        self._before = before
        self.put: dict[K, V] = {}
        self.removed: set[K] = set()

    def __getitem__(self, key: K) -> V:
        if key in self.put:
            return self.put[key]
        if key in self.removed:
            raise KeyError(key)
        return self._before[key]

    def __iter__(self) -> Iterator[K]:
        before, put, removed = self._before, self.put, self.removed
        if not put and not removed:
            return iter(before)
        return iter([*(key for key in before if key not in removed), *(key for key in put if key not in before)])

    def __len__(self) -> int:
        return sum(1 for _ in self) if self.put or self.removed else len(self._before)

    def __setitem__(self, key: K, value: V) -> None:
        self.put[key] = value
        self.removed.discard(key)

    def drop(self, key: K) -> None:
        """Remove the key if it is there."""
        self.put.pop(key, None)
        self.removed.add(key)

    def apply(self) -> None:
        for key in self.removed:
            self._before.pop(key, None)
        self._before.update(self.put)


class PresenceDraft:
    """The presence of workers as one decision leaves it; `apply` puts it into effect."""

    __slots__ = (
        "_due",
        "_presence",
        "ahead_since",
        "cooling",
        "is_draining",
        "is_stopping",
        "jobs",
        "rejoin_until",
        "sinks",
        "workers",
    )

    def __init__(self, presence: WorkerPresence) -> None:
        self._presence = presence
        self.workers = Draft(presence.workers)
        self.jobs = Draft(presence.jobs)
        self.rejoin_until = Draft(presence.rejoin_until)
        self.cooling = Draft(presence.cooling)
        self.ahead_since = presence.ahead_since
        self.sinks = presence.sinks
        self.is_draining, self.is_stopping = presence.is_draining, presence.is_stopping
        #: Retries that become due later, and how many due ones were taken.
        self._due: tuple[list[tuple[float, int, str]], int] = ([], 0)

    @property
    def liveness(self) -> LivenessSettings:
        return self._presence.liveness

    @property
    def retry(self) -> RetrySettings:
        return self._presence.retry

    @property
    def breaker(self) -> BreakerSettings:
        return self._presence.breaker

    def change_worker(self, worker_id: str, **changes: Any) -> ConnectedWorker:
        """Replace values of a connected worker."""
        changed = self.workers[worker_id] = replace(self.workers[worker_id], **changes)
        return changed

    def schedule(self, due_s: float, not_before: int, job_id: str) -> None:
        """Schedule a retry for this time."""
        self._due[0].append((due_s, not_before, job_id))

    def take_due(self, now_s: float) -> list[tuple[float, int, str]]:
        """Take the retries that are due by now, earliest first."""
        heap = self._presence.due
        found: list[tuple[float, int, str]] = []
        places = [0]
        while places:  # in a heap, a child is never due before its parent
            place = places.pop()
            if place < len(heap) and heap[place][0] <= now_s:
                found.append(heap[place])
                places += (2 * place + 1, 2 * place + 2)
        self._due = (self._due[0], len(found))
        return sorted(found)

    def cool_down(self, parser: str, version: str, since_s: float) -> None:
        """Start the cool-down of a breaker that opened at this time."""
        if self.breaker.cooldown_seconds:
            self.cooling[parser, version] = since_s + self.breaker.cooldown_seconds

    def apply(self) -> None:
        """Apply the draft."""
        presence = self._presence
        for draft in (self.workers, self.jobs, self.rejoin_until, self.cooling):
            if draft.put or draft.removed:
                draft.apply()
        scheduled, taken = self._due
        for _ in range(taken):
            heappop(presence.due)
        for entry in scheduled:
            heappush(presence.due, entry)
        presence.ahead_since, presence.sinks = self.ahead_since, self.sinks
        presence.is_draining, presence.is_stopping = self.is_draining, self.is_stopping


def after_boot(
    state: State,
    now: Now,
    liveness: LivenessSettings,
    retry: RetrySettings,
    version: str = "",
    breaker: BreakerSettings | None = None,
) -> WorkerPresence:
    """The view of a process that has just folded the log: no worker has sent hello yet.

    Workers that held leases have `rejoin_seconds` to come back with them, and get a full lease when they do. A retry waits for
    the rest of its time by the wall clock, but never longer than its back-off; the same holds for a cool-down.
    """
    presence = WorkerPresence(liveness, retry, version, breaker or BreakerSettings())
    until = now.monotonic_s + liveness.rejoin_seconds
    presence.rejoin_until = dict.fromkeys([*state.joined, *state.epochs_held], until)
    for job_id in state.waiting:
        job = state.jobs[job_id]
        left = (job.not_before - now.wall_us) / 1_000_000
        presence.schedule(now.monotonic_s + min(max(0.0, left), job.delay_seconds), job.not_before, job_id)
    cooldown_seconds = presence.breaker.cooldown_seconds
    for each in state.breakers.values():
        if each.state == OPEN:
            gone = (now.wall_us - each.opened_at) / 1_000_000
            since_s = now.monotonic_s - min(max(0.0, gone), cooldown_seconds)
            if cooldown_seconds:
                presence.cooling[each.parser, each.version] = since_s + cooldown_seconds
    return presence


def joined_by(hello: Hello, worker_id: str) -> WorkerJoined:
    """The event recorded for a worker's hello."""
    return WorkerJoined(
        worker_id=worker_id,
        host=hello.host,
        pid=hello.pid,
        slots=hello.slots,
        labels=hello.labels,
        version=hello.version,
        sandbox=hello.sandbox,
    )


# --- totals of sinks ---


#: (uri, output).
Key: TypeAlias = tuple[str, str]
#: Lost workers whose counts are remembered, since they may return and continue them. An older one would be counted again.
ABSENT_LIMIT = 32


@dataclass(frozen=True, slots=True)
class Total:
    """The totals of one output in one sink, over all workers."""

    rows: int = 0
    bytes: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def plus(self, counts: SinkCounts, sign: int = 1) -> Total:
        latency = Histogram(self.latency.counts())
        latency.merge(counts.latency, sign=sign)
        return Total(
            self.rows + sign * counts.rows,
            self.bytes + sign * counts.bytes,
            self.errors + sign * counts.errors,
            latency,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The newest counts of one worker; the totals include all of them."""

    since: int
    counts: Mapping[Key, SinkCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SinkBook:
    """All workers' reports and their sums. Immutable: adding a report returns a new book."""

    totals: Mapping[Key, Total] = field(default_factory=dict)
    reports: Mapping[str, Report] = field(default_factory=dict)
    #: The reports of workers that left, the most recent last.
    absent: Mapping[str, Report] = field(default_factory=dict)

    def take(self, worker_id: str, message: Sinks) -> SinkBook | str:
        """The book with the news of a report added, or a text that says what is wrong with the report."""
        report = self.absent.get(worker_id) or self.reports.get(worker_id)
        if report is None or report.since != message.since:  # what another process reported stays counted
            report = Report(message.since)
        news = {(each.uri, each.output): each for each in message.sinks}
        if len(report.counts.keys() | news.keys()) > SINKS_LIMIT:
            return f"sinks: more than {SINKS_LIMIT} outputs of one worker"
        totals = dict(self.totals)
        for key, counts in news.items():
            place = _place_of(totals, key)
            total = totals.get(place) or Total()
            if (before := report.counts.get(key)) is not None:
                total = total.plus(before, -1)
            totals[place] = total.plus(counts)
        known = Report(message.since, {**report.counts, **news})
        absent = {each: left for each, left in self.absent.items() if each != worker_id}
        return SinkBook(totals, {**self.reports, worker_id: known}, absent)

    def left(self, worker_id: str) -> SinkBook:
        """The counts stay in the totals; the report is remembered for a while in case the worker comes back."""
        report = self.reports.get(worker_id)
        if report is None:
            return self
        reports = {each: known for each, known in self.reports.items() if each != worker_id}
        absent = {each: left for each, left in self.absent.items() if each != worker_id}
        absent[worker_id] = report
        while len(absent) > ABSENT_LIMIT:
            del absent[next(iter(absent))]
        return SinkBook(self.totals, reports, absent)

    def readings(self) -> list[SinkReading]:
        """The readings for the metric. Only false reports add up to more than it can show."""
        return [
            SinkReading(
                uri=uri,
                output=output,
                rows=min(total.rows, COUNT_MAX),
                bytes=min(total.bytes, COUNT_MAX),
                errors=min(total.errors, COUNT_MAX),
                p50_ms=_milliseconds(total.latency.percentile(0.50)),
                p99_ms=_milliseconds(total.latency.percentile(0.99)),
            )
            for (uri, output), total in sorted(self.totals.items())
        ]


def _place_of(totals: Mapping[Key, Total], key: Key) -> Key:
    """The total that counts this key. Totals are never removed, so a key always maps to the same one."""
    return OTHER_SINKS if key not in totals and len(totals) >= SINKS_LIMIT - 1 else key


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
