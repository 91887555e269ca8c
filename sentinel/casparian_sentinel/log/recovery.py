"""The state of the log after a crash (intact, a torn tail, or corrupt), checked against witnesses of an earlier state.

`examine` only reads; `cut_torn_tail` copies the bytes of a torn tail and cuts it off. The headers of all segments are compared
with each other, but only the batches of the last segment are read, so that opening does not depend on the history; damage further
back is found by its reader. A bad batch before anything known to be durable is corruption; any other bad batch looks like an
interrupted write. So if an acknowledged last batch rots before anything durable refers to it (a later batch, the projection, the
seal), it cannot be distinguished from a torn write and is cut off.

A witness knows how far the log once reached, and has seen only durable events. A log that ends before a witness, or has other
events at its place, has lost a part or was replaced. `daemon.boot` gathers the witnesses. The seal of a clean shutdown is one: a
small file that remains true after the log has grown.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from casparian_protocol.errors import CasparianError
from casparian_sentinel.log.errors import BrokenChain, DamagedBatch, LogCorrupt
from casparian_sentinel.log.format import HEADER_BYTES, Batch, Head, Position, SegmentHeader
from casparian_sentinel.log.reader import (
    LogReader,
    SegmentScan,
    check_follows,
    corrupt,
    later_batches,
    list_segments,
    read_header,
    segment_name,
    segment_path,
)
from casparian_sentinel.ports import NOT_A_FILE, Fs, read_file, write_all, write_file_durably

_SHOWN_WITNESSES = 4
SEAL_NAME = "clean-shutdown.seal"

_MAGIC = b"\xc1\xffCASEAL"
_SEAL = struct.Struct("<16sQQQQ32s")
_SEAL_BYTES = len(_MAGIC) + 4 + _SEAL.size
TORN_FOLDER = "torn"
_COPY_BYTES = 1024 * 1024
#: The position of a witness that knows an event, but not its byte offset.
NOWHERE = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Witness:
    """Something that saw the log reach a certain place."""

    #: The name shown to the user: `the tables (state.duckdb)`.
    who: str
    #: None if the witness knows that there was more, but not where.
    head: Head | None
    #: None if the witness does not know the chain.
    chain_id: bytes | None = None
    #: The statement of a witness without a head.
    knows: str = "knows of more"

    @property
    def said(self) -> str:
        if self.head is None:
            return f"{self.who} {self.knows}"
        return f"{self.who} knew event {self.head.seq:,}"


class LogShorter(CasparianError):
    """The log is missing, or ends before a place that a witness saw."""

    def __init__(self, directory: Path, end: Head | None, witnesses: Sequence[Witness]) -> None:
        ends = "is missing" if end is None else f"ends with event {end.seq:,} ({_place(end.position)})"
        longer = any(w.head is None or end is None or w.head.seq > end.seq for w in witnesses)
        longest = _listed(witnesses) if longer else f"a later segment that {witnesses[0].who} knew is missing"
        super().__init__(f"The event log in {directory} {ends}, but {longest}.", remedy=remedy(directory))
        self.end_seq = end.seq if end is not None else 0
        self.witnesses = tuple(witnesses)


class LogReplaced(CasparianError):
    """The log is not the one that was written in this home."""

    def __init__(self, directory: Path, end: Head, witnesses: Sequence[Witness]) -> None:
        super().__init__(
            f"The event log in {directory} (it ends with event {end.seq:,}) is not the one that was written here: "
            f"{_listed(witnesses)}, and it was another.",
            remedy=remedy(directory),
        )
        self.end_seq = end.seq
        self.witnesses = tuple(witnesses)


def remedy(directory: Path) -> str:
    return (
        f"Nothing was changed. Put the missing files back into {directory} from the newest copy. If there is none, "
        "`casparian log repair --accept-loss` shows what is lost; with --yes it gives that up, and files processed after "
        "the log's end are processed again."
    )


def durable_upto(witnesses: Sequence[Witness]) -> Position | None:
    return max((witness.head.position for witness in witnesses if witness.head is not None), default=None)


def check_witnesses(
    fs: Fs, directory: Path, chain_id: bytes, end: Head, witnesses: Sequence[Witness]
) -> LogShorter | LogReplaced | None:
    """The problem with an intact log that ends at `end`, or None if no witness contradicts it."""
    others = [witness for witness in witnesses if witness.chain_id not in (None, chain_id)]
    if others:
        return LogReplaced(directory, end, others)
    beyond = [w for w in witnesses if w.head is None or w.head.seq > end.seq or w.head.position > end.position]
    if beyond:
        return LogShorter(directory, end, beyond)
    placed = [w for w in witnesses if w.head is not None and w.head.position != NOWHERE]
    off_chain = [w for w in placed if w.head is not None and not _is_on_chain(fs, directory, w.head, end)]
    return LogReplaced(directory, end, off_chain) if off_chain else None


def _is_on_chain(fs: Fs, directory: Path, head: Head, end: Head) -> bool:
    """Whether the log at this place continues the batch that the witness saw before it."""
    if head.position == end.position:
        return (head.seq, head.sha256) == (end.seq, end.sha256)
    with LogReader(fs, directory) as reader:
        try:
            return next(reader.batches(head, end.position), None) is not None or _begins_at(reader, head, end)
        except LogCorrupt:
            return False


def _begins_at(reader: LogReader, head: Head, end: Head) -> bool:
    """Whether the place is the border of two segments, where the new one has no batch yet."""
    begin = reader.segment_start(end.position.segment)
    return begin.position == end.position and (begin.seq, begin.sha256) == (head.seq, head.sha256)


def _listed(witnesses: Sequence[Witness]) -> str:
    each = [witness.said for witness in sorted(witnesses, key=_weight, reverse=True)]
    shown = each[:_SHOWN_WITNESSES]
    if len(each) > len(shown):
        shown.append(f"{len(each) - len(shown)} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _weight(witness: Witness) -> int:
    return witness.head.seq if witness.head is not None else 0


def _place(position: Position) -> str:
    return f"offset {position.offset:,} of {segment_name(position.segment)}"


def pack_seal(chain_id: bytes, head: Head) -> bytes:
    rest = _SEAL.pack(chain_id, *head.position, head.batch_no, head.seq, head.sha256)
    return _MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest


def unpack_seal(data: bytes) -> tuple[bytes, Head]:
    """The chain and the place in it. Raises `DamagedBatch` if the bytes are not a seal."""
    if len(data) != _SEAL_BYTES or not data.startswith(_MAGIC):
        raise DamagedBatch("the clean-shutdown seal has the wrong format")
    crc, rest = data[len(_MAGIC) : len(_MAGIC) + 4], data[len(_MAGIC) + 4 :]
    if int.from_bytes(crc, "little") != zlib.crc32(rest):
        raise DamagedBatch("the clean-shutdown seal does not match its checksum")
    chain_id, segment, offset, batch_no, seq, sha256 = _SEAL.unpack(rest)
    return chain_id, Head(Position(segment, offset), batch_no, seq, sha256)


def write_seal(fs: Fs, directory: Path, chain_id: bytes, head: Head) -> None:
    write_file_durably(fs, directory / SEAL_NAME, pack_seal(chain_id, head))


def read_seal(fs: Fs, directory: Path) -> tuple[bytes, Head] | None:
    """The chain and the place of the clean shutdown, if there was one. Raises `DamagedBatch`, and `OSError` of the disk."""
    try:
        content = read_file(fs, directory / SEAL_NAME, _SEAL_BYTES + 1)
    except OSError as cause:
        if cause.errno not in NOT_A_FILE:
            raise
        raise DamagedBatch("the clean-shutdown seal is not a regular file") from cause
    return unpack_seal(content) if content is not None else None


@dataclass(frozen=True, slots=True)
class TornTail:
    """Bytes after the last whole batch, to which nothing durable refers."""

    segment: str
    offset: int
    size_bytes: int
    next_seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The end of the log, and what `examine` saw there."""

    chain_id: bytes
    end: Head
    last_batch_offset: int  # in the last segment; 0 if it has no batch
    proven_upto: Position  # durable according to the last batch or the seal; `end` may be after it
    torn: TornTail | None
    is_sealed: bool  # the seal names exactly this end
    seal_damage: str | None


