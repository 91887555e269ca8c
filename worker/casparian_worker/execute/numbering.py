"""The number of each row within its whole output: one numbering over accepted and rejected rows. Pure.

A rejected row says its number; accepted rows take the numbers left over, in order (see `casparian_shim.frames`).
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from casparian_worker.validation import LimitExceeded

#: A parser that rejects every second row of a batch of 64k needs half as many; far more is an attack on memory.
RUNS_MAX = 1_000_000


class RowNumbers:
    """The next free number, and those beyond it that rejected rows have taken, as runs."""

    def __init__(self) -> None:
        self._next = 0
        self._runs: list[tuple[int, int]] = []

    def take(self, numbers: Iterable[int]) -> None:
        """These numbers belong to rejected rows. What is behind the next free number is too late to matter."""
        runs = [*self._runs, *((number, number + 1) for number in numbers if number >= self._next)]
        runs.sort()
        merged: list[tuple[int, int]] = []
        for start, end in runs:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        if len(merged) > RUNS_MAX:
            raise LimitExceeded("Rejected rows numbered ahead of accepted ones", len(merged), RUNS_MAX)
        self._runs = merged
        self._step_over()

    def give(self, count: int) -> int | pa.Int64Array:
        """Numbers for the next `count` accepted rows: the first, when they follow each other, or all of them."""
        first = self._next
        if not self._runs or self._runs[0][0] >= first + count:
            self._next = first + count
            self._step_over()
            return first
        numbers: list[int] = []
        while len(numbers) < count:
            room_end = self._runs[0][0] if self._runs else self._next + count
            taken = min(count - len(numbers), room_end - self._next)
            numbers.extend(range(self._next, self._next + taken))
            self._next += taken
            self._step_over()
        return pa.array(numbers, pa.int64())

    def _step_over(self) -> None:
        passed = 0
        for start, end in self._runs:
            if start > self._next:
                break
            self._next = max(self._next, end)
            passed += 1
        if passed:
            del self._runs[:passed]
