"""Where the rows of an attempt go: the port that every sink has, and what jobs write to, staged Parquet.

`StagedParquet` writes row groups of bounded size with settings that never vary: the same rows give the same bytes, in
whatever batches they come (a slow parser's batches are cut by the clock). Memory holds one row group at most. Quarantined
rows may have columns that earlier ones lack: a row group has all of them, in the order of rows; columns that come after it
was written begin a further file. `Lineage` says in every row where it came from. Files and their durability are `staging`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from casparian_protocol.jobs import StagedFile
from casparian_worker.staging import SINK_URIS, SinkMeters, StagedSink, StagingDirectory, seal_together

Kind = Literal["data", "quarantine"]
ROW_GROUP_BYTES = 128 * 1024 * 1024
#: Row groups end at multiples of this, so that they do not depend on batches. A multiple of what Parquet's writer takes at once.
BLOCK_ROWS = 4096
#: So many batches of a few rows are joined, since each costs kilobytes beside its rows.
_LOOSE_BATCHES = 64
_UTC_MICROSECONDS = pa.timestamp("us", "UTC")
SOURCE_ROW = pa.field("_cf_source_row", pa.int64())
LINEAGE_FIELDS = (
    pa.field("_cf_source_hash", pa.string(), nullable=False),
    pa.field("_cf_job_id", pa.string(), nullable=False),
    pa.field("_cf_processed_at", _UTC_MICROSECONDS, nullable=False),
    pa.field("_cf_parser_version", pa.string(), nullable=False),
)


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How files are written."""

    row_group_rows: int = 1_000_000
    row_group_bytes: int = ROW_GROUP_BYTES
    compression: Literal["zstd", "snappy", "none"] = "zstd"
    #: Facts kept with the schema and with each column: contract hash, parser.
    metadata: dict[str, str] = field(default_factory=dict)


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


class SinkWriter(Protocol):
    """Takes the rows of one output and kind, in their order."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Raises `OSError` when the sink does not take them."""

    def close(self) -> list[StagedFile]:
        """No more rows come; what a manifest says of them."""


class Sink(Protocol):
    """Takes all that one attempt writes, and commits it as a whole or not at all."""

    @property
    def key(self) -> str:
        """Names the attempt: committing it again under the same name adds nothing."""

    def open(self, output: str, kind: Kind, settings: WriterSettings) -> SinkWriter: ...

    def commit(self) -> None:
        """Make durable what was written and closed. Raises `OSError`; then nothing of it counts."""

    def abandon(self) -> None:
        """Nothing of it counts; leave no trace."""


class ParquetStaging:
    """The sink of every job: Parquet files in the attempt's own staging directory.

    Committed is what the sentinel takes from there: `key` is the lease under which it may, so another attempt's files or the
    same offer said twice change nothing. To a worker commit means durable; `seal_together` does it for many at once.
    """

    def __init__(self, directory: StagingDirectory, meters: SinkMeters | None = None) -> None:
        self._directory = directory
        self._meters = meters or SinkMeters()

    @property
    def key(self) -> str:
        path = self._directory.path
        return f"{path.parent.name}/{path.name}"

    def open(self, output: str, kind: Kind, settings: WriterSettings) -> StagedParquet:
        return StagedParquet(self._directory, output, kind, settings, self._meters)

    def commit(self) -> None:
        (trouble,) = seal_together([self._directory])
        if trouble is not None:
            raise trouble

    def abandon(self) -> None:
        self._directory.remove()


