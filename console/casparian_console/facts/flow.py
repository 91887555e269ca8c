"""How many rows a second are read, of long and of short jobs alike. Pure.

Progress tells of jobs that run for some seconds; one that begins and ends between two heartbeats is known by its commit
only. So rows are counted as they come: what grew on the workers, and at a commit what no heartbeat had told of yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from casparian_protocol.feed import FeedEvent

_SECOND_US = 1_000_000
_ENDS = frozenset({"JobFailed", "JobDeadLettered", "JobCancelled", "JobRetryScheduled", "LeaseExpired"})


@dataclass(slots=True)
class Flow:
    #: job id → (epoch, rows that were told of).
    _told: dict[str, tuple[int, int]] = field(default_factory=dict)
    _fresh: int = 0
    _since_us: int = 0

    def told(self, workers: Iterable[dict[str, Any]]) -> None:
        """The jobs of a reading of the workers, with their progress."""
        for worker in workers:
            for held in worker["jobs"]:
                rows = ((held["progress"] or {}).get("payload") or {}).get("rows", 0)
                epoch, before = self._told.get(held["job_id"], (held["epoch"], 0))
                self._fresh += max(0, int(rows) - (before if epoch == held["epoch"] else 0))
                self._told[held["job_id"]] = (held["epoch"], int(rows))

    def fold(self, event: FeedEvent) -> None:
        if event.type == "JobOutputsCommitted":
            self.committed(event.data["job_id"], event.data.get("rows", 0) + event.data.get("quarantined", 0))
        elif event.type in _ENDS:
            self.ended(event.data["job_id"])

    def committed(self, job_id: str, rows: int) -> None:
        self._fresh += max(0, rows - self._told.pop(job_id, (0, 0))[1])

    def ended(self, job_id: str) -> None:
        """Without a commit: what it had read was read."""
        self._told.pop(job_id, None)

    def per_second(self, now_us: int) -> float:
        """Since it was asked last; 0 the first time."""
        fresh, since_us = self._fresh, self._since_us
        self._fresh, self._since_us = 0, now_us
        return fresh * _SECOND_US / max(_SECOND_US, now_us - since_us) if since_us else 0.0
