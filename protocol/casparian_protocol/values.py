"""Renders table values as text and as JSON values, for every command, output format and mode.

Times are ISO 8601 with `T`, without trailing zeros in a fraction; instants are in UTC with `Z`. Decimals are plain
digits, binary is lower-case hexadecimal. NaN and infinities are the texts `nan`, `inf`, `-inf` where JSON has no number
for them. Every value of any type can be rendered, including nanoseconds, years beyond 9999 or before 1, and 39 digits.
docs/reference/sql.md describes this for users. The caller escapes text for terminals (`scrub`) and sets column widths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_shim.safe import plain_decimal, shortest_decimal

#: A row of a table: column → JSON value.
PlainRow: TypeAlias = dict[str, Any]

_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DAY_SECONDS = 86_400
_DATE_ENDS = {2**31 - 1: "infinity", -(2**31) + 1: "-infinity"}
_INSTANT_ENDS = {2**63 - 1: "infinity", -(2**63) + 1: "-infinity"}


def as_texts(array: pa.Array, *, keeps_scale: bool = True) -> pa.StringArray:
    """Every value as text; NULL stays NULL. Without `keeps_scale` decimals lose trailing zeros of the fraction."""
    kind = array.type
    if pt.is_string(kind):
        return array
    if pt.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind) or pt.is_large_string(kind):
        return (array.cast(pa.float32()) if pt.is_float16(kind) else array).cast(pa.string())
    if pt.is_date(kind) or pt.is_timestamp(kind) or pt.is_time(kind):
        return _moments(array)
    if pt.is_duration(kind):
        return pa.array([_each(_duration, count, kind.unit) for count in _counts(array)], pa.string())
    if pt.is_decimal(kind):
        written = plain_decimal if keeps_scale else shortest_decimal
        return pa.array([_each(written, value) for value in array.to_pylist()], pa.string())
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind) or pt.is_binary_view(kind):
        return pa.array([_each(bytes.hex, value) for value in array.to_pylist()], pa.string())
    if pt.is_interval(kind):
        return pa.array([_each(_interval, value) for value in array.to_pylist()], pa.string())
    if (plain := _unwrapped(array)) is not None:
        return as_texts(plain, keeps_scale=keeps_scale)
    return pa.array([_each(_as_json, value) for value in plain_values(array, keeps_scale=keeps_scale)], pa.string())


def plain_values(column: pa.Array | pa.ChunkedArray, *, keeps_scale: bool = True) -> list[Any]:
    """Every value as a JSON value: numbers and booleans unchanged, lists and objects of these, everything else as text."""
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in plain_values(chunk, keeps_scale=keeps_scale)]
    kind = column.type
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_string(kind) or pt.is_large_string(kind) or pt.is_null(kind):
        return list(column.to_pylist())
    if pt.is_floating(kind):
        numbers = column.to_pylist()
        return [each if each is None or math.isfinite(each) else str(each) for each in numbers]
    if pt.is_struct(kind):
        children = [plain_values(child, keeps_scale=keeps_scale) for child in column.flatten()]
        names = [field.name for field in kind]
        rows = zip(*children, strict=True) if children else ((),) * len(column)
        present = column.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if is_valid else None
            for row, is_valid in zip(rows, present, strict=True)
        ]
    if pt.is_map(kind):
        return [_pairs(each, keeps_scale=keeps_scale) for each in column]
    if _is_list(kind):
        lengths = pc.list_value_length(column).to_pylist()
        return _cut(plain_values(column.flatten(), keeps_scale=keeps_scale), lengths)
    if pt.is_union(kind):
        return [plain_values(_alone(each), keeps_scale=keeps_scale)[0] for each in column]
    if (plain := _unwrapped(column)) is not None:
        return plain_values(plain, keeps_scale=keeps_scale)
    return list(as_texts(column, keeps_scale=keeps_scale).to_pylist())


def plain_rows(table: pa.Table | pa.RecordBatch) -> list[PlainRow]:
    """Rows by column name, as JSON values."""
    names = table.schema.names
    columns = [plain_values(column) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if columns else []


def cell_texts(column: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """Every value as the text of a cell."""
    chunks: Sequence[pa.Array] = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [text for chunk in chunks for text in as_texts(chunk).to_pylist()]


def flat_table(table: pa.Table) -> pa.Table:
    """The table for formats with only text, numbers and booleans (CSV): everything else becomes text."""
    columns = []
    for column in table.columns:
        kind = column.type
        is_known = pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind) or pt.is_string(kind)
        columns.append(
            column if is_known else pa.chunked_array([as_texts(each) for each in column.chunks], pa.string())
        )
    return pa.Table.from_arrays(columns, names=table.schema.names)


def parquet_table(table: pa.Table) -> pa.Table:
    """The table with types that Parquet lacks (calendar intervals, unions) as text."""
    columns = [
        pa.chunked_array([as_texts(each) for each in column.chunks], pa.string())
        if _is_not_stored(column.type)
        else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, names=table.schema.names)


def _is_not_stored(kind: pa.DataType) -> bool:
    if pt.is_interval(kind) or pt.is_union(kind):
        return True
    return any(_is_not_stored(kind.field(at).type) for at in range(kind.num_fields)) if pt.is_nested(kind) else False


def _each(written: Any, value: Any, *more: Any) -> Any:
    return None if value is None else written(value, *more)


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unwrapped(array: pa.Array) -> pa.Array | None:
    """The values without their encoding or extension type."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return array.storage
    if pt.is_dictionary(kind):
        return array.dictionary_decode()
    if pt.is_run_end_encoded(kind):
        return pc.run_end_decode(array)
    return array.cast(pa.string()) if pt.is_string_view(kind) else None


