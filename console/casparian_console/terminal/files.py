"""File access of the console: listing directories, watching contents, and following the log of a job.

The module owns the open files. Disks may be slow, so every access runs on a thread of its own. Texts are passed on in bounded
pieces; the screens clean them before drawing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO

from casparian_console.messages import Failed, FollowLog, ListDirectory, Listing, Message, Output, Tag, Watch
from casparian_protocol.home import Home

_LOOK_SECONDS = 0.25
_PIECE_BYTES = 256 * 1024
#: Longer lines are cut, with a note.
LINE_LIMIT_CHARACTERS = 8 * 1024
_WATCHED_BYTES = 16 * 1024 * 1024
_ENTRIES_MAX = 20_000


class Files:
    """The running accesses. A new one with a tag ends the previous one."""

    def __init__(self, home: Home, on_answer: Callable[[Message], None]) -> None:
        self._home = home
        self._on_answer = on_answer
        self._looking: dict[Tag, asyncio.Task[None]] = {}
        self._listing: set[asyncio.Task[None]] = set()

    @property
    def listing(self) -> int:
        return len(self._listing)

    def list_directory(self, effect: ListDirectory) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(effect.tag, self._list(effect)))
        self._listing.add(task)
        task.add_done_callback(self._listing.discard)

    def watch(self, effect: Watch) -> None:
        self._start(effect.tag, self._watch(effect))

    def follow_log(self, effect: FollowLog) -> None:
        self._start(effect.tag, self._follow(effect))

    def stop(self, tag: Tag) -> None:
        if (task := self._looking.pop(tag, None)) is not None:
            task.cancel()

    def close(self) -> None:
        for tag in list(self._looking):
            self.stop(tag)

    def _start(self, tag: Tag, work: Coroutine[Any, Any, None]) -> None:
        self.stop(tag)
        self._looking[tag] = asyncio.get_running_loop().create_task(self._guarded(tag, work))

    async def _guarded(self, tag: Tag, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except OSError as error:
            self._on_answer(_refused(tag, error))
        except Exception as error:  # noqa: BLE001 -- reported to the user: nothing else would show it
            self._on_answer(Failed(tag, f"The console could not do this: {type(error).__name__}: {error}."))

    # --- on the thread ------------------------------------------------------------------------------------------------

    async def _list(self, effect: ListDirectory) -> None:
        path = _expanded(effect.path)
        self._on_answer(Listing(effect.tag, path, await asyncio.to_thread(_entries, path)))

    async def _watch(self, effect: Watch) -> None:
        path = _expanded(effect.path)
        seen: tuple[object, ...] | None = None
        digest = await asyncio.to_thread(_digest, path)
        while True:
            now = await asyncio.to_thread(_signature, path)
            if now != seen:
                seen = now
                fresh = await asyncio.to_thread(_digest, path)
                if fresh != digest:
                    digest = fresh
                    self._on_answer(Output(effect.tag, path))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _follow(self, effect: FollowLog) -> None:
        """Read the end of the job's latest log, then what is appended, also by an attempt on another day."""
        tail = _Tail(effect.tail_bytes)
        is_told = False
        try:
            while True:
                path = await asyncio.to_thread(_newest_log, self._home, effect.job_id)
                if path is None and not is_told:
                    is_told = True
                    self._on_answer(
                        Failed(effect.tag, "This job has no log yet.", "It appears here when there is one.")
                    )
                while path is not None and (text := await asyncio.to_thread(tail.read, path)):
                    self._on_answer(Output(effect.tag, text, tail.take_lines_before()))
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            tail.close()


class _Tail:
    """Reads a growing file in whole lines. Another file, or one that shrank, is read from its beginning."""

    def __init__(self, tail_bytes: int) -> None:
        self._tail_bytes = tail_bytes
        self._file: BinaryIO | None = None
        self._pending = b""
        self._is_skipping = False
        self._lines_before = 0

    def take_lines_before(self) -> int:
        """The number of lines skipped at the beginning; later calls return 0."""
        lines, self._lines_before = self._lines_before, 0
        return lines

    def read(self, path: Path) -> str:
        """The next piece of new text; empty if there is none."""
        self._open(path)
        assert self._file is not None
        piece = self._file.read(_PIECE_BYTES)
        if not piece:
            return ""
        if self._is_skipping:
            _, newline, piece = piece.partition(b"\n")
            self._is_skipping = not newline
        whole, newline, rest = (self._pending + piece).rpartition(b"\n")
        if not newline and len(rest) > _PIECE_BYTES:  # a very long line: pass on its beginning and leave out the rest
            whole, newline, rest = rest, b"\n", b""
            self._is_skipping = True
        self._pending = rest
        lines = whole.decode("utf-8", "replace").split("\n") if newline else []
        return "".join(cut_line(line) + "\n" for line in lines) or ("" if not piece else self.read(path))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self, path: Path) -> None:
        if self._file is not None:
            now = path.stat()
            mine = os.fstat(self._file.fileno())
            if (now.st_ino, now.st_dev) == (mine.st_ino, mine.st_dev) and now.st_size >= self._file.tell():
                return
            self._file.close()
            self._pending = b""
        is_first, self._file = self._file is None, path.open("rb")
        size_bytes = os.fstat(self._file.fileno()).st_size
        if is_first and size_bytes > self._tail_bytes:
            self._pass_over(self._file, size_bytes - self._tail_bytes)

    def _pass_over(self, file: BinaryIO, left_bytes: int) -> None:
        """Count the lines of the first `left_bytes` bytes; the line in which they end is skipped too."""
        while left_bytes and (piece := file.read(min(left_bytes, _PIECE_BYTES))):
            left_bytes -= len(piece)
            self._lines_before += piece.count(b"\n")
        self._lines_before += 1
        self._is_skipping = True


def _expanded(path: str) -> str:
    return os.path.expanduser(path)


def cut_line(line: str) -> str:
    """The line, cut at the limit."""
    left_out = len(line) - LINE_LIMIT_CHARACTERS
    return line if left_out <= 0 else f"{line[:LINE_LIMIT_CHARACTERS]} … {left_out:,} characters left out"


def _newest_log(home: Home, job_id: str) -> Path | None:
    """`logs/<date>/<job_id>.log` of the latest date."""
    if not job_id.isalnum():
        return None
    found = sorted(home.logs.glob(f"*/{job_id}.log"), key=lambda path: path.parent.name)
    return found[-1] if found else None


def _entries(path: str) -> tuple[tuple[str, bool, bool, int, int], ...]:
    """Directories first, then by name."""
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            is_broken, size_bytes, modified_us, is_directory = False, 0, 0, False
            try:
                status = entry.stat()
            except OSError:
                is_broken = entry.is_symlink()
            else:
                is_directory = stat.S_ISDIR(status.st_mode)
                size_bytes, modified_us = status.st_size, status.st_mtime_ns // 1000
            found.append((entry.name, is_directory, is_broken, size_bytes, modified_us))
            if len(found) >= _ENTRIES_MAX:
                break
    return tuple(sorted(found, key=lambda each: (not each[1], each[0])))


def _signature(path: str) -> tuple[object, ...] | None:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


def _digest(path: str) -> bytes | None:
    """A hash of the file's beginning, which covers any parser; None if there is no file."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return hashlib.blake2b(file.read(_WATCHED_BYTES)).digest()
    return None


def _refused(tag: Tag, error: OSError) -> Failed:
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return Failed(tag, f"{place}{error.strerror or error}.", "Check the path and its rights.")
