r"""One file: its name as text, and the digest of its content.

A name on Linux is bytes. Valid UTF-8 is shown as it is; any other byte becomes `\xNN` (lower-case hex, so `\xe9`).
So that this can be undone, a backslash that stands before `x5c` or such a `\xNN` is itself written `\x5c`.
`path_text` and `path_os` are each other's inverse for every name that exists.

A digest (BLAKE3, in constant memory) is only given for bytes that held still while they were read; `CacheKey` says when one
may be trusted without reading again. When to hash is `scan`'s decision.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

from blake3 import blake3

from casparian_protocol.errors import CasparianError, ErrorCode

_ESCAPE = re.compile(r"\\x(5c|[89a-f][0-9a-f])")
_LONE_BYTE = re.compile("[\udc80-\udcff]")


def path_text(path: str) -> str:
    """What the operating system gave (undecodable bytes as surrogates) → text that any store and screen can take."""
    if "\\" in path:
        path = _ESCAPE.sub(r"\\x5cx\1", path)
    if not path.isascii():
        path = _LONE_BYTE.sub(lambda lone: f"\\x{ord(lone[0]) - 0xDC00:02x}", path)
    return path


def path_os(text: str) -> str:
    """Text of `path_text` → what the operating system takes."""
    if "\\x" not in text:
        return text
    return os.fsdecode(
        _ESCAPE.sub(lambda found: chr(0xDC00 + int(found[1], 16)) if found[1] != "5c" else "\\", text).encode(
            "utf-8", "surrogateescape"
        )
    )


def names_text(names: list[str]) -> list[str]:
    """`path_text` for a whole directory; nearly always nothing has to be done, and that is seen in one look."""
    joined = "\0".join(names)
    if joined.isascii() and "\\" not in joined:
        return names
    return [path_text(name) for name in names]


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
    def of(cls, status: os.stat_result) -> CacheKey:
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
