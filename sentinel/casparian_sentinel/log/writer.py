"""Writing the log: the lock that allows only one writer, and the appender.

`HomeLock` owns `run/sentinel.lock`. The kernel releases the lock when its holder ends; pid and role in the file are only for
messages, so the lock can also be taken on a full disk.

`LogWriter` appends each batch with one write, syncs on demand, and begins a new segment when one is full. `append` may run while
`sync` runs in another thread: a sync covers what was written before it started. Nothing may be answered, dispatched or published
before `durable` has reached it. A failed sync, or any write error except a full disk, ends the writer for good, because the state
of the kernel's buffers is then unknown and a second sync would report success anyway.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self, TypeVar

from casparian_protocol.events.packing import Fact, pack_events
from casparian_sentinel.log.errors import HomeReadOnly, LogBroken, LogFull, LogInUse
from casparian_sentinel.log.format import (
    CHAIN_ID_BYTES,
    Head,
    Position,
    SegmentHeader,
    body_of,
    genesis,
    head_behind,
    pack_batch,
    pack_header,
)
from casparian_sentinel.log.reader import segment_path
from casparian_sentinel.log.recovery import (
    Findings,
    TornTail,
    Witness,
    cut_torn_tail,
    examine,
    renew_unproven,
    write_seal,
)
from casparian_sentinel.ports import Fs, write_all, write_file_durably

#: A daemon holds the home for a long time, a command without a daemon only while it works.
Role = Literal["sentinel", "command"]

_LINE_BYTES = 40
_LOOK_AGAIN_SECONDS = 0.02

SEGMENT_BYTES = 64 * 1024 * 1024
RESERVE_BYTES = 64 * 1024 * 1024
RESERVE_NAME = "reserve"

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")


class HomeLock:
    """Held from `acquire` until `release` or the end of the process. The file remains; only the lock on it matters."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(
        cls, path: Path, role: Role = "sentinel", *, patience_seconds: float = 0.0, only_reads: bool = False
    ) -> HomeLock:
        """Take the lock, or raise `LogInUse` with the holder's pid, or `HomeReadOnly`.

        If a command holds the lock, this waits for it up to `patience_seconds`. A caller that only reads also gets the lock of a
        home that it cannot write, and no lock if there is no file to lock.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        except OSError as cause:
            if cause.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            if not only_reads:
                raise HomeReadOnly(path, cause) from cause
            if not path.exists():
                return cls(path, None)
            descriptor = os.open(path, os.O_RDONLY | _FLAGS)
        deadline = time.monotonic() + patience_seconds
        try:
            while not _lock(descriptor):
                owner_pid, owner_role = _read_owner(descriptor)
                if owner_role == "sentinel" or time.monotonic() >= deadline:
                    raise LogInUse(path, owner_pid, owner_role)
                time.sleep(_LOOK_AGAIN_SECONDS)  # the kernel has no lock with a deadline
            _write_owner(descriptor, f"{os.getpid()} {role}")
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def release(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                _write_owner(descriptor, "")
            finally:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_owner(descriptor: int, words: str) -> None:
    """Write a line of a fixed length, which keeps the file's block: a full disk refuses only the very first line."""
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, words.ljust(_LINE_BYTES - 1).encode() + b"\n", 0)


