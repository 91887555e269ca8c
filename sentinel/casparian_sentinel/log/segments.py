"""Segment files: their names, their headers and the walk over the batches in one of them.

Owns what one file of the log is. How segments follow each other under a watermark is `reader`'s work; nothing
here writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from casparian_sentinel.log.errors import DamagedBatch
from casparian_sentinel.log.format import (
    BATCH_MAGIC,
    HEADER_BYTES,
    PREFIX_BYTES,
    Batch,
    Head,
    Position,
    SegmentHeader,
    batch_size,
    check_continues,
    genesis,
    unpack_batch,
    unpack_header,
)
from casparian_sentinel.ports import Fs

_NAME = re.compile(r"([0-9]{20})\.caslog")
_WINDOW_BYTES = 1024 * 1024


def segment_name(first_seq: int) -> str:
    return f"{first_seq:020d}.caslog"


def segment_path(directory: Path, first_seq: int) -> Path:
    return directory / segment_name(first_seq)


def list_segments(fs: Fs, directory: Path) -> list[int]:
    """The first sequence numbers of all segments, in order. Other files in the folder are not the log's."""
    if not fs.exists(directory):
        return []
    return sorted(int(match[1]) for name in fs.names(directory) if (match := _NAME.fullmatch(name)))


def read_header(fs: Fs, descriptor: int, segment: int) -> SegmentHeader:
    """The header, if it belongs under the name the file has; `DamagedBatch` otherwise."""
    header = unpack_header(fs.pread(descriptor, HEADER_BYTES, 0))
    if header.first_seq != segment:
        raise DamagedBatch(f"the segment's header says that it begins with event {header.first_seq}")
    if header.prev_segment == 0 and header.head() != genesis(header.chain_id):
        raise DamagedBatch("the first segment does not begin its chain")
    return header


def check_follows(header: SegmentHeader, previous: int, previous_bytes: int) -> None:
    """`DamagedBatch` unless the header continues segment `previous` as that stands on disk."""
    if header.prev_segment != previous:
        raise DamagedBatch(
            f"the segment continues {segment_name(header.prev_segment)}, but {segment_name(previous)} precedes it"
        )
    if header.prev_end != previous_bytes:
        raise DamagedBatch(
            f"the segment before it had {header.prev_end} bytes when it was sealed and has {previous_bytes} now"
        )


class SegmentScan:
    """Walks the batches of one segment from `head` to `limit`, each checked against the one before it.

    Raises `DamagedBatch` at the first that is not whole or does not follow; `head` then stands before it.
    """

    def __init__(self, fs: Fs, descriptor: int, head: Head, limit: int) -> None:
        self.head = head
        self._fs = fs
        self._descriptor = descriptor
        self._limit = limit
        self._window = b""
        self._window_start = 0

    def __iter__(self) -> Iterator[Batch]:
        while self.head.position.offset < self._limit:
            batch = self.read(self.head.position)
            check_continues(batch, self.head)
            self.head = batch.head
            yield batch

    def read(self, start: Position) -> Batch:
        """The batch that begins at `start`, whatever lies before it."""
        size = batch_size(self._bytes(start.offset, PREFIX_BYTES))
        return unpack_batch(self._bytes(start.offset, size), start, size)

    def _bytes(self, offset: int, size: int) -> bytes:
        at = offset - self._window_start
        if at < 0 or at + size > len(self._window):
            wanted = min(max(size, _WINDOW_BYTES), self._limit - offset)
            self._window = self._fs.pread(self._descriptor, max(wanted, 0), offset)
            self._window_start, at = offset, 0
        return self._window[at : at + size]


def later_batches(fs: Fs, descriptor: int, segment: int, offset: int, limit: int) -> Iterator[Batch]:
    """Every whole batch that begins at `offset` or behind it, found by its magic and believed by its checksum."""
    scan = SegmentScan(fs, descriptor, Head(Position(segment, offset), 0, 0, b""), limit)
    while (found := _find_magic(fs, descriptor, offset, limit)) is not None:
        try:
            batch = scan.read(Position(segment, found))
        except DamagedBatch:
            offset = found + 1
        else:
            offset = batch.head.position.offset
            yield batch


def _find_magic(fs: Fs, descriptor: int, offset: int, limit: int) -> int | None:
    while offset < limit:
        window = fs.pread(descriptor, min(_WINDOW_BYTES, limit - offset), offset)
        if (at := window.find(BATCH_MAGIC)) >= 0:
            return offset + at
        if len(window) < len(BATCH_MAGIC):
            return None
        offset += len(window) - len(BATCH_MAGIC) + 1
    return None
