"""Live readings that the facts keep: the rate at which rows are read, and samples for Monitoring.

They come from metrics once a second and are not in the log, so a console that shows the past has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from casparian_protocol.events import (
    Event,
    JobCancelled,
    JobDeadLettered,
    JobFailed,
    JobOutputsCommitted,
    JobRetryScheduled,
    LeaseExpired,
)
from casparian_protocol.wire.operations.daemon import WorkerView

_SECOND_US = 1_000_000
#: Ends without a commit; the rows that the attempt had read still count as read.
_ENDS = (JobFailed, JobDeadLettered, JobCancelled, JobRetryScheduled, LeaseExpired)
#: The number of samples kept for Monitoring: one a second for five minutes, and a few more.
SAMPLES = 900


@dataclass(slots=True)
class Throughput:
    """Rows read per second: the growth that heartbeats report, and at a commit the rows not reported before."""

    #: job id → (epoch, rows reported).
    _reported: dict[str, tuple[int, int]] = field(default_factory=dict)
    _fresh: int = 0
    _since_us: int = 0

    def add(self, workers: Iterable[WorkerView]) -> None:
        """Take in the progress of the jobs that the workers report."""
        for worker in workers:
            for held in worker.jobs:
                rows = int(held.progress.payload.get("rows", 0)) if held.progress is not None else 0
                epoch, before = self._reported.get(held.job_id, (held.epoch, 0))
                self._fresh += max(0, rows - (before if epoch == held.epoch else 0))
                self._reported[held.job_id] = (held.epoch, rows)

    def fold(self, event: Event) -> None:
        if isinstance(event, JobOutputsCommitted):
            before = self._reported.pop(event.job_id, (0, 0))[1]
            self._fresh += max(0, event.rows + event.quarantined - before)
        elif isinstance(event, _ENDS):
            self._reported.pop(event.job_id, None)

    def fork(self) -> Throughput:
        return Throughput(self._reported.copy(), self._fresh, self._since_us)

    def per_second(self, now_us: int) -> float:
        """The rate since the last call; 0 the first time."""
        fresh, since_us = self._fresh, self._since_us
        self._fresh, self._since_us = 0, now_us
        return fresh * _SECOND_US / max(_SECOND_US, now_us - since_us) if since_us else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One second of Monitoring."""

    at_us: int
    queued: int
    running: int
    failed: int
    rows_per_second: float
    bytes_per_second: float
