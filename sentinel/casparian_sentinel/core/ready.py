"""Which queued job comes next: by priority, then age, without ever looking at jobs of a lane that is held back.

One heap a lane (a parser version), so that a million jobs of a paused one cost nothing. Entries of jobs that left the queue stay
until they surface; `prune` drops them from the top. `peek` changes nothing: a decision may look, only `evolve` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from heapq import heapify, heappop, heappush

#: (-priority, sequence that queued it, job id): what sorts first runs first.
Entry = tuple[int, int, str]
#: Whether an entry still stands for a queued job.
IsCurrent = Callable[[str, int], bool]


class ReadyQueue:
    """Queued jobs of all lanes. The caller tells through `is_current` which entries are stale."""

    __slots__ = ("_is_current", "_lanes")

    def __init__(self, is_current: IsCurrent) -> None:
        self._is_current = is_current
        self._lanes: dict[str, list[Entry]] = {}

    def __bool__(self) -> bool:
        """Whether anything may be in it; stale entries count."""
        return bool(self._lanes)

    def push(self, name: str, priority: int, queued_seq: int, job_id: str) -> None:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = []
        heappush(lane, (-priority, queued_seq, job_id))

    def prune(self, name: str) -> None:
        """Drop stale entries from the top of a lane; O(log n) for each."""
        lane = self._lanes.get(name)
        if lane is None:
            return
        is_current = self._is_current
        while lane and not is_current(lane[0][2], lane[0][1]):
            heappop(lane)
        if not lane:
            del self._lanes[name]

    def load(self, name: str, entries: list[Entry]) -> None:
        """Put a whole lane in place at once."""
        heapify(entries)
        self._lanes[name] = entries

    def current(self) -> dict[str, list[Entry]]:
        """Every queued job by lane, in its order; O(n log n)."""
        return {
            name: sorted({entry for entry in lane if self._is_current(entry[2], entry[1])})
            for name, lane in self._lanes.items()
        }

    def peek(self, limit: int, blocked: Collection[str] = (), single: Collection[str] = ()) -> list[str]:
        """The next `limit` job ids, best first: none of a `blocked` lane, one of a `single` one; O(limit · log)."""
        found: list[str] = []
        for entry in self._in_order(blocked, single):
            if len(found) >= limit:
                break
            found.append(entry[2])
        return found

    def _in_order(self, blocked: Collection[str], single: Collection[str]) -> Iterator[Entry]:
        """Walk the heaps as trees with a frontier: the smallest entry seen first, then its two children."""
        named = [(name, lane) for name, lane in self._lanes.items() if lane and name not in blocked]
        lanes = [lane for _name, lane in named]
        singles = {number for number, (name, _lane) in enumerate(named) if name in single} if single else set()
        spent: set[int] = set()
        frontier: list[tuple[Entry, int, int]] = [(lane[0], number, 0) for number, lane in enumerate(lanes)]
        heapify(frontier)
        while frontier:
            entry, number, index = heappop(frontier)
            if number in spent:
                continue
            lane = lanes[number]
            for child in (2 * index + 1, 2 * index + 2):
                if child < len(lane):
                    heappush(frontier, (lane[child], number, child))
            if self._is_current(entry[2], entry[1]):
                if number in singles:
                    spent.add(number)
                yield entry
