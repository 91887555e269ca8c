"""What a worker does beside its jobs: once an hour it clears old logs and scratch away, and it measures what it uses."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import time
from pathlib import Path

from casparian_protocol.home import Home
from casparian_protocol.settings import JobLogSettings
from casparian_worker import joblog
from casparian_worker.agent.reports import Usage
from casparian_worker.execute.files import sweep

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 3600.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Housekeeping:
    """Old logs, and scratch directories of attempts whose worker died. Knows when it was done last."""

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


class UsageMeter:
    """CPU since it was asked last, memory now, free space when `look_at_disk` looked last."""

    def __init__(self, folder: Path) -> None:
        """`folder`: whose disk's free space is told."""
        self._folder = folder
        self._free_bytes = 0
        self._cpu_s, self._at_s = _cpu_seconds(), time.monotonic()
        self.look_at_disk()

    def read(self) -> Usage:
        """Never waits for a disk."""
        return Usage(self.cpu_percent(), rss_bytes(), self._free_bytes)

    def look_at_disk(self) -> None:
        """From any thread; 0 where the system does not say."""
        try:
            self._free_bytes = shutil.disk_usage(self._folder).free
        except OSError:
            self._free_bytes = 0

    def cpu_percent(self) -> float:
        """Of one core, since the last call; guests that have ended count with it."""
        cpu_s, at_s = _cpu_seconds(), time.monotonic()
        used, elapsed = cpu_s - self._cpu_s, at_s - self._at_s
        self._cpu_s, self._at_s = cpu_s, at_s
        return round(100 * max(0.0, used) / elapsed, 1) if elapsed > 0 else 0.0


def rss_bytes() -> int:
    """Resident memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _cpu_seconds() -> float:
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
