"""The queue of ready jobs.

`ReadyQueue` decides which queued job comes next: by priority, then by age. It keeps each lane (a parser version) apart, so
that a million jobs of a paused lane cost nothing. `peek` removes nothing, so that a decision may look.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import heappop, heappush, merge

#: (-priority, sequence number that queued it, job id); the smallest entry runs first.
Entry = tuple[int, int, str]
#: Whether an entry still represents a queued job.
IsCurrent = Callable[[str, int], bool]


class _Lane:
    """The entries of one lane: `line` in order, where nearly every job is added at the end, and a heap of the others."""

    __slots__ = ("heap", "line")

    def __init__(self) -> None:
        self.line: deque[Entry] = deque()
        self.heap: list[Entry] = []

    def push(self, entry: Entry) -> None:
        line = self.line
        if not line or line[-1] < entry:
            line.append(entry)
        else:
            heappush(self.heap, entry)

    def prune(self, is_current: IsCurrent) -> bool:
        """Drop stale entries from both tops. Returns whether any entry is left."""
        line, heap = self.line, self.heap
        while line and not is_current(line[0][2], line[0][1]):
            line.popleft()
        while heap and not is_current(heap[0][2], heap[0][1]):
            heappop(heap)
        return bool(line or heap)

    def in_order(self) -> Iterable[Entry]:
        return merge(self.line, _walk(self.heap)) if self.heap else self.line


def _walk(heap: list[Entry]) -> Iterator[Entry]:
    """The entries of a heap in order, without changing it: take the smallest entry seen, then add its two children."""
    frontier = [(heap[0], 0)]
    while frontier:
        entry, index = heappop(frontier)
        for child in (2 * index + 1, 2 * index + 2):
            if child < len(heap):
                heappush(frontier, (heap[child], child))
        yield entry


class ReadyQueue:
    """The queued jobs of all lanes. `is_current` tells stale entries from current ones."""

    __slots__ = ("_is_current", "_lanes")

    def __init__(self, is_current: IsCurrent) -> None:
        self._is_current = is_current
        self._lanes: dict[str, _Lane] = {}

    def __bool__(self) -> bool:
        """Whether the queue may have entries; stale ones count."""
        return bool(self._lanes)

    def push(self, name: str, priority: int, queued_seq: int, job_id: str) -> None:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
        lane.push((-priority, queued_seq, job_id))

    def prune(self, name: str) -> None:
        """Drop stale entries from the top of a lane; O(log n) each."""
        lane = self._lanes.get(name)
        if lane is not None and not lane.prune(self._is_current):
            del self._lanes[name]

    def load(self, name: str, entries: list[Entry]) -> None:
        """Fill a whole lane at once."""
        lane = self._lanes[name] = _Lane()
        lane.line.extend(sorted(entries))

    def current(self) -> dict[str, list[Entry]]:
        """Every queued job by lane, in order; O(n log n)."""
        return {
            name: sorted(entry for entry in (*lane.line, *lane.heap) if self._is_current(entry[2], entry[1]))
            for name, lane in self._lanes.items()
        }

    def peek(self, limit: int, blocked: Collection[str] = (), single: Collection[str] = ()) -> list[str]:
        """The next `limit` job ids, best first: none from a `blocked` lane, one from each `single` lane; O(limit · log)."""
        found: list[str] = []
        for entry in self._in_order(blocked, single):
            if len(found) >= limit:
                break
            found.append(entry[2])
        return found

    def _in_order(self, blocked: Collection[str], single: Collection[str]) -> Iterator[Entry]:
        lanes = [
            self._current_of(lane, is_single=name in single)
            for name, lane in self._lanes.items()
            if name not in blocked
        ]
        return lanes[0] if len(lanes) == 1 else merge(*lanes)

    def _current_of(self, lane: _Lane, *, is_single: bool) -> Iterator[Entry]:
        is_current = self._is_current
        last: Entry | None = None
        for entry in lane.in_order():
            if is_current(entry[2], entry[1]) and entry != last:
                last = entry  # a job taken out of turn leaves its entry behind, which is current again when the job is put back
                yield entry
                if is_single:
                    return
