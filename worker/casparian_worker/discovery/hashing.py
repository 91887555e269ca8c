"""BLAKE3 of files, in constant memory, and the key under which a digest may be trusted without reading again.

A digest is only given for bytes that held still while they were read. When to hash is `scan`'s decision.
"""

import os
import stat
from dataclasses import dataclass

from blake3 import blake3

from casparian_protocol.errors import CasparianError, ErrorCode

_CHUNK_BYTES = 1 << 20
_OPEN_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class InputChanged(CasparianError):
    """A file changed while it was read, or is no longer the one that was seen. Trying again later helps."""

    code = ErrorCode.INPUT_CHANGED

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} changed while it was being read.",
            remedy="Scan again when whatever writes it has finished; nothing of it was used.",
        )


@dataclass(frozen=True, slots=True)
class CacheKey:
    """As long as all four are the same, the bytes are taken to be the same."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "CacheKey":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Digest:
    """BLAKE3 in hex, and the file it belongs to."""

    content_hash: str
    key: CacheKey


def open_regular(path: str) -> int:
    """A descriptor of a regular file: never a FIFO that blocks, a device or a symlink. Raises OSError."""
    handle = os.open(path, _OPEN_FILE)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "not a regular file", path)
    return handle


def hash_file(path: str, expected: CacheKey | None = None) -> Digest:
    """Digest of a file. `InputChanged` when it moved under us or is not the expected one; OSError when unreadable."""
    handle = open_regular(path)
    try:
        before = CacheKey.of(os.fstat(handle))
        if expected is not None and before != expected:
            raise InputChanged(path)
        hasher = blake3()
        if before.size <= _CHUNK_BYTES:
            while chunk := os.read(handle, _CHUNK_BYTES):
                hasher.update(chunk)
        else:
            _hash_large(handle, hasher)
        if CacheKey.of(os.fstat(handle)) != before:
            raise InputChanged(path)
    finally:
        os.close(handle)
    return Digest(hasher.hexdigest(), before)


def _hash_large(handle: int, hasher: blake3) -> None:
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(handle, [buffer]):
        hasher.update(view[:count])