def examine(fs: Fs, directory: Path, witnesses: Sequence[Witness] = ()) -> Findings | None:
    """Judge the log in `directory`; returns None if there is no log yet.

    Raises `LogCorrupt` if something durable is damaged, and `LogShorter` or `LogReplaced` if a witness contradicts the log.
    `witnesses` are those known to the caller; the clean-shutdown seal is added.
    """
    seal_damage = None
    try:
        seal = read_seal(fs, directory)
    except DamagedBatch as damage:
        seal, seal_damage = None, damage.reason
    if seal is not None:
        witnesses = (*witnesses, Witness(f"the clean shutdown ({SEAL_NAME})", seal[1], seal[0]))
    segments = list_segments(fs, directory)
    if not segments:
        if seal_damage is not None:
            witnesses = (*witnesses, Witness(f"the damaged {SEAL_NAME}", None, knows="is still there"))
        if witnesses:
            raise LogShorter(directory, None, witnesses)
        return None
    header = _check_headers(fs, directory, segments)
    own = [witness for witness in witnesses if witness.chain_id in (None, header.chain_id)]
    found = _walk_last(fs, directory, header, seal and seal[1], durable_upto(own), seal_damage)
    problem = check_witnesses(fs, directory, header.chain_id, found.end, witnesses)
    if problem is not None:
        raise problem
    return found


