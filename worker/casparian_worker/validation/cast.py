"""The results of validation: a cast with its violations, and the errors that end an output or a guest; and what casts share.

pyarrow's casts succeed or fail as a whole. A cast here returns an array with NULL where a value was NULL or bad, and the rows of
the bad values by code. Cheap looks at all texts of a column decide which of them a cast gets, never what is said about one. Dates
and times are limited to the years that every reader of the tables can show: 1 to 9999, or in nanoseconds what 64 bits can hold
(1677 to 2262).
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import Judged, ViolationCode
from casparian_protocol.contract.formats import NANOSECONDS_MAX
from casparian_protocol.errors import CasparianError, ErrorCode

_SHOWN_NAMES = 20


class OutputFailed(CasparianError):
    """An output does not have its contract's columns, so none of its rows can be judged."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(
        self,
        output: str,
        violation: ViolationCode,
        columns: Sequence[str],
        expected: Sequence[str],
        actual: Sequence[str],
    ) -> None:
        self.output = output
        self.violation = violation
        self.columns = tuple(columns)
        self.expected_columns = tuple(expected)
        self.actual_columns = tuple(actual)
        fault = "lacks" if violation is ViolationCode.COLUMN_MISSING else "has unexpected"
        super().__init__(
            f"Output {output!r} {fault} {_names(columns)} ({violation.value}); "
            f"expected {_names(expected)}, got {_names(actual)}.",
            remedy="Emit the contract's columns, or amend the contract (its columns, or mode = allow_extra or "
            "allow_missing_optional).",
        )


class ReservedColumn(CasparianError):
    """A parser used a name that is reserved for Casparian."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The parser emits the column {name[:80]!r}, and names starting with _cf_ are reserved.",
            remedy="Rename it; of the reserved names only __cf_row_id, _cf_raw and _cf_raw_encoding are for parsers.",
        )


class LimitExceeded(CasparianError):
    """Data exceeds a limit; none of it is kept."""

    code = ErrorCode.LIMIT_EXCEEDED

    def __init__(self, what: str, actual: int, limit: int) -> None:
        super().__init__(
            f"{what}: {actual:,}, at most {limit:,} are allowed.",
            remedy="Split the value or the batch in the parser, or raise the limit in config.toml under [limits].",
        )
        self.facts = {"limit": what}


class ArrowRefused(CasparianError):
    """A guest sent Arrow data that guests may not send."""

    code = ErrorCode.PROTOCOL_ERROR

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The guest's Arrow data is refused: {reason}.",
            remedy="Emit rows, or Arrow data of plain types; the shim converts dictionaries, views and run-ends.",
        )


class ColumnTwice(ArrowRefused):
    """Two columns have the same name; readers of Arrow would silently drop one."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: str) -> None:
        super().__init__(f"two columns have the same name {name[:80]!r}")
        self.remedy = "Rename one of them in the parser."


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown or "no columns"


FIRST_DAY = (dt.date(1, 1, 1) - dt.date(1970, 1, 1)).days
LAST_DAY = (dt.date(9999, 12, 31) - dt.date(1970, 1, 1)).days
_MICROSECONDS_A_DAY = 86_400_000_000


def outside_calendar(values: pa.Array) -> pa.BooleanArray | None:
    """Which dates (date32) or instants (timestamp in µs or ns) are outside the calendar; None if none is."""
    if pa.types.is_date32(values.type):
        numbers, low, high = values.view(pa.int32()), FIRST_DAY, LAST_DAY
    elif values.type.unit == "ns":
        numbers, low, high = values.view(pa.int64()), -NANOSECONDS_MAX, NANOSECONDS_MAX
    else:
        numbers = values.view(pa.int64())
        low, high = FIRST_DAY * _MICROSECONDS_A_DAY, (LAST_DAY + 1) * _MICROSECONDS_A_DAY - 1
    extremes = pc.min_max(numbers)
    least, most = extremes["min"].as_py(), extremes["max"].as_py()
    if least is None or (least >= low and most <= high):
        return None
    return pc.or_(pc.less(numbers, low), pc.greater(numbers, high))


