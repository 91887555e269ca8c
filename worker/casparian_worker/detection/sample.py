"""What is read of a file to judge it: a bounded number of bytes from its beginning, its end, and places in between.

A small file is its own sample. Of a larger one the sample holds its head, its tail, and blocks that are spread evenly
between them, so that a dialect is judged by the whole file and not by its first lines. `inflated` gives the beginning of the
content of a gzip file, through all its members, and says whether the stream is cut. Judging is the other modules' work.
"""

from __future__ import annotations

import os
import stat
import zlib
from dataclasses import dataclass

#: What a person or a draft waits for; and what a scan spends on each of a million files.
SAMPLE_BYTES = 1 << 20
SCAN_BYTES = 8 * 1024
_BLOCKS = 8
#: Blocks begin at multiples of this, so that no code unit of UTF-16 or UTF-32 is cut.
_ALIGNED = 512


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes as they are in the file, from `offset`."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """Blocks in file order that do not overlap. `size_bytes` is None if it is not known (the content of a large gzip file)."""

    blocks: tuple[Block, ...]
    size_bytes: int | None

    @classmethod
    def of_bytes(cls, data: bytes, *, is_whole: bool = True) -> Sample:
        """Bytes that are already in memory: the whole file, or its beginning."""
        return cls((Block(0, data),), len(data) if is_whole else None)

    @property
    def head(self) -> bytes:
        return self.blocks[0].data if self.blocks else b""

    @property
    def sampled_bytes(self) -> int:
        return sum(len(block.data) for block in self.blocks)

    @property
    def is_whole(self) -> bool:
        """Whether the sample is the whole file."""
        return self.size_bytes == self.sampled_bytes

    @property
    def extent(self) -> str:
        """How much was looked at, in words."""
        if self.is_whole:
            return "the whole file"
        if len(self.blocks) == 1:
            return f"the first {self.sampled_bytes:,} bytes"
        return f"{self.sampled_bytes:,} bytes in {len(self.blocks)} places"

    def reaches_end(self, block: Block) -> bool:
        return self.size_bytes is not None and block.offset + len(block.data) >= self.size_bytes


def sample_descriptor(handle: int, budget_bytes: int = SAMPLE_BYTES) -> Sample:
    """The sample of an open regular file. Raises OSError."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is not a regular file")
    size = status.st_size
    if size <= budget_bytes:
        data = _read(handle, 0, budget_bytes)
        return Sample.of_bytes(data)
    blocks = [Block(offset, _read(handle, offset, length)) for offset, length in _places(size, budget_bytes)]
    return Sample(tuple(block for block in blocks if block.data), size)


def _places(size: int, budget: int) -> list[tuple[int, int]]:
    """Half of the budget for the head, the rest for equal blocks that are spread up to the very end."""
    head = budget // 2
    length = max(_ALIGNED, budget // 2 // _BLOCKS // _ALIGNED * _ALIGNED)
    places = [(0, head)]
    step = (size - head) // _BLOCKS
    for number in range(1, _BLOCKS + 1):
        end = size if number == _BLOCKS else head + step * number
        offset = max(places[-1][0] + places[-1][1], (end - length) // _ALIGNED * _ALIGNED)
        if offset < end:
            places.append((offset, end - offset))
    return places


def _read(handle: int, offset: int, length: int) -> bytes:
    data = b""
    while len(data) < length and (more := os.pread(handle, length - len(data), offset + len(data))):
        data += more
    return data


@dataclass(frozen=True, slots=True)
class Inflated:
    """The beginning of a gzip file's content."""

    content: Sample
    #: Members that were read to their end.
    member_count: int
    #: Why the content ends before the file says so; empty if it does not.
    damage: str = ""
    #: Zero bytes after the last member, as tapes have them.
    padding_bytes: int = 0
    #: Whether everything was read; if not, the budget was used up.
    is_whole: bool = True


def inflated(handle: int, budget_bytes: int = SAMPLE_BYTES) -> Inflated:
    """The content of all members of a gzip file, up to the budget. Damage ends it and is reported; only OSError is raised."""
    return _Members(handle, budget_bytes).read()


class _Members:
    """One pass over the members. A file may hold a million empty ones, so what is read is bounded as well as what comes out."""

    def __init__(self, handle: int, budget_bytes: int) -> None:
        self._handle = handle
        self._budget = budget_bytes
        self._read_max = 2 * budget_bytes
        self._parts: list[bytes] = []
        self._length = 0
        self._members = 0

    def read(self) -> Inflated:
        offset, rest = 0, b""
        inflater = zlib.decompressobj(wbits=31)
        is_inside = True
        while True:
            if not rest:
                rest = _read(self._handle, offset, 64 * 1024)
                offset += len(rest)
                if not rest:
                    return self._end("the gzip stream ends early: it is cut" if is_inside else "")
            if not is_inside:
                kept = rest.lstrip(b"\0")
                if not kept:
                    return self._padding(len(rest), offset)
                if len(kept) < len(rest):
                    return self._end(f"{len(kept):,} bytes follow the padding after the last member")
                inflater, is_inside = zlib.decompressobj(wbits=31), True
            try:
                data = inflater.decompress(rest, self._budget - self._length + 1)
            except zlib.error as cause:
                if self._members and not self._is_member(rest):
                    return self._end("bytes that are not gzip follow the last member")
                return self._end(f"the gzip stream is damaged: {cause}")
            self._parts.append(data)
            self._length += len(data)
            if self._length > self._budget or offset > self._read_max:
                return self._end("", is_whole=False)
            rest = inflater.unconsumed_tail
            if inflater.eof:
                self._members += 1
                rest, is_inside = inflater.unused_data, False

    @staticmethod
    def _is_member(rest: bytes) -> bool:
        return rest.startswith(b"\x1f\x8b"[: len(rest)])

    def _padding(self, seen: int, offset: int) -> Inflated:
        """Zeros to the end, as far as is looked."""
        total = seen
        while data := _read(self._handle, offset, 64 * 1024):
            if data.strip(b"\0"):
                return self._end("bytes that are not gzip follow the padding after the last member")
            total += len(data)
            offset += len(data)
            if offset > self._read_max:
                break
        return self._end("", padding_bytes=total)

    def _end(self, damage: str, *, is_whole: bool = True, padding_bytes: int = 0) -> Inflated:
        data = b"".join(self._parts)[: self._budget]
        return Inflated(
            Sample.of_bytes(data, is_whole=is_whole and not damage), self._members, damage, padding_bytes, is_whole
        )