def _read_owner(descriptor: int) -> tuple[int | None, Role]:
    """The owner's pid and role; (None, "command") between locking and writing the pid, so that callers wait as for a command."""
    words = os.pread(descriptor, _LINE_BYTES, 0).split()
    if not words or not words[0].isdigit():
        return None, "command"
    return int(words[0]), "command" if words[1:] == [b"command"] else "sentinel"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening the log found. A torn tail was cut off, and its copy is `torn_kept_as`, relative to the log folder."""

    end: Head
    is_new: bool
    is_clean: bool  # the last shutdown sealed exactly this end
    torn: TornTail | None = None
    torn_kept_as: str | None = None
    seal_damage: str | None = None


class Appended(NamedTuple):
    """A batch was written; it is durable once the watermark reaches `position` (its end)."""

    first_seq: int
    last_seq: int
    position: Position


class LogWriter:
    """The only writer of a log (`lock`). `end` is the last written place, `durable` the last one known to be on disk."""

    def __init__(
        self, fs: Fs, directory: Path, chain_id: bytes, end: Head, last_batch_offset: int, segment_bytes: int
    ) -> None:
        """Continue a recovered log whose `end` is durable. Use `open` to create a writer."""
        self.chain_id = chain_id
        self.end = end
        self.durable = end
        self._fs = fs
        self._directory = directory
        self._segment_bytes = segment_bytes  # a limit that is checked between batches
        self._last_batch_offset = last_batch_offset
        self._descriptor = fs.open_write(segment_path(directory, end.position.segment))
        self._broken: LogBroken | None = None
        self._is_closed = False
        self._reserve_bytes = 0
        self._sync_lock = threading.Lock()  # one sync or new segment at a time; always taken before the next lock
        self._write_lock = threading.Lock()  # end, durable, descriptor

    @classmethod
    def open(
        cls,
        fs: Fs,
        directory: Path,
        *,
        witnesses: Sequence[Witness] = (),
        segment_bytes: int = SEGMENT_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        new_chain_id: bytes | None = None,
    ) -> tuple[LogWriter, Recovery]:
        """Recover the log, or begin one, and make all of it durable. The caller holds the lock.

        `witnesses` know from elsewhere how far the log reached. Raises `LogCorrupt`, `LogShorter` or `LogReplaced` instead of
        losing durable events, and `LogFull` if there is no room to begin a log or to copy a tail.
        """
        try:
            fs.make_directory(directory)
            for name in fs.names(directory):
                if name.endswith(".new"):  # left by an interrupted creation; never used
                    fs.unlink(directory / name)
            found = examine(fs, directory, witnesses)
            if found is None:
                chain_id = new_chain_id or secrets.token_bytes(CHAIN_ID_BYTES)
                _begin_chain(fs, directory, chain_id)
                recovery = Recovery(genesis(chain_id), is_new=True, is_clean=True)
                writer = cls(fs, directory, chain_id, recovery.end, 0, segment_bytes)
            else:
                recovery = _recover(fs, directory, found)
                writer = cls(fs, directory, found.chain_id, found.end, found.last_batch_offset, segment_bytes)
                try:
                    renew_unproven(fs, writer._descriptor, found.proven_upto, found.end.position)
                    fs.fsync_directory(directory)
                except OSError:
                    fs.close(writer._descriptor)
                    raise
        except OSError as cause:
            raise _as_log_error(fs, directory, "opening it", cause) from cause
        writer._reserve_bytes = reserve_bytes
        try:
            writer.restore_reserve()
        except LogBroken:
            fs.close(writer._descriptor)
            raise
        return writer, recovery

    @property
    def has_reserve(self) -> bool:
        return self._fs.exists(self._directory / RESERVE_NAME)

    def append(self, facts: Sequence[Fact]) -> Appended:
        """Write the facts as one batch, which is recovered as a whole or not at all. Does not sync.

        Raises `EventRefused` (nothing was written), `LogFull` (nothing was written; may be repeated) or `LogBroken`.
        """
        return self.append_packed(pack_events(facts))

    def append_packed(self, events: Sequence[bytes]) -> Appended:
        """Like `append`, for events that `pack_event` has packed."""
        if not events:
            raise ValueError("a batch holds at least one event")
        body = body_of(events)
        if self._is_full():
            self._roll()
        with self._write_lock:
            self._refuse_if_unusable()
            before = self.end
            data = pack_batch(before, self.durable.position, body)
            self._write(data, before.position.offset)
            self.end = head_behind(before, data, len(events))
            self._last_batch_offset = before.position.offset
            return Appended(before.seq + 1, self.end.seq, self.end.position)

    def sync(self) -> Head:
        """Make everything written so far durable, and return the durable head. Call this in a separate thread.

        A full segment is replaced by a new one here, so that `append` seldom waits for the disk.
        """
        with self._sync_lock:
            self._refuse_if_unusable()
            written = self.end
            if written != self.durable:
                self._sync_upto(written)
        if self._is_full():
            with contextlib.suppress(LogFull):  # the next append raises it, and its caller can try again
                self._roll()
        return self.durable

    def restore_reserve(self) -> bool:
        """Set the reserve aside again when twice its size is free. Returns whether it exists, or none is wanted."""
        path = self._directory / RESERVE_NAME
        if self._reserve_bytes == 0 or self._fs.exists(path):
            return True
        if self._fs.free_bytes(self._directory) < 2 * self._reserve_bytes:
            return False
        try:
            self._set_aside(path)
        except OSError as cause:
            if cause.errno not in _NO_SPACE:
                raise self._break("setting the reserve aside", cause) from cause
            return False
        return True

    def _set_aside(self, path: Path) -> None:
        descriptor = self._fs.create(path)
        try:
            self._fs.allocate(descriptor, self._reserve_bytes)
        except OSError:
            self._fs.unlink(path)
            raise
        finally:
            self._fs.close(descriptor)

    def close(self, *, seal: bool) -> None:
        """Sync, write the seal if `seal` is set, and close the files. A broken log is closed without a sync."""
        try:
            if self._broken is None and not self._is_closed:
                self.sync()
                if seal:
                    self._seal()
        finally:
            with self._sync_lock, self._write_lock:
                if not self._is_closed:
                    self._is_closed = True
                    self._fs.close(self._descriptor)

    def _seal(self) -> None:
        try:
            _using_reserve(
                self._fs, self._directory, lambda: write_seal(self._fs, self._directory, self.chain_id, self.durable)
            )
        except OSError as cause:
            raise self._fail("writing the seal", cause) from cause

    def _is_full(self) -> bool:
        return self.end.position.offset >= self._segment_bytes and self._last_batch_offset > 0

    def _refuse_if_unusable(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._is_closed:
            raise ValueError("the log writer is closed")

    def _sync_upto(self, written: Head) -> None:
        try:
            self._fs.fdatasync(self._descriptor)
        except OSError as cause:
            raise self._break("fdatasync", cause) from cause
        self.durable = written

    def _write(self, data: bytes, offset: int) -> None:
        """Write the whole batch or nothing; a full disk leaves the file unchanged."""
        try:
            write_all(self._fs, self._descriptor, data, offset)
        except OSError as cause:
            if cause.errno not in _NO_SPACE:
                raise self._break("a write", cause) from cause
            try:
                self._fs.truncate(self._descriptor, offset)
                _free_reserve(self._fs, self._directory)
            except OSError as worse:
                raise self._break("cutting back a write without space", worse) from worse
            raise LogFull(self._directory, self._fs.free_bytes(self._directory)) from cause

    def _roll(self) -> None:
        """Continue in a new segment, unless another thread just did; everything before it is durable then."""
        with self._sync_lock, self._write_lock:
            self._refuse_if_unusable()
            if not self._is_full():
                return
            if self.end != self.durable:
                self._sync_upto(self.end)
            header = SegmentHeader(
                self.chain_id,
                self.end.seq + 1,
                self.end.batch_no + 1,
                self.end.position.segment,
                self._last_batch_offset,
                self.end.position.offset,
                self.end.sha256,
            )
            path = segment_path(self._directory, header.first_seq)
            try:
                _using_reserve(
                    self._fs, self._directory, lambda: write_file_durably(self._fs, path, pack_header(header))
                )
                descriptor = self._fs.open_write(path)
            except OSError as cause:
                raise self._fail("beginning a segment", cause) from cause
            self._fs.close(self._descriptor)
            self._descriptor, self._last_batch_offset = descriptor, 0
            self.end = self.durable = header.head()

    def _fail(self, doing: str, cause: OSError) -> LogFull | LogBroken:
        """The error to raise: a full disk may get space later, but any other error breaks the log."""
        if cause.errno in _NO_SPACE:
            return LogFull(self._directory, self._fs.free_bytes(self._directory))
        return self._break(doing, cause)

    def _break(self, doing: str, cause: OSError) -> LogBroken:
        self._broken = LogBroken(doing, str(cause))
        return self._broken


def _begin_chain(fs: Fs, directory: Path, chain_id: bytes) -> None:
    header = SegmentHeader(chain_id, 1, 1, 0, 0, 0, genesis(chain_id).sha256)
    write_file_durably(fs, segment_path(directory, header.first_seq), pack_header(header))
    fs.fsync_directory(directory.parent)


def _recover(fs: Fs, directory: Path, found: Findings) -> Recovery:
    torn, kept_as = found.torn, None
    if torn is not None:
        kept_as = _using_reserve(fs, directory, lambda: cut_torn_tail(fs, directory, torn))
    return Recovery(found.end, False, found.is_sealed, torn, kept_as, found.seal_damage)


def _using_reserve(fs: Fs, directory: Path, action: Callable[[], T]) -> T:
    """Run an action that must succeed even on a full disk: retry it once after the reserve was freed."""
    try:
        return action()
    except OSError as cause:
        if cause.errno not in _NO_SPACE or not _free_reserve(fs, directory):
            raise
    return action()


def _free_reserve(fs: Fs, directory: Path) -> bool:
    path = directory / RESERVE_NAME
    if not fs.exists(path):
        return False
    fs.unlink(path)
    fs.fsync_directory(directory)
    return True


def _as_log_error(fs: Fs, directory: Path, doing: str, cause: OSError) -> LogFull | LogBroken:
    if cause.errno in _NO_SPACE:
        return LogFull(directory, fs.free_bytes(directory))
    return LogBroken(doing, str(cause))
