"""The rows in dev mode: an `Observer` counts them and keeps examples, a `Sink` writes them to files.

An observer holds a bounded amount: counts, types, first rows and examples of one input. It validates nothing itself. A sink
writes one file for each output, and quarantined rows to a directory next to it. It refuses to overwrite files, writes under
temporary names, and renames when the run is over; a run that fails leaves the old files.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from casparian_app.texts import UsageProblem, WorkFailed
from casparian_protocol.contract import FOR_PARSERS, RAW_ENCODING_COLUMN, Contract, ViolationCode, describe
from casparian_protocol.jobs import JobError, RecordAccounting
from casparian_protocol.values import cell_texts, flat_table, plain_rows
from casparian_worker import is_mixed

_EXAMPLES_MAX = 3
_REJECTED_MAX = 10
_TYPES_MAX = 4

OnRows = Callable[[str, pa.RecordBatch, bool], None]


@dataclass(frozen=True, slots=True)
class Example:
    """One value that broke its contract, or the reason for which a row was rejected.

    `source_row` is the line or record, if the parser gives it, `offset` the byte where it begins, if a reader read it, and `raw`
    its text.
    """

    source_row: int | None
    offset: int | None
    row_index: int
    expected: str
    got: str | None
    raw: str | None


@dataclass(frozen=True, slots=True)
class ColumnSeen:
    """One column: its type in the contract, the types received, and the violations."""

    name: str
    #: Empty without a contract, or if the contract does not have the column.
    declared: str
    #: The Arrow types received, in order; `mixed` for a batch whose values have no common type.
    observed: tuple[str, ...]
    #: The number of NULLs among valid rows.
    null_count: int
    violation_count: int


@dataclass(slots=True)
class Observer:
    """Collects the facts about one output of one input."""

    output: str
    contract: Contract | None
    rows_wanted: int
    #: Called for every batch (output, rows with lineage, whether they are bad), for a sink.
    on_rows: OnRows | None = None
    #: The validator's remarks: columns left out, rows without a source row.
    notes: list[str] = field(default_factory=list)
    valid_count: int = 0
    bad_count: int = 0
    #: The first rows as JSON values, and as the texts of cells.
    first_rows: list[dict[str, object]] = field(default_factory=list)
    first_cells: list[tuple[str | None, ...]] = field(default_factory=list)
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[Example]] = field(default_factory=dict)
    _observed: dict[str, dict[str, None]] = field(default_factory=dict)
    _nulls: Counter[str] = field(default_factory=Counter)

    @property
    def received_count(self) -> int:
        return self.valid_count + self.bad_count

    def announced(self, schema: pa.Schema) -> None:
        """Record the parser's columns and their types; called again when they change."""
        for column in schema:
            if column.name not in FOR_PARSERS:
                types = self._observed.setdefault(column.name, {})
                if len(types) < _TYPES_MAX:
                    types["mixed" if is_mixed(column) else str(column.type)] = None

    def valid(self, batch: pa.RecordBatch, with_lineage: pa.RecordBatch) -> None:
        """Record rows that satisfy their contract, or that have none."""
        self.valid_count += batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._nulls[name] += column.null_count
        missing = self.rows_wanted - len(self.first_rows)
        if missing > 0:
            first = batch.slice(0, missing)
            self.first_rows += plain_rows(first)
            self.first_cells += zip(*map(cell_texts, first.columns), strict=True)
        if self.on_rows is not None:
            self.on_rows(self.output, with_lineage, False)

    def bad(self, batch: pa.RecordBatch, with_lineage: pa.RecordBatch) -> None:
        """Record bad rows in the format of the quarantine (`casparian_worker.validation.quarantine`)."""
        self.bad_count += batch.num_rows
        self._learn(batch)
        if self.on_rows is not None:
            self.on_rows(self.output, with_lineage, True)

    def columns(self) -> list[ColumnSeen]:
        """The contract's columns in its order, then other columns received."""
        declared = {each.name: describe(each.type) for each in self.contract.columns} if self.contract else {}
        by_column: Counter[str] = Counter()
        for (_code, columns), count in self.violations.items():
            for name in columns.split(", ") if columns not in declared else [columns]:
                by_column[name] += count
        names = [*declared, *(name for name in self._observed if name not in declared)]
        return [
            ColumnSeen(
                name,
                declared.get(name, ""),
                tuple(self._observed.get(name, ())),
                self._nulls[name],
                by_column[name],
            )
            for name in names
        ]

    def _learn(self, batch: pa.RecordBatch) -> None:
        """Count each (code, column), and keep the first examples of each."""
        listed = batch.column("_cf_violations")
        row = pc.list_parent_indices(listed)
        code, column, expected, got = pc.list_flatten(listed).flatten()
        table = pa.table(
            {"code": code, "column": pc.fill_null(column, ""), "expected": expected, "got": got, "row": row}
        )
        for group in table.group_by(["code", "column"]).aggregate([([], "count_all")]).to_pylist():
            key = group["code"], group["column"]
            self.violations[key] += group["count_all"]
            kept = self.examples.setdefault(key, [])
            wanted = _REJECTED_MAX if key[0] == ViolationCode.PARSER_REJECTED else _EXAMPLES_MAX
            if len(kept) < wanted:
                kept += _examples(batch, table, key, wanted - len(kept))


