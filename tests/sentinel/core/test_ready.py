"""The queue of ready jobs gives the same jobs as a sorted list of all of them, whatever happened to it before."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from casparian_sentinel.core.ready import ReadyQueue

_LANES = st.sampled_from(["a", "b", "c"])
_PLACES = st.integers(0, 40)


class Queue(RuleBasedStateMachine):
    """Jobs are queued, taken from any place, and put back at their old place. `entries` are the waiting ones."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, tuple[str, int, int]] = {}  # job → lane, priority, sequence
        self.taken: dict[str, tuple[str, int, int]] = {}
        self.seq = 0
        self.queue = ReadyQueue(self._is_current)

    def _is_current(self, job_id: str, seq: int) -> bool:
        return job_id in self.entries and self.entries[job_id][2] == seq

    @rule(lane=_LANES, priority=st.integers(-1, 1))
    def push(self, lane: str, priority: int) -> None:
        self.seq += 1
        self._put(f"job-{self.seq}", (lane, priority, self.seq))

    def _put(self, job_id: str, entry: tuple[str, int, int]) -> None:
        self.entries[job_id] = entry
        self.queue.push(entry[0], entry[1], entry[2], job_id)

    @rule(place=_PLACES)
    def take(self, place: int) -> None:
        if self.entries:
            job_id = sorted(self.entries)[place % len(self.entries)]
            self.taken[job_id] = self.entries.pop(job_id)
            self.queue.prune(self.taken[job_id][0])

    @rule(place=_PLACES)
    def put_back(self, place: int) -> None:
        if self.taken:
            job_id = sorted(self.taken)[place % len(self.taken)]
            self._put(job_id, self.taken.pop(job_id))

    @rule(place=_PLACES)
    def queue_again(self, place: int) -> None:
        if self.taken:
            job_id = sorted(self.taken)[place % len(self.taken)]
            lane, priority, _seq = self.taken.pop(job_id)
            self.seq += 1
            self._put(job_id, (lane, priority, self.seq))

    @rule()
    def reload(self) -> None:
        current = self.queue.current()
        self.queue = ReadyQueue(self._is_current)
        for lane, entries in current.items():
            if entries:
                self.queue.load(lane, entries[::-1])

    def _expected(self, limit: int, blocked: set[str], single: set[str]) -> list[str]:
        found: list[str] = []
        spent: set[str] = set(blocked)
        for job_id, (lane, _priority, _seq) in sorted(self.entries.items(), key=lambda item: (-item[1][1], item[1][2])):
            if lane not in spent:
                found.append(job_id)
                spent |= {lane} & single
        return found[:limit]

    @invariant()
    def gives_the_best_first(self) -> None:
        sets: list[set[str]] = [set(), {"a"}, {"b", "c"}]
        for blocked, single in zip(sets, (sets[1], sets[2], set[str]()), strict=True):
            assert self.queue.peek(100, blocked, single) == self._expected(100, blocked, single)
        assert self.queue.peek(2) == self._expected(2, set(), set())


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
