"""What a figure depends on and cannot say itself: the machine, its versions, its disk, and who else was busy."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("casparian", "pyarrow", "duckdb", "pyzmq", "uvloop", "msgpack", "pydantic", "blake3")
_SYNCS = 200


def facts(directory: Path) -> dict[str, Any]:
    """Measured where the benchmark writes."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "fdatasync_milliseconds": fdatasync_milliseconds(directory),
    }


def load_average() -> float:
    """Of the last minute: above the benchmark's own share, somebody else was working too."""
    return round(os.getloadavg()[0], 2)


def fdatasync_milliseconds(directory: Path) -> float:
    """Median of appending 200 bytes to a preallocated file and syncing it."""
    path = directory / "fdatasync.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    took: list[float] = []
    try:
        os.write(descriptor, bytes(1 << 20))
        os.fsync(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.write(descriptor, b"x" * 200)
            os.fdatasync(descriptor)
            took.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return round(statistics.median(took) * 1000, 3)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
