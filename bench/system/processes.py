"""What the kernel knows of running processes: memory at its highest, CPU used, children."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def peak_rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory")


def cpu_seconds_of(pid: int) -> float:
    """User and system time of the process itself."""
    user, system, *_ = _times(pid)
    return user + system


def children_cpu_seconds_of(pid: int) -> float:
    """The same of all children that it has waited for."""
    *_, user, system = _times(pid)
    return user + system


def _times(pid: int) -> list[float]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return [int(field) / _TICKS for field in fields[11:15]]


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")


def children_of(pid: int) -> list[int]:
    """Of all its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text(encoding="ascii").split()]
