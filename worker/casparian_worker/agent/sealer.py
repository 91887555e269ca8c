"""Making finished attempts durable, in groups: one thread, so that guests go on while a disk syncs.

A group is what waits: up to 16 attempts, or what came within 5 ms of the first.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from casparian_worker.staging import StagingDirectory, seal_together

GROUP_JOBS = 16
GROUP_SECONDS = 0.005

Owner = TypeVar("Owner")

logger = logging.getLogger(__name__)


class Sealer(Generic[Owner]):
    """`on_sealed` is called in the sealer's thread with each group: (owner, None or why it is not durable)."""

    def __init__(self, on_sealed: Callable[[list[tuple[Owner, Exception | None]]], None]) -> None:
        self._on_sealed = on_sealed
        self._queue: queue.SimpleQueue[tuple[Owner, StagingDirectory] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)
        self._thread.start()

    def seal(self, owner: Owner, staging: StagingDirectory) -> None:
        self._queue.put((owner, staging))

    def close(self) -> None:
        """Seal what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            deadline_s = time.monotonic() + GROUP_SECONDS
            while len(group) < GROUP_JOBS:
                try:
                    item = self._queue.get(timeout=max(0.0, deadline_s - time.monotonic()))
                except queue.Empty:
                    break
                if item is None:
                    is_open = False
                    break
                group.append(item)
            outcomes = _sealed([staging for _owner, staging in group])
            self._on_sealed([(owner, outcome) for (owner, _), outcome in zip(group, outcomes, strict=True)])


def _sealed(group: list[StagingDirectory]) -> Sequence[Exception | None]:
    """For each: None or why not. An accident of ours ends this group, reported, not the thread that all others need."""
    try:
        return seal_together(group)
    except Exception as accident:
        logger.exception("%d attempts could not be made durable.", len(group))
        return [accident] * len(group)
