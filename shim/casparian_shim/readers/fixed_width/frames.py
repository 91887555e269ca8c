"""How records follow each other in the bytes: on lines, one after the other without line ends, or with a descriptor before each.

Each way gives `Frames`: the bytes of some records, with what is known about them before their fields are cut. `cutting` cuts the
fields.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.fixed_width.layout import line_ends_of
from casparian_shim.readers.fixed_width.numbers import shown
from casparian_shim.readers.lines import LineEnds, line_blocks
from casparian_shim.readers.source import RAW_BYTES_MAX, Input
from casparian_shim.readers.tape import What

#: `lines`: records end with a line end. `none`: each begins where the one before it ends. `rdw`: each has its length in a
#: record descriptor word before it (RECFM=V). `bdw`: and each block of records in a block descriptor word (RECFM=VB).
#: A descriptor word is two bytes with the length, its own four bytes included, and two zeros.
Framing = Literal["lines", "none", "rdw", "bdw"]

_WORD_BYTES = 4
#: What a file that is no multiple of the record's length may mean.
_LOST = "; if a byte is missing or too many before it, the records after that place are shifted"
#: So many records in a row with a line end after each are lines.
_LINES_SEEN = 3
#: What may fill the end of a file that is cut into blocks: zeros, end-of-file marks and line ends.
_FILL = b"\0\x1a\r\n"


class RecordsAreLines(CasparianError):
    """A file that is to be read as records without line ends has a line end after each record, so that all would be shifted."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, length: int) -> None:
        super().__init__(
            f"The file has a line end after each of its first records of {length} bytes.",
            remedy="Read it with framing='lines', or give the layout the line end as part of each record.",
        )


@dataclass(frozen=True, slots=True)
class Frames:
    """Some records that follow each other."""

    #: The bytes of each record, without line end or descriptor.
    raw: pa.BinaryArray
    row_ids: pa.Int64Array
    ends: pa.Int64Array
    #: The text of each record, NULL if it cannot be read, and the codec that reads it; None where only bytes are asked for.
    texts: pa.StringArray | None = None
    encodings: pa.StringArray | None = None
    #: Records that cannot be read, by place, with the reason; and those that are no records.
    bad: dict[int, str] = field(default_factory=dict)
    asides: dict[int, What] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.raw)


def frames_of(
    input: Input, framing: Framing, length: int, line_ends: LineEnds, record_bytes_max: int, *, with_texts: bool
) -> Iterator[Frames]:
    """The records of an input. `length` is that of a record, for records without line ends."""
    if framing == "lines":
        return _lines(input, line_ends, record_bytes_max, with_texts)
    if framing == "none":
        return _unended(input, length)
    return _described(input, has_blocks=framing == "bdw")


def without_margins(frames: Iterator[Frames], first: int, head: int, foot: int) -> Iterator[Frames]:
    """The same, with the first `head` and the last `foot` records as asides. `first` is the number of the first record."""
    held: deque[Frames] = deque()
    held_count = 0
    for each in frames:
        if head and each.row_ids[0].as_py() < first + head:
            count = min(len(each), first + head - each.row_ids[0].as_py())
            each = replace(each, asides={**each.asides, **dict.fromkeys(range(count), What.SKIPPED_LINE)})
        held.append(each)
        held_count += len(each)
        while held and held_count - len(held[0]) >= foot:
            held_count -= len(held[0])
            yield held.popleft()
    while held:
        each = held.popleft()
        held_count -= len(each)
        start = max(0, len(each) - max(0, foot - held_count))
        asides = dict.fromkeys(range(start, len(each)), What.FOOTER)
        yield replace(each, asides={**asides, **each.asides})


def _lines(input: Input, line_ends: LineEnds, record_bytes_max: int, with_texts: bool) -> Iterator[Frames]:
    for lines in line_blocks(input, line_ends=line_ends, record_bytes_max=record_bytes_max):
        texts = lines.texts if with_texts else None
        encodings = lines.encodings if with_texts and input.has_fallback else None
        asides = {}
        if b"\x1a" in lines.data:
            marks = [place for place, raw in enumerate(lines.raw.to_pylist()) if raw.strip(b"\x1a") == b"" != raw]
            asides = dict.fromkeys(marks, What.PADDING)
        bad = dict(lines.bad)
        if not with_texts and (pc.max(lines.sizes).as_py() or 0) > record_bytes_max:
            too_long = pc.indices_nonzero(pc.greater(lines.sizes, record_bytes_max)).to_pylist()
            bad |= dict.fromkeys(too_long, f"is longer than {record_bytes_max:,} bytes")
        yield Frames(lines.raw, lines.numbers, lines.ends, texts, encodings, bad, asides)


