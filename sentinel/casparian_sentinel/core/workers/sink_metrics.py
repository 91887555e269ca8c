"""What workers wrote where, added up since this process began. Live, not folded from events: gone with the process.

Workers report cumulative counts. The totals take in what a report has more than the one before; a worker that has left is
forgotten, its part of the totals stays. Bounded in workers and outputs, whatever they report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypedDict

from casparian_protocol.wire import Histogram
from casparian_protocol.wire.messages import OTHER_SINKS, SINKS_LIMIT, SinkCounts, Sinks

#: (uri, output).
Key: TypeAlias = tuple[str, str]
#: Workers that were lost and may come back with counts that go on; of older ones all would be counted again.
ABSENT_LIMIT = 32
#: What msgpack can say; only reports that lie add up to more.
_MAXIMUM = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Total:
    """One output in one sink, over all workers."""

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
    """The newest counts of one worker, all of which are in the totals."""

    since: int
    counts: Mapping[Key, SinkCounts] = field(default_factory=dict)


class SinkReading(TypedDict):
    """One output in one sink, as the metric has it."""

    uri: str
    output: str
    rows: int
    bytes: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class SinkBook:
    """All workers' reports, and their sum. What is taken in makes another book."""

    totals: Mapping[Key, Total] = field(default_factory=dict)
    reports: Mapping[str, Report] = field(default_factory=dict)
    #: Of workers that have left, the last one last.
    absent: Mapping[str, Report] = field(default_factory=dict)

    def take(self, worker_id: str, message: Sinks) -> SinkBook | str:
        """The book with what is new in a report; or what is wrong with it."""
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
        """What it reported stays counted; it is remembered for a while, should it come back."""
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
        """As the metric has them: percentiles in milliseconds, None where no call was measured."""
        return [
            {
                "uri": uri,
                "output": output,
                "rows": min(total.rows, _MAXIMUM),
                "bytes": min(total.bytes, _MAXIMUM),
                "errors": min(total.errors, _MAXIMUM),
                "p50_ms": _milliseconds(total.latency.percentile(0.50)),
                "p99_ms": _milliseconds(total.latency.percentile(0.99)),
            }
            for (uri, output), total in sorted(self.totals.items())
        ]


def _place_of(totals: Mapping[Key, Total], key: Key) -> Key:
    """Totals never go, so that a key always finds the one it was counted in."""
    return OTHER_SINKS if key not in totals and len(totals) >= SINKS_LIMIT - 1 else key


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
