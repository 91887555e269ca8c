"""Where `run --sink` writes: one file an output, its quarantine in a directory beside, all or nothing.

Owns the URI, the names, refusing to overwrite, and the writers of four formats. Files are written aside and renamed when
the run is over; a run that fails leaves what was there before.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from casparian_app.problems import UsageProblem, WorkFailed
from casparian_protocol.values import flat_table, plain_rows

Scheme = Literal["parquet", "csv", "jsonl", "arrow"]
SCHEMES: tuple[Scheme, ...] = ("parquet", "csv", "jsonl", "arrow")
QUARANTINE_FOLDER = "quarantine"


class SinkRefused(UsageProblem):
    """The URI is not a sink that `run` can write."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri[:200]!r} is not a sink that `run` can write.",
            remedy=f"Write {', '.join(f'{scheme}://DIR' for scheme in SCHEMES)}.",
        )


class WouldOverwrite(UsageProblem):
    """A file would be overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is already there.", remedy="Name another directory, or overwrite with --force.")


class ColumnsDiffer(WorkFailed):
    """Two inputs gave one output different columns, so that one file cannot hold both."""

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
    """`parquet://DIR`: what follows the slashes is a path, relative or absolute."""
    scheme, separator, rest = uri.partition("://")
    for known in SCHEMES:
        if separator and scheme == known and rest:
            return Target(known, Path(rest).expanduser())
    raise SinkRefused(uri)


class Sink:
    """The files of one run. `add` any number of times, then `commit`; without it nothing remains."""

    def __init__(self, target: Target, *, is_overwriting: bool, is_trial: bool = False) -> None:
        """A trial counts what would be written, and touches nothing."""
        self.is_trial = is_trial
        self._target = target
        self._is_overwriting = is_overwriting
        self._files: dict[tuple[str, bool], _File | _Trial] = {}

    def require_room(self, outputs: list[str]) -> None:
        """Refuse before the parser has run, as far as its outputs are known."""
        for output in outputs:
            for is_quarantine in (False, True):
                self._refuse_to_overwrite(self._target.path(output, is_quarantine=is_quarantine))

    def add(self, output: str, batch: pa.RecordBatch, *, is_quarantine: bool = False) -> None:
        """Append rows to the output's file, or to that of its quarantine."""
        file = self._files.get((output, is_quarantine))
        try:
            if file is None:
                path = self._target.path(output, is_quarantine=is_quarantine)
                self._refuse_to_overwrite(path)
                make = _Trial if self.is_trial else _File
                file = self._files[output, is_quarantine] = make(self._target.scheme, path, batch.schema)
            if not batch.schema.equals(file.schema):
                raise ColumnsDiffer(output)
            file.write(batch)
        except OSError as cause:
            raise SinkFailed(self._target.path(output, is_quarantine=is_quarantine), cause) from cause

    def commit(self) -> list[tuple[Path, int]]:
        """Put every file in its place; (path, rows)."""
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
        """Remove what was written aside."""
        for file in self._files.values():
            file.discard()
        self._files.clear()

    def _refuse_to_overwrite(self, path: Path) -> None:
        if not self._is_overwriting and (path.exists() or path.is_symlink()):
            raise WouldOverwrite(path)


class _File:
    """One file being written aside."""

    def __init__(self, scheme: Scheme, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.rows = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._stream = open(self._aside, "xb")  # noqa: SIM115 -- closed by finish or discard
        self._write, self._close = _WRITERS[scheme](self._stream, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self._write(batch)

    def finish(self) -> None:
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


class _Trial:
    """What a file would hold."""

    def __init__(self, scheme: Scheme, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows

    def finish(self) -> None:
        """Nothing was begun."""

    publish = discard = finish


Writer = tuple[Callable[[pa.RecordBatch], None], Callable[[], None]]


def _parquet(stream: Any, schema: pa.Schema) -> Writer:
    writer = pq.ParquetWriter(pa.PythonFile(stream, mode="w"), schema, compression="zstd")
    return writer.write_batch, writer.close


def _arrow(stream: Any, schema: pa.Schema) -> Writer:
    writer = pa.ipc.new_file(pa.PythonFile(stream, mode="w"), schema)
    return writer.write_batch, writer.close


def _csv(stream: Any, schema: pa.Schema) -> Writer:
    """NULL is an empty field, the empty text is quoted."""
    flat = flat_table(schema.empty_table()).schema
    writer = pyarrow.csv.CSVWriter(pa.PythonFile(stream, mode="w"), flat)
    return lambda batch: writer.write_table(flat_table(pa.Table.from_batches([batch]))), writer.close


def _jsonl(stream: Any, schema: pa.Schema) -> Writer:
    """One object a row."""

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