def _unended(input: Input, length: int) -> Iterator[Frames]:
    rest, number, begin = b"", input.lines_before + 1, input.offset
    are_lines_possible = True
    for chunk in input.chunks():
        data = rest + chunk if rest else chunk
        if are_lines_possible:
            if _has_lines(data, length, input.encoding):
                raise RecordsAreLines(length)
            if len(data) <= _LINES_SEEN * (length + 2):
                rest = data
                continue
            are_lines_possible = False
        count = len(data) // length
        rest = data[count * length :]
        if count:
            yield _whole(data, length, number, begin)
            number, begin = number + count, begin + length * count
    if len(rest) >= length:  # a short file
        yield _whole(rest, length, number, begin)
        count = len(rest) // length
        rest, number, begin = rest[count * length :], number + count, begin + count * length
    if rest:
        yield _last(rest, number, begin, f"has {len(rest)} bytes instead of {length}, at the end of the file{_LOST}")


def _whole(data: bytes, length: int, number: int, begin: int) -> Frames:
    """The records at the beginning of some bytes."""
    count = len(data) // length
    records = pa.Array.from_buffers(pa.binary(length), count, [None, pa.py_buffer(data)]).cast(pa.binary())
    ends = pa.arange(begin + length, begin + length * count + 1, length)
    return Frames(records, pa.arange(number, number + count), ends)


def _has_lines(data: bytes, length: int, encoding: str) -> bool:
    """Whether the first records are lines: each is followed by one line end, which is no part of a record."""
    ends = [bytes([byte]) for byte in line_ends_of(encoding)]
    for end in [*ends, b"".join(ends[:2])]:
        size = length + len(end)
        found = [data[at - len(end) : at] for at in range(size, (_LINES_SEEN + 1) * size, size)][:_LINES_SEEN]
        if end and found == [end] * _LINES_SEEN:
            return True
    return False


def _last(rest: bytes, number: int, begin: int, reason: str) -> Frames:
    """What is left at the end: fill, or a record that is cut off."""
    is_fill = not rest.strip(_FILL)
    return Frames(
        pa.array([rest], pa.binary()),
        pa.array([number], pa.int64()),
        pa.array([begin + len(rest)], pa.int64()),
        bad={} if is_fill else {0: reason},
        asides={0: What.PADDING} if is_fill else {},
    )


def _described(input: Input, *, has_blocks: bool) -> Iterator[Frames]:
    """Records with descriptor words. A block descriptor counts as part of the block's first record.

    A descriptor that is not valid does not say where the next record begins: the rest of the input is one bad record.
    """
    data, number, begin, left = b"", input.lines_before + 1, input.offset, 0
    chunks = input.chunks()
    for chunk in chunks:
        data += chunk
        at, records, ends = 0, [], []
        try:
            while (found := _described_at(data, at, left, has_blocks)) is not None:
                start, at, left = found
                records.append(data[start:at])
                ends.append(begin + at)
        except ValueError as fault:
            if records:
                yield _framed(records, number, ends)
            yield _rest(data[at:], chunks, number + len(records), begin + at, str(fault))
            return
        if records:
            yield _framed(records, number, ends)
        data, number, begin = data[at:], number + len(records), begin + at
    if data:
        yield _last(data, number, begin, f"ends after {len(data)} bytes, before the length in its descriptor")


def _described_at(data: bytes, at: int, left: int, has_blocks: bool) -> tuple[int, int, int] | None:
    """Where the record at `at` begins and ends, and what is left of its block; None if it is not complete."""
    if has_blocks and not left:
        if len(data) - at < _WORD_BYTES:
            return None
        left = int.from_bytes(data[at : at + 2], "big") - _WORD_BYTES
        if left <= 0 or data[at + 2 : at + 4] != b"\0\0":
            raise ValueError(f"has the block descriptor {shown(data[at : at + _WORD_BYTES])}, which is not valid")
        at += _WORD_BYTES
    if len(data) - at < _WORD_BYTES:
        return None
    size = int.from_bytes(data[at : at + 2], "big")
    if size < _WORD_BYTES or data[at + 2 : at + 4] != b"\0\0" or (has_blocks and size > left):
        raise ValueError(f"has the record descriptor {shown(data[at : at + _WORD_BYTES])}, which is not valid")
    if len(data) - at < size:
        return None
    return at + _WORD_BYTES, at + size, left - size if has_blocks else 0


def _framed(records: list[bytes], number: int, ends: list[int]) -> Frames:
    return Frames(pa.array(records, pa.binary()), pa.arange(number, number + len(records)), pa.array(ends, pa.int64()))


def _rest(data: bytes, chunks: Iterator[bytes], number: int, begin: int, reason: str) -> Frames:
    """Everything up to the end of the input as one record, of which only the beginning is kept."""
    size, is_fill = len(data), not data.strip(_FILL)
    beginning = data[:RAW_BYTES_MAX]
    for chunk in chunks:
        size += len(chunk)
        beginning += chunk[: RAW_BYTES_MAX - len(beginning)]
        is_fill = is_fill and not chunk.strip(_FILL)
    return Frames(
        pa.array([beginning], pa.binary()),
        pa.array([number], pa.int64()),
        pa.array([begin + size], pa.int64()),
        bad={} if is_fill else {0: f"{reason}; nothing after it can be read"},
        asides={0: What.PADDING} if is_fill else {},
    )
