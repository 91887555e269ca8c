"""Failures of jobs and alerts of circuit breakers in the daemon's own log: one line each, and not more than somebody reads.

The event log has them all; this is for whoever looks at `daemon.log` at night. What a flood leaves out is counted in a line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from casparian_protocol.events import Event, JobDeadLettered, JobFailed, JobRetryScheduled, ParserPaused
from casparian_protocol.jobs import JobError
from casparian_sentinel.core.decision import Decision

#: So many lines at once, and then so many a second.
BURST_LINES = 50
LINES_A_SECOND = 1.0
_WORDS = 300

logger = logging.getLogger(__name__)


class ToldFailures:
    """Methods belong to the loop."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        self._now = monotonic_seconds
        self._room = float(BURST_LINES)
        self._at_s = monotonic_seconds()
        self._left_out = 0

    def tell(self, decision: Decision) -> None:
        """A line for each failure among the events of a durable decision."""
        for event in decision.events:
            line = line_of(event)
            if line is not None:
                self._say(*line)

    def each_second(self) -> None:
        """Say how many were left out, once there is room for a line again."""
        self._refill()
        if self._left_out and self._room >= 1:
            self._room -= 1
            logger.warning("%d more failures were not told here; `casparian errors` has all.", self._left_out)
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
    """The level and the line for an event, None for events that are no failures. Pure."""
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
