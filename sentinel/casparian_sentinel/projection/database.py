"""The file `state.duckdb`: how it is opened, when it is rebuilt, and how rows are inserted into it.

The file is disposable. It is removed if it has another schema, was written by other code, was open when the machine crashed, or
is damaged; the caller then applies the log from its start. `PositionFile` stores the tables' position in the log in a separate
file, as a witness of the log's length; without that file `python -m casparian_sentinel.projection.database PATH` prints the
position in the tables as a JSON map, or null. `jobs`, `files`, `registry` and `liveness` decide which rows are written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pydantic_core import to_json

from casparian_protocol.errors import CasparianError
from casparian_sentinel.log import CHAIN_ID_BYTES, DamagedBatch, Head, pack_seal, unpack_seal
from casparian_sentinel.ports import NOT_A_FILE, RealFs, keep_aside, open_file

Row = dict[str, Any]
ReadBlob = Callable[[str], bytes]
#: table → column → its type.
Types = Mapping[str, Mapping[str, pa.DataType]]

_log = logging.getLogger("casparian.projection")

SCHEMA_SQL = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")


def _fingerprint() -> str:
    """16 hex digits of the schema and the code that fills it; tables written by other code are rebuilt."""
    digest = hashlib.sha256()
    package = resources.files(__package__)
    protocol = resources.files("casparian_protocol")
    # without `queries`, which write nothing
    files = [*package.iterdir(), *protocol.joinpath("events").iterdir(), protocol.joinpath("job_life.py")]
    for file in sorted(files, key=lambda file: file.name):
        if file.name.endswith((".py", ".sql")):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


SCHEMA_FINGERPRINT = _fingerprint()

MEMORY_BYTES = 2 * 1024**3
SPILL_BYTES = 4 * 1024**3
_LOCK_WAIT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.05
#: Tables without anything to query, or with only a part of what a view shows.
INTERNAL = frozenset({"cf_position", "cf_unsettled_jobs", "cf_settled_jobs"})
#: The tables and views that a user's query may read.
STATE_TABLES = tuple(sorted({*re.findall(r"^create (?:table|view) (\w+)", SCHEMA_SQL, re.MULTILINE)} - INTERNAL))
#: A checkpoint writes the last, incomplete part of every table again, whatever changed, so it runs rarely.
_WAL_BYTES = 128 * 1024**2
#: The most keys that a look-up may find through an index; with more it reads the whole table, which a large batch can afford.
_LOOKED_UP_KEYS = 2000


class ProjectionError(CasparianError):
    """The tables cannot be opened or queried."""


#: DuckDB has no class for a failed write: a commit, a statement and a checkpoint report one with three different classes.
_WRITE_FAILURES = (duckdb.TransactionException, duckdb.IOException, duckdb.FatalException)
_WRITE_FAILED = re.compile(
    r'Could not (write|truncate|sync) file "[^"\n]*": |Cannot open file "[^"\n]*": (No space left|Disk quota exceeded)'
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_failed_write(error: Exception) -> bool:
    """Whether a file could not be written, in most cases because the disk is full. Neither the event nor the file is at fault.

    After a `FatalException` the connection is of no use any more; the file can be opened again.
    """
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return isinstance(error, _WRITE_FAILURES) and _WRITE_FAILED.search(str(error)) is not None


def boot_id() -> str:
    """The kernel's id of this boot. After another boot, data written without syncs is not trusted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def open_database(path: Path, boot_id: str) -> duckdb.DuckDBPyConnection:
    """Open the existing tables, or create new ones if the existing ones cannot be trusted. Raises if nothing can be written."""
    if not path.exists():
        return create(path, boot_id)
    if not path.is_file():
        _log.warning("rebuilding %s from the log: it is not a regular file", path.name)
        return create(path, boot_id)
    reason = "it cannot be read"
    try:
        db = _connect_patiently(path)
    except duckdb.Error as cause:
        if is_failed_write(cause):
            raise
        reason = str(cause).splitlines()[0]
    else:
        try:
            row = db.execute("select schema_fingerprint, boot_id, is_clean from cf_position").fetchone()
            if row and row[0] == SCHEMA_FINGERPRINT and (row[1] == boot_id or row[2]):
                _read_open_jobs(db, path)
                db.execute("update cf_position set boot_id = ?, is_clean = false", (boot_id,))
                return db
            reason = "the machine crashed while it was open" if row else "it is empty"
            if row and row[0] != SCHEMA_FINGERPRINT:
                reason = "it was made by another version"
        except duckdb.Error as cause:
            if is_failed_write(cause):
                db.close()
                raise
            reason = str(cause).splitlines()[0]
        db.close()
    _log.warning("rebuilding %s from the log: %s", path.name, reason)
    return create(path, boot_id)


