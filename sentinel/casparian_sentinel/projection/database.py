"""The file `state.duckdb`: how it is opened, and when what is there is forgotten and made anew.

It is disposable: a file of another schema or of other code, one that the machine went down with, a damaged one is removed,
and the caller applies the log from its start. What is written into it is `store`'s and `tables`' business.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from casparian_protocol.errors import CasparianError
from casparian_sentinel.projection.rows import Types

_log = logging.getLogger("casparian.projection")

SCHEMA_SQL = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")


def _fingerprint() -> str:
    """16 hex digits of the schema and of the code that fills it: tables that other code made are made anew."""
    digest = hashlib.sha256()
    package = resources.files(__package__)
    events = resources.files("casparian_protocol.events")
    # not `queries`, which fill nothing
    for file in sorted([*package.iterdir(), *events.iterdir()], key=lambda file: file.name):
        if file.name.endswith((".py", ".sql")):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


SCHEMA_FINGERPRINT = _fingerprint()

MEMORY_BYTES = 2 * 1024**3
SPILL_BYTES = 4 * 1024**3
_LOCK_WAIT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.05
#: Tables that hold nothing to ask about, or half of what a view shows.
INTERNAL = frozenset({"cf_position", "cf_unsettled_jobs", "cf_settled_jobs"})
#: As many keys a look-up may have to go through an index; with more it reads the whole table, which a large batch can afford.
_LOOKED_UP_KEYS = 2000


class ProjectionError(CasparianError):
    """The tables cannot be opened or asked."""


def boot_id() -> str:
    """The kernel's id of this boot: after another, what was written without syncs is not trusted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def open_database(path: Path, boot_id: str) -> duckdb.DuckDBPyConnection:
    """The tables as they were left, or new ones when they cannot be trusted."""
    if not path.exists():
        return create(path, boot_id)
    reason = "it cannot be read"
    try:
        db = _connect_patiently(path)
    except duckdb.Error as cause:
        reason = str(cause).splitlines()[0]
    else:
        try:
            row = db.execute("select schema_fingerprint, boot_id, is_clean from cf_position").fetchone()
            if row and row[0] == SCHEMA_FINGERPRINT and (row[1] == boot_id or row[2]):
                db.execute("update cf_position set boot_id = ?, is_clean = false", (boot_id,))
                return db
            reason = "the machine went down with it open" if row else "it is empty"
            if row and row[0] != SCHEMA_FINGERPRINT:
                reason = "it was made by another version"
        except duckdb.Error as cause:
            reason = str(cause).splitlines()[0]
        db.close()
    _log.warning("rebuilding %s from the log: %s", path.name, reason)
    return create(path, boot_id)


def create(path: Path, boot_id: str) -> duckdb.DuckDBPyConnection:
    """Empty tables, whatever was there."""
    discard(path)
    db = _connect(path)
    db.execute(SCHEMA_SQL)
    position = (SCHEMA_FINGERPRINT, boot_id)
    db.execute("insert into cf_position values (0, 0, 0, 0, '', ?, ?, false, 0)", position)
    return db


def column_types(db: duckdb.DuckDBPyConnection) -> Types:
    """Every table with its columns in their order."""
    tables = db.execute("select table_name from duckdb_tables() where not temporary").fetchall()
    found = {}
    for (table,) in tables:
        schema = db.sql(f"select * from {table} limit 0").to_arrow_table().schema
        found[table] = {field.name: field.type for field in schema}
    return found


def ask(db: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """One SELECT of ours as an Arrow table."""
    relation = db.sql(sql, params=list(parameters)) if parameters else db.sql(sql)
    if relation is None:
        raise ProjectionError("That statement returns no rows.", remedy="Ask with a SELECT.")
    return relation.to_arrow_table()


def discard(path: Path) -> None:
    """Remove the database and what DuckDB keeps beside it."""
    for file in (path, path.with_name(path.name + ".wal")):
        file.unlink(missing_ok=True)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(str(path))
    for setting in (
        "set fsync_mode = 'NONE'",  # its syncs would slow the log's; the file is disposable
        "set python_enable_replacements = false",
        "set autoinstall_known_extensions = false",
        "set autoload_known_extensions = false",
        "set enable_external_access = false",
        "set threads = 2",
        f"set dynamic_or_filter_threshold = {_LOOKED_UP_KEYS}",
        f"set memory_limit = '{MEMORY_BYTES}B'",  # for questions too, which fail before the process is ended for it
        f"set max_temp_directory_size = '{SPILL_BYTES}B'",
        "set lock_configuration = true",
    ):
        db.execute(setting)
    return db


def _connect_patiently(path: Path) -> duckdb.DuckDBPyConnection:
    """An earlier projector may still be closing it; a file that another process keeps is not ours to rebuild."""
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            return _connect(path)
        except duckdb.IOException as cause:
            if "Could not set lock" not in str(cause):
                raise
            if time.monotonic() > deadline:
                raise ProjectionError(
                    f"Another process holds {path}.", remedy="End it; the projection belongs to one process at a time."
                ) from cause
        time.sleep(_LOCK_POLL_SECONDS)  # DuckDB offers nothing to wait on
