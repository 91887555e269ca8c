"""The byte format of the event log: events in a batch, batches in a segment, checksums, and the hash chain.

This module converts between bytes and values. The reader and the writer know the files; `recovery` judges whether damage is a
torn tail or corruption. `casparian_protocol.events` packs one event and upgrades older versions of events; an event newer than
this program is refused, because guessing would lose its data.

A segment is a header followed by batches. All numbers are little-endian.

    header  magic 8 · crc u32 · format_version u32 · chain_id 16 · first_seq u64 · first_batch_no u64
            · prev_segment u64 · prev_batch_offset u64 · prev_end u64 · prev_sha256 32
    batch   magic 8 · len u32 · crc u32 · batch_no u64 · first_seq u64 · synced_upto (segment u64, offset u64)
            · prev_sha256 32 · events (msgpack)

A batch's `len` counts the bytes after its crc. The crc covers those bytes and `len`, so that a damaged length cannot point to
bytes whose checksum fits. Both magics contain bytes that occur neither in UTF-8 nor in msgpack's type codes.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgpack

from casparian_protocol import events
from casparian_protocol.events import VERSIONS, EventData
from casparian_protocol.events.packing import CAUSE_KEY, Cause, Fact, check_shape, upcast
from casparian_protocol.events.packing import pack_events as pack_all
from casparian_sentinel.log.errors import BatchTooLarge, BrokenChain, DamagedBatch, LogTooNew

FORMAT_VERSION = 1
MAX_BATCH_BYTES = 16 * 1024 * 1024
SEGMENT_MAGIC = b"\xc1\xffCASLOG"
BATCH_MAGIC = b"\xc1\xffCASBAT"
CHAIN_ID_BYTES = 16
_SHA256_BYTES = 32

_CRC_MASK = 0x5CA5_7A1B  # a run of zeros must never have a valid checksum
_HEADER = struct.Struct("<8sII16sQQQQQ32s")
_HEADER_REST = struct.Struct("<I16sQQQQQ32s")
_PREFIX = struct.Struct("<8sII")
_REST = struct.Struct("<QQQQ32s")

HEADER_BYTES = _HEADER.size
PREFIX_BYTES = _PREFIX.size
_CRC = slice(12, 16)  # of a batch
#: `_made(Head, values)` is `Head(*values)` without the cost of a call; each batch written or read creates several.
_made = tuple.__new__
MIN_BATCH_BYTES = PREFIX_BYTES + _REST.size + 1


class LogRecord(NamedTuple):
    """One event as the log stores it: the fact (`casparian_protocol.events.Event`) with its sequence number, time and actor.

    `ts` is µs since the epoch in UTC and never used for ordering; `v` is the version of `type`. A named tuple, because every
    start folds the log and a named tuple is created three times as fast as a frozen dataclass.
    """

    seq: int
    ts: int
    type: str
    v: int
    actor: str
    data: EventData
    #: What led to it: the sequence number of an event, or a request; 0 in logs written before causes were recorded.
    cause: Cause = 0

    def decoded(self) -> events.Event:
        """The fact, as an instance of its own event class. Raises `MalformedEvent`."""
        return events.decode(self.type, self.v, self.data)


def pack_events(facts: Sequence[Fact]) -> bytes:
    """The body of a batch. Raises `EventTooLarge` or `EventUnfit`, naming the first event that cannot be stored."""
    return body_of(pack_all(facts))


def body_of(packed: Sequence[bytes]) -> bytes:
    """The body of a batch of packed events."""
    head: bytes = msgpack.Packer().pack_array_header(len(packed))
    return head + b"".join(packed)


def unpack_events(body: bytes, first_seq: int) -> list[LogRecord]:
    """The events in a batch's body. Raises `DamagedBatch` for anything that `pack_events` would not produce."""
    made = tuple.__new__  # as `LogRecord(...)`, without the cost of a call for each record
    return [
        made(LogRecord, (first_seq + index, *fact, fact[4].pop(CAUSE_KEY, 0)))
        for index, fact in enumerate(_unpack(body))
    ]


def event_count(body: bytes) -> int:
    """The number of events that the first bytes of the body claim."""
    kind = body[0] if body else 0
    if 0x90 <= kind <= 0x9F:
        return kind & 0x0F
    width = {0xDC: 2, 0xDD: 4}.get(kind)
    if width is None or len(body) <= width:
        raise DamagedBatch("its events are not an array")
    return int.from_bytes(body[1 : 1 + width], "big")


