"""Tasks that somebody watches: kept until they end, and whatever they raise reaches whoever must hear of it.

A bare `create_task` may be collected while it runs, and its error is told to nobody; a test keeps such calls out of the
daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """Methods belong to the loop."""

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        """`on_error(name, error)` when a task ends with an error that it did not deal with."""
        self._on_error = on_error
        self._running: set[asyncio.Task[None]] = set()

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel_all(self) -> None:
        for task in list(self._running):
            task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(task.get_name(), error)
