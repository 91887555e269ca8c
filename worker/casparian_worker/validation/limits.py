"""How much one batch may hold."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract.model import MAX_COLUMNS_COUNT
from casparian_worker.validation.errors import LimitExceeded
from casparian_worker.validation.mixed import MIXED_TYPE

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ValidationLimits:
    """Beyond any of these the output fails with LIMIT_EXCEEDED."""

    cell_bytes: int = 16 * MIB
    columns_count: int = MAX_COLUMNS_COUNT
    batch_rows_count: int = 4 * MIB
    batch_bytes: int = 256 * MIB


def check_batch(batch: pa.RecordBatch, limits: ValidationLimits) -> None:
    """Columns, rows, bytes and the longest cell."""
    _hold("The output's number of columns", batch.num_columns, limits.columns_count)
    _hold("The batch's number of rows", batch.num_rows, limits.batch_rows_count)
    _hold("The batch's bytes", batch.nbytes, limits.batch_bytes)
    if batch.nbytes <= limits.cell_bytes:
        return
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.nbytes > limits.cell_bytes:
            _hold(f"The longest cell of column {name[:80]!r}, in bytes", _longest_cell(column), limits.cell_bytes)


def _longest_cell(column: pa.Array) -> int:
    came = column.type
    if came.equals(MIXED_TYPE):
        column = column.flatten()[1]
        came = column.type
    if pt.is_nested(came):  # a nested value is measured as a whole
        return max((column.slice(row, 1).nbytes for row in range(len(column))), default=0)
    if not any(test(came) for test in (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)):
        return 0
    return pc.max(pc.binary_length(column)).as_py() or 0


def _hold(what: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise LimitExceeded(what, actual, limit)
