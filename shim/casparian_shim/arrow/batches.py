"""Record batches for the wire: rows and tables become columns, aligned with their stream's schema and cut to size.

Tables of pandas and polars are recognised without importing either. In pandas a missing value *is* NaN, so missing values of
pandas become null; everywhere else NaN stays NaN.

A stream's columns only grow: a new column is added at the end, and a missing one is NULL, so that the result for a row does not
depend on its batch. A type changes only if no value's kind changes (NULLs take any type, decimals a wider one); integers never
become floats. A batch has at most 64k rows and about 16 MiB, and never exceeds the limit of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from casparian_shim.arrow.columns import FALLBACK_METADATA, column_of_values, plain_array
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames.kinds import BATCH_BYTES_MAX
from casparian_shim.safe import COLUMN_NAME_MAX

Column = tuple[str, Any, bool]  # name, array, whether it is mixed: each value with its kind


class ColumnNameNotText(CasparianError):
    """A column's name is not text."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: object) -> None:
        super().__init__(
            f"A column is named {name!r:.80}, a {type(name).__name__}.", remedy="Name columns with text: str(name)."
        )


def is_table(data: object) -> bool:
    """Whether `data` is a table of a supported library."""
    # Checked through the type: isinstance would run code of the parser's class, which may raise.
    return issubclass(type(data), pa.Table | pa.RecordBatch | pa.RecordBatchReader) or _is_foreign(data)


def _is_foreign(data: object) -> bool:
    kind = type(data)
    return kind.__module__.split(".")[0] in ("pandas", "polars") and any(
        base.__name__ == "DataFrame" for base in kind.__mro__
    )


PART_BYTES_MAX = 64 * 1024 * 1024


def slice_bytes(data: Any, rows_max: int) -> int:
    """Approximately how many bytes `rows_max` rows of a table take; 0 for a reader, which is measured batch by batch."""
    if isinstance(data, pa.RecordBatchReader):
        return 0
    if isinstance(data, pa.Table | pa.RecordBatch):
        total, row_count = data.nbytes, data.num_rows
    elif type(data).__module__.startswith("polars"):
        total, row_count = data.estimated_size(), data.height
    else:
        total, row_count = int(data.memory_usage(index=False).sum()), len(data)
    return int(total * min(1.0, rows_max / max(1, row_count)))


