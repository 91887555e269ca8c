"""Errors of our own that a daemon survives: counted, told in its log, shown by `status` and `doctor`.

One rule for all of them (docs/decisions/0017): what failed before anything was recorded is refused, one effect that fails
holds up no other, a request that fails is answered. What may not be survived (folding, the log, a callback of the loop) is
not told here; it stops the daemon. Tracebacks of one place come at most a few a minute, so that a loop of failures does not
fill the disk.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TRACEBACKS_A_MINUTE = 5
_MINUTE_SECONDS = 60.0
_WORDS = 300

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Window:
    """One place's tracebacks of this minute."""

    since_s: float
    told: int = 0
    left_out: int = 0


class InternalErrors:
    """What went wrong in this process since its start."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        self._now = monotonic_seconds
        #: By where it happened; places are names in our code, so there are few.
        self.counts: Counter[str] = Counter()
        self.last = ""
        self._windows: dict[str, _Window] = {}

    @property
    def total(self) -> int:
        return self.counts.total()

    def note(self, place: str, error: BaseException) -> None:
        """Count it and tell it with its traceback."""
        self.counts[place] += 1
        self.last = f"{place}: {type(error).__name__}: {error}"[:_WORDS]
        window = self._window(place)
        if window.told < TRACEBACKS_A_MINUTE:
            window.told += 1
            logger.error("Internal error in %s; the daemon goes on.", place, exc_info=error)
        else:
            window.left_out += 1

    def view(self) -> dict[str, Any]:
        """For `status`: how many, where, and the last one in a line."""
        return {"count": self.total, "places": dict(self.counts.most_common(16)), "last": self.last}

    def _window(self, place: str) -> _Window:
        now_s = self._now()
        window = self._windows.get(place)
        if window is None or now_s - window.since_s >= _MINUTE_SECONDS:
            if window is not None and window.left_out:
                logger.error("Internal errors in %s: %d more were not told.", place, window.left_out)
            window = self._windows[place] = _Window(now_s)
        return window
