"""Running one user query in a separate process, and returning its answer.

This module knows which relations can be queried and how long a query may take. `guard` judges queries, `query_process` starts the
process, and `confined` runs the query.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_sentinel import output_views
from casparian_sentinel.projection.database import STATE_TABLES
from casparian_sentinel.sql.guard import QueryRefused, Relations, check
from casparian_sentinel.sql.query_process import SCRATCH_PREFIX, Order, QueryProcess
from casparian_shim.safe import scrub

TIMEOUT_SECONDS = 600.0
MEMORY_BYTES = 4 * 1024**3
#: An answer is a file that the caller maps into memory; larger ones are refused, as are larger spill files.
ANSWER_BYTES = 4 * 1024**3
SPILL_BYTES = 16 * 1024**3


#: A published file in DuckDB's message when it cannot be read: its output, and the job that wrote it.
_PART = re.compile(r"/(?:outputs|quarantine)/([^/\"']+)/v\d+/part-([0-9a-f]{16})-[^/\"']+\.parquet")
_READING = ("IO Error", "Invalid Input Error")

#: (name, column names or None for all) → the table, or a file that holds it.
StateTable = Callable[[str, frozenset[str] | None], pa.Table | Path]


class QueryFailed(CasparianError):
    """DuckDB ended the query with an error; the message contains DuckDB's text."""


def relations(home: Home, reader: duckdb.DuckDBPyConnection | None = None) -> Relations:
    """The relations that can be queried now: the catalog's views and the projection's tables.

    `reader` is an `output_views.reader()`, which is used up; starting it in advance saves time.
    """
    outputs: list[str] = []
    quarantines: list[str] = []
    try:
        with output_views.opened(home, reader) as db:
            views = db.execute("select schema_name, view_name from duckdb_views() where not internal").fetchall()
            tables = db.execute("select table_name from duckdb_tables() where schema_name = 'lineage'").fetchall()
            left_out = output_views.unpublished(db)
    except FileNotFoundError:
        return Relations(outputs, quarantines, list(STATE_TABLES))
    outputs = [name for schema, name in views if schema == "main"]
    quarantines = [name for schema, name in views if schema == "quarantine"]
    uncommitted = [name for schema, name in views if schema == "uncommitted"]
    return Relations(outputs, quarantines, list(STATE_TABLES), [name for (name,) in tables], uncommitted, left_out)


def ask(
    home: Home,
    sql: str,
    known: Relations,
    state_table: StateTable,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
    answer_bytes: int = ANSWER_BYTES,
    limit_rows: int | None = None,
    prepared: QueryProcess | None = None,
) -> pa.Table:
    """The answer to one user query, or its first `limit_rows`. Raises `QueryRefused` or `QueryFailed`.

    `prepared` is a process that already waits for its order; a query that is not refused uses it up. Without a usable one, a new
    process is started.

    `state_table` supplies a `cf_…` or `scout_…` table, as a table or as a file of Arrow IPC that is removed afterwards. It is
    called only for tables that the query reads, with the names of the columns that it may need.
    """
    guarded = check(sql, known)
    remove_abandoned(home)
    with prepared if prepared is not None and prepared.is_fit else QueryProcess(home) as process:
        try:
            process.pin(home.catalog_db)
        except FileNotFoundError as cause:
            raise QueryRefused(
                "Nothing is published yet.", remedy="`casparian process` runs what is pending."
            ) from cause
        tables: dict[str, str] = {}
        for name in sorted(guarded.state_tables):
            tables[name] = str(_handed_over(process.scratch / f"{name}.arrows", state_table(name, guarded.columns)))
        order = Order(
            sql=guarded.sql,
            names=[*map(str.lower, known.published_names())],
            tables=tables,
            answer=str(process.scratch / "answer.arrows"),
            memory_bytes=memory_bytes,
            answer_bytes=answer_bytes,
            limit_rows=limit_rows,
            spill_bytes=SPILL_BYTES,
        )
        return _run(process, order, timeout_seconds, guarded.state_tables)


def remove_abandoned(home: Home) -> None:
    """Remove the scratch directories of killed callers and their links to the catalog."""
    left = [
        *Path(tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*"),
        *home.run.glob("sql-*"),
        *home.run.glob("catalog-*"),
    ]
    for path in left:
        owner = path.name.removeprefix("casparian-").split("-")[1]
        if owner.isdecimal() and Path(f"/proc/{os.getpid()}").exists() and not Path(f"/proc/{owner}").exists():
            with suppress(OSError):  # another process does this too, or the directory belongs to another user
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _run(process: QueryProcess, order: Order, timeout_seconds: float, state_tables: frozenset[str]) -> pa.Table:
    try:
        status, stderr = process.run(order, timeout_seconds)
    except subprocess.TimeoutExpired as cause:
        raise QueryFailed(
            f"The query took longer than {timeout_seconds:.0f} s and was stopped.",
            remedy="Reduce the query: add a filter or a LIMIT.",
        ) from cause
    if status != 0:
        problem = _problem(stderr, status)
        raise QueryFailed(problem, remedy=_remedy(problem, state_tables))
    with pa.memory_map(order.answer) as source:  # stays mapped after its directory is gone
        return pa.ipc.open_stream(source).read_all()


def _remedy(problem: str, state_tables: frozenset[str]) -> str:
    """The remedy: a missing or damaged published file is not the query's fault."""
    part = _PART.search(problem) if problem.startswith(_READING) else None
    if part is None:
        named = min(state_tables, default="NAME")
        return f"Correct the query; `casparian sql 'describe {named}'` lists columns."
    output, job_id = part.groups()
    return (
        f"A published file of {output} is missing or damaged; `casparian verify {output}` names all of them. "
        f"Restore it from a backup, or create its rows again: `casparian job rerun {job_id}`."
    )


def _problem(stderr: bytes, status: int) -> str:
    for line in reversed(stderr.decode("utf-8", "replace").splitlines()):
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict) and "problem" in found:
            return scrub(str(found["problem"]), keep_newlines=True)
    return f"The query's process ended with status {status}: it may have exceeded its memory limit."


def _handed_over(path: Path, given: pa.Table | Path) -> Path:
    if isinstance(given, Path):
        shutil.move(given, path)
        return path
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, given.schema) as writer:
        writer.write_table(given)
    return path
