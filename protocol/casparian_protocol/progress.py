"""The progress envelope: how far a piece of work is, in a form that fits a heartbeat.

Rate and time left are computed by the worker (`ProgressMeter`, pure: time is an argument); readers only show them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from casparian_protocol.bounds import Count, Finite, Int64, Microseconds, Rate
from casparian_shim.bounds import COUNT_MAX

Unit = Literal["files", "rows", "bytes", "records", "chunks", "unknown"]
PAYLOAD_LIMIT_BYTES = 1024
#: A time left beyond (ten years) says nothing to anybody: then there is none.
ETA_LIMIT_SECONDS = 3650 * 86_400
#: A rate below (one item in eleven days) is none.
_RATE_MIN = 1e-6


class Progress(BaseModel):
    """What is done of a job, cumulative since its attempt began."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    items_done: Count = 0
    items_total: Count | None = None
    unit: Unit = "unknown"
    throughput_per_sec: Rate | None = None
    eta_seconds: Count | None = None
    #: Microseconds since the epoch, UTC.
    updated_at: Microseconds = 0
    #: Metrics only: short names to numbers (rows, bytes, quarantined, batches).
    payload: dict[Annotated[str, Field(max_length=32)], Int64 | Finite] = Field(default_factory=dict, max_length=24)


@dataclass(slots=True)
class ProgressMeter:
    """Turns cumulative counts into a smoothed rate and a time left (exponential smoothing, 5 s)."""

    time_constant_seconds: float = 5.0
    _done: int = 0
    _at: float | None = field(default=None)
    _rate: float | None = field(default=None)

    def update(self, done: int, total: int | None, now_seconds: float) -> tuple[float | None, int | None]:
        """The rate in items a second and the seconds left; never negative nor beyond its limit.

        No time is left without a total, nor while the rate promises none in `ETA_LIMIT_SECONDS`.
        """
        if self._at is None:
            self._done, self._at = done, now_seconds
            return None, None
        elapsed = now_seconds - self._at
        if elapsed > 0:
            fresh = min(max(0.0, (done - self._done) / elapsed), float(COUNT_MAX))
            weight = min(1.0, elapsed / self.time_constant_seconds)
            rate = fresh if self._rate is None else self._rate + weight * (fresh - self._rate)
            self._rate = rate if rate >= _RATE_MIN else 0.0
            self._done, self._at = done, now_seconds
        if not self._rate or total is None:
            return self._rate, None
        left = max(0, total - done) / self._rate
        return self._rate, int(left) if left <= ETA_LIMIT_SECONDS else None


def bounded_count(value: float) -> int:
    """The value as a count that a progress envelope can hold: whole, not negative, at most `COUNT_MAX`."""
    if not math.isfinite(value):
        return COUNT_MAX if value > 0 else 0
    return min(max(0, int(value)), COUNT_MAX)
