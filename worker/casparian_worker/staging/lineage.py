"""Where a row came from: the columns that are appended to every row, valid or bad."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

_UTC_MICROSECONDS = pa.timestamp("us", "UTC")
SOURCE_ROW = pa.field("_cf_source_row", pa.int64())
LINEAGE_FIELDS = (
    pa.field("_cf_source_hash", pa.string(), nullable=False),
    pa.field("_cf_job_id", pa.string(), nullable=False),
    pa.field("_cf_processed_at", _UTC_MICROSECONDS, nullable=False),
    pa.field("_cf_parser_version", pa.string(), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The facts of one job. `processed_at_us` is the time of its lease, so that running it again gives the same rows."""

    source_hash: str
    job_id: str
    processed_at_us: int
    parser_version: str

    def valid(self, batch: pa.RecordBatch, source_row: pa.Int64Array) -> pa.RecordBatch:
        """Valid rows with all five columns."""
        arrays = [*batch.columns, *self._arrays(batch.num_rows), source_row]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*batch.schema, *LINEAGE_FIELDS, SOURCE_ROW]))

    def bad(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Quarantined rows, which have their `_cf_source_row` already."""
        arrays = [*batch.columns, *self._arrays(batch.num_rows)]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*batch.schema, *LINEAGE_FIELDS]))

    def _arrays(self, count: int) -> list[pa.Array]:
        values = (self.source_hash, self.job_id, self.processed_at_us, self.parser_version)
        return [
            pa.repeat(pa.scalar(value, field.type), count) for field, value in zip(LINEAGE_FIELDS, values, strict=True)
        ]