def within_calendar(values: pa.Array) -> pa.Array:
    """The values, with NULL for those outside the calendar."""
    outside = outside_calendar(values)
    return values if outside is None else pc.if_else(outside, pa.scalar(None, values.type), values)


_FEW_ONE_OF = 64
_NUMBERS_KEPT = 128 * 1024
_FALSE, _TRUE = pa.scalar(False), pa.scalar(True)
#: Below this many values, halving stops and the value-by-value rule takes over.
_SMALLEST_HALF = 32


@dataclass(frozen=True, slots=True)
class Found:
    """The rows (uint64, ascending) of a batch in which one column breaks its contract in one way."""

    rows: pa.UInt64Array
    code: ViolationCode
    expected: str


@dataclass(frozen=True, slots=True)
class Cast:
    """Values in the contract's type, NULL where bad, and the bad rows."""

    values: pa.Array
    found: list[Found] = field(default_factory=list)


def rows_of(mask: pa.BooleanArray) -> pa.UInt64Array:
    """The rows where a mask is true; NULL does not count."""
    return row_numbers(len(mask)).filter(mask) if len(mask) <= _NUMBERS_KEPT else pc.indices_nonzero(mask)


def mask_of(rows: Sequence[pa.UInt64Array], count: int) -> pa.BooleanArray:
    """Which of `count` rows are named at least once."""
    named = pa.concat_arrays(rows).cast(pa.int64())
    return pc.scatter(pa.repeat(_TRUE, len(named)), named, max_index=count - 1).is_valid()


def picked(values: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    """The values where a mask is true. That takes a quarter of the time if none of them is NULL and the kernel knows it."""
    is_flat = not pt.is_nested(values.type) and not pt.is_null(values.type)
    if is_flat and values.null_count and not pc.and_(mask, values.is_null()).true_count:
        buffers = [None, *values.buffers()[1:]]
        values = pa.Array.from_buffers(values.type, len(values), buffers, 0, values.offset)
    return values.filter(mask)


def row_numbers(count: int) -> pa.UInt64Array:
    """0, 1, 2, …"""
    return _first_numbers().slice(0, count) if count <= _NUMBERS_KEPT else _numbers(count)


@cache
def _first_numbers() -> pa.UInt64Array:
    """The numbers that nearly every batch asks for several times; a MiB."""
    return _numbers(_NUMBERS_KEPT)


def _numbers(count: int) -> pa.UInt64Array:
    """From a kernel: `pa.array(range(n))` costs milliseconds."""
    return pc.subtract(pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.uint64()), count)), pa.scalar(1, pa.uint64()))


def text_range(texts: pa.Array) -> tuple[int, int]:
    """Where the bytes of these texts (string or binary) begin and end in their buffer."""
    offsets = texts.buffers()[1]
    if not len(texts) or offsets is None:
        return 0, 0
    ends = (offsets.slice((texts.offset + place) * 4, 4).to_pybytes() for place in (0, len(texts)))
    begin, end = (int.from_bytes(each, sys.byteorder) for each in ends)
    return begin, end


def refuse_all(array: pa.Array, target: pa.DataType, code: ViolationCode, expected: str) -> Cast:
    """Mark every value that is not NULL as bad."""
    rows = rows_of(array.is_valid())
    return Cast(pa.nulls(len(array), target), [Found(rows, code, expected)] if len(rows) else [])


def refuse(values: pa.Array, bad: pa.BooleanArray, code: ViolationCode, expected: str) -> Cast:
    """The values, with those that a mask marks as bad."""
    rows = rows_of(bad)
    if not len(rows):
        return Cast(values)
    return Cast(
        pc.if_else(pc.fill_null(bad, False), pa.scalar(None, values.type), values), [Found(rows, code, expected)]
    )


def are_few(count: int, of: pa.Array) -> bool:
    """Whether so few values that it is cheapest to judge them one by one."""
    return count * _FEW_ONE_OF <= len(of)


