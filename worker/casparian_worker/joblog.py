"""The log of one job: what its parser and its worker said, readable while it runs, bounded, harmless.

One line a record: `time LEVEL origin text`. The origin is ours to say; a guest's text is scrubbed of everything a
terminal would obey, cut to a length, slowed to a rate and ended at a size. A line says where lines were left out, and how many.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from casparian_protocol.home import Home
from casparian_protocol.settings import JobLogSettings
from casparian_protocol.trees import remove_tree
from casparian_shim.frames import LogLevel
from casparian_shim.text import scrub

LINE_CHARACTERS_MAX = 8 * 1024
LINES_PER_SECOND = 10_000
BURST_LINES = 50_000
#: Kept free for the last line.
_LAST_LINE_BYTES = 200
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")

Origin = Literal["guest", "worker"]


def joblog_path(home: Home, job_id: str, day: str) -> Path:
    """Where the log of a job that ran on this day (`2026-01-31`, UTC) is."""
    return home.logs / day / f"{job_id}.log"


class JobLog:
    """Writes one job's log. For several threads. Attempts of one day share a file and its size.

    What the disk does not take is told once, by `close`: a thread that drains a guest must not end over it.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=64 * 1024)
        self._room_bytes = max_bytes - _LAST_LINE_BYTES - os.fstat(self._file.fileno()).st_size
        self._now, self._monotonic = now, monotonic
        self._tokens = float(BURST_LINES)
        self._filled_s = monotonic()
        self._dropped_lines = 0
        self._dropped_bytes = 0
        self._pieces: dict[LogLevel, bytes] = {}
        self._trouble: OSError | None = None
        self._lock = threading.Lock()

    def write(self, level: LogLevel, origin: Origin, text: str) -> None:
        """Each line of `text` as a record."""
        with self._lock:
            for line in text.split("\n"):
                self._write_line(level, origin, line)

    def write_raw(self, level: LogLevel, data: bytes) -> None:
        """Bytes of a guest's own descriptors, in any pieces; lines are put together here."""
        with self._lock:
            *lines, rest = (self._pieces.get(level, b"") + data).split(b"\n")
            if len(rest) > LINE_CHARACTERS_MAX:
                lines, rest = [*lines, rest], b""
            self._pieces[level] = rest
            for line in lines:
                self._write_line(level, "guest", line.decode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Make what was written readable for others."""
        with self._lock:
            try:
                self._file.flush()
            except OSError as cause:
                self._trouble = self._trouble or cause

    def close(self) -> None:
        """Write the rest of unfinished lines and the count of what was dropped. Raises `OSError` if the log has holes."""
        with self._lock:
            if self._file.closed:
                return
            for level, rest in self._pieces.items():
                if rest:
                    self._write_line(level, "guest", rest.decode("utf-8", "backslashreplace"))
            if self._dropped_lines:
                self._put(self._record(LogLevel.WARNING, "worker", self._said_of_dropped()))
            try:
                self._file.close()
            except OSError as cause:
                self._trouble = self._trouble or cause
            if self._trouble is not None:
                raise self._trouble

    def _write_line(self, level: LogLevel, origin: Origin, line: str) -> None:
        if not self._has_token():
            self._drop(line)
            return
        if self._dropped_lines and self._room_bytes:  # too quick for a while: the gap is marked where it is
            mark = self._record(LogLevel.WARNING, "worker", self._said_of_dropped())
            if len(mark) <= self._room_bytes:
                self._room_bytes -= len(mark)
                self._dropped_lines = self._dropped_bytes = 0
                self._put(mark)
        cut = line[:LINE_CHARACTERS_MAX]
        more = len(line) - len(cut)
        record = self._record(level, origin, cut + (f"… ({more:,} more characters)" if more else ""))
        if len(record) > self._room_bytes:
            self._room_bytes = 0  # a log with holes would look complete
            self._drop(line)
            return
        self._room_bytes -= len(record)
        self._put(record)

    def _put(self, record: bytes) -> None:
        if self._trouble is not None:
            return
        try:
            self._file.write(record)
        except OSError as cause:
            self._trouble = cause

    def _record(self, level: LogLevel, origin: Origin, text: str) -> bytes:
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return f"{at} {level.name} {origin} {scrub(text)}\n".encode("utf-8", "backslashreplace")

    def _said_of_dropped(self) -> str:
        return f"{self._dropped_lines:,} more lines ({self._dropped_bytes:,} bytes) were dropped"

    def _drop(self, line: str) -> None:
        self._dropped_lines += 1
        self._dropped_bytes += len(line)

    def _has_token(self) -> bool:
        now_s = self._monotonic()
        self._tokens = min(BURST_LINES, self._tokens + (now_s - self._filled_s) * LINES_PER_SECOND)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def rotate(home: Home, settings: JobLogSettings, now_seconds: float) -> list[Path]:
    """Remove the days beyond `keep_days`, then the oldest logs beyond `keep_bytes`. Several workers may do so at once."""
    removed: list[Path] = []
    oldest = datetime.fromtimestamp(now_seconds - settings.keep_days * 86_400, UTC).date().isoformat()
    days = sorted(path for path in home.logs.iterdir() if _DAY.match(path.name) and path.is_dir())
    for day in [day for day in days if day.name < oldest]:
        with suppress(OSError):  # another worker removes it as well
            remove_tree(day)
        removed.append(day)
    kept = sorted(_logs_of(day for day in days if day.name >= oldest))
    excess = sum(size for _at, _path, size in kept) - settings.keep_bytes
    for _at, path, size in kept:
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        removed.append(path)
        excess -= size
    return removed


def _logs_of(days: Iterable[Path]) -> list[tuple[float, Path, int]]:
    found = []
    for day in days:
        for path in day.glob("*.log"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime, path, status.st_size))
    return found
