"""Cutting a damaged log back to its last good batch: only on request, and never without keeping the old bytes.

`plan_repair` only reads. `repair` first moves everything it will touch to `damaged/<name>/`, then cuts. The log loses the events
after the cut, so the caller records the repair as an event and names the caches that know those events; they are moved aside too.
A torn tail is not damage: opening the log cuts it off. If a log is only shorter than a witness knows and the loss is accepted, it
is continued in the same way.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import EventData
from casparian_sentinel.log.errors import DamagedBatch
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import (
    SegmentScan,
    check_follows,
    later_batches,
    list_segments,
    read_header,
    segment_name,
    segment_path,
)
from casparian_sentinel.log.recovery import (
    SEAL_NAME,
    LogReplaced,
    LogShorter,
    Witness,
    check_witnesses,
    durability_witness,
    durable_upto,
    read_seal,
)
from casparian_sentinel.log.signed import SEALS_FOLDER
from casparian_sentinel.ports import Fs, write_all, write_file_durably

DAMAGED_FOLDER = "damaged"
_PENDING_NAME = "repair.pending"
_PENDING_LIMIT_BYTES = 64 * 1024
_COPY_BYTES = 1024 * 1024


class NothingToRepair(CasparianError):
    """The log is not damaged."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"The log in {directory} is not damaged.",
            remedy="Nothing was changed. A torn tail is cut off by the next start, without repair.",
        )