def kept(texts: pa.StringArray, mask: pa.BooleanArray) -> pa.StringArray:
    """The texts where a mask is true, and NULL elsewhere. No text is copied: the mask becomes the validity.

    Texts that do not start at the start of their buffer are copied, because `ascii_lower` of pyarrow 26 returns wrong texts for
    an array whose own offset is 0 while the offset of its first text is not.
    """
    begin, end = text_range(texts)
    if begin == end:
        return texts if not len(texts) else pc.if_else(mask, texts, None)
    validity = pc.fill_null(pc.and_(mask, texts.is_valid()), _FALSE)
    if begin or validity.offset:
        return pc.if_else(validity, texts, None)
    _, offsets, data = texts.buffers()
    return pa.StringArray.from_buffers(len(texts), offsets.slice(texts.offset * 4), data, validity.buffers()[1])


def bytes_of(texts: pa.StringArray) -> pa.UInt8Array:
    """The bytes of all texts as they are in memory, also those below a NULL."""
    begin, end = text_range(texts)
    data = texts.buffers()[2].slice(begin, end - begin) if begin < end else None
    return pa.Array.from_buffers(pa.uint8(), end - begin, [None, data])


def lies_between(texts: pa.StringArray, first: str, last: str) -> bool:
    """Whether every byte is one of an ASCII range. It is cheaper than any look at single texts."""
    extremes = pc.min_max(bytes_of(texts))
    least, most = extremes["min"].as_py(), extremes["max"].as_py()
    return least is None or (least >= ord(first) and most <= ord(last))


def contains(texts: pa.StringArray, letter: str) -> bool:
    """Whether an ASCII letter is anywhere in the texts' memory."""
    data = bytes_of(texts).buffers()[1]
    return data is not None and re.search(letter.encode(), data) is not None


def cast_or_none(array: pa.Array, target: pa.DataType) -> pa.Array | None:
    """The cast of all values, or None if pyarrow refuses one of them."""
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        return None


def cast_what_passes(array: pa.Array, target: pa.DataType) -> pa.Array:
    """A cast that gives NULL where pyarrow raises, and for values near those; the caller judges the missing ones one by one."""
    values = cast_or_none(array, target)
    if values is not None:
        return values
    encoded = array.dictionary_encode()
    return pa.concat_arrays(_halve(encoded.dictionary, target)).take(encoded.indices)


def _halve(array: pa.Array, target: pa.DataType) -> list[pa.Array]:
    values = cast_or_none(array, target)
    if values is not None:
        return [values]
    if len(array) <= _SMALLEST_HALF:
        return [pa.nulls(len(array), target)]
    half = len(array) // 2
    return _halve(array.slice(0, half), target) + _halve(array.slice(half), target)


def judge_missing(texts: pa.Array, values: pa.Array, rule: Callable[[str], Judged], expected: str) -> Cast:
    """Apply the rule to each value that the vector cast left out: fill in what it accepts, report the rest."""
    if values.null_count == texts.null_count:
        return Cast(values)
    missing = pc.and_(texts.is_valid(), values.is_null())
    rows = rows_of(missing)
    encoded = texts.take(rows).dictionary_encode()  # the rule sees equal texts once
    verdicts = [rule(text) for text in encoded.dictionary.to_pylist()]
    codes = [verdict.code for verdict in verdicts]
    if None in codes:
        judged = pa.array([verdict.value for verdict in verdicts], values.type)
        values = _fill(values, missing, judged.take(encoded.indices))
    found = []
    for code in sorted({code for code in codes if code is not None}):
        is_code = pa.array([each is code for each in codes]).take(encoded.indices)
        found.append(Found(rows.filter(is_code), code, expected))
    return Cast(values, found)


def _fill(values: pa.Array, missing: pa.BooleanArray, judged: pa.Array) -> pa.Array:
    if not pa.types.is_duration(values.type):
        return pc.replace_with_mask(values, missing, judged)
    counts = pc.replace_with_mask(values.view(pa.int64()), missing, judged.view(pa.int64()))
    return counts.view(values.type)  # the kernel does not know durations


