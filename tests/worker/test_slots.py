"""Slots: work in order, and work that wants no other beside it. Real threads, which wait for each other and never for time."""

from __future__ import annotations

from threading import Event, Lock

from casparian_worker.slots import Slots

SECONDS = 10.0


class Work:
    """Begins, notes who else is at work, and ends when it is told to."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = Event(), Event()
        self.beside = -1


class Bench:
    """So many slots, and how many of them are busy."""

    def __init__(self, count: int) -> None:
        self._lock = Lock()
        self._busy_count = 0
        self.slots: Slots[Work] = Slots(count, self._do)

    def _do(self, work: Work) -> None:
        with self._lock:
            work.beside = self._busy_count
            self._busy_count += 1
        work.has_begun.set()
        assert work.may_end.wait(SECONDS)
        with self._lock:
            self._busy_count -= 1


def test_work_that_wants_to_be_alone_begins_when_all_else_has_ended_and_lets_nothing_begin() -> None:
    bench = Bench(3)
    before, alone, after = Work(), Work(), Work()
    bench.slots.put(before)
    assert before.has_begun.wait(SECONDS)
    bench.slots.put(alone, is_alone=True)
    bench.slots.put(after)
    assert not alone.has_begun.is_set()
    after.may_end.set()

    before.may_end.set()
    assert alone.has_begun.wait(SECONDS)
    assert not after.has_begun.is_set()
    alone.may_end.set()
    bench.slots.close(SECONDS)

    assert (alone.beside, after.beside) == (0, 0)
    assert after.has_begun.is_set()


def test_two_that_want_to_be_alone_follow_each_other() -> None:
    bench = Bench(2)
    works = [Work(), Work()]
    for work in works:
        work.may_end.set()
        bench.slots.put(work, is_alone=True)
    bench.slots.close(SECONDS)

    assert [work.beside for work in works] == [0, 0]
