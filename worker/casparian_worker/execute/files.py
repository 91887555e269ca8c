"""The two things on disk that a guest is given: its input, which must not change meanwhile, and its scratch directory.

The input is opened once, hashed on that descriptor before the parser runs and looked at again after it; the parser gets this
very descriptor. A file that another process changes or replaces meanwhile is noticed, and nothing that was read of it counts.
The scratch directory is watched for size and removed whatever the guest made of it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from blake3 import blake3

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.trees import measure_tree, remove_if_unused, remove_scratch
from casparian_shim.text import scrub
from casparian_worker.discovery.files import InputChanged
from casparian_worker.validation import LimitExceeded

_CHUNK_BYTES = 1 << 20


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
    """The file has other bytes than at the scan."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.problem = f"{scrub(path)} is not what the scan saw: its bytes differ."
        self.remedy = "Scan again; the new content is a job of its own."


@dataclass(frozen=True, slots=True)
class _Seen:
    """What must stay the same, and the time that betrays a change of anything."""

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
        """Open and hash. Raises `InputUnreadable`, or `InputChanged` when it did not hold still."""
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
        """Raise `InputIsNotTheQueued` when the scan saw other bytes."""
        if content_hash and content_hash != self.content_hash:
            raise InputIsNotTheQueued(self.path)

    def expect_unchanged(self) -> None:
        """Raise `InputChanged` when the file, or what its name leads to, is no longer what was hashed."""
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
        if (named.st_dev, named.st_ino) != (now.device, now.inode):  # another file was put in its place
            raise InputChanged(scrub(self.path))

    def close(self) -> None:
        os.close(self.descriptor)

    def _digest(self) -> str:
        """BLAKE3 by positioned reads: the guest shares the descriptor's offset."""
        hasher, offset = blake3(), 0
        try:
            while chunk := os.pread(self.descriptor, _CHUNK_BYTES, offset):
                hasher.update(chunk)
                offset += len(chunk)
        except OSError as cause:
            raise InputUnreadable(self.path, cause) from cause
        return hasher.hexdigest()


ENTRIES_MAX = 100_000
#: A directory this young may not be locked yet.
_NEW_SECONDS = 60.0


def check_scratch(scratch: Path, bytes_max: int) -> None:
    """Raise `LimitExceeded` for too many bytes (as the disk counts them) or too many entries."""
    total_bytes = entries = 0

    def count(status: os.stat_result) -> None:
        nonlocal total_bytes, entries
        entries += 1
        total_bytes += status.st_blocks * 512
        if entries > ENTRIES_MAX:
            raise LimitExceeded("Files in the scratch directory", entries, ENTRIES_MAX)

    measure_tree(scratch, count)
    if total_bytes > bytes_max:
        raise LimitExceeded("Bytes in the scratch directory", total_bytes, bytes_max)


@contextmanager
def held_scratch(scratch: Path) -> Iterator[Path]:
    """A new private directory, locked while it is in use and removed afterwards."""
    scratch.mkdir(mode=0o700)
    lock = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield scratch
    finally:
        remove_scratch(scratch)
        os.close(lock)


def sweep(root: Path, now_seconds: float) -> list[str]:
    """Remove what workers that died left behind: directories that nobody has locked and that are not quite new."""
    removed: list[str] = []
    for path in sorted(root.iterdir()):
        try:
            if not path.is_dir() or path.is_symlink() or now_seconds - path.stat().st_mtime < _NEW_SECONDS:
                continue
        except OSError:  # removed at this moment
            continue
        if remove_if_unused(path):
            removed.append(path.name)
    return removed
