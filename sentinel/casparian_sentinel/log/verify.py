"""Verification of the whole chain: every header, checksum, hash and sequence number of every segment.

Damage raises nothing: it is listed, and the check continues after it, so that one report lists every problem. A tail that
`recovery` would cut off is listed as torn. Nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from casparian_sentinel.log.errors import DamagedBatch
from casparian_sentinel.log.format import HEADER_BYTES, Batch, Head, Position
from casparian_sentinel.log.reader import (
    SegmentScan,
    check_follows,
    later_batches,
    list_segments,
    read_header,
    segment_name,
    segment_path,
)
from casparian_sentinel.log.recovery import SEAL_NAME, durability_witness, read_seal
from casparian_sentinel.ports import Fs


@dataclass(frozen=True, slots=True)
class Damage:
    """A place where the log differs from what was written. A crash may leave a torn tail; anything else is corruption."""

    kind: Literal["corrupt", "torn"]
    segment: str
    offset: int
    next_seq: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.kind} in {self.segment} at offset {self.offset}, where event {self.next_seq} belongs: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class Verification:
    segment_count: int
    batch_count: int
    event_count: int
    first_seq: int | None
    last_seq: int | None
    head_sha256: str | None  # of the last good batch
    damage: tuple[Damage, ...]

    @property
    def is_sound(self) -> bool:
        """Whether there is no corruption; a torn tail is not corruption."""
        return all(damage.kind == "torn" for damage in self.damage)


@dataclass(slots=True)
class _Walk:
    """The progress of the check; `head` is None while the place in the chain is unknown."""

    fs: Fs
    directory: Path
    head: Head | None = None
    seal: Head | None = None
    seal_damage: str | None = None
    chain_id: bytes | None = None
    first_seq: int | None = None
    last: Head | None = None
    batch_count: int = 0
    event_count: int = 0
    damage: list[Damage] = field(default_factory=list)

    @property
    def sealed_upto(self) -> Position | None:
        return None if self.seal is None else self.seal.position

    def blame(self, place: Position, next_seq: int, reason: str, kind: Literal["corrupt", "torn"] = "corrupt") -> None:
        self.damage.append(Damage(kind, segment_name(place.segment), place.offset, next_seq, reason))

    def count(self, batch: Batch) -> None:
        self.head = self.last = batch.head
        self.first_seq = batch.first_seq if self.first_seq is None else self.first_seq
        self.batch_count += 1
        self.event_count += batch.event_count
        try:
            batch.events()
        except DamagedBatch as damage:
            self.blame(batch.start, batch.first_seq, damage.reason)


def verify(fs: Fs, directory: Path, upto: Position | None = None) -> Verification:
    """Check the whole log, or everything below the watermark `upto` while a sentinel is writing after it."""
    walk = _Walk(fs, directory)
    segments = [s for s in list_segments(fs, directory) if upto is None or s <= upto.segment]
    _read_seal(walk)
    previous: tuple[int, int] | None = None
    for segment in segments:
        place = Position(segment, 0)
        try:
            descriptor = fs.open_read(segment_path(directory, segment))
            try:
                size = fs.size(descriptor)
                limit = min(size, upto.offset) if upto is not None and segment == upto.segment else size
                _enter(walk, descriptor, segment, previous)
                _walk_segment(walk, descriptor, segment, limit, is_last=segment == segments[-1])
            finally:
                fs.close(descriptor)
        except OSError as cause:
            walk.blame(place, segment, f"it cannot be read ({cause})")
            walk.head, size = None, 0
        previous = (segment, size)
    _check_end(walk, upto)
    last = walk.last
    return Verification(
        len(segments),
        walk.batch_count,
        walk.event_count,
        walk.first_seq,
        last.seq if last else None,
        last.sha256.hex() if last else None,
        tuple(walk.damage),
    )


def _enter(walk: _Walk, descriptor: int, segment: int, previous: tuple[int, int] | None) -> None:
    """Check the header against everything before it, and move to the place before the segment's first batch."""
    before, walk.head = walk.head, None
    try:
        header = read_header(walk.fs, descriptor, segment)
        begin = header.head()
        walk.head = begin
        if walk.chain_id not in (None, header.chain_id):
            raise DamagedBatch("the segment belongs to another log")
        walk.chain_id = header.chain_id
        if previous is not None:
            check_follows(header, *previous)
        elif header.prev_segment:
            raise DamagedBatch(f"the segment before it, {segment_name(header.prev_segment)}, is missing")
        found = (begin.batch_no, begin.seq, begin.sha256)
        if before is not None and found != (before.batch_no, before.seq, before.sha256):
            raise DamagedBatch("the segment does not continue the batch before it")
    except DamagedBatch as damage:
        walk.blame(Position(segment, 0), segment, damage.reason)


def _walk_segment(walk: _Walk, descriptor: int, segment: int, limit: int, *, is_last: bool) -> None:
    head = walk.head or Head(Position(segment, HEADER_BYTES), 0, segment - 1, b"")
    is_anchored = walk.head is not None
    while True:
        scan = SegmentScan(walk.fs, descriptor, head, limit)
        try:
            if not is_anchored and head.position.offset < limit:
                head = scan.read(head.position).head_before()  # after damage, a batch is accepted by its checksum
                scan.head, is_anchored = head, True
            for batch in scan:
                walk.count(batch)
            return
        except DamagedBatch as damage:
            place = scan.head.position
            later = list(later_batches(walk.fs, descriptor, segment, place.offset + 1, limit))
            witness = durability_witness(scan.head, damage, later, walk.sealed_upto, walk.seal_damage)
            is_torn = is_last and witness is None
            reason = damage.reason if witness is None else f"{damage.reason}, yet {witness}"
            walk.blame(place, scan.head.seq + 1, reason, "torn" if is_torn else "corrupt")
            if is_torn or not later:
                walk.head = scan.head if is_torn else None
                return
            head = later[0].head_before()


def _read_seal(walk: _Walk) -> None:
    try:
        seal = read_seal(walk.fs, walk.directory)
    except (DamagedBatch, OSError) as damage:
        walk.seal_damage = damage.reason if isinstance(damage, DamagedBatch) else f"{SEAL_NAME}: {damage}"
        walk.damage.append(Damage("corrupt", SEAL_NAME, 0, 0, walk.seal_damage))
    else:
        walk.seal = seal[1] if seal is not None else None


def _check_end(walk: _Walk, upto: Position | None) -> None:
    """Check that the log reaches everything known to be durable."""
    if walk.damage and walk.head is None:
        return
    end = walk.head.position if walk.head is not None else Position(1, 0)
    next_seq = walk.head.seq + 1 if walk.head is not None else 1
    for known, who in ((walk.sealed_upto, "the clean-shutdown seal"), (upto, "the watermark")):
        if known is not None and known > end:
            walk.blame(end, next_seq, f"the log ends here, but {who} says that it continues")
            return
