"""Where the rows of an attempt go: the interface of every sink, and the sink that jobs use, staged Parquet.

`StagedParquet` writes row groups of bounded size with fixed settings: the same rows give the same bytes, however they are divided
into batches (the clock divides a slow parser's batches). Memory holds at most one row group. If a column appears late (only in
quarantine), it is NULL in the earlier rows, and what was written before is rewritten at the end. `staging` owns files and their
durability.
"""

from __future__ import annotations

import base64
import functools
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from casparian_protocol.contract import is_reserved
from casparian_protocol.jobs import StagedFile
from casparian_worker.staging import SINK_URIS, SinkMeters, StagedSink, StagingDirectory
from casparian_worker.validation import text_range

Kind = Literal["data", "quarantine"]
ROW_GROUP_BYTES = 128 * 1024 * 1024
#: Row groups end at multiples of this, so that they do not depend on batches. It is a multiple of the Parquet writer's unit.
BLOCK_ROWS = 4096
#: Up to so many texts Python's sets are quicker than Arrow's dictionaries.
_FEW_TEXTS = 64
#: A file with fewer bytes of values is not compressed: that costs more than all else, and saves no block of the disk.
_SMALL_BYTES = 4 * 1024
#: This many small batches are combined, since each costs kilobytes in addition to its rows.
_LOOSE_BATCHES = 64


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """The settings with which files are written."""

    row_group_rows: int = 1_000_000
    row_group_bytes: int = ROW_GROUP_BYTES
    compression: Literal["zstd", "snappy", "none"] = "zstd"
    #: The number of leading columns that every batch has. Columns between these and Casparian's may differ, sorted by name.
    columns: int = 0
    #: Facts stored with the schema and with each column: contract hash, parser.
    metadata: dict[str, str] = field(default_factory=dict)


class SinkWriter(Protocol):
    """Receives the rows of one output and kind, in order."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows. Raises `OSError` if the sink does not accept them."""

    def close(self) -> list[StagedFile]:
        """End the file, because no more rows come; returns the manifest's entries."""


class Sink(Protocol):
    """Creates the writers of one attempt. What they have written counts once the sentinel commits the attempt's offer.

    The offer is made under the lease, so another attempt's files, or the same offer made twice, change nothing. A sink therefore
    needs no separate commit and no key.
    """

    def open(self, output: str, kind: Kind, settings: WriterSettings) -> SinkWriter: ...


class ParquetStaging:
    """The sink of every job: Parquet files in the attempt's staging directory, which its owner syncs or removes."""

    def __init__(self, directory: StagingDirectory, meters: SinkMeters | None = None) -> None:
        self._directory = directory
        self._meters = meters or SinkMeters()

    def open(self, output: str, kind: Kind, settings: WriterSettings) -> StagedParquet:
        return StagedParquet(self._directory, output, kind, settings, self._meters)


