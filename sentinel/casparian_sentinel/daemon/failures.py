"""Errors in this process, and where they are reported.

`InternalErrors` counts internal errors that a daemon survives (docs/decisions/0017) and logs a few tracebacks a minute.
`FailureLines` writes a line into daemon.log for each failed job, up to a limit that a person can read. `Tasks` holds the tasks of
the event loop until they end; an exception that a task does not handle ends the daemon.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from casparian_protocol.events import Event, JobDeadLettered, JobFailed, JobRetryScheduled, ParserPaused
from casparian_protocol.jobs import JobError
from casparian_protocol.wire.operations import daemon as wire
from casparian_sentinel.core import Decision

TRACEBACKS_A_MINUTE = 5
_MINUTE_SECONDS = 60.0
_WORDS = 300

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Window:
    """The tracebacks of one place in the current minute."""

    since_s: float
    logged: int = 0
    left_out: int = 0


class InternalErrors:
    """The internal errors of this process since its start."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        self._now = monotonic_seconds
        #: Counts by place; places are names in the code, so there are few.
        self.counts: Counter[str] = Counter()
        self.last = ""
        self._windows: dict[str, _Window] = {}

    @property
    def total(self) -> int:
        return self.counts.total()

    def note(self, place: str, error: BaseException) -> None:
        """Count the error, and log it with its traceback."""
        self.counts[place] += 1
        self.last = f"{place}: {type(error).__name__}: {error}"[:_WORDS]
        window = self._window(place)
        if window.logged < TRACEBACKS_A_MINUTE:
            window.logged += 1
            logger.error("Internal error in %s; the daemon continues.", place, exc_info=error)
        else:
            window.left_out += 1

    def view(self) -> wire.InternalErrors:
        """For `status`: how many errors, where, and the last one in a line."""
        return wire.InternalErrors(count=self.total, places=dict(self.counts.most_common(16)), last=self.last)

    def _window(self, place: str) -> _Window:
        now_s = self._now()
        window = self._windows.get(place)
        if window is None or now_s - window.since_s >= _MINUTE_SECONDS:
            if window is not None and window.left_out:
                logger.error("Internal errors in %s: %d more are not listed.", place, window.left_out)
            window = self._windows[place] = _Window(now_s)
        return window


#: The most lines in a burst, and then the most per second.
BURST_LINES = 50
LINES_A_SECOND = 1.0


class FailureLines:
    """Lines in daemon.log for failed jobs. Call its methods only in the event loop."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        self._now = monotonic_seconds
        self._room = float(BURST_LINES)
        self._at_s = monotonic_seconds()
        self._left_out = 0

    def list_failures(self, decision: Decision) -> None:
        """Write a line for each failure among the events of a durable decision."""
        for event in decision.events:
            line = line_of(event)
            if line is not None:
                self._say(*line)

    def each_second(self) -> None:
        """Report how many lines were left out, once there is room for a line again."""
        self._refill()
        if self._left_out and self._room >= 1:
            self._room -= 1
            logger.warning("%d more failures are not listed here; `casparian errors list` has all.", self._left_out)
            self._left_out = 0

    def _say(self, level: int, text: str) -> None:
        self._refill()
        if self._left_out or self._room < 1:
            self._left_out += 1
            return
        self._room -= 1
        logger.log(level, "%s", text)

    def _refill(self) -> None:
        now_s = self._now()
        self._room = min(BURST_LINES, self._room + (now_s - self._at_s) * LINES_A_SECOND)
        self._at_s = now_s


def line_of(event: Event) -> tuple[int, str] | None:
    """The level and the line for an event; None for an event that is not a failure."""
    match event:
        case JobFailed(job_id=job_id, error=error):
            return logging.WARNING, f"Job {job_id} failed: {_words(error)}"
        case JobDeadLettered(job_id=job_id, error=last):
            why = {"poison": "it lost too many workers", "retries": "its retries are used up"}[event.reason]
            return logging.ERROR, f"Job {job_id} is a dead letter, {why}: {_words(last)}"
        case JobRetryScheduled(job_id=job_id, error=error):
            when = f"try {event.retry_count + 1} in {event.delay_seconds:g} s"
            return logging.INFO, f"Job {job_id} failed, {when}: {_words(error)}"
        case ParserPaused(version=version, reason=reason) if version:
            return logging.ERROR, f"{reason} (version {version})"
    return None


def _words(error: JobError | None) -> str:
    """An error in one short line."""
    text = f"{error.code}: {error.message}" if error is not None else "UNKNOWN_ERROR:"
    return " ".join(text.split())[:_WORDS]


class Tasks:
    """The running tasks of the event loop. Call its methods only in the event loop."""

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        """`on_error(name, error)` is called when a task ends with an exception that it did not handle."""
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