class StagedParquet:
    """The files of one output and kind, in the order their rows came."""

    def __init__(
        self,
        directory: StagingDirectory,
        output: str,
        kind: Kind,
        settings: WriterSettings,
        meters: SinkMeters | None = None,
    ) -> None:
        self.files: list[StagedFile] = []
        self._directory = directory
        self._output = output
        self._kind = kind
        self._settings = settings
        self._meters = meters or SinkMeters()
        #: Whole blocks of the row group that is gathered.
        self._blocks: list[pa.Table] = []
        self._block_bytes = 0
        #: The rows behind them, less than a block.
        self._loose: list[pa.RecordBatch] = []
        self._loose_rows = 0
        self._loose_bytes = 0
        self._file: _OpenFile | None = None
        self._file_count = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows. Raises `OSError` when the disk does not take them."""
        if not batch.num_rows:
            return
        current = self._current_schema()
        if current is not None and not batch.schema.equals(current):
            batch = self._fitted(batch, current)
        self._loose.append(batch)
        self._loose_rows += batch.num_rows
        self._loose_bytes += batch.nbytes
        if self._loose_rows >= BLOCK_ROWS or len(self._loose) >= _LOOSE_BATCHES:
            self._cut_blocks()
        if (
            self._loose_bytes >= self._settings.row_group_bytes // 4
        ):  # rows so large that memory cannot wait for a block
            self._end_row_group()

    def _cut_blocks(self) -> None:
        """Make blocks of the loose rows, and end row groups that are full. Only blocks of several batches are copied."""
        loose, settings = pa.Table.from_batches(self._loose), self._settings
        start = 0
        while loose.num_rows - start >= BLOCK_ROWS:
            block = loose.slice(start, BLOCK_ROWS).combine_chunks()
            start += BLOCK_ROWS
            self._blocks.append(block)
            self._block_bytes += block.nbytes
            is_long = len(self._blocks) * BLOCK_ROWS >= settings.row_group_rows
            if is_long or self._block_bytes >= settings.row_group_bytes:
                self._write_row_group(self._blocks)
        self._loose = loose.slice(start).combine_chunks().to_batches()
        self._loose_rows, self._loose_bytes = loose.num_rows - start, sum(batch.nbytes for batch in self._loose)

    def close(self) -> list[StagedFile]:
        """Write what is waiting; the files as the manifest names them. They are not durable yet."""
        self._end_file()
        return self.files

    def _fitted(self, batch: pa.RecordBatch, current: pa.Schema) -> pa.RecordBatch:
        """Quarantined rows of other columns, made to fit those before them or, while these are in memory, the other way."""
        come = [each for each in batch.schema if each.name not in current.names]
        is_alike = all(
            batch.schema.field(name) == current.field(name) for name in set(current.names) & set(batch.schema.names)
        )
        if self._kind == "quarantine" and is_alike and (not come or self._file is None):
            own = [each for each in current if each.name.startswith("_cf_")]
            wide = pa.schema([*(each for each in current if each not in own), *come, *own]) if come else current
            if come:
                self._loose = [_with_columns(each, wide).to_batches()[0] for each in map(_as_table, self._loose)]
                self._blocks = [_with_columns(each, wide) for each in self._blocks]
            return _with_columns(_as_table(batch), wide).to_batches()[0]
        self._end_file()
        return batch

    def _current_schema(self) -> pa.Schema | None:
        for waiting in (self._loose, self._blocks):
            if waiting:
                return waiting[0].schema
        return self._file.schema if self._file is not None else None

    def _end_row_group(self) -> None:
        waiting = list(self._blocks)
        if self._loose:
            waiting.append(pa.Table.from_batches(self._loose).combine_chunks())
        self._loose, self._loose_rows, self._loose_bytes = [], 0, 0
        if waiting:
            self._write_row_group(waiting)

    def _write_row_group(self, parts: list[pa.Table]) -> None:
        meter = self._meters.of(SINK_URIS[self._kind], self._output)
        if self._file is None:
            name = f"{self._kind}.{self._output}.{self._file_count}.parquet"
            self._file_count += 1
            sink = self._directory.create(name, meter)
            self._file = _OpenFile(sink, parts[0].schema, self._settings)
        table = _in_order_of_rows(pa.concat_tables(parts))
        self._blocks, self._block_bytes = [], 0
        self._file.write(table)
        meter.rows(table.num_rows)

    def _end_file(self) -> None:
        self._end_row_group()
        file, self._file = self._file, None
        if file is None:
            return
        file.close()
        sink = file.sink
        staged = StagedFile(
            name=sink.name,
            kind=self._kind,
            output=self._output,
            rows=file.rows,
            bytes=sink.tell(),
            digest=sink.digest,
        )
        self.files.append(staged)


_ROW_INDEX = "_cf_output_row_index"


def _as_table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """NULL where it has none of a column."""
    columns = [
        table[each.name] if each.name in table.schema.names else pa.nulls(table.num_rows, each.type) for each in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _in_order_of_rows(table: pa.Table) -> pa.Table:
    """Of quarantined rows: those that a parser rejects come before the others of their batch."""
    if _ROW_INDEX not in table.schema.names:
        return table
    index = table[_ROW_INDEX].combine_chunks()
    if pc.all(pc.less_equal(index[:-1], index[1:])).as_py():
        return table
    return table.take(pc.sort_indices(index))


class _OpenFile:
    """One Parquet file being written."""

    def __init__(self, sink: StagedSink, schema: pa.Schema, settings: WriterSettings) -> None:
        self.sink = sink
        self.schema = schema
        self.rows = 0
        self._marked = _with_metadata(schema, settings.metadata)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(sink, mode="w"),
            self._marked,
            version="2.6",
            data_page_version="1.0",
            compression=settings.compression,
            use_dictionary=[each.name for each in schema if pt.is_string(each.type)],
            write_statistics=True,
        )

    def write(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        # Not a cast: it would refuse a NULL struct for its required fields.
        marked = pa.Table.from_arrays(table.columns, schema=self._marked)
        self._writer.write_table(marked, row_group_size=table.num_rows)

    def close(self) -> None:
        self._writer.close()
        self.sink.close()


def _with_metadata(schema: pa.Schema, metadata: dict[str, str]) -> pa.Schema:
    if not metadata:
        return schema
    return pa.schema([each.with_metadata(metadata) for each in schema], metadata=metadata)
