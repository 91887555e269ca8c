"""The threads that work: one for each slot, as long-lived as the worker, since guests die with the thread that started them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Work = TypeVar("Work")


class Slots(Generic[Work]):
    """Hands work to the next free slot, in order."""

    def __init__(self, count: int, do: Callable[[Work], None]) -> None:
        """`do` runs in a slot's thread and must not raise."""
        self._do = do
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"slot-{number}", daemon=True) for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, work: Work) -> None:
        self._queue.put(work)

    def close(self, timeout_seconds: float) -> None:
        """No more work; wait for what runs."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            if work is None:
                return
            self._do(work)
