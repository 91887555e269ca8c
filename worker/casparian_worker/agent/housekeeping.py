"""What workers clear away once an hour: old logs, and scratch directories of attempts whose worker died."""

from __future__ import annotations

import logging
import time

from casparian_protocol.home import Home
from casparian_protocol.settings import JobLogSettings
from casparian_worker import joblog
from casparian_worker.execute.scratch import sweep

logger = logging.getLogger(__name__)


_INTERVAL_SECONDS = 3600.0


class Housekeeping:
    """Knows when it was done last."""

    def __init__(self, home: Home, settings: JobLogSettings) -> None:
        self._home = home
        self._settings = settings
        self._at_s = float("-inf")

    def is_due(self, now_s: float) -> bool:
        """Once an hour, and then it counts as done."""
        if now_s - self._at_s <= _INTERVAL_SECONDS:
            return False
        self._at_s = now_s
        return True

    def keep_house(self) -> None:
        """From any thread. Never raises for what the disk does: the next hour tries again."""
        try:
            sweep(self._home.scratch, time.time())
            joblog.rotate(self._home, self._settings, time.time())
        except OSError as cause:
            logger.warning("Old logs and scratch directories could not be removed: %s", cause)
