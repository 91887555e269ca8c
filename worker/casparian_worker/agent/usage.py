"""What this process uses: for heartbeats."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path

from casparian_protocol.wire.messages import Heartbeat

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """CPU since it was asked last, memory now."""

    def __init__(self) -> None:
        self._cpu_s, self._at_s = _cpu_seconds(), time.monotonic()

    def heartbeat(self, seq: int, staging: Path) -> Heartbeat:
        """A beat without jobs."""
        return Heartbeat(
            seq=seq,
            cpu_percent=self.cpu_percent(),
            rss_bytes=rss_bytes(),
            free_bytes=_free_bytes(staging),
        )

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


def _free_bytes(folder: Path) -> int:
    """Free space there; 0 where the system does not say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _cpu_seconds() -> float:
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
