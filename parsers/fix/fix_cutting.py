"""Whole blocks of lines as arrays: the fields of all lines, cut at a separator, and the sum of the bytes of each line.

It knows bytes only. `fix_columns` finds messages among the fields.
"""

from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from fix_messages import byte_sum

#: For `binary_slice`: without a `stop`, pyarrow 26 fails on long columns.
_STOP = 1 << 30
_LF, _SOH = pa.scalar(10, pa.uint8()), pa.scalar(1, pa.uint8())
_ONE = pa.scalar(1, pa.int32())
_NUMBERS_KEPT = 1 << 20

# For sums of bytes, eight at a time. In a longer line a lane of 16 bits might overflow.
_WORDS_LINE_MAX = 1_000
_LANES = pa.scalar(0x00FF_00FF_00FF_00FF, pa.uint64())
_FIRST_BYTES = pa.array([(1 << 8 * count) - 1 for count in range(8)], pa.uint64())
_THREE, _SEVEN = pa.scalar(3, pa.int32()), pa.scalar(7, pa.int32())
_EIGHT = pa.scalar(8, pa.uint64())
#: They stay in the processor's cache.
_WORDS_AT_ONCE = 16 * 1024


class Fields(NamedTuple):
    """The fields of all lines."""

    #: In the order of the lines; each with the byte after it, if `end` is one.
    texts: pa.BinaryArray
    #: The place of each line's first field, and the number of its fields.
    first: pa.Int32Array
    counts: pa.Int32Array
    #: Whether a line ends with a separator; its last field is empty then.
    is_ended: pa.BooleanArray
    #: What each field has after it in `texts`, except the last one of a line, which has another byte: the separator, or nothing.
    end: bytes

    def of_line(self, line: int, count: int) -> list[bytes]:
        """The first fields of one line."""
        found = self.texts.slice(self.first[line].as_py(), count).to_pylist()
        return [each[: len(each) - len(self.end)] for each in found]

    def values(self, column: pa.BinaryArray, tag: bytes) -> pa.BinaryArray:
        """What follows this tag in fields that all begin with it."""
        return pc.binary_slice(column, len(tag), -1 if self.end else _STOP)


def cut(lines: pa.BinaryArray, separator: bytes, data: bytes | None) -> Fields:
    """The fields of lines; `data` are the same lines, each with an LF.

    A separator of one byte is searched in all lines at once, in half the time.
    """
    fields = _cut_at_bytes(data, separator) if data is not None and len(separator) == 1 else None
    if fields is not None and len(fields.first) == len(lines):
        return fields
    pieces = pc.split_pattern(lines, separator)
    counts, is_ended = pc.list_value_length(pieces), pc.ends_with(lines, separator)
    return Fields(pieces.values, pieces.offsets.slice(0, len(lines)), counts, is_ended, b"")


def _cut_at_bytes(data: bytes, separator: bytes) -> Fields:
    """Whatever bytes these are: a field ends after each separator and each LF."""
    octets = pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)])
    mark = pa.scalar(separator[0], pa.uint8())
    is_soh = mark.equals(_SOH)
    is_mark = pc.less_equal(octets, _LF) if is_soh else pc.or_(pc.equal(octets, mark), pc.equal(octets, _LF))
    stops = _places_after(is_mark)
    marks = pc.take(octets, pc.subtract(stops, _ONE), boundscheck=False)
    is_line_end = pc.equal(marks, _LF)
    if is_soh and pc.equal(marks, mark).true_count + is_line_end.true_count < len(marks):  # other control characters
        is_real = pc.or_(pc.equal(marks, mark), is_line_end)
        stops, is_line_end = stops.filter(is_real), is_line_end.filter(is_real)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), stops])
    texts = pa.Array.from_buffers(pa.binary(), len(stops), [None, offsets.buffers()[1], pa.py_buffer(data)])
    last = pc.indices_nonzero(is_line_end).cast(pa.int32())
    after = pc.add(last, _ONE)
    first = pa.concat_arrays([pa.array([0], pa.int32()), after])[: len(after)]
    counts = pc.subtract(after, first)
    is_empty = pc.equal(pc.subtract(stops.take(last), offsets.take(last)), _ONE)
    return Fields(texts, first, counts, pc.and_(is_empty, pc.greater(counts, _ONE)), separator)