@dataclass(frozen=True, slots=True)
class InputRun:
    """The result of the parser for one input."""

    path: str
    source_hash: str
    seconds: float
    outputs: dict[str, Observer]
    skips: Mapping[str, int]
    #: Whether reading stopped because --limit was reached.
    is_cut: bool
    error: JobError | None
    #: None if the parser failed before its end, or reading stopped at the limit.
    records: RecordAccounting | None = None
    #: The sandbox level of the guest.
    sandbox: str = "none"

    @property
    def status(self) -> str:
        if self.error is not None:
            return "failed"
        if any(output.bad_count for output in self.outputs.values()):
            return "partial_success"
        return "success" if any(output.received_count for output in self.outputs.values()) else "no_data"


def _examples(batch: pa.RecordBatch, table: pa.Table, key: tuple[str, str], count: int) -> list[Example]:
    same = pc.and_(pc.equal(table["code"], key[0]), pc.equal(table["column"], key[1]))
    found = table.filter(same).slice(0, count).to_pylist()
    rows, offsets, indices, raws = (
        batch.column(name) for name in ("_cf_source_row", "_cf_source_offset", "_cf_output_row_index", "_cf_raw")
    )
    return [
        Example(
            rows[at].as_py(), offsets[at].as_py(), indices[at].as_py(), each["expected"], each["got"], raws[at].as_py()
        )
        for each in found
        for at in [each["row"]]
    ]


Scheme = Literal["parquet", "csv", "jsonl", "arrow"]
SCHEMES: tuple[Scheme, ...] = ("parquet", "csv", "jsonl", "arrow")
QUARANTINE_FOLDER = "quarantine"
#: So much of a file is held before it is written.
_HELD_BYTES = 16 * 1024 * 1024


class SinkRefused(UsageProblem):
    """The URI is not a valid sink of `run`."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri[:200]!r} is not a valid sink: `run` cannot write it.",
            remedy=f"Write {', '.join(f'{scheme}://DIR' for scheme in SCHEMES)}.",
        )


class WouldOverwrite(UsageProblem):
    """A file would be overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} already exists.", remedy="Name another directory, or overwrite with --force.")


class ColumnsDiffer(WorkFailed):
    """Two inputs gave one output different columns, so one file cannot hold both."""

    def __init__(self, output: str) -> None:
        super().__init__(
            f"The columns of output {output} differ between inputs or batches; one file cannot hold both.",
            remedy="Declare a contract for it (`outputs = {…}` or --contract), or run the inputs one by one.",
        )


class SinkFailed(WorkFailed):
    """The rows could not be written."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(
            f"{path} cannot be written: {cause.strerror or cause}.", remedy="Nothing of this run was kept."
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A directory and a format."""

    scheme: Scheme
    directory: Path

    def path(self, output: str, *, is_quarantine: bool) -> Path:
        folder = self.directory / QUARANTINE_FOLDER if is_quarantine else self.directory
        return folder / f"{output}.{self.scheme}"


def read_target(uri: str) -> Target:
    """Read `parquet://DIR`; DIR is a relative or absolute path."""
    scheme, separator, rest = uri.partition("://")
    for known in SCHEMES:
        if separator and scheme == known and rest:
            return Target(known, Path(rest).expanduser())
    raise SinkRefused(uri)


class Sink:
    """The files of one run. Call `add` any number of times, then `commit`; without `commit` nothing remains."""

    def __init__(self, target: Target, *, is_overwriting: bool, is_trial: bool = False) -> None:
        """A trial counts what would be written and writes nothing."""
        self.is_trial = is_trial
        self._target = target
        self._is_overwriting = is_overwriting
        self._files: dict[tuple[str, bool], _File | _Trial] = {}

    def require_room(self, outputs: list[str]) -> None:
        """Refuse to overwrite files before the parser runs, as far as its outputs are known."""
        for output in outputs:
            for is_quarantine in (False, True):
                self._refuse_to_overwrite(self._target.path(output, is_quarantine=is_quarantine))

    def add(self, output: str, batch: pa.RecordBatch, *, is_quarantine: bool = False) -> None:
        """Append rows to the output's file or to its quarantine file."""
        file = self._files.get((output, is_quarantine))
        try:
            if file is None:
                path = self._target.path(output, is_quarantine=is_quarantine)
                self._refuse_to_overwrite(path)
                make = _Trial if self.is_trial else _File
                file = self._files[output, is_quarantine] = make(self._target.scheme, path, batch.schema)
            if (whole := file.fitted(batch)) is None:
                raise ColumnsDiffer(output)
            file.write(whole)
        except OSError as cause:
            raise SinkFailed(self._target.path(output, is_quarantine=is_quarantine), cause) from cause

    def commit(self) -> list[tuple[Path, int]]:
        """Put every file in its place. Returns (path, rows) of each."""
        try:
            for file in self._files.values():
                file.finish()
            for file in self._files.values():
                self._refuse_to_overwrite(file.path)
                file.publish()
        except OSError as cause:
            raise SinkFailed(self._target.directory, cause) from cause
        done = sorted((file.path, file.rows) for file in self._files.values())
        self._files.clear()
        return done

    def discard(self) -> None:
        """Remove the temporary files."""
        for file in self._files.values():
            file.discard()
        self._files.clear()

    def _refuse_to_overwrite(self, path: Path) -> None:
        if not self._is_overwriting and (path.exists() or path.is_symlink()):
            raise WouldOverwrite(path)