class BeyondRepair(CasparianError):
    """The log cannot be cut back to a good batch."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(
            f"The log in {directory} cannot be cut back to a good batch: {reason}.",
            remedy="Nothing was changed. Restore the folder from a copy of the home. If there is none: "
            "`casparian log repair --accept-loss --yes` begins a new log and keeps the old bytes; all files are processed "
            "again.",
        )


#: An event has room for 16 KiB, and a name takes 27 bytes.
_SEGMENTS_IN_EVENT = 200


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """The effect of a repair: cut after event `last_good_seq` at that place, and move these files aside."""

    segment: str
    offset: int
    last_good_seq: int
    reason: str
    #: The highest event that can still be read after the cut, or `last_good_seq` if none can.
    last_seen_seq: int
    cut_bytes: int
    removed_segments: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    head: Head | None = None
    chain_id: bytes = b""
    reason: str | None = None
    is_torn: bool = False
    last_seen_seq: int = 0
    remaining: tuple[int, ...] = ()


def plan_repair(
    fs: Fs, directory: Path, witnesses: Sequence[Witness] = (), *, accepts_loss: bool = False
) -> RepairPlan:
    """Find the last good batch. Raises `NothingToRepair`, `BeyondRepair`, or `LogTooNew` if the log is only newer.

    An intact log that a witness contradicts raises `LogShorter` or `LogReplaced` unless the caller `accepts_loss`, because the
    missing part may still exist somewhere.
    """
    segments = list_segments(fs, directory)
    seal, seal_damage = _seal(fs, directory)
    if seal is not None:
        witnesses = (*witnesses, Witness(f"the clean shutdown ({SEAL_NAME})", seal[1], seal[0]))
    if not segments and not witnesses:
        raise BeyondRepair(directory, "there is no segment, and nothing in the home refers to one")
    if not segments:
        return _accepted(LogShorter(directory, None, witnesses), None, directory, witnesses, accepts_loss)
    durable = durable_upto(witnesses)
    walk = _walk(fs, directory, segments, durable, seal_damage)
    if walk.head is None:
        if not accepts_loss:
            raise BeyondRepair(directory, f"{segment_name(segments[0])}: {walk.reason}")
        size_bytes = sum(_size(fs, directory, segment) for segment in segments)
        names = tuple(segment_name(segment) for segment in segments)
        seen = max(walk.last_seen_seq, _seen_by(witnesses))
        return RepairPlan("", 0, 0, f"{names[0]}: {walk.reason}", seen, size_bytes, names)
    reason = walk.reason if not walk.is_torn else None
    if reason is None and seal is not None and seal[1].position == walk.head.position and seal[1] != walk.head:
        reason = "the part before it is not what the clean shutdown sealed"
    if reason is None:
        reason = seal_damage
    if reason is None:
        problem = check_witnesses(fs, directory, walk.chain_id, walk.head, witnesses)
        if problem is None:
            raise NothingToRepair(directory)
        return _accepted(problem, walk.head, directory, witnesses, accepts_loss)
    place = walk.head.position
    sizes = {segment: _size(fs, directory, segment) for segment in (place.segment, *walk.remaining)}
    return RepairPlan(
        segment_name(place.segment),
        place.offset,
        walk.head.seq,
        reason,
        max(walk.last_seen_seq, walk.head.seq, _seen_by(witnesses)),
        sum(sizes.values()) - place.offset,
        tuple(segment_name(segment) for segment in walk.remaining),
    )


def _accepted(
    problem: LogShorter | LogReplaced,
    end: Head | None,
    directory: Path,
    witnesses: Sequence[Witness],
    accepts_loss: bool,
) -> RepairPlan:
    """A plan that cuts nothing and continues from the end of the log."""
    if not accepts_loss:
        raise problem
    segment, offset = (segment_name(end.position.segment), end.position.offset) if end is not None else ("", 0)
    end_seq = end.seq if end is not None else 0
    return RepairPlan(segment, offset, end_seq, problem.problem, max(_seen_by(witnesses), end_seq), 0, ())


def _seen_by(witnesses: Sequence[Witness]) -> int:
    return max((witness.head.seq for witness in witnesses if witness.head is not None), default=0)


def repair(fs: Fs, directory: Path, plan: RepairPlan, name: str, caches: Iterable[Path] = ()) -> EventData:
    """Keep the old bytes in `damaged/<name>/`, then cut; returns the data of the event to record.

    `name` is new every time, so that after a crash half-way another repair does not overwrite what the first one kept.
    `caches` are files computed from the log (the snapshot of open state, the tables). They know the events that are cut off, so
    they are moved aside with them.
    """
    folder = directory / DAMAGED_FOLDER / name
    fs.make_directory(folder)
    removed = list(plan.removed_segments)
    facts = {**asdict(plan), "removed_segments": removed[:_SEGMENTS_IN_EVENT], "kept_as": f"{DAMAGED_FOLDER}/{name}"}
    if len(removed) > _SEGMENTS_IN_EVENT:
        facts["segments_left_out"] = len(removed) - _SEGMENTS_IN_EVENT
    write_file_durably(fs, _pending(directory), json.dumps(facts).encode())
    is_cut = bool(plan.segment and plan.cut_bytes)
    if is_cut:
        _copy(fs, directory / plan.segment, folder / plan.segment)
    fs.fsync_directory(folder)
    fs.fsync_directory(folder.parent)
    fs.fsync_directory(directory)
    for path in (directory / SEAL_NAME, *caches, *_signed_beyond(fs, directory, plan.last_good_seq)):
        _set_aside(fs, path, folder)
    for segment in reversed(plan.removed_segments):
        _set_aside(fs, directory / segment, folder)
    fs.fsync_directory(folder)
    fs.fsync_directory(directory)
    if not is_cut:
        return facts
    descriptor = fs.open_write(directory / plan.segment)
    try:
        fs.truncate(descriptor, plan.offset)
        fs.fdatasync(descriptor)
    finally:
        fs.close(descriptor)
    return facts


def chain_of(fs: Fs, directory: Path) -> bytes:
    """The chain id of the log's first segment; empty if it cannot be read."""
    for segment in list_segments(fs, directory)[:1]:
        descriptor = fs.open_read(segment_path(directory, segment))
        try:
            return read_header(fs, descriptor, segment).chain_id
        except DamagedBatch:
            return b""
        finally:
            fs.close(descriptor)
    return b""


def unrecorded_repair(fs: Fs, directory: Path) -> EventData | None:
    """The data of a repair that was begun and whose event may be missing after a crash."""
    path = _pending(directory)
    if not fs.exists(path):
        return None
    descriptor = fs.open_read(path)
    try:
        facts: EventData = json.loads(fs.pread(descriptor, _PENDING_LIMIT_BYTES, 0))
    finally:
        fs.close(descriptor)
    return facts


def repair_recorded(fs: Fs, directory: Path) -> None:
    """Note that the repair's event is durable and no repair is pending."""
    fs.unlink(_pending(directory))
    fs.fsync_directory(_pending(directory).parent)


def _pending(directory: Path) -> Path:
    return directory / DAMAGED_FOLDER / _PENDING_NAME


