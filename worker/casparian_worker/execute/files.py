"""The files of an attempt other than its outputs: its input, its scratch directory, its log.

The input is opened once. It is hashed through that descriptor before the parser runs and checked again afterwards; the parser
gets the same descriptor. If another process changes or replaces the file in between, this is noticed and everything read is
discarded. The scratch directory is watched for size, and removed whatever the guest left in it.

The log can be read while the job runs. Each record is one line: `time LEVEL origin text`. The worker sets the origin; a guest's
text is scrubbed of terminal escapes and limited in line length, rate and total size. A line says where lines were left out, and
how many. `Housekeeping` removes old logs, and scratch directories of workers that died.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from blake3 import blake3

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.home import Home
from casparian_protocol.settings import JobLogSettings
from casparian_protocol.trees import measure_tree, remove_if_unused, remove_scratch, remove_tree
from casparian_shim.frames import LogLevel
from casparian_shim.safe import scrub
from casparian_worker.discovery.files import InputChanged
from casparian_worker.validation import LimitExceeded

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20


# --- the input --------------------------------------------------------------------------------------------------------


class InputUnreadable(CasparianError):
    """The input cannot be opened."""

    def __init__(self, path: str, cause: OSError) -> None:
        super().__init__(
            f"The input {scrub(path)} cannot be read: {cause.strerror or cause}.",
            remedy="Check that it is there and that you may read it; `casparian scan PATH` notices files that are gone.",
        )
        missing = isinstance(cause, FileNotFoundError | NotADirectoryError)
        self.code = ErrorCode.FILE_NOT_FOUND if missing else ErrorCode.PERMISSION_ERROR


class InputIsNotTheQueued(InputChanged):
    """The file has different bytes than at the scan."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.problem = f"{scrub(path)} has changed since the scan: its content differs."
        self.remedy = "Scan again; the new content gets a new job."


@dataclass(frozen=True, slots=True)
class _Seen:
    """The properties that must not change, including the change time, which reveals any other change."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Source:
    """An open input with its digest. Close it."""

    def __init__(self, path: str, *, follow_links: bool = False) -> None:
        """Open and hash the input. Raises `InputUnreadable`, or `InputChanged` if it changed while it was hashed."""
        self.path = path
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
        try:
            self.descriptor = os.open(path, flags)
        except OSError as cause:
            raise InputUnreadable(path, cause) from cause
        try:
            status = os.fstat(self.descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputUnreadable(path, OSError(0, "it is not a regular file"))
            self._seen = _Seen.of(status)
            self.size_bytes = status.st_size
            self.content_hash = self._digest()
            if _Seen.of(os.fstat(self.descriptor)) != self._seen:
                raise InputChanged(scrub(path))
        except BaseException:
            self.close()
            raise

    def expect(self, content_hash: str) -> None:
        """Raise `InputIsNotTheQueued` if the scan saw different bytes."""
        if content_hash and content_hash != self.content_hash:
            raise InputIsNotTheQueued(self.path)

    def expect_unchanged(self) -> None:
        """Raise `InputChanged` if the file, or the file that its name now refers to, is not the one that was hashed."""
        now = _Seen.of(os.fstat(self.descriptor))
        if now != self._seen:
            same_but_ctime = (now.device, now.inode, now.size, now.mtime_ns) == (
                self._seen.device,
                self._seen.inode,
                self._seen.size,
                self._seen.mtime_ns,
            )
            if not same_but_ctime or self._digest() != self.content_hash:
                raise InputChanged(scrub(self.path))
        try:
            named = os.stat(self.path)
        except OSError as cause:
            raise InputChanged(scrub(self.path)) from cause
        if (named.st_dev, named.st_ino) != (now.device, now.inode):  # it was replaced by another file
            raise InputChanged(scrub(self.path))

    def close(self) -> None:
        os.close(self.descriptor)

    def _digest(self) -> str:
        """BLAKE3 through positioned reads, because the guest shares the descriptor's offset."""
        hasher, offset = blake3(), 0
        try:
            while chunk := os.pread(self.descriptor, _CHUNK_BYTES, offset):
                hasher.update(chunk)
                offset += len(chunk)
        except OSError as cause:
            raise InputUnreadable(self.path, cause) from cause
        return hasher.hexdigest()


# --- the scratch directory --------------------------------------------------------------------------------------------

ENTRIES_MAX = 100_000
_MEASUREMENTS_MAX = 8
#: A directory younger than this may not be locked yet.
_NEW_SECONDS = 60.0


