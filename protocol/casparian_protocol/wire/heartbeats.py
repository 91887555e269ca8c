"""What a worker reports of its running jobs, and how often.

`Rhythm`: the intervals of heartbeats under a lease of a given length. `Progress`: the progress of a job, small enough for a
heartbeat. `ProgressMeter`: rate and time left, computed in the worker. `Histogram`: durations of calls in fixed buckets, which
can be merged exactly. `ProjectorPhase`: the projector's state, which follows from its beats. The messages that carry these are
in `messages`; time is always an argument.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, sqrt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from casparian_protocol.bounds import Count, Finite, Int64, Microseconds, Rate
from casparian_shim.safe import COUNT_MAX

#: The minimum number of heartbeats per lease, whatever the setting.
BEATS_A_LEASE = 5
#: The fraction of the lease without a message after which a worker sends `hello`, which the sentinel always answers.
_QUESTION_SHARE = 0.25
#: The fraction of the lease without a message after which a worker gives up its leases, before another may get them.
_LOST_SHARE = 0.8
#: The time between two hellos of a worker that has no `welcome` yet.
_HELLO_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """All times in seconds. Each is derived from the lease, so that no setting makes a healthy worker lose a lease."""

    lease_seconds: float
    beat_seconds: float

    @classmethod
    def of(cls, heartbeat_seconds: float, lease_seconds: float) -> Rhythm:
        """The rhythm for a heartbeat setting, with heartbeats often enough for the lease."""
        return cls(lease_seconds, min(heartbeat_seconds, lease_seconds / BEATS_A_LEASE))

    @property
    def hello_seconds(self) -> float:
        return min(_HELLO_SECONDS, self.lease_seconds / BEATS_A_LEASE)

    def must_ask(self, silent_seconds: float, since_hello_seconds: float) -> bool:
        """Whether to send hello again: nothing was received or asked for a while."""
        return min(silent_seconds, since_hello_seconds) > _QUESTION_SHARE * self.lease_seconds

    def has_lost(self, silent_seconds: float) -> bool:
        """Whether a worker that has received nothing for this long must stop its jobs."""
        return silent_seconds > _LOST_SHARE * self.lease_seconds


# --- progress ---------------------------------------------------------------------------------------------------------


Unit = Literal["files", "rows", "bytes", "records", "chunks", "unknown"]
#: A longer estimate (ten years) is useless and left out.
ETA_LIMIT_SECONDS = 3650 * 86_400
#: A lower rate (one item in eleven days) counts as none.
_RATE_MIN = 1e-6


class Progress(BaseModel):
    """The progress of a job, cumulative since its attempt began."""

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
        """The rate in items a second and the seconds left; never negative and within their limits.

        There is no time left without a total, or if it would exceed `ETA_LIMIT_SECONDS`.
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
    """The value as a valid count for progress: an integer from 0 to `COUNT_MAX`."""
    if not math.isfinite(value):
        return COUNT_MAX if value > 0 else 0
    return min(max(0, int(value)), COUNT_MAX)


# --- durations of calls -----------------------------------------------------------------------------------------------


#: Upper bounds in seconds, inclusive; one more bucket has none.
BOUNDS_SECONDS = tuple(0.0001 * sqrt(2) ** exponent for exponent in range(41))
BUCKET_COUNT = len(BOUNDS_SECONDS) + 1


class Histogram:
    """Counts of calls by duration."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Sequence[int] = ()) -> None:
        """From the wire, or empty. Raises `ValueError` for more counts than there are buckets."""
        if len(counts) > BUCKET_COUNT:
            raise ValueError(f"{len(counts)} counts for {BUCKET_COUNT} buckets")
        self._counts = [*counts, *([0] * (BUCKET_COUNT - len(counts)))]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Histogram({self.counts()})"

    def add(self, seconds: float) -> None:
        """Count one call of this duration."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1

    def merge(self, counts: Sequence[int], *, sign: int = 1) -> None:
        """Add another histogram's counts; `sign` -1 subtracts them again."""
        own = self._counts
        for bucket, count in enumerate(counts):
            own[bucket] += sign * count

    def counts(self) -> list[int]:
        """The counts as sent."""
        length = BUCKET_COUNT
        while length and not self._counts[length - 1]:
            length -= 1
        return self._counts[:length]

    @property
    def total(self) -> int:
        return sum(self._counts)

    def percentile(self, share: float) -> float | None:
        """The seconds within which this share (above 0, up to 1) of the calls ended; None without calls.

        For calls beyond the last bound it is that bound.
        """
        rank = ceil(share * self.total)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return BOUNDS_SECONDS[min(bucket, BUCKET_COUNT - 2)]
        return None


class ProjectorPhase(StrEnum):
    """The state of the projector process, for programs."""

    STARTING = "starting"
    #: It is applying events that the tables lack.
    READING = "reading"
    READY = "ready"
    #: It is or was a moment ago applying a large batch, or the machine is busy. Answers take longer.
    BUSY = "busy"
    #: Its process is suspended or hangs.
    HUNG = "hung"
    #: It ended and will be restarted in a moment.
    AWAY = "away"
    #: It keeps dying, so it is restarted less often.
    GIVEN_UP = "given_up"
    #: It reported why it stopped, or why the tables cannot be written.
    BROKEN = "broken"


#: A longer turn of the projector's loop makes it BUSY. A client waits a multiple of this for a sign of life.
LONG_TURN_SECONDS = 2.5
