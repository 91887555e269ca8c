"""Batches that fit the wire: at most 64k rows, about 16 MiB, and never a message above the frame's cap."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from casparian_shim.arrow.rows import Row, columns_of_rows
from casparian_shim.arrow.tables import Column, columns_of_table, is_table
from casparian_shim.arrow.values import FALLBACK_METADATA
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames.kinds import BATCH_BYTES_MAX

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