def _walk_last(
    fs: Fs, directory: Path, header: SegmentHeader, seal: Head | None, durable: Position | None, seal_damage: str | None
) -> Findings:
    descriptor = fs.open_read(segment_path(directory, header.first_seq))
    try:
        size = fs.size(descriptor)
        scan = SegmentScan(fs, descriptor, header.head(), size)
        last_offset, proven, torn = 0, scan.head.position, None
        try:
            for batch in scan:
                last_offset, proven = batch.start.offset, max(proven, batch.synced_upto)
                _compare_with_seal(batch.head, seal)
        except DamagedBatch as damage:
            at = scan.head.position
            later = later_batches(fs, descriptor, at.segment, at.offset + 1, size)
            witness = durability_witness(scan.head, damage, later, durable, seal_damage)
            if witness is not None:
                raise corrupt(scan.head, DamagedBatch(f"{damage.reason}, yet {witness}")) from damage
            name = segment_name(at.segment)
            torn = TornTail(name, at.offset, size - at.offset, scan.head.seq + 1, damage.reason)
    finally:
        fs.close(descriptor)
    _compare_with_seal(scan.head, seal)
    proven = max(filter(None, (proven, durable)))
    return Findings(header.chain_id, scan.head, last_offset, proven, torn, seal == scan.head, seal_damage)


def durability_witness(
    head: Head, damage: DamagedBatch, later: Iterable[Batch], durable: Position | None, seal_damage: str | None
) -> str | None:
    """Why the bad bytes after `head` were once durable, or None if nothing says so."""
    if isinstance(damage, BrokenChain):
        return "its checksum is good, which no interrupted write leaves behind"
    if durable is not None and durable > head.position:
        return f"the log was durable up to {_place(durable)}"
    if seal_damage is not None:
        return f"{seal_damage}, so that it cannot be distinguished from a torn tail"
    for batch in later:
        if batch.batch_no > head.batch_no and batch.synced_upto > head.position:
            return f"batch {batch.batch_no} at offset {batch.start.offset} says that it was durable"
    return None


def _compare_with_seal(head: Head, seal: Head | None) -> None:
    if seal is not None and seal.position == head.position and seal != head:
        raise corrupt(head, DamagedBatch("the part before it is not what the clean shutdown sealed"))


