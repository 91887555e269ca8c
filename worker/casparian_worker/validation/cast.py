"""The words of a cast: what came out, and what was found wrong.

pyarrow's casts are all or nothing. A cast here gives an array with NULL where a value was NULL or bad, and the rows of the
bad ones by code. Dates and times keep to the years that every reader of our tables can show: 1 to 9999, in nanoseconds
what 64 bits hold (1677 to 2262).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.contract import Judged, ViolationCode
from casparian_protocol.contract.formats import NANOSECONDS_MAX

FIRST_DAY = (dt.date(1, 1, 1) - dt.date(1970, 1, 1)).days
LAST_DAY = (dt.date(9999, 12, 31) - dt.date(1970, 1, 1)).days
_MICROSECONDS_A_DAY = 86_400_000_000


def outside_calendar(values: pa.Array) -> pa.BooleanArray | None:
    """Which dates (date32) or instants (timestamp in µs or ns) lie outside the calendar; None when none does."""
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
    """NULL for what lies outside."""
    outside = outside_calendar(values)
    return values if outside is None else pc.if_else(outside, pa.scalar(None, values.type), values)


#: below this many values a halving gives up and leaves them to the value-by-value rule
_SMALLEST_HALF = 32


@dataclass(frozen=True, slots=True)
class Found:
    """The rows (uint64, ascending) of a batch in which one column breaks its contract in one way."""

    rows: pa.UInt64Array
    code: ViolationCode
    expected: str


@dataclass(frozen=True, slots=True)
class Cast:
    """Values in the contract's type, NULL where bad; and the bad ones."""

    values: pa.Array
    found: list[Found] = field(default_factory=list)


def rows_of(mask: pa.BooleanArray) -> pa.UInt64Array:
    """Where a mask is true; NULL is not."""
    return pc.indices_nonzero(mask)


def row_numbers(count: int) -> pa.UInt64Array:
    """0, 1, 2, … by a kernel: `pa.array(range(n))` costs milliseconds a batch."""
    return pc.subtract(pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.uint64()), count)), pa.scalar(1, pa.uint64()))


def refuse_all(array: pa.Array, target: pa.DataType, code: ViolationCode, expected: str) -> Cast:
    """Every value that is not NULL is bad."""
    rows = rows_of(array.is_valid())
    return Cast(pa.nulls(len(array), target), [Found(rows, code, expected)] if len(rows) else [])


def refuse(values: pa.Array, bad: pa.BooleanArray, code: ViolationCode, expected: str) -> Cast:
    """The values without those that a mask marks."""
    rows = rows_of(bad)
    if not len(rows):
        return Cast(values)
    return Cast(
        pc.if_else(pc.fill_null(bad, False), pa.scalar(None, values.type), values), [Found(rows, code, expected)]
    )


def cast_what_passes(array: pa.Array, target: pa.DataType) -> pa.Array:
    """A cast that gives NULL where pyarrow raises, and near it: the caller judges what is missing, one by one."""
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        encoded = array.dictionary_encode()
        return pa.concat_arrays(_halve(encoded.dictionary, target)).take(encoded.indices)


def _halve(array: pa.Array, target: pa.DataType) -> list[pa.Array]:
    try:
        return [array.cast(target)]
    except pa.ArrowInvalid:
        if len(array) <= _SMALLEST_HALF:
            return [pa.nulls(len(array), target)]
        half = len(array) // 2
        return _halve(array.slice(0, half), target) + _halve(array.slice(half), target)


def judge_missing(texts: pa.Array, values: pa.Array, rule: Callable[[str], Judged], expected: str) -> Cast:
    """Put what the vector cast left out to the rule, value by value: fill in what it accepts, report the rest."""
    if values.null_count == texts.null_count:
        return Cast(values)
    missing = pc.and_(texts.is_valid(), values.is_null())
    rows = rows_of(missing)
    known: dict[str, Judged] = {}
    verdicts = []
    for text in texts.take(rows).to_pylist():
        verdict = known.get(text)
        if verdict is None:
            verdict = known[text] = rule(text)
        verdicts.append(verdict)
    if any(verdict.code is None for verdict in verdicts):
        judged = pa.array([verdict.value for verdict in verdicts], values.type)
        values = _fill(values, missing, judged)
    found = []
    for code in sorted({verdict.code for verdict in verdicts if verdict.code is not None}):
        mask = pa.array([verdict.code is code for verdict in verdicts])
        found.append(Found(rows.filter(mask), code, expected))
    return Cast(values, found)


def _fill(values: pa.Array, missing: pa.BooleanArray, judged: pa.Array) -> pa.Array:
    if not pa.types.is_duration(values.type):
        return pc.replace_with_mask(values, missing, judged)
    counts = pc.replace_with_mask(values.view(pa.int64()), missing, judged.view(pa.int64()))
    return counts.view(values.type)  # the kernel does not know durations
