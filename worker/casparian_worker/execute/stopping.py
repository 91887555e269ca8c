"""Ending an attempt before its end, from another thread: why, and making the reader of the stream notice."""

from __future__ import annotations

import threading
from enum import Enum
from typing import Protocol


class StopCause(Enum):
    """Who wants the attempt to end."""

    CANCELLED = "cancelled"
    FENCED = "fenced"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "no sentinel in time"


class Stopped(Exception):
    """The attempt ended because it was asked to."""

    def __init__(self, cause: StopCause) -> None:
        super().__init__(cause.value)
        self.cause = cause


class Stoppable(Protocol):
    def stop(self) -> None: ...


class CancelToken:
    """One attempt's wish to end. The first cause counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Stoppable | None = None
        self.cause: StopCause | None = None

    def request(self, cause: StopCause) -> None:
        """End it: now if it runs, before it starts otherwise. Does not wait."""
        with self._lock:
            if self.cause is not None:
                return
            self.cause = cause
            running = self._running
        if running is not None:
            running.stop()

    def attach(self, running: Stoppable) -> None:
        """What has to be told; raises `Stopped` when the wish came first."""
        with self._lock:
            self._running = running
        self.check()

    def detach(self) -> None:
        """Nothing runs any more."""
        with self._lock:
            self._running = None

    def check(self) -> None:
        """Raise `Stopped` if so wished."""
        if self.cause is not None:
            raise Stopped(self.cause)