_ATOM = re.compile(
    r"(?:\[(?P<ranges>(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9_ ])+)\]|(?P<digit>\\d)|\\(?P<escaped>[!-/:-@_])"
    r"|(?P<plain>[A-Za-z0-9_ :/,#@-]))(?:\{(?P<times>[0-9]{1,2})\})?"
)
_RANGE = re.compile(r"(.)-(.)|(.)")
_DIGITS = frozenset(b"0123456789")
_MOST_CHARS = 128
_OTHER_BYTE = 255
#: What is computed from so many bytes stays in the processor's cache.
_BYTES_AT_ONCE = 128 * 1024


class FixedWidthPattern:
    """A pattern that fixes how many characters a text has and which, like `^[A-Z]{2}-[0-9]{6}$`.

    The bytes of many texts are compared at once, which takes a third of the time of a regular expression. Bytes that the pattern
    does not tell apart have one number, and the numbers of each class of characters follow one another.
    """

    def __init__(self, table: bytes, lowest: bytes, span: bytes) -> None:
        self._number_of_byte = pa.array(table, pa.uint8())
        self._lowest = lowest
        self._span = span

    @classmethod
    @lru_cache(256)
    def of(cls, pattern: str) -> FixedWidthPattern | None:
        """None if the pattern is of another kind. Remembered, because every file of a parser has the same patterns."""
        if not (pattern.startswith("^") and pattern.endswith("$")):
            return None
        classes: list[frozenset[int]] = []
        at, end = 1, len(pattern) - 1
        while at < end:
            atom = _ATOM.match(pattern, at, end)
            if atom is None:
                return None
            classes += [_characters(atom)] * int(atom["times"] or 1)
            at = atom.end()
        return cls._of_classes(classes) if 0 < len(classes) <= _MOST_CHARS else None

    @classmethod
    def _of_classes(cls, classes: Sequence[frozenset[int]]) -> FixedWidthPattern | None:
        different = list(dict.fromkeys(classes))
        is_in = [tuple(byte in each for each in different) for byte in range(256)]
        kinds = sorted({each for each in is_in if any(each)}, reverse=True)
        numbers = [[number for number, kind in enumerate(kinds) if kind[place]] for place in range(len(different))]
        if any(each[-1] - each[0] + 1 > len(each) for each in numbers):
            return None
        table = bytes(kinds.index(each) if any(each) else _OTHER_BYTE for each in is_in)
        ranges = [numbers[different.index(each)] for each in classes]
        return cls(table, bytes(each[0] for each in ranges), bytes(each[-1] - each[0] for each in ranges))

    def matches(self, texts: pa.StringArray) -> pa.BooleanArray:
        """Whether each text matches; NULL for NULL."""
        width = len(self._lowest)
        step = _BYTES_AT_ONCE // width
        if len(texts) > step:
            pieces = (texts.slice(begin, step) for begin in range(0, len(texts), step))
            return pa.concat_arrays([self.matches(piece) for piece in pieces])
        fits = pc.equal(pc.binary_length(texts), pa.scalar(width, pa.int32()))
        is_wrong = self._wrong_bytes(texts if fits.true_count == len(texts) else texts.filter(fits))
        if not is_wrong.true_count:
            return fits
        wrong = pc.divide(pc.indices_nonzero(is_wrong), pa.scalar(width, pa.uint64()))
        return pc.replace_with_mask(fits, fits, pc.invert(mask_of([wrong], fits.true_count)))

    def _wrong_bytes(self, texts: pa.StringArray) -> pa.BooleanArray:
        numbers = self._number_of_byte.take(bytes_of(texts))
        above_lowest = pc.subtract(numbers, _tiled(self._lowest, len(texts)))  # wraps around below it
        return pc.greater(above_lowest, _tiled(self._span, len(texts)))


def _tiled(row: bytes, count: int) -> pa.UInt8Array:
    return pa.Array.from_buffers(pa.uint8(), len(row) * count, [None, pa.py_buffer(row * count)])


def _characters(atom: re.Match[str]) -> frozenset[int]:
    if atom["digit"]:
        return _DIGITS
    if not atom["ranges"]:
        return frozenset((atom["escaped"] or atom["plain"]).encode())
    ranges = _RANGE.findall(atom["ranges"])
    return frozenset(byte for first, last, one in ranges for byte in range(ord(first or one), ord(last or one) + 1))
