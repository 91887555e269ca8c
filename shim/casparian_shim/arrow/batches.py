"""Record batches for the wire: dict rows become columns, columns are aligned with their stream's schema, batches are cut to size.

A stream's columns only grow: a new column goes to the end, and a missing one is NULL, so that what is said of a row
does not depend on its batch. A type changes only where that changes no value's kind (NULLs take any type, decimals a
wider one); whole numbers never become floats. A batch has at most 64k rows and about 16 MiB, and never exceeds the
limit of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from casparian_shim.arrow.columns import FALLBACK_METADATA, column_of_values
from casparian_shim.arrow.tables import Column, ColumnNameNotText, columns_of_table, is_table
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames.kinds import BATCH_BYTES_MAX

Row = Mapping[str, object]

_LENGTHS: dict[type, Callable[[Any], int]] = {kind: kind.__len__ for kind in (str, bytes, list, dict)}


def columns_of_rows(rows: Sequence[Row], known_names: Sequence[str] = ()) -> list[Column]:
    """The union of the rows' keys, `known_names` first, then by first appearance. A missing key is null."""
    names = _names(rows, known_names)
    try:
        pivoted: list[list[object]] = [[row[name] for row in rows] for name in names]
    except KeyError:
        pivoted = [[row.get(name) for row in rows] for name in names]
    return [(name, *column_of_values(values)) for name, values in zip(names, pivoted, strict=True)]


def _names(rows: Sequence[Row], known_names: Sequence[str]) -> list[str]:
    names = dict.fromkeys(known_names)
    keys = names.keys()
    for row in rows:
        if row.keys() != keys:
            for name in row:
                if not isinstance(name, str):
                    raise ColumnNameNotText(name)
                names[name] = None
    return list(names)


def estimated_bytes(row: Row) -> int:
    """Roughly what the row takes in Arrow: exact for text, eight bytes for what has no length.

    A value's own class is not asked: it may lie about what it is and how long it is, or raise.
    """
    return sum(_estimated_bytes_of(value) for value in row.values())


def _estimated_bytes_of(value: object) -> int:
    kind = type(value)
    length = _LENGTHS.get(kind)
    if length is None:
        base = next((base for base in _LENGTHS if issubclass(kind, base)), None)
        if base is None:
            return 8
        length = _LENGTHS[base]
    return length(value) + 4


BATCH_ROWS_MAX = 64 * 1024
BATCH_TARGET_BYTES = 16 * 1024 * 1024


class RowTooLarge(CasparianError):
    """One row alone does not fit a frame."""

    code = ErrorCode.LIMIT_EXCEEDED

    def __init__(self, byte_count: int, bytes_max: int) -> None:
        super().__init__(
            f"One row takes {byte_count:,} bytes; a batch holds at most {bytes_max:,} (limits.batch_bytes).",
            remedy="Give large content as several rows, or keep it out of the output.",
        )


class ColumnsChanged(CasparianError):
    """Two columns of one name, in one batch and not in another."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, output: str, expected: Sequence[str], actual: Sequence[str]) -> None:
        super().__init__(
            f"Output {output} began with the columns {_listed(expected)} and now has {_listed(actual)}.",
            remedy="Give each column a name of its own.",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:50])
    return f"[{shown}{', …' if len(names) > 50 else ''}]"


def safe_to_arrow(data: Any) -> Iterator[Any]:
    """Record batches of plain types holding exactly the values of `data`.

    `data` is a list of dicts, a pandas or polars DataFrame, a pyarrow Table, RecordBatch or RecordBatchReader.
    A column whose values fit no one type has each value beside its kind, and its field is marked
    (`casparian_shim.frames.mixed`). A batch holds at most 64k rows and about 16 MiB.
    """
    if is_table(data):
        for columns in columns_of_table(data, BATCH_ROWS_MAX):
            yield from fitted(batch_of_columns(columns))
        return
    for rows in _row_groups(data):
        yield from fitted(batch_of_columns(columns_of_rows(rows)))


def _row_groups(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), BATCH_ROWS_MAX):
        yield rows[start : start + BATCH_ROWS_MAX]


def batch_of_columns(columns: Iterable[Column]) -> Any:
    """One record batch; names are kept as they came, twice if they came twice."""
    fields, arrays = [], []
    for name, array, is_fallback in columns:
        # Arrow cannot carry a lone surrogate in a name either.
        safe_name = name.encode("utf-8", "backslashreplace").decode("utf-8")
        fields.append(pa.field(safe_name, array.type, metadata=FALLBACK_METADATA if is_fallback else None))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def fitted(batch: Any, target_bytes: int = BATCH_TARGET_BYTES) -> Iterator[Any]:
    """`batch` in slices of about the target size."""
    pieces = -(-batch.nbytes // target_bytes) or 1
    rows_per_piece = max(1, -(-batch.num_rows // pieces))
    for start in range(0, max(batch.num_rows, 1), rows_per_piece):
        yield batch.slice(start, rows_per_piece)


def messages(batch: Any, bytes_max: int = BATCH_BYTES_MAX) -> Iterator[Any]:
    """The IPC messages of `batch`: one, or those of its halves when one would exceed `bytes_max`."""
    if batch.nbytes <= bytes_max:
        message = batch.serialize()
        if message.size <= bytes_max:
            yield message
            return
    if batch.num_rows <= 1:
        raise RowTooLarge(batch.nbytes, bytes_max)
    half = batch.num_rows // 2
    yield from messages(batch.slice(0, half), bytes_max)
    yield from messages(batch.slice(half), bytes_max)


_DECIMAL_DIGITS_MAX = 38


def aligned(output: str, columns: Sequence[Column], schema: Any | None) -> list[Column]:
    """`columns` in the order and, where exact, with the types of `schema` (None: this is the first batch)."""
    if schema is None:
        return list(columns)
    expected, actual = list(schema.names), [name for name, _, _ in columns]
    if expected != actual:
        if len(set(expected)) < len(expected) or len(set(actual)) < len(actual):  # nobody can tell which is which
            raise ColumnsChanged(output, expected, actual)
        row_count = len(columns[0][1]) if columns else 0
        by_name = {column[0]: column for column in columns}
        missing = {name: (name, pa.nulls(row_count, pa.string()), False) for name in expected if name not in by_name}
        columns = [by_name.get(name) or missing[name] for name in dict.fromkeys([*expected, *actual])]
    known = len(expected)
    return [_kept(column, schema.field(place)) for place, column in enumerate(columns[:known])] + list(columns[known:])


def _kept(column: Column, field: Any) -> Column:
    name, array, is_fallback = column
    was_fallback = field.metadata is not None and FALLBACK_METADATA.items() <= field.metadata.items()
    if array.null_count == len(array) and not was_fallback:
        return name, pa.nulls(len(array), field.type), False
    if array.type == field.type or is_fallback or was_fallback:
        return column
    target = _wider(field.type, array.type)
    if target is None:
        return column
    try:
        return name, array.cast(target), False
    except pa.ArrowInvalid:  # not exactly: it keeps its own type
        return column


def _wider(before: Any, now: Any) -> Any | None:
    if pa.types.is_decimal128(before) and pa.types.is_decimal128(now):
        scale = max(before.scale, now.scale)
        digits = max(before.precision - before.scale, now.precision - now.scale) + scale
        return pa.decimal128(digits, scale) if digits <= _DECIMAL_DIGITS_MAX else None
    return None