def _read_open_jobs(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raise if the file ends before its tables do. Looks at the open jobs only, because opening must not grow with history."""
    blocks = "pragma_storage_info('cf_unsettled_jobs'), pragma_database_size()"
    wanted = db.execute(f"select (max(block_id) + 1) * any_value(block_size) from {blocks}").fetchall()[0][0]
    if wanted is not None and path.stat().st_size < wanted:
        raise duckdb.IOException(f"it has only {path.stat().st_size} of at least {wanted} bytes")


def create(path: Path, boot_id: str) -> duckdb.DuckDBPyConnection:
    """Create empty tables; an older file is removed."""
    discard(path)
    db = _connect(path)
    db.execute(SCHEMA_SQL)
    position = (SCHEMA_FINGERPRINT, boot_id)
    db.execute("insert into cf_position values (0, 0, 0, 0, '', ?, ?, false, 0)", position)
    return db


def column_types(db: duckdb.DuckDBPyConnection) -> Types:
    """Every table with its columns in order."""
    tables = db.execute("select table_name from duckdb_tables() where not temporary").fetchall()
    found = {}
    for (table,) in tables:
        schema = db.sql(f"select * from {table} limit 0").to_arrow_table().schema
        found[table] = {field.name: field.type for field in schema}
    return found


def ask(db: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """Run one internal SELECT; returns an Arrow table."""
    relation = db.sql(sql, params=list(parameters)) if parameters else db.sql(sql)
    if relation is None:
        raise ProjectionError("That statement returns no rows.", remedy="Use a SELECT.")
    return relation.to_arrow_table()


def discard(path: Path) -> None:
    """Remove the database and the files that DuckDB writes next to it; a directory in place of one is kept aside."""
    for file in (path, path.with_name(path.name + ".wal")):
        if file.is_dir() and not file.is_symlink():
            keep_aside(RealFs(), file)
        file.unlink(missing_ok=True)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(str(path))
    for setting in (
        "set fsync_mode = 'NONE'",  # its syncs would slow down those of the log, and this file is disposable
        "set python_enable_replacements = false",
        "set autoinstall_known_extensions = false",
        "set autoload_known_extensions = false",
        "set enable_external_access = false",
        "set threads = 1",  # a batch is many small statements, and dividing them among threads costs a third of their time
        f"set dynamic_or_filter_threshold = {_LOOKED_UP_KEYS}",
        f"set checkpoint_threshold = '{_WAL_BYTES}B'",
        f"set memory_limit = '{MEMORY_BYTES}B'",  # also for questions, so that they fail before the kernel kills the process
        f"set max_temp_directory_size = '{SPILL_BYTES}B'",
        "set lock_configuration = true",
    ):
        db.execute(setting)
    return db


def _connect_patiently(path: Path) -> duckdb.DuckDBPyConnection:
    """Connect, waiting while an earlier projector closes the file; a file that another process holds must not be rebuilt."""
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            return _connect(path)
        except duckdb.IOException as cause:
            if "Could not set lock" not in str(cause):
                raise
            if time.monotonic() > deadline:
                raise ProjectionError(
                    f"Another process uses {path}.", remedy="End it; the projection belongs to one process at a time."
                ) from cause
        time.sleep(_LOCK_POLL_SECONDS)  # DuckDB has no event to wait for


# --- rows

#: This many rows are inserted faster one by one than as a table.
FEW_ROWS = 2
_SQL_TYPES = {pa.string(): "varchar", pa.uint64(): "ubigint", pa.timestamp("us"): "timestamp"}


_EMPTY: dict[type, str] = {dict: "{}", list: "[]", tuple: "[]"}


def as_json(value: Any) -> str:
    """Compact JSON of event data or models; a value that JSON cannot express becomes text."""
    if not value and value.__class__ in _EMPTY:
        return _EMPTY[value.__class__]
    text: bytes = to_json(value, fallback=str, bytes_mode="hex", inf_nan_mode="strings")
    return text.decode()


#: Rows as columns of equal length, by name.
Columns = Mapping[str, Sequence[Any]]


def as_columns(rows: Sequence[Row] | Columns, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Columns, or rows with the same keys in the same order, as a table."""
    columns = rows if isinstance(rows, Mapping) else by_name(rows)
    return pa.table({name: pa.array(column, types[name]) for name, column in columns.items()})


def by_name(rows: Sequence[Row]) -> Columns:
    return dict(zip(rows[0], zip(*(row.values() for row in rows), strict=True), strict=True))


@contextmanager
def registered(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> Iterator[None]:
    """Registers the rows as a relation of this name inside the context."""
    db.register(name, rows)
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # an aborted transaction accepts no statement; the original error explains why
            db.unregister(name)
        raise
    db.unregister(name)


@contextmanager
def relation(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> Iterator[tuple[str, list[Any]]]:
    """SQL for the rows as a relation of this name inside the context, and its parameters; few rows need no table."""
    if rows.num_rows > FEW_ROWS:
        with registered(db, name, rows):
            yield name, []
        return
    marks = ", ".join(f"?::{_SQL_TYPES[column.type]}" for column in rows.schema)
    values = ", ".join(f"({marks})" for _ in range(rows.num_rows))
    columns = ", ".join(f'"{column}"' for column in rows.column_names)
    parameters = [value for row in rows.to_pylist() for value in row.values()]
    yield f"(values {values}) {name}({columns})", parameters


def insert(
    db: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row] | Columns, types: Mapping[str, pa.DataType]
) -> None:
    """Append columns, or rows with the same keys in the same order; missing columns are NULL. Times are µs."""
    columns = rows if isinstance(rows, Mapping) else by_name(rows)
    count = len(next(iter(columns.values())))
    if count > FEW_ROWS:
        with registered(db, "fresh", as_columns(columns, types)):
            db.execute(f"insert into {table} by name select * from fresh")
        return
    # the cost of a statement depends on the columns it names, and most of a job's sixty are NULL
    names = [name for name, column in columns.items() if any(value is not None for value in column)]
    marks = ", ".join(mark_of(types[name]) for name in names)
    values = ", ".join(f"({marks})" for _row in range(count))
    named = ", ".join(f'"{name}"' for name in names)
    db.execute(
        f"insert into {table} ({named}) values {values}",
        [columns[name][place] for place in range(count) for name in names],
    )


def with_keys(sql: str, keys: Sequence[str]) -> tuple[str, list[object]]:
    """SQL with `in $keys` bound to these keys, and its parameters. Few keys become separate parameters, which are planned faster.

    The keys must be the only condition: with another one next to few keys, DuckDB reads the whole table and not the index.
    """
    if len(keys) > FEW_ROWS:
        return sql.replace("$keys", "(select unnest(?::varchar[]))"), [list(keys)]
    return sql.replace("$keys", f"({', '.join('?' * len(keys))})"), [*keys]


def mark_of(kind: pa.DataType) -> str:
    """The placeholder for a value of this type in a statement; times are given as µs."""
    return "make_timestamp(?)" if pa.types.is_timestamp(kind) else "?"


# --- single rows of small tables


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    parameters: tuple[Any, ...] = ()


_EPOCH = datetime(1970, 1, 1)


def at(microseconds: int) -> datetime:
    """Log time as naive UTC, as the tables store it."""
    return _EPOCH + timedelta(microseconds=microseconds)


def new_row(table: str, **values: Any) -> Statement:
    columns = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    return Statement(f"insert into {table} ({columns}) values ({marks})", tuple(values.values()))


# --- the position in the log, in a separate file

_CHAIN_UNKNOWN = bytes(CHAIN_ID_BYTES)
_LIMIT_BYTES = 4096


class PositionFile:
    """The file `state.position`, written by the process that writes the tables. The position never decreases.

    If something else has its name, nothing is written: the position is in the tables too.
    """

    def __init__(self, path: Path) -> None:
        self._seq, self._descriptor = 0, -1
        try:
            self._descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
            self._seq = unpack_seal(os.pread(self._descriptor, _LIMIT_BYTES, 0))[1].seq
        except DamagedBatch:  # new, or torn by a power cut
            pass
        except OSError as cause:
            if cause.errno not in NOT_A_FILE:
                raise
            _log.warning("The position of the tables is not written to %s (%s).", path.name, cause)

    def write(self, head: Head) -> None:
        if head.seq >= self._seq and self._descriptor >= 0:
            os.pwrite(self._descriptor, pack_seal(_CHAIN_UNKNOWN, head), 0)
            self._seq = head.seq

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def position_in(path: Path) -> dict[str, object] | None:
    """The position of the tables in the file; None before the first event. Raises `duckdb.Error` or `OSError`."""
    os.close(open_file(path))  # DuckDB would wait forever at a FIFO
    with duckdb.connect(str(path), read_only=True) as db:
        found = db.execute("select seq, batch_no, segment, byte_offset, sha256 from cf_position").fetchone()
    if found is None or not found[2]:
        return None
    return dict(zip(("seq", "batch_no", "segment", "offset", "sha256"), found, strict=True))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(position_in(Path(sys.argv[1]))))