class StagedParquet:
    """The file of one output and kind, with rows in order of arrival."""

    def __init__(
        self,
        directory: StagingDirectory,
        output: str,
        kind: Kind,
        settings: WriterSettings,
        meters: SinkMeters | None = None,
    ) -> None:
        self._directory = directory
        self._output = output
        self._kind = kind
        self._settings = settings
        self._meters = meters or SinkMeters()
        #: All columns that have arrived so far.
        self._schema: pa.Schema | None = None
        #: The whole blocks of the current row group.
        self._blocks: list[pa.Table] = []
        #: The bytes of the first `_sized` of them; and a number that the bytes of all do not exceed.
        self._block_bytes = 0
        self._sized = 0
        self._bytes_at_most = 0
        #: The rows after them, fewer than a block.
        self._loose: list[pa.RecordBatch] = []
        self._loose_rows = 0
        self._loose_bytes = 0
        self._file: _OpenFile | None = None
        #: What was written before another column appeared.
        self._narrow: list[StagedSink] = []
        self._is_again = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows. Raises `OSError` if the disk does not accept them."""
        if not batch.num_rows:
            return
        if self._schema is None or not batch.schema.equals(self._schema):
            batch = self._aligned(batch)
        self._loose.append(batch)
        self._loose_rows += batch.num_rows
        self._loose_bytes += batch.nbytes
        is_large = self._loose_bytes >= self._settings.row_group_bytes // 2
        if self._loose_rows >= BLOCK_ROWS or len(self._loose) >= _LOOSE_BATCHES or is_large:
            self._cut()

    def close(self) -> list[StagedFile]:
        """Write the remaining rows; returns the file as the manifest names it. It is not durable yet."""
        file = self._end_file()
        if file is None:
            return []
        if self._narrow:
            return self._written_again([*self._narrow, file.sink])
        sink = file.sink
        return [
            StagedFile(
                name=sink.name,
                kind=self._kind,
                output=self._output,
                rows=file.rows,
                bytes=sink.tell(),
                digest=sink.digest,
            )
        ]

    # --- columns ---

    def _aligned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with all columns so far, including its own new ones."""
        schema = _united(self._schema, batch.schema, self._settings.columns)
        if self._schema is not None and not schema.equals(self._schema):
            if self._file is not None and (ended := self._end_file()) is not None:
                self._narrow.append(ended.sink)
            self._loose = [_padded(each, schema) for each in self._loose]
            self._blocks = [pa.Table.from_arrays(_columns(each, schema), schema=schema) for each in self._blocks]
        self._schema = schema
        return _padded(batch, schema)

    def _written_again(self, sinks: list[StagedSink]) -> list[StagedFile]:
        """Rewrite all rows, now that all columns are known."""
        again = StagedParquet(self._directory, self._output, self._kind, self._settings, self._meters)
        again._schema, again._is_again = self._schema, True
        with ExitStack() as opened:
            files = [opened.enter_context(self._directory.path(sink.name).open("rb")) for sink in sinks]
            for sink in sinks:
                self._directory.drop(sink)  # its name is free again, and the open file stays readable
            for file in files:
                written = pq.ParquetFile(file)
                for number in range(written.metadata.num_row_groups):
                    for batch in written.read_row_group(number).to_batches():
                        again.write(_padded(batch, again._schema))
            return again.close()

    # --- row groups ---

    def _cut(self) -> None:
        """Divide the loose rows into blocks, and end full row groups. The places depend only on the rows.

        A row group ends with a block. It ends within a block only if its rows are so large that memory cannot hold the whole
        block.
        """
        loose = pa.Table.from_batches(self._loose)
        start = self._keep_blocks(loose) if self._has_room(loose.num_rows) else self._cut_by_size(loose)
        self._loose = loose.slice(start).combine_chunks().to_batches()
        self._loose_rows, self._loose_bytes = loose.num_rows - start, sum(batch.nbytes for batch in self._loose)

    def _has_room(self, row_count: int) -> bool:
        """Whether no row group ends among the loose rows: usually, and then their exact size does not matter."""
        is_long = len(self._blocks) * BLOCK_ROWS + row_count >= self._settings.row_group_rows
        return not is_long and self._bytes_at_most + self._loose_bytes < self._settings.row_group_bytes

    def _keep_blocks(self, loose: pa.Table) -> int:
        """Keep the whole blocks of these rows. Returns how many rows were kept."""
        row_count: int = loose.num_rows - loose.num_rows % BLOCK_ROWS
        starts = range(0, row_count, BLOCK_ROWS)
        self._blocks += [loose.slice(start, BLOCK_ROWS).combine_chunks() for start in starts]
        self._bytes_at_most += self._loose_bytes
        return row_count

    def _cut_by_size(self, loose: pa.Table) -> int:
        """Keep whole blocks, and write full row groups. Returns how many rows were kept or written."""
        settings, start = self._settings, 0
        self._block_bytes += sum(map(size_of, self._blocks[self._sized :]))
        while start < loose.num_rows:
            block = loose.slice(start, BLOCK_ROWS).combine_chunks()
            size = size_of(block)
            room = max(settings.row_group_bytes // 2, settings.row_group_bytes - self._block_bytes)
            if size >= room:
                cut = _rows_of_size(block, room)
                start += cut
                self._write_row_group([*self._blocks, block.slice(0, cut)])
                continue
            if block.num_rows < BLOCK_ROWS:
                break
            start += BLOCK_ROWS
            self._blocks.append(block)
            self._block_bytes += size
            is_long = len(self._blocks) * BLOCK_ROWS >= settings.row_group_rows
            if is_long or self._block_bytes >= settings.row_group_bytes:
                self._write_row_group(self._blocks)
        self._sized, self._bytes_at_most = len(self._blocks), self._block_bytes
        return start

    def _write_row_group(self, parts: list[pa.Table]) -> None:
        meter = self._meters.of(SINK_URIS[self._kind], self._output)
        if self._file is None:
            name = f"{self._kind}.{self._output}.{len(self._narrow)}.parquet"
            sink = self._directory.create(name, meter)
            self._file = _OpenFile(sink, parts[0], self._settings)
        table = pa.concat_tables(parts)
        self._blocks, self._block_bytes, self._sized, self._bytes_at_most = [], 0, 0, 0
        self._file.write(table)
        if not self._is_again:
            meter.rows(table.num_rows)

    def _end_file(self) -> _OpenFile | None:
        if self._loose:
            self._cut()
        waiting = [*self._blocks, *([pa.Table.from_batches(self._loose).combine_chunks()] if self._loose else [])]
        self._loose, self._loose_rows, self._loose_bytes = [], 0, 0
        if waiting:
            self._write_row_group(waiting)
        file, self._file = self._file, None
        if file is not None:
            file.close()
        return file


def _united(known: pa.Schema | None, other: pa.Schema, columns: int) -> pa.Schema:
    """All fields of both: the leading `columns`, then the fields that only some have, sorted by name, then Casparian's."""
    if known is None:
        known = other
    leading, rest = (
        list(other)[:columns],
        {field.name: field for field in [*list(known)[columns:], *list(other)[columns:]]},
    )
    own = [name for name in rest if is_reserved(name)]
    return pa.schema(
        [*leading, *(rest[name] for name in sorted(rest.keys() - set(own))), *(rest[name] for name in own)]
    )


def _padded(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(_columns(batch, schema), schema=schema)


def _columns(rows: Any, schema: pa.Schema) -> list[Any]:
    present = set(rows.schema.names)
    columns = [
        rows.column(field.name) if field.name in present else pa.nulls(rows.num_rows, field.type) for field in schema
    ]
    # Parquet uses a special name for the items of a list.
    return [
        each if each.type == field.type else each.cast(field.type) for each, field in zip(columns, schema, strict=True)
    ]


def size_of(rows: pa.Table) -> int:
    """The bytes of the values. Unlike `nbytes` it depends only on the rows, and a column of NULL texts takes none."""
    fixed_bytes, others = _widths(rows.schema)
    return fixed_bytes * int(rows.num_rows) + sum(
        _size(chunk) for place in others for chunk in rows.column(place).chunks
    )


@functools.lru_cache(maxsize=64)
def _widths(schema: pa.Schema) -> tuple[int, list[int]]:
    """The bytes of a row's values of fixed size, and the places of the other columns."""
    others = [place for place, kind in enumerate(schema.types) if _is_text(kind) or pt.is_nested(kind)]
    fixed = [kind.bit_width // 8 for place, kind in enumerate(schema.types) if place not in others]
    return sum(fixed), others


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_binary(kind))


def _rows_of_size(block: pa.Table, size: int) -> int:
    """How many of the first rows together reach `size`; all rows together do."""
    total = pc.cumulative_sum(functools.reduce(pc.add, (_row_sizes(each.combine_chunks()) for each in block.columns)))
    return pc.index(pc.greater_equal(total, size), pa.scalar(True)).as_py() + 1  # type: ignore[no-any-return]


def _size(values: pa.Array) -> int:
    """The sum of `_row_sizes` of texts or nested values."""
    if not _is_text(values.type):
        return int(pc.sum(_row_sizes(values)).as_py() or 0)
    null_count, present_bytes = values.null_count, 4 * (len(values) - values.null_count)
    if not present_bytes:
        return 0
    if null_count:
        return int(pc.sum(pc.binary_length(values)).as_py()) + int(present_bytes)
    begin, end = text_range(values)
    return end - begin + int(present_bytes)


def _row_sizes(column: pa.Array) -> pa.Int64Array:
    """The bytes of each value of a column."""
    kind = column.type
    if _is_text(kind):
        return pc.fill_null(pc.add(pc.binary_length(column).cast(pa.int64()), 4), 0)
    if pt.is_list(kind):
        inner = pc.cumulative_sum(_row_sizes(column.flatten()))
        inner = pa.concat_arrays([pa.array([0], pa.int64()), inner])
        ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64()))
        starts = pa.concat_arrays([pa.array([0], pa.int64()), ends])
        return pc.subtract(inner.take(ends), inner.take(starts.slice(0, len(ends))))
    if pt.is_struct(kind):
        return functools.reduce(pc.add, map(_row_sizes, column.flatten()))
    return pa.repeat(pa.scalar(kind.bit_width // 8, pa.int64()), len(column))


class _OpenFile:
    """One Parquet file being written. Dictionaries are in its pages only: its readers get plain columns."""

    def __init__(self, sink: StagedSink, first: pa.Table, settings: WriterSettings) -> None:
        """`first` has the first rows of the file, from which the encoding of its text columns is chosen."""
        self.sink = sink
        self.rows = 0
        self._marked = _with_metadata(first.schema, settings.metadata)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(sink, mode="w"),
            self._marked,
            version="2.6",
            data_page_version="1.0",
            compression=settings.compression if size_of(first) > _SMALL_BYTES else "none",
            use_dictionary=[name for name in first.column_names if _repeats_values(first[name])],
            column_encoding={field.name: "DELTA_BINARY_PACKED" for field in first.schema if _has_differences(field)},
            store_decimal_as_integer=True,
            write_statistics=True,
            store_schema=False,
        )

    def write(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        # This is not a cast, because a cast would refuse a NULL struct for its required fields.
        marked = pa.Table.from_arrays(table.columns, schema=self._marked)
        self._writer.write_table(marked, row_group_size=table.num_rows)

    def close(self) -> None:
        schema = _plain(self._marked)
        arrow_schema = base64.b64encode(schema.serialize().to_pybytes())  # as the writer itself would store it
        self._writer.add_key_value_metadata({**(schema.metadata or {}), b"ARROW:schema": arrow_schema})
        self._writer.close()
        self.sink.close()


def _plain(schema: pa.Schema) -> pa.Schema:
    fields = [field.with_type(field.type.value_type) if pt.is_dictionary(field.type) else field for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def _with_metadata(schema: pa.Schema, metadata: dict[str, str]) -> pa.Schema:
    if not metadata:
        return schema
    return pa.schema([each.with_metadata(metadata) for each in schema], metadata=metadata)


#: Decimals up to this precision are 64-bit integers in Parquet.
_INTEGER_DIGITS = 18
_IS_INTEGER = (pt.is_integer, pt.is_temporal)


def _has_differences(field: pa.Field) -> bool:
    """Whether the values of a column are integers in Parquet, which are stored as differences.

    That takes a third to a half of the time of plain integers, which zstd compresses as bytes, and less room. A name with a point
    might be that of a value inside another column, so it is left out.
    """
    kind = field.type
    is_integer = any(test(kind) for test in _IS_INTEGER) or (pt.is_decimal(kind) and kind.precision <= _INTEGER_DIGITS)
    return is_integer and "." not in field.name


def _repeats_values(texts: pa.ChunkedArray) -> bool:
    """Whether the texts of a column come again and again: its second half adds less than half as many new ones as its first has.

    A dictionary makes such a column smaller. It makes a column of ids larger, and slower to write.
    """
    if not pt.is_string(texts.type):
        return bool(pt.is_dictionary(texts.type))
    if len(texts) <= _FEW_TEXTS:  # the same in Python, which is quicker for a few
        values = texts.to_pylist()
        counts = [len({each for each in part if each is not None}) for part in (values[: len(values) // 2], values)]
        return counts[1] <= max(1, counts[0] * 3 // 2)
    encoded = texts.combine_chunks().dictionary_encode()
    last = pc.max(encoded.indices.slice(0, len(texts) // 2)).as_py()  # texts are numbered as they appear
    in_first_half = 0 if last is None else last + 1
    return len(encoded.dictionary) <= max(1, in_first_half * 3 // 2)