def _is_list(kind: pa.DataType) -> bool:
    tests = (pt.is_list, pt.is_large_list, pt.is_fixed_size_list, pt.is_list_view, pt.is_large_list_view)
    return any(test(kind) for test in tests)


def _cut(values: list[Any], lengths: Sequence[int | None]) -> list[Any]:
    """Consecutive values as lists of these lengths; a length of None is NULL."""
    lists, start = [], 0
    for length in lengths:
        lists.append(None if length is None else values[start : start + length])
        start += length or 0
    return lists


def _pairs(scalar: Any, *, keeps_scale: bool) -> list[list[Any]] | None:
    """The entries of one map in order; keys need not be text."""
    if not scalar.is_valid:
        return None
    columns = [plain_values(part, keeps_scale=keeps_scale) for part in scalar.values.flatten()]
    return [list(pair) for pair in zip(*columns, strict=True)]


def _alone(scalar: Any) -> pa.Array:
    """The value of a union as a one-element array of its own type."""
    value = scalar.value
    return pa.array([None]) if value is None else pa.repeat(value, 1)


def _counts(array: pa.Array) -> list[int | None]:
    is_narrow = array.type.bit_width == 32
    return list(array.view(pa.int32() if is_narrow else pa.int64()).to_pylist())


def _moments(array: pa.Array) -> pa.StringArray:
    kind = array.type
    is_zoned = pt.is_timestamp(kind) and kind.tz is not None
    if is_zoned:
        array = array.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit), safe=False)
    text = array.cast(pa.string())
    odd = pc.starts_with(text, "<")  # pyarrow writes values beyond its calendar in this way
    if odd.true_count:
        marks = odd.to_pylist()
        counts, given = _counts(array), text.to_pylist()
        rows = zip(counts, marks, given, strict=True)
        texts = [_far(count, kind) if mark and count is not None else each for count, mark, each in rows]
        text = pa.array(texts, pa.string())
    if pt.is_date32(kind):
        return text
    text = pc.replace_substring(text, " ", "T", max_replacements=1)
    text = pc.utf8_rtrim(pc.replace_substring_regex(text, r"(\.[0-9]*?)0+$", r"\1"), ".")
    if not is_zoned:
        return text
    return pc.if_else(pc.ends_with(text, "infinity"), text, pc.binary_join_element_wise(text, "Z", ""))


def _far(count: int, kind: pa.DataType) -> str:
    """A date, time or instant beyond pyarrow's calendar, in the proleptic Gregorian one; the ends of DuckDB's range are
    infinities."""
    if pt.is_date32(kind):
        return _DATE_ENDS.get(count) or _day(count)
    digits = 3 if pt.is_date64(kind) else _DIGITS[kind.unit]
    if pt.is_timestamp(kind) and count in _INSTANT_ENDS:
        return _INSTANT_ENDS[count]
    seconds, rest = divmod(count, 10**digits)
    days, second = (0, seconds) if pt.is_time(kind) else divmod(seconds, _DAY_SECONDS)
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}" + (f".{rest:0{digits}d}" if rest else "")
    return clock if pt.is_time(kind) else f"{_day(days)} {clock}"


def _day(days: int) -> str:
    """The date of a day number; the year is astronomical: 1 BC is 0000."""
    shifted = days + 719_468  # count from 0000-03-01, so that the leap day ends a year
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{'-' if year < 0 else ''}{abs(year):04d}-{month:02d}-{day:02d}"


def _duration(count: int, unit: str) -> str:
    """ISO 8601 in seconds, exact to the unit."""
    digits = _DIGITS[unit]
    whole, rest = divmod(abs(count), 10**digits)
    return f"{'-' if count < 0 else ''}PT{whole}{_fraction(rest, digits)}S"


def _interval(value: Any) -> str:
    """ISO 8601 with the calendar's months and days: they are not a fixed number of seconds."""
    months, days, nanos = value
    whole, rest = divmod(abs(nanos), 10**9)
    clock = f"T{'-' if nanos < 0 else ''}{whole}{_fraction(rest, 9)}S" if nanos else ""
    dates = (f"{months}M" if months else "") + (f"{days}D" if days else "")
    return f"P{dates}{clock}" if dates or clock else "PT0S"


def _fraction(rest: int, digits: int) -> str:
    return f".{rest:0{digits}d}".rstrip("0") if rest else ""