def removed_bytes(pid: int, directory: Path) -> int:
    """The space of files on the directory's file system that a process keeps open or mapped though their names are removed.

    0 if this process may not look, as it may if it is root.
    """
    found: dict[int, int] = {}
    try:
        device = directory.stat().st_dev
        opened = [f"/proc/{pid}/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
            gone = [line for line in maps if line.endswith(" (deleted)\n")]
    except OSError:
        return 0
    for name in (*opened, *(f"/proc/{pid}/map_files/{line.partition(' ')[0]}" for line in gone)):
        try:
            status = os.stat(name)
        except OSError:  # closed meanwhile, or this process may not follow it
            continue
        if not status.st_nlink and status.st_dev == device and stat.S_ISREG(status.st_mode):
            found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def check_scratch(scratch: Path, bytes_max: int, removed: int = 0) -> None:
    """Raise `LimitExceeded` for too many bytes (as allocated on disk, and those of `removed` files) or too many entries.

    Directories that move while they are measured hide others, so it is measured again; one that moves each time is refused.
    """
    total_bytes, entries = removed, 0

    def count(status: os.stat_result) -> None:
        nonlocal total_bytes, entries
        entries += 1
        total_bytes += status.st_blocks * 512
        if entries > ENTRIES_MAX:
            raise LimitExceeded("Files in the scratch directory", entries, ENTRIES_MAX)
        if total_bytes > bytes_max:
            raise LimitExceeded("Bytes in the scratch directory", total_bytes, bytes_max)

    for _ in range(_MEASUREMENTS_MAX):
        total_bytes, entries = removed, 0
        if measure_tree(scratch, count):
            if total_bytes > bytes_max:
                raise LimitExceeded("Bytes in the scratch directory", total_bytes, bytes_max)
            return
    what = "Times that a directory moved while the scratch directory was measured"
    raise LimitExceeded(what, _MEASUREMENTS_MAX, _MEASUREMENTS_MAX - 1)


@contextmanager
def held_scratch(scratch: Path) -> Iterator[Path]:
    """A new private directory, locked while it is in use and removed afterwards."""
    scratch.mkdir(mode=0o700)
    lock: int | None = None
    try:
        lock = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield scratch
    finally:
        remove_scratch(scratch)
        if lock is not None:
            os.close(lock)


def remove_abandoned(root: Path, now_seconds: float) -> list[str]:
    """Remove the directories of dead workers: those that no process has locked, except very new ones."""
    removed: list[str] = []
    for path in sorted(root.iterdir()):
        try:
            if not path.is_dir() or path.is_symlink() or now_seconds - path.stat().st_mtime < _NEW_SECONDS:
                continue
        except OSError:  # another process removed it at the same moment
            continue
        if remove_if_unused(path):
            removed.append(path.name)
    return removed


# --- the log of a job -------------------------------------------------------------------------------------------------

LINE_CHARACTERS_MAX = 8 * 1024
LINES_PER_SECOND = 10_000
BURST_LINES = 50_000
#: Room reserved for the last line.
_LAST_LINE_BYTES = 200
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
Origin = Literal["guest", "worker"]


def joblog_path(home: Home, job_id: str, day: str) -> Path:
    """Where the log of a job that ran on this day (`2026-01-31`, UTC) is."""
    return home.logs / day / f"{job_id}.log"


class JobLog:
    """Writes one job's log, from several threads. Attempts on one day share a file and its size limit.

    A write error is raised only once, by `close`, because it must not end a thread that reads a guest's output.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = os.fdopen(_opened_log(path), "wb", buffering=64 * 1024)
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
        """Write each line of `text` as a record."""
        with self._lock:
            for line in text.split("\n"):
                self._write_line(level, origin, line)

    def write_raw(self, level: LogLevel, data: bytes) -> None:
        """Write bytes from a guest's own descriptors, in pieces of any size; they are joined into lines here."""
        with self._lock:
            *lines, rest = (self._pieces.get(level, b"") + data).split(b"\n")
            if len(rest) > LINE_CHARACTERS_MAX:
                lines, rest = [*lines, rest], b""
            self._pieces[level] = rest
            for line in lines:
                self._write_line(level, "guest", line.decode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Make everything written so far readable for other processes."""
        with self._lock:
            try:
                self._file.flush()
            except OSError as cause:
                self._trouble = self._trouble or cause

    def close(self) -> None:
        """Write unfinished lines and the number of dropped lines. Raises `OSError` if the log has gaps."""
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
        if self._dropped_lines and self._room_bytes:  # after a burst, mark the gap where it occurred
            mark = self._record(LogLevel.WARNING, "worker", self._said_of_dropped())
            if len(mark) <= self._room_bytes:
                self._room_bytes -= len(mark)
                self._dropped_lines = self._dropped_bytes = 0
                self._put(mark)
        cut = line[:LINE_CHARACTERS_MAX]
        more = len(line) - len(cut)
        record = self._record(level, origin, cut + (f"… ({more:,} more characters)" if more else ""))
        if len(record) > self._room_bytes:
            self._room_bytes = 0  # a log with unmarked gaps would look complete
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


def _opened_log(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:  # the first log of a day
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def rotate(home: Home, settings: JobLogSettings, now_seconds: float) -> list[Path]:
    """Remove the days beyond `keep_days`, then the oldest logs beyond `keep_bytes`. Several workers may do so at once."""
    removed: list[Path] = []
    oldest = datetime.fromtimestamp(now_seconds - settings.keep_days * 86_400, UTC).date().isoformat()
    days = sorted(path for path in home.logs.iterdir() if _DAY.match(path.name) and path.is_dir())
    for day in [day for day in days if day.name < oldest]:
        with suppress(OSError):  # another worker is removing it too
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


# --- housekeeping, once an hour ---------------------------------------------------------------------------------------

_INTERVAL_SECONDS = 3600.0


class Housekeeping:
    """Removes old logs, and scratch directories of attempts whose worker died, once an hour."""

    def __init__(self, home: Home, settings: JobLogSettings) -> None:
        self._home = home
        self._settings = settings
        self._at_s = float("-inf")

    def is_due(self, now_s: float) -> bool:
        """Whether an hour has passed; if so, the next hour begins."""
        if now_s - self._at_s <= _INTERVAL_SECONDS:
            return False
        self._at_s = now_s
        return True

    def clean_up(self) -> None:
        """Remove old files; may run in any thread. It never raises for errors of the disk: the next hour tries again."""
        try:
            remove_abandoned(self._home.scratch, time.time())
            rotate(self._home, self._settings, time.time())
        except OSError as cause:
            logger.warning("Old logs and scratch directories could not be removed: %s", cause)
