"""What workers wrote where, added up since this process began. Live, not folded from events: gone with the process.

Workers report cumulative counts. The totals take in what a report has more than the one before; a worker that has left is
forgotten, its part of the totals stays. Bounded in workers and outputs, whatever they report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from casparian_protocol.wire import Histogram
from casparian_protocol.wire.messages import OTHER_SINKS, SINKS_LIMIT, SinkCounts, Sinks
from casparian_sentinel.core.workers.undo import Noted

#: (uri, output).
Key: TypeAlias = tuple[str, str]
#: Workers that were lost and may come back with counts that go on; of older ones all would be counted again.
ABSENT_LIMIT = 32
#: What msgpack can say; only reports that lie add up to more.
_MAXIMUM = 2**63 - 1


@dataclass(slots=True)
class Total(Noted):
    """One output in one sink, over all workers."""

    rows: int = 0
    bytes: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def add(self, counts: SinkCounts, sign: int) -> None:
        self.rows += sign * counts.rows
        self.bytes += sign * counts.bytes
        self.errors += sign * counts.errors
        latency = Histogram(self.latency.counts())
        latency.merge(counts.latency, sign=sign)
        self.latency = latency


@dataclass(slots=True)
class Report(Noted):
    """The newest counts of one worker, all of which are in the totals."""

    since: int
    counts: dict[Key, SinkCounts] = field(default_factory=dict)


@dataclass(slots=True)
class SinkBook(Noted):
    """All workers' reports, and their sum."""

    totals: dict[Key, Total] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    #: Of workers that have left, the last one last.
    absent: dict[str, Report] = field(default_factory=dict)

    def take(self, worker_id: str, message: Sinks) -> str | None:
        """Count what is new in a report; or say what is wrong with it, and count nothing."""
        report = self.absent.get(worker_id) or self.reports.get(worker_id)
        if report is None or report.since != message.since:  # what another process reported stays counted
            report = Report(message.since)
        news = {(each.uri, each.output): each for each in message.sinks}
        if len(report.counts.keys() | news.keys()) > SINKS_LIMIT:
            return f"sinks: more than {SINKS_LIMIT} outputs of one worker"
        self.absent.pop(worker_id, None)
        self.reports[worker_id] = report
        for key, counts in news.items():
            total = self._total_of(key)
            if (before := report.counts.get(key)) is not None:
                total.add(before, -1)
            total.add(counts, 1)
            report.counts[key] = counts
        return None

    def left(self, worker_id: str) -> None:
        """What it reported stays counted; it is remembered for a while, should it come back."""
        report = self.reports.pop(worker_id, None)
        if report is None:
            return
        self.absent.pop(worker_id, None)
        self.absent[worker_id] = report
        if len(self.absent) > ABSENT_LIMIT:
            del self.absent[next(iter(self.absent))]

    def readings(self) -> list[dict[str, Any]]:
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

    def _total_of(self, key: Key) -> Total:
        """Totals never go, so that a key always finds the one it was counted in."""
        if key not in self.totals and len(self.totals) >= SINKS_LIMIT - 1:
            key = OTHER_SINKS
        return self.totals.setdefault(key, Total())


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
