"""Tables of other libraries, column by column: pyarrow, pandas, polars.

pandas and polars are recognised without importing them: an environment without them never pays for them.
In pandas a missing value *is* NaN, so pandas' missing values become null; everywhere else NaN stays NaN.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from casparian_shim.arrow.columns import column_of_values, plain_array
from casparian_shim.errors import CasparianError, ErrorCode

Column = tuple[str, Any, bool]  # name, array, whether it is mixed: each value beside its kind


class ColumnNameNotText(CasparianError):
    """A column is named by something that is not text."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: object) -> None:
        super().__init__(
            f"A column is named {name!r:.80}, a {type(name).__name__}.", remedy="Name columns with text: str(name)."
        )


def is_table(data: object) -> bool:
    """Whether `data` is a table of a library we read."""
    # By the type: isinstance asks the class of what a parser gave, which may raise.
    return issubclass(type(data), pa.Table | pa.RecordBatch | pa.RecordBatchReader) or _is_foreign(data)


def _is_foreign(data: object) -> bool:
    kind = type(data)
    return kind.__module__.split(".")[0] in ("pandas", "polars") and any(
        base.__name__ == "DataFrame" for base in kind.__mro__
    )


PART_BYTES_MAX = 64 * 1024 * 1024


def slice_bytes(data: Any, rows_max: int) -> int:
    """About how many bytes `rows_max` rows of a table take; 0 for a reader, which says it batch by batch."""
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
    """The columns of a table, at most `rows_max` rows at a time. At least once, so that a schema is known.

    Wide rows come in smaller parts: what is converted at once stays far below what one Arrow array can hold.
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
    """The plain type with the same values; where there is none (unions, decimals beyond 38 digits), value by value."""
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
