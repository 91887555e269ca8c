"""Reading the log: the segment files and their batches, from any event up to a watermark and never past it.

The projector (which follows the log from its own process), recovery, snapshots of the feed and the command line use it. A reader
trusts the watermark it is given: bytes after it may not be durable and may still be cut off. Damage before the watermark raises
`LogCorrupt`. This module never writes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from casparian_sentinel.log.errors import DamagedBatch, LogCorrupt, LogTooNew
from casparian_sentinel.log.format import (
    BATCH_MAGIC,
    HEADER_BYTES,
    PREFIX_BYTES,
    Batch,
    Head,
    LogRecord,
    NewerEvent,
    Position,
    SegmentHeader,
    batch_size,
    check_continues,
    current_events,
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
    """The first sequence numbers of all segments, in order. Other files in the folder are ignored."""
    if not fs.exists(directory):
        return []
    return sorted(int(match[1]) for name in fs.names(directory) if (match := _NAME.fullmatch(name)))


def read_header(fs: Fs, descriptor: int, segment: int) -> SegmentHeader:
    """Read the header. Raises `DamagedBatch` if it does not match the name of the file."""
    header = unpack_header(fs.pread(descriptor, HEADER_BYTES, 0))
    if header.first_seq != segment:
        raise DamagedBatch(f"the segment's header says that it begins with event {header.first_seq}")
    if header.prev_segment == 0 and header.head() != genesis(header.chain_id):
        raise DamagedBatch("the first segment does not begin its chain")
    return header


def check_follows(header: SegmentHeader, previous: int, previous_bytes: int) -> None:
    """Raise `DamagedBatch` unless the header continues segment `previous` as it is on disk."""
    if header.prev_segment != previous:
        raise DamagedBatch(
            f"the segment continues {segment_name(header.prev_segment)}, but {segment_name(previous)} precedes it"
        )
    if header.prev_end != previous_bytes:
        raise DamagedBatch(
            f"the segment before it had {header.prev_end} bytes when it was sealed and has {previous_bytes} now"
        )


class SegmentScan:
    """Iterates over the batches of one segment from `head` to `limit`, checking each against the previous one.

    Raises `DamagedBatch` at the first batch that is incomplete or does not follow; `head` is then the place before it.
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
        """The batch that begins at `start`, without checking what comes before it."""
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
    """Every whole batch at or after `offset`, found by its magic and verified by its checksum."""
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


class LogReader:
    """Reads the log. It keeps one segment open between calls, so that following the log costs one read. Not thread-safe."""

    def __init__(self, fs: Fs, directory: Path) -> None:
        self._fs = fs
        self._directory = directory
        self._open: tuple[int, int] | None = None  # (segment, descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._open is not None:
            self._fs.close(self._open[1])
            self._open = None

    def start(self) -> Head:
        """The place before the first event that the log still has."""
        segments = list_segments(self._fs, self._directory)
        if not segments:
            raise LogCorrupt(segment_name(1), 0, 1, "the file is missing")
        return self.segment_start(segments[0])

    def segment_start(self, segment: int) -> Head:
        """The place before the segment's first batch."""
        return self._header(segment).head()

    def head_before(self, seq: int, upto: Position) -> Head:
        """The place before the batch with event `seq`, or the end if `seq` is not below the watermark."""
        segments = list_segments(self._fs, self._directory)
        at = bisect_right(segments, min(seq, upto.segment)) - 1
        head = self.start() if at < 0 else self.segment_start(segments[at])
        for batch in self.batches(head, upto):
            if batch.head.seq >= seq:
                return batch.head_before()
            head = batch.head
        return head

    def batches(self, after: Head, upto: Position) -> Iterator[Batch]:
        """The batches between `after` and the watermark, each checked against the previous one."""
        head = after
        while head.position < upto:
            segment = head.position.segment
            is_last = segment == upto.segment
            limit = upto.offset if is_last else self._fs.size(self._descriptor(segment))
            scan = SegmentScan(self._fs, self._descriptor(segment), head, limit)
            try:
                yield from scan
            except DamagedBatch as damage:
                raise corrupt(scan.head, damage) from damage
            if is_last:
                return
            head = self._next_segment(scan.head, limit)

    def event_batches(
        self, after: Head, upto: Position, *, as_written: bool = False
    ) -> Iterator[tuple[Head, list[LogRecord]]]:
        """Like `batches`, but decoded: the events of each batch, with the place after it.

        Events are upgraded to the current versions, and newer ones raise `LogTooNew`, unless `as_written` is set.
        """
        for batch in self.batches(after, upto):
            try:
                events = batch.events() if as_written else current_events(batch.events())
            except DamagedBatch as damage:
                raise corrupt(batch.head_before(), damage) from damage
            except NewerEvent as newer:
                raise LogTooNew(newer.what, self._written_by(newer.event.seq, upto)) from newer
            yield batch.head, events

    def events(self, from_seq: int, upto: Position, *, as_written: bool = False) -> Iterator[LogRecord]:
        """Every event from `from_seq` up to the watermark."""
        for _head, events in self.event_batches(self.head_before(from_seq, upto), upto, as_written=as_written):
            yield from events[max(0, from_seq - events[0].seq) :]

    def _written_by(self, seq: int, upto: Position) -> str | None:
        """The version of the program that wrote event `seq`, taken from the last start recorded before it."""
        version = None
        for _head, events in self.event_batches(self.start(), upto, as_written=True):
            for event in events:
                if event.seq > seq:
                    return version
                if event.type == "SentinelStarted":
                    version = str(event.data.get("version"))[:64]
        return version

    def _next_segment(self, head: Head, size_bytes: int) -> Head:
        """The same place in the chain, at the beginning of the next segment."""
        segments = list_segments(self._fs, self._directory)
        at = bisect_right(segments, head.position.segment)
        if at == len(segments):
            raise LogCorrupt(segment_name(head.seq + 1), 0, head.seq + 1, "the file is missing")
        header = self._header(segments[at])
        begin = header.head()
        try:
            check_follows(header, head.position.segment, size_bytes)
            if (begin.batch_no, begin.seq, begin.sha256) != (head.batch_no, head.seq, head.sha256):
                raise DamagedBatch("the segment does not continue the batch before it")
        except DamagedBatch as damage:
            raise LogCorrupt(segment_name(segments[at]), 0, head.seq + 1, damage.reason) from damage
        return begin

    def _header(self, segment: int) -> SegmentHeader:
        try:
            return read_header(self._fs, self._descriptor(segment), segment)
        except DamagedBatch as damage:
            raise LogCorrupt(segment_name(segment), 0, segment, damage.reason) from damage

    def _descriptor(self, segment: int) -> int:
        if self._open is not None and self._open[0] == segment:
            return self._open[1]
        self.close()
        try:
            descriptor = self._fs.open_read(segment_path(self._directory, segment))
        except FileNotFoundError as cause:
            raise LogCorrupt(segment_name(segment), 0, segment, "the file is missing") from cause
        self._open = (segment, descriptor)
        return descriptor


def corrupt(head: Head, damage: DamagedBatch) -> LogCorrupt:
    """The error for `damage` directly after `head`, where no crash can have caused it."""
    return LogCorrupt(segment_name(head.position.segment), head.position.offset, head.seq + 1, damage.reason)