def _walk(fs: Fs, directory: Path, segments: list[int], durable: Position | None, seal_damage: str | None) -> _Walk:
    """Check every batch from the beginning to the first damaged one."""
    walk = _Walk()
    chain_id, previous = b"", (0, 0)
    for number, segment in enumerate(segments):
        descriptor = fs.open_read(segment_path(directory, segment))
        try:
            size = fs.size(descriptor)
            before = walk.head
            try:
                header = read_header(fs, descriptor, segment)
                if before is None and header.prev_segment:
                    raise DamagedBatch(f"the segment before it, {segment_name(header.prev_segment)}, is missing")
                if before is not None:
                    check_follows(header, *previous)
                    _check_link(before, header.head(), header.chain_id == chain_id)
            except DamagedBatch as damage:
                walk.reason, walk.remaining = f"{segment_name(segment)}: {damage.reason}", tuple(segments[number:])
                walk.last_seen_seq = _last_seen(fs, directory, walk.remaining, 0)
                return walk
            chain_id = walk.chain_id = header.chain_id
            walk.head = header.head()
            scan = SegmentScan(fs, descriptor, walk.head, size)
            try:
                for batch in scan:
                    batch.events()
                    walk.head = batch.head
            except DamagedBatch as damage:
                at, is_last = walk.head.position, segment == segments[-1]
                later = later_batches(fs, descriptor, segment, at.offset + 1, size)
                witness = durability_witness(walk.head, damage, later, durable, seal_damage)
                walk.is_torn = is_last and witness is None
                walk.reason, walk.remaining = damage.reason, tuple(segments[number + 1 :])
                walk.last_seen_seq = _last_seen(fs, directory, (segment, *walk.remaining), at.offset + 1)
                return walk
        finally:
            fs.close(descriptor)
        previous = (segment, size)
    return walk


def _check_link(before: Head, begin: Head, is_same_chain: bool) -> None:
    if not is_same_chain:
        raise DamagedBatch("the segment belongs to another log")
    if (begin.batch_no, begin.seq, begin.sha256) != (before.batch_no, before.seq, before.sha256):
        raise DamagedBatch("the segment does not continue the batch before it")


def _last_seen(fs: Fs, directory: Path, segments: Iterable[int], offset: int) -> int:
    """The highest event of any batch after the damage that is still intact."""
    found = 0
    for segment in segments:
        descriptor = fs.open_read(segment_path(directory, segment))
        try:
            batches = later_batches(fs, descriptor, segment, offset, fs.size(descriptor))
            found = max((batch.head.seq for batch in batches), default=found)
        finally:
            fs.close(descriptor)
        offset = 0
    return found


def _seal(fs: Fs, directory: Path) -> tuple[tuple[bytes, Head] | None, str | None]:
    try:
        return read_seal(fs, directory), None
    except DamagedBatch as damage:
        return None, damage.reason


def _signed_beyond(fs: Fs, directory: Path, seq: int) -> Iterator[Path]:
    """The signed heads of the part that is cut off; they would contradict the repaired log forever."""
    folder = directory / SEALS_FOLDER
    for name in fs.names(folder) if fs.is_directory(folder) else ():
        stem = name.split(".")[0]
        if stem.isdigit() and int(stem) > seq:
            yield folder / name


def _set_aside(fs: Fs, path: Path, folder: Path) -> None:
    """Move a file into the folder, or rename it in place if the log is on another file system."""
    if not fs.exists(path):
        return
    try:
        fs.rename(path, folder / path.name)
    except OSError as cause:
        if cause.errno != errno.EXDEV:
            raise
        fs.rename(path, path.with_name(f"{path.name}.{folder.name}"))


def _copy(fs: Fs, source: Path, target: Path) -> None:
    reading, writing = fs.open_read(source), fs.create(target)
    try:
        for offset in range(0, fs.size(reading), _COPY_BYTES):
            write_all(fs, writing, fs.pread(reading, _COPY_BYTES, offset), offset)
        fs.fdatasync(writing)
    finally:
        fs.close(reading)
        fs.close(writing)


def _size(fs: Fs, directory: Path, segment: int) -> int:
    descriptor = fs.open_read(segment_path(directory, segment))
    try:
        return fs.size(descriptor)
    finally:
        fs.close(descriptor)
