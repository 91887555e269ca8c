"""How long calls took, as a histogram of fixed buckets: bounded, exact to merge, cheap to add to. Pure.

Bucket 0 is up to 0.1 ms, each further one reaches sqrt(2) times as far, the last but one to 105 s; the last is everything
beyond. On the wire it is the list of its counts, cut behind the last that is not 0. A percentile is the upper bound of its
bucket: never less than the truth, and at most sqrt(2) times it. Percentiles are never merged; histograms are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil, sqrt

#: Upper bounds in seconds, inclusive; one more bucket has none.
BOUNDS_SECONDS = tuple(0.0001 * sqrt(2) ** exponent for exponent in range(41))
BUCKET_COUNT = len(BOUNDS_SECONDS) + 1


class Histogram:
    """Counts of calls by how long they took."""

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
        """One call that took so long."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1

    def merge(self, counts: Sequence[int], *, sign: int = 1) -> None:
        """Take in another histogram's counts; `sign` -1 takes back what was taken in."""
        own = self._counts
        for bucket, count in enumerate(counts):
            own[bucket] += sign * count

    def counts(self) -> list[int]:
        """As on the wire."""
        length = BUCKET_COUNT
        while length and not self._counts[length - 1]:
            length -= 1
        return self._counts[:length]

    @property
    def total(self) -> int:
        return sum(self._counts)

    def percentile(self, share: float) -> float | None:
        """Seconds within which this share (above 0, up to 1) of the calls ended; None without calls.

        Beyond the last bound it is that bound: more than that is not known.
        """
        rank = ceil(share * self.total)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return BOUNDS_SECONDS[min(bucket, BUCKET_COUNT - 2)]
        return None