def _places_after(mask: pa.BooleanArray) -> pa.Int32Array:
    """The place after each true one."""
    parts = []
    for start in range(0, len(mask), _NUMBERS_KEPT):
        part = mask.slice(start, _NUMBERS_KEPT)
        numbers = _first_numbers(min(_NUMBERS_KEPT, 1 << (len(part) - 1).bit_length())).slice(0, len(part)).filter(part)
        parts.append(pc.add(numbers, pa.scalar(start + 1, pa.int32())))
    return pa.concat_arrays(parts) if parts else pa.array([], pa.int32())


@lru_cache(maxsize=32)
def _first_numbers(count: int) -> pa.Int32Array:
    return pa.arange(0, count).cast(pa.int32())


def line_sums(texts: pa.BinaryArray) -> pa.UInt8Array:
    """The sum of each text's bytes modulo 256, as the difference of two running sums."""
    _, offsets, data = texts.buffers()
    places = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    start, stop = places[0].as_py(), places[len(texts)].as_py()
    is_short = (pc.max(pc.binary_length(texts)).as_py() or 0) <= _WORDS_LINE_MAX
    if start % 8 == 0 and is_short and len(texts) and len(texts[-1].as_buffer()) >= 8:
        places = pc.subtract(places, pa.scalar(start, pa.int32())).slice(0, len(texts))
        last = pa.array([byte_sum(texts[-1].as_py()) & 255], pa.uint8())
        return pa.concat_arrays([_sums_by_words(data.slice(start, stop - start), places), last])
    given = pa.Array.from_buffers(pa.uint8(), stop - start, [None, data], offset=start)
    running = pa.concat_arrays([pa.array([0], pa.uint8()), pc.cumulative_sum(given)])  # wraps around
    upto = running.take(pc.subtract(places, start))
    return pc.subtract(upto.slice(1), upto.slice(0, len(texts)))


def _sums_by_words(data: pa.Buffer, places: pa.Int32Array) -> pa.UInt8Array:
    """The same between these places, eight bytes at a time; the last place is in a whole word.

    A word is the sums of its four pairs of bytes, each in a lane of 16 bits, in which those of a short line cannot overflow.
    Running sums do, but the difference of two is right, because words wrap around.
    """
    words = pa.Array.from_buffers(pa.uint64(), data.size // 8, [None, data])
    place, beside = pc.shift_right(places, _THREE), pc.bit_wise_and(places, _SEVEN)
    begun = _pairs(pc.bit_wise_and(words.take(place), _FIRST_BYTES.take(beside)))
    steps = range(0, len(words), _WORDS_AT_ONCE)
    pairs = pa.concat_arrays([_pairs(words.slice(start, _WORDS_AT_ONCE)) for start in steps])
    running = pc.cumulative_sum(pairs)  # wraps around
    upto = pc.add(pc.subtract(running.take(place), pairs.take(place)), begun)
    sums = pc.bit_wise_and(pc.subtract(upto.slice(1), upto.slice(0, len(upto) - 1)), _LANES)
    for half in (32, 16):
        sums = pc.add(sums, pc.shift_right(sums, pa.scalar(half, pa.uint64())))
    return pc.bit_wise_and(sums, pa.scalar(255, pa.uint64())).cast(pa.uint8())


def _pairs(words: pa.UInt64Array) -> pa.UInt64Array:
    """The sums of the bytes of each word, two and two."""
    return pc.add(pc.bit_wise_and(words, _LANES), pc.bit_wise_and(pc.shift_right(words, _EIGHT), _LANES))
