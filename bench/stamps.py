"""Counters that processes share with the measuring process: the number of hits and the time of the last. It needs only Python.

Each process writes its own small file through a memory map, which takes about a microsecond and no system call, so that the body
of a no-op job is the same in all cases. The clock is the machine's monotonic one, which all processes share.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

_LAYOUT = struct.Struct("<qd")
_STEP_SECONDS = 0.0005


class Stamp:
    """The counter that one process writes."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.ftruncate(descriptor, _LAYOUT.size)
            self._map = mmap.mmap(descriptor, _LAYOUT.size)
        finally:
            os.close(descriptor)
        self._count: int = _LAYOUT.unpack_from(self._map)[0]

    def hit(self, times: int = 1) -> None:
        self._count += times
        _LAYOUT.pack_into(self._map, 0, self._count, time.monotonic())


class Stamps:
    """All stamps in a directory, read by the measuring process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._maps: dict[str, mmap.mmap] = {}
        self._base = 0

    def rebase(self) -> None:
        """Begin to count from now."""
        self._base += self.read()[0]

    def read(self) -> tuple[int, float]:
        """The number of hits since the base, and the time of the last one."""
        for name in os.listdir(self._directory):
            path = self._directory / name
            if name not in self._maps and path.stat().st_size >= _LAYOUT.size:
                with path.open("rb") as file:
                    self._maps[name] = mmap.mmap(file.fileno(), _LAYOUT.size, access=mmap.ACCESS_READ)
        values = [_LAYOUT.unpack_from(each) for each in self._maps.values()]
        return sum(count for count, _ in values) - self._base, max((when for _, when in values), default=0.0)

    def wait_for_writers(self, count: int, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while len(self._maps) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self._maps)} of {count} writers after {timeout_seconds:.0f} s")
            time.sleep(_STEP_SECONDS)
            self.read()

    def wait(self, count: int, timeout_seconds: float) -> float:
        """Wait for `count` hits and return the time of the last. It checks twice a millisecond, because a memory map cannot be
        awaited."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            found, when = self.read()
            if found >= count:
                return when
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found} of {count} after {timeout_seconds:.0f} s")
            time.sleep(_STEP_SECONDS)


def percentile(values: list[float], share: float) -> float:
    """The percentile: the value below which this share of all values is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