def _check_headers(fs: Fs, directory: Path, segments: list[int]) -> SegmentHeader:
    """Check that each header continues the previous file, and the last header's hash against the batch that it names."""
    previous: SegmentHeader | None = None
    previous_bytes = 0
    for segment in segments:
        descriptor = fs.open_read(segment_path(directory, segment))
        try:
            header = read_header(fs, descriptor, segment)
            size = fs.size(descriptor)
            if previous is None and header.prev_segment != 0:
                raise DamagedBatch(f"the segment before it, {segment_name(header.prev_segment)}, is missing")
            if previous is not None:
                check_follows(header, previous.first_seq, previous_bytes)
                if header.chain_id != previous.chain_id:
                    raise DamagedBatch("the segment belongs to another log")
        except DamagedBatch as damage:
            raise LogCorrupt(segment_name(segment), 0, segment, damage.reason) from damage
        finally:
            fs.close(descriptor)
        previous, previous_bytes = header, size
    assert previous is not None
    if previous.prev_segment:
        _check_link(fs, directory, previous)
    return previous


def _check_link(fs: Fs, directory: Path, header: SegmentHeader) -> None:
    """Check that the last batch of the previous segment is the one that `header` continues."""
    segment, offset = header.prev_segment, header.prev_batch_offset
    descriptor = fs.open_read(segment_path(directory, segment))
    start = Position(segment, offset)
    try:
        last = SegmentScan(fs, descriptor, Head(start, 0, 0, b""), header.prev_end).read(start)
        link = (last.head.position.offset, last.batch_no + 1, last.head.seq + 1, last.head.sha256)
        if link != (header.prev_end, header.first_batch_no, header.first_seq, header.prev_sha256):
            raise DamagedBatch("it is not the batch that the next segment continues")
    except DamagedBatch as damage:
        raise LogCorrupt(segment_name(segment), offset, header.first_seq, damage.reason) from damage
    finally:
        fs.close(descriptor)


def cut_torn_tail(fs: Fs, directory: Path, torn: TornTail) -> str:
    """Copy the tail into `torn/`, durably, then cut it off; returns the copy's name relative to the log folder."""
    folder = directory / TORN_FOLDER
    fs.make_directory(folder)
    fs.fsync_directory(directory)
    descriptor = fs.open_write(directory / torn.segment)
    try:
        copy = _unused_name(fs, folder, f"{torn.segment}-{torn.offset}")
        _copy_tail(fs, descriptor, torn, copy)
        fs.fsync_directory(folder)
        fs.truncate(descriptor, torn.offset)
        fs.fdatasync(descriptor)
    finally:
        fs.close(descriptor)
    return f"{TORN_FOLDER}/{copy.name}"


def _copy_tail(fs: Fs, descriptor: int, torn: TornTail, copy: Path) -> None:
    aside = fs.create(copy)
    try:
        for done in range(0, torn.size_bytes, _COPY_BYTES):
            piece = fs.pread(descriptor, min(_COPY_BYTES, torn.size_bytes - done), torn.offset + done)
            write_all(fs, aside, piece, done)
        fs.fdatasync(aside)
    except OSError:
        fs.unlink(copy)
        raise
    finally:
        fs.close(aside)


def renew_unproven(fs: Fs, descriptor: int, proven_upto: Position, end: Position) -> None:
    """Write the bytes between the proven durable position and the end again, then sync.

    After a failed sync the kernel may hold bytes as clean pages that never reached the disk: they can be read, but another sync
    skips them. Writing them again makes the pages dirty, so that the sync has an effect.
    """
    offset = proven_upto.offset if proven_upto.segment == end.segment else HEADER_BYTES
    while offset < end.offset:
        piece = fs.pread(descriptor, min(_COPY_BYTES, end.offset - offset), offset)
        write_all(fs, descriptor, piece, offset)
        offset += len(piece)
    fs.fdatasync(descriptor)


def _unused_name(fs: Fs, folder: Path, stem: str) -> Path:
    path, attempt = folder / stem, 1
    while fs.exists(path):
        attempt += 1
        path = folder / f"{stem}-{attempt}"
    return path