class _Columns:
    """The columns of one file. Whether there is `_cf_raw_encoding` may only be known when some rows have come."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.may_change = True

    def fitted(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """The batch with the columns of the file; None if it has others."""
        if batch.schema.equals(self.schema):
            return batch
        wanted, given = set(self.schema.names), set(batch.schema.names)
        if given - wanted == {RAW_ENCODING_COLUMN} and self.may_change:
            self.schema = self.schema.append(batch.schema.field(RAW_ENCODING_COLUMN))
        elif wanted - given == {RAW_ENCODING_COLUMN}:
            batch = batch.append_column(RAW_ENCODING_COLUMN, pa.nulls(batch.num_rows, pa.string()))
        whole = batch.select(self.schema.names) if set(batch.schema.names) == set(self.schema.names) else batch
        return whole if whole.schema.equals(self.schema) else None


class _File(_Columns):
    """One file being written under a temporary name. Its first rows are held until it is certain which columns it has."""

    def __init__(self, scheme: Scheme, path: Path, schema: pa.Schema) -> None:
        super().__init__(schema)
        self.path = path
        self.rows = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._scheme: Scheme = scheme
        self._aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._stream = open(self._aside, "xb")  # noqa: SIM115 -- closed by finish or discard
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._write: Callable[[pa.RecordBatch], None] = self._hold
        self._close: Callable[[], None] = self._begin

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self._write(batch)

    def _hold(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes > _HELD_BYTES:
            self._begin()

    def _begin(self) -> None:
        """Write what is held; the columns are certain from here on."""
        held, self._held = self._held, []
        self.may_change = False
        self._write, self._close = _WRITERS[self._scheme](self._stream, self.schema)
        for each in held:
            whole = self.fitted(each)
            assert whole is not None
            self._write(whole)

    def finish(self) -> None:
        if self.may_change:
            self._begin()
        self._close()
        if not self._stream.closed:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()

    def publish(self) -> None:
        self._aside.replace(self.path)

    def discard(self) -> None:
        self._stream.close()
        self._aside.unlink(missing_ok=True)


class _Trial(_Columns):
    """Counts what a file would contain."""

    def __init__(self, scheme: Scheme, path: Path, schema: pa.Schema) -> None:
        super().__init__(schema)
        self.path = path
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows

    def finish(self) -> None:
        """Do nothing: no file was begun."""

    publish = discard = finish


Writer = tuple[Callable[[pa.RecordBatch], None], Callable[[], None]]


def _parquet(stream: Any, schema: pa.Schema) -> Writer:
    writer = pq.ParquetWriter(pa.PythonFile(stream, mode="w"), schema, compression="zstd")
    return writer.write_batch, writer.close


def _arrow(stream: Any, schema: pa.Schema) -> Writer:
    writer = pa.ipc.new_file(pa.PythonFile(stream, mode="w"), schema)
    return writer.write_batch, writer.close


def _csv(stream: Any, schema: pa.Schema) -> Writer:
    """The batch as CSV: NULL is an empty field, empty text is quoted."""
    flat = flat_table(schema.empty_table()).schema
    writer = pyarrow.csv.CSVWriter(pa.PythonFile(stream, mode="w"), flat)
    return lambda batch: writer.write_table(flat_table(pa.Table.from_batches([batch]))), writer.close


def _jsonl(stream: Any, schema: pa.Schema) -> Writer:
    """The batch as JSON lines, one object for each row."""

    def write(batch: pa.RecordBatch) -> None:
        for row in plain_rows(batch):
            stream.write(json_line(row).encode() + b"\n")

    return write, lambda: None


_WRITERS: dict[Scheme, Callable[[Any, pa.Schema], Writer]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "csv": _csv,
    "jsonl": _jsonl,
}


def json_line(row: object) -> str:
    """A row of plain values (`casparian_protocol.values`) as JSON."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False)
