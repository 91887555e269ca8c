"""What workers clear away once an hour: old logs, and scratch directories of attempts whose worker died."""

from __future__ import annotations

import logging
import time

from casparian_protocol.home import Home
from casparian_protocol.settings import JobLogSettings
from casparian_worker import joblog
from casparian_worker.execute.scratch import sweep

logger = logging.getLogger(__name__)


def keep_house(home: Home, settings: JobLogSettings) -> None:
    """Never raises for what the disk does: the next hour tries again."""
    try:
        sweep(home.scratch, time.time())
        joblog.rotate(home, settings, time.time())
    except OSError as cause:
        logger.warning("Old logs and scratch directories could not be removed: %s", cause)
