"""Rows of one output and kind into Parquet: row groups of bounded size, settings that never vary.

The same rows in the same batches give the same bytes. Memory holds one row group at most. A change of columns (only
quarantine knows it) begins a further file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from casparian_protocol.jobs import StagedFile
from casparian_worker.staging.directory import StagedSink, StagingDirectory
from casparian_worker.staging.meters import SINK_URIS, SinkMeters

ROW_GROUP_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How files are written."""

    row_group_rows: int = 1_000_000
    row_group_bytes: int = ROW_GROUP_BYTES
    compression: Literal["zstd", "snappy", "none"] = "zstd"
    #: Facts kept with the schema and with each column: contract hash, parser.
    metadata: dict[str, str] = field(default_factory=dict)


class StagedParquet:
    """The files of one output and kind, in the order their rows came."""

    def __init__(
        self,
        directory: StagingDirectory,
        output: str,
        kind: Literal["data", "quarantine"],
        settings: WriterSettings,
        meters: SinkMeters | None = None,
    ) -> None:
        self.files: list[StagedFile] = []
        self._directory = directory
        self._output = output
        self._kind = kind
        self._settings = settings
        self._meters = meters or SinkMeters()
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._file: _OpenFile | None = None
        self._file_count = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows. Raises `OSError` when the disk does not take them."""
        if not batch.num_rows:
            return
        current = self._current_schema()
        if current is not None and not batch.schema.equals(current):
            self._end_file()
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        settings = self._settings
        if self._waiting_rows >= settings.row_group_rows or self._waiting_bytes >= settings.row_group_bytes:
            self._end_row_group()

    def close(self) -> list[StagedFile]:
        """Write what is waiting; the files as the manifest names them. They are not durable yet."""
        self._end_file()
        return self.files

    def _current_schema(self) -> pa.Schema | None:
        if self._waiting:
            return self._waiting[0].schema
        return self._file.schema if self._file is not None else None

    def _end_row_group(self) -> None:
        if not self._waiting:
            return
        meter = self._meters.of(SINK_URIS[self._kind], self._output)
        if self._file is None:
            name = f"{self._kind}.{self._output}.{self._file_count}.parquet"
            self._file_count += 1
            sink = self._directory.create(name, meter)
            self._file = _OpenFile(sink, self._waiting[0].schema, self._settings)
        table = pa.Table.from_batches(self._waiting)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
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
