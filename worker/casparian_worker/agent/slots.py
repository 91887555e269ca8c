"""The threads that work: one for each slot, as long-lived as the worker, since guests die with the thread that started them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Work = TypeVar("Work")


class Slots(Generic[Work]):
    """Hands work to the next free slot, in order. Some work wants no other beside it."""

    def __init__(self, count: int, do: Callable[[Work], None]) -> None:
        """`do` runs in a slot's thread and must not raise."""
        self._do = do
        self._queue: queue.SimpleQueue[tuple[Work, bool] | None] = queue.SimpleQueue()
        self._turn = threading.Condition()
        self._busy_count = 0
        #: Somebody has all slots to himself, or waits until he has.
        self._is_reserved = False
        self._threads = [
            threading.Thread(target=self._run, name=f"slot-{number}", daemon=True) for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, work: Work, *, is_alone: bool = False) -> None:
        """`is_alone`: begin when all other slots are empty, and keep them so."""
        self._queue.put((work, is_alone))

    def close(self, timeout_seconds: float) -> None:
        """No more work; wait for what runs."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            taken = self._queue.get()
            if taken is None:
                return
            work, is_alone = taken
            with self._all_slots() if is_alone else self._one_slot():
                self._do(work)

    @contextmanager
    def _one_slot(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._is_reserved)
            self._busy_count += 1
        try:
            yield
        finally:
            with self._turn:
                self._busy_count -= 1
                self._turn.notify_all()

    @contextmanager
    def _all_slots(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._is_reserved)
            self._is_reserved = True
            self._turn.wait_for(lambda: not self._busy_count)
        try:
            yield
        finally:
            with self._turn:
                self._is_reserved = False
                self._turn.notify_all()