def columns_of_table(data: Any, rows_max: int) -> Iterator[list[Column]]:
    """The columns of a table, at most `rows_max` rows at a time, and at least once, so that a schema is known.

    Wide rows come in smaller parts, so that each conversion stays far below the limit of one Arrow array.
    """
    rows_max = max(1, min(rows_max, rows_max * PART_BYTES_MAX // max(1, slice_bytes(data, rows_max))))
    if isinstance(data, pa.RecordBatchReader):
        yield from _columns_of_reader(data, rows_max)
    elif isinstance(data, pa.RecordBatch):
        yield from _slices(pa.Table.from_batches([data]), rows_max)
    elif isinstance(data, pa.Table):
        yield from _slices(data, rows_max)
    elif type(data).__module__.startswith("polars"):
        for start in range(0, max(data.height, 1), rows_max):
            yield _columns_of_polars(data.slice(start, rows_max))
    else:
        for start in range(0, max(len(data), 1), rows_max):
            yield _columns_of_pandas(data.iloc[start : start + rows_max])


def _columns_of_reader(reader: Any, rows_max: int) -> Iterator[list[Column]]:
    is_empty = True
    for batch in reader:
        is_empty = False
        yield from columns_of_table(batch, rows_max)
    if is_empty:
        yield from _slices(reader.schema.empty_table(), rows_max)


def _slices(table: Any, rows_max: int) -> Iterator[list[Column]]:
    for start in range(0, max(table.num_rows, 1), rows_max):
        part = table.slice(start, rows_max)
        yield [
            (name, *_plain_or_kinds(_joined(column)))
            for name, column in zip(part.column_names, part.columns, strict=True)
        ]


def _joined(column: Any) -> Any:
    """A chunked array as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], type=column.type)
    return column.combine_chunks()


def _plain_or_kinds(array: Any) -> tuple[Any, bool]:
    """The plain type with the same values; if there is none (unions, decimals beyond 38 digits), each value with its kind."""
    plain = plain_array(array)
    return (plain, False) if plain is not None else column_of_values(list(array))


def _columns_of_polars(frame: Any) -> list[Column]:
    columns: list[Column] = []
    for series in frame.get_columns():
        if str(series.dtype) == "Object":
            columns.append((series.name, *column_of_values(series.to_list())))
        else:
            columns.append((series.name, *_plain_or_kinds(_one_array(series.to_arrow()))))
    return columns


def _columns_of_pandas(frame: Any) -> list[Column]:
    columns: list[Column] = []
    for position, name in enumerate(frame.columns):
        if not isinstance(name, str):
            raise ColumnNameNotText(name)
        series = frame.iloc[:, position]
        if str(series.dtype) == "object":
            values = [
                None if missing else value
                for value, missing in zip(series.tolist(), series.isna().tolist(), strict=True)
            ]
            columns.append((name, *column_of_values(values)))
        else:
            columns.append((name, *_plain_or_kinds(_one_array(pa.array(series, from_pandas=True)))))
    return columns


def _one_array(array: Any) -> Any:
    return _joined(array) if isinstance(array, pa.ChunkedArray) else array


Row = Mapping[str, object]
_LENGTHS: dict[type, Callable[[Any], int]] = {kind: kind.__len__ for kind in (str, bytes, list, dict)}


def columns_of_rows(rows: Sequence[Row], known_names: Sequence[str] = ()) -> list[Column]:
    """The union of the rows' keys: `known_names` first, then by first appearance. A missing key is null."""
    names = _names(rows, known_names)
    try:
        pivoted: list[list[object]] = [[row[name] for row in rows] for name in names]
    except KeyError:
        pivoted = [[row.get(name) for row in rows] for name in names]
    return [(name, *column_of_values(values)) for name, values in zip(names, pivoted, strict=True)]


def columns_of_rejects(rejects: Sequence[Row], known_names: Sequence[str]) -> list[Column]:
    """The columns of rejected rows: two numbers, then texts."""
    names = dict.fromkeys(known_names)
    for reject in rejects:
        names.update(dict.fromkeys(reject))
    kinds = {name: pa.int64() if place < 2 else pa.string() for place, name in enumerate(names)}
    return [(name, pa.array([reject.get(name) for reject in rejects], kind), False) for name, kind in kinds.items()]


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
    """Approximately what the row takes in Arrow: exact for text, eight bytes for a value without a length.

    No method of a value's own class is called, since it may give a wrong type or length, or raise.
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
    """A single row does not fit into a frame."""

    code = ErrorCode.LIMIT_EXCEEDED

    def __init__(self, byte_count: int, bytes_max: int) -> None:
        super().__init__(
            f"One row takes {byte_count:,} bytes; a batch holds at most {bytes_max:,} (limits.batch_bytes).",
            remedy="Give large content as several rows, or keep it out of the output.",
        )


class ColumnsChanged(CasparianError):
    """Two columns share a name in one batch but not in another."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, output: str, expected: Sequence[str], actual: Sequence[str]) -> None:
        super().__init__(
            f"Output {output} began with the columns {_listed(expected)} and now has {_listed(actual)}.",
            remedy="Give each column its own name.",
        )


class SeveralOutputs(CasparianError):
    """A reader that gives rows of several outputs was given to one output by name."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: str, outputs: Collection[str]) -> None:
        super().__init__(
            f"The parser gave a reader to the output {name[:80]}, but its rows belong to {', '.join(sorted(outputs))}.",
            remedy="Yield the reader itself: its rows say which output they belong to.",
        )


class RowWithoutColumns(CasparianError):
    """Every row of an output is an empty dict."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, output: str) -> None:
        super().__init__(
            f"Output {output} was given rows without any column.", remedy="Skip empty records: ctx.skip()."
        )


class ColumnWithoutName(CasparianError):
    """A column has an empty name, such as the last one of a header that ends with a delimiter, or one that is too long."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, output: str, names: Sequence[str]) -> None:
        place, bad = next((place, name) for place, name in enumerate(names, 1) if not 0 < len(name) <= COLUMN_NAME_MAX)
        listed = ", ".join(repr(name[:40]) for name in names[:20])
        what = f"a name of {len(bad):,} characters, more than {COLUMN_NAME_MAX}" if bad else "no name"
        super().__init__(
            f"Column {place} of output {output} has {what}; the columns are {listed}.",
            remedy="Does the header end with a delimiter? Drop that column, or read with read_csv(…, columns=[…]).",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:50])
    return f"[{shown}{', …' if len(names) > 50 else ''}]"


def safe_to_arrow(data: Any) -> Iterator[Any]:
    """Record batches of plain types holding exactly the values of `data`.

    `data` is a list of dicts, a pandas or polars DataFrame, a pyarrow Table, RecordBatch or RecordBatchReader.
    A column whose values fit no single type has each value with its kind, and its field is marked
    (`casparian_shim.frames.kinds`). A batch holds at most 64k rows and about 16 MiB.
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
    """One record batch; names are kept unchanged, including duplicates."""
    fields, arrays = [], []
    for name, array, is_fallback in columns:
        # Arrow cannot store a lone surrogate in a name either.
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
    """The IPC messages of `batch`: one, or those of its halves if one message would exceed `bytes_max`."""
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


def joined(parts: Sequence[Sequence[Column]]) -> Iterator[list[Column]]:
    """The rows of all parts in as few parts as the types of their columns allow. A column without a value has any type."""
    alike: list[Sequence[Column]] = []
    types: list[Any] = []
    for part in parts:
        found = _types_with(part, types) if alike and _form(part) == _form(alike[0]) else None
        if found is None and alike:
            yield _joined_alike(alike, types)
            alike = []
        alike.append(part)
        types = _types_with(part, [None] * len(part)) if found is None else found
    if alike:
        yield _joined_alike(alike, types)


def _form(part: Sequence[Column]) -> list[tuple[str, bool]]:
    return [(name, is_mixed) for name, _, is_mixed in part]


def _types_with(part: Sequence[Column], types: list[Any]) -> Any:
    """The types of columns of which this part has more; None in the list where no value is known, None if a type differs."""
    own = [array.type if array.null_count < len(array) else None for _, array, _ in part]
    if any(one is not None and other is not None and one != other for one, other in zip(own, types, strict=True)):
        return None
    return [known or its for known, its in zip(types, own, strict=True)]


def _joined_alike(parts: list[Sequence[Column]], types: list[Any]) -> list[Column]:
    if len(parts) == 1:
        return list(parts[0])
    made: list[Column] = []
    for place, (name, last, is_mixed) in enumerate(parts[-1]):
        type_ = types[place] or last.type
        arrays = [part[place][1] for part in parts]
        arrays = [each if each.type == type_ else pa.nulls(len(each), type_) for each in arrays]
        made.append((name, pa.concat_arrays(arrays), is_mixed))
    return made


_DECIMAL_DIGITS_MAX = 38


def aligned(output: str, columns: Sequence[Column], schema: Any | None) -> list[Column]:
    """`columns` in the order of `schema`, with its types where exact (None if this is the first batch)."""
    if schema is None:
        return list(columns)
    expected, actual = list(schema.names), [name for name, _, _ in columns]
    if expected != actual:
        if len(set(expected)) < len(expected) or len(set(actual)) < len(
            actual
        ):  # the names do not identify the columns
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
    except pa.ArrowInvalid:  # not exact, so it keeps its own type
        return column


def _wider(before: Any, now: Any) -> Any | None:
    if pa.types.is_decimal128(before) and pa.types.is_decimal128(now):
        scale = max(before.scale, now.scale)
        digits = max(before.precision - before.scale, now.precision - now.scale) + scale
        return pa.decimal128(digits, scale) if digits <= _DECIMAL_DIGITS_MAX else None
    return None