def _unpack(body: bytes) -> list[Fact]:
    try:
        facts = msgpack.unpackb(body, raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as cause:
        raise DamagedBatch(f"its events cannot be decoded ({type(cause).__name__}: {cause})") from cause
    if type(facts) is not list:
        raise DamagedBatch("its events are not an array")
    try:
        for fact in facts:
            check_shape(fact)
    except (TypeError, ValueError) as cause:
        raise DamagedBatch("an event is not [ts, type, v, actor, data]") from cause
    return facts


def _refuse_extension(code: int, _data: bytes) -> None:
    raise ValueError(f"extension type {code} is not used in the log")


class NewerEvent(Exception):
    """An event that this program does not know; the caller decides what to do about it."""

    def __init__(self, event: LogRecord) -> None:
        known = VERSIONS.get(event.type)
        self.what = (
            f"event {event.seq} is of type {event.type!r}, which this version does not know"
            if known is None
            else f"event {event.seq}, {event.type}, has version {event.v}, and this version knows {known}"
        )
        super().__init__(self.what)
        self.event = event


def current_events(events: list[LogRecord]) -> list[LogRecord]:
    """The events upgraded to the current versions, or the same list if none is older. Raises `NewerEvent`."""
    versions = VERSIONS
    for event in events:
        if versions.get(event.type) != event.v:
            return [_current(event) for event in events]
    return events


def _current(event: LogRecord) -> LogRecord:
    known = VERSIONS.get(event.type, 0)
    if event.v > known:
        raise NewerEvent(event)
    if event.v == known:
        return event
    return event._replace(v=known, data=upcast(event.type, event.v, known, event.data))


class Position(NamedTuple):
    """A place in the log: the segment (its first sequence number) and the byte offset in it. Positions are ordered."""

    segment: int
    offset: int


class Head(NamedTuple):
    """A place between two batches and the hash chain up to it, which is all that is needed to continue the chain."""

    position: Position
    batch_no: int  # of the last batch before this place
    seq: int  # of the last event before this place
    sha256: bytes  # of the last batch before this place

    @classmethod
    def checked(cls, segment: object, offset: object, batch_no: object, seq: object, sha256: object) -> Head:
        """A head whose values come from a file that may hold anything. Raises `ValueError` if one has the wrong type."""
        if not isinstance(sha256, bytes) or len(sha256) != _SHA256_BYTES:
            raise ValueError(f"{sha256!r:.80} is not a SHA-256")
        return cls(Position(_number(segment), _number(offset)), _number(batch_no), _number(seq), sha256)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64:
        raise ValueError(f"{value!r:.80} is not a number of the log")
    return value


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment continues: the end of the previous segment, and its last batch."""

    chain_id: bytes
    first_seq: int
    first_batch_no: int
    prev_segment: int  # 0 in the first segment, like the next two
    prev_batch_offset: int
    prev_end: int
    prev_sha256: bytes

    def head(self) -> Head:
        """The place before the segment's first batch."""
        position = Position(self.first_seq, HEADER_BYTES)
        return Head(position, self.first_batch_no - 1, self.first_seq - 1, self.prev_sha256)


class Batch(NamedTuple):
    """One group commit. `head` is the place after it."""

    start: Position
    batch_no: int
    first_seq: int
    event_count: int
    synced_upto: Position
    prev_sha256: bytes
    body: bytes
    head: Head

    def events(self) -> list[LogRecord]:
        return unpack_events(self.body, self.first_seq)

    def head_before(self) -> Head:
        """The place before the batch, trusting what the batch says about the one it continues."""
        return Head(self.start, self.batch_no - 1, self.first_seq - 1, self.prev_sha256)


def genesis(chain_id: bytes) -> Head:
    """The place before the first batch of a new chain."""
    return Head(Position(1, HEADER_BYTES), 0, 0, hashlib.sha256(b"casparian event log " + chain_id).digest())


def pack_header(header: SegmentHeader) -> bytes:
    rest = _HEADER_REST.pack(
        FORMAT_VERSION,
        header.chain_id,
        header.first_seq,
        header.first_batch_no,
        header.prev_segment,
        header.prev_batch_offset,
        header.prev_end,
        header.prev_sha256,
    )
    return SEGMENT_MAGIC + (zlib.crc32(rest) ^ _CRC_MASK).to_bytes(4, "little") + rest


def unpack_header(data: bytes) -> SegmentHeader:
    if len(data) < HEADER_BYTES:
        raise DamagedBatch(f"the segment's header ends after {len(data)} of {HEADER_BYTES} bytes")
    magic, crc, version, *fields = _HEADER.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        raise DamagedBatch("the file does not begin with the magic bytes of a segment")
    if crc != zlib.crc32(data[12:HEADER_BYTES]) ^ _CRC_MASK:
        raise DamagedBatch("the segment's header does not match its checksum")
    if version != FORMAT_VERSION:  # the checksum covers these bytes in every format, so this is not damage
        raise LogTooNew(f"a segment has format {version}, and this version reads format {FORMAT_VERSION}", None)
    return SegmentHeader(*fields)


def pack_batch(after: Head, synced_upto: Position, body: bytes) -> bytes:
    """The bytes of the batch that follows `after`."""
    rest = _REST.pack(after.batch_no + 1, after.seq + 1, *synced_upto, after.sha256) + body
    if len(rest) > MAX_BATCH_BYTES:
        raise BatchTooLarge(len(rest), MAX_BATCH_BYTES)
    return _PREFIX.pack(BATCH_MAGIC, len(rest), _batch_crc(rest)) + rest


def head_behind(after: Head, data: bytes, event_count: int) -> Head:
    """The place after the batch `data` with that many events, which was written at `after`."""
    segment, offset = after.position
    position = _made(Position, (segment, offset + len(data)))
    return _made(Head, (position, after.batch_no + 1, after.seq + event_count, hashlib.sha256(data).digest()))


def batch_size(prefix: bytes) -> int:
    """The total size of the batch that begins with `prefix`; a size above the limit is refused."""
    if len(prefix) < PREFIX_BYTES:
        raise DamagedBatch("it ends within its prefix")
    magic, length, _crc = _PREFIX.unpack_from(prefix)
    if magic != BATCH_MAGIC:
        raise DamagedBatch("it does not begin with the magic bytes of a batch")
    if not MIN_BATCH_BYTES <= PREFIX_BYTES + length <= PREFIX_BYTES + MAX_BATCH_BYTES:
        raise DamagedBatch(f"its length of {length} bytes is impossible")
    return PREFIX_BYTES + int(length)


def unpack_batch(data: bytes, start: Position, size: int | None = None) -> Batch:
    """Read one whole batch at `start`; its events stay packed. `size` is what `batch_size` returned for its prefix."""
    if size is None:
        size = batch_size(data)
    if len(data) < size:
        raise DamagedBatch(f"it ends after {len(data)} of {size} bytes")
    whole = data[:size]  # the same object if there are no more bytes
    rest = whole[PREFIX_BYTES:]
    if int.from_bytes(whole[_CRC], "little") != _batch_crc(rest):
        raise DamagedBatch("it does not match its checksum")
    batch_no, first_seq, segment, offset, prev_sha256 = _REST.unpack_from(rest)
    body = rest[_REST.size :]
    count = event_count(body)
    if not count:
        raise DamagedBatch("it has no events")
    behind = _made(Position, (start.segment, start.offset + size))
    head = _made(Head, (behind, batch_no, first_seq + count - 1, hashlib.sha256(whole).digest()))
    synced_upto = _made(Position, (segment, offset))
    return _made(Batch, (start, batch_no, first_seq, count, synced_upto, prev_sha256, body, head))


def check_continues(batch: Batch, after: Head) -> None:
    """Raise `BrokenChain` unless the batch is the one that directly follows `after`."""
    if batch.prev_sha256 != after.sha256:
        raise BrokenChain("its hash chain does not continue the batch before it")
    if batch.batch_no != after.batch_no + 1 or batch.first_seq != after.seq + 1:
        raise BrokenChain(
            f"it is batch {batch.batch_no} with event {batch.first_seq}, "
            f"where batch {after.batch_no + 1} with event {after.seq + 1} belongs"
        )
    if batch.synced_upto > batch.start:
        raise BrokenChain("it claims that a later part was durable")


def _batch_crc(rest: bytes) -> int:
    return zlib.crc32(rest, zlib.crc32(len(rest).to_bytes(4, "little"))) ^ _CRC_MASK
