"""`catalog.duckdb`: views over the published files for any DuckDB client. A new version replaces the file by a rename.

The new file is built under another name (DuckDB keeps one instance per path in a process), checkpointed, made read-only, then
renamed over the old one; a stale write-ahead log is removed first. Views list the committed files by absolute path and never use
a glob, so that a half-promoted job is not visible. An output without rows gets a view on an empty Parquet file with the
contract's types. The file is never kept open in this process.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from casparian_protocol.contract import Contract, arrow_schema
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_sentinel.projection.queries.planning import (
    ApprovedContract,
    LiveOutput,
    PublishedFile,
    UncommittedFiles,
)

_log = logging.getLogger("casparian.catalog")

#: A table in the schema `lineage`, if needed: outputs that cannot be shown, and why.
UNPUBLISHED = "unpublished"
_QUOTED = re.compile(r"'((?:[^']|'')*)'")


class OutputViewsNotWritten(CasparianError):
    """A new `catalog.duckdb` cannot be written, for instance because the disk is full; the old one is still there."""

    def __init__(self, home: Home, why: str) -> None:
        super().__init__(
            f"{home.catalog_db.name} cannot be replaced: {why}.", remedy=f"Free some space on the disk of {home.root}."
        )


class OutputViewsUnreadable(CasparianError):
    """`catalog.duckdb` cannot be opened or read."""

    def __init__(self, why: str) -> None:
        super().__init__(why, remedy="It is rebuilt when the daemon starts.")


#: The columns that the worker adds to every row (docs/reference/rows.md). `_cf_raw_encoding` follows where a parser gives it.
LINEAGE = pa.schema(
    [
        ("_cf_source_hash", pa.string()),
        ("_cf_job_id", pa.string()),
        ("_cf_processed_at", pa.timestamp("us", tz="UTC")),
        ("_cf_parser_version", pa.string()),
        ("_cf_source_row", pa.int64()),
    ]
)
_VIOLATION = pa.struct([(name, pa.string()) for name in ("code", "column", "expected", "got")])
QUARANTINE_COLUMNS = pa.schema(
    [
        ("_cf_violations", pa.list_(_VIOLATION)),
        ("_cf_violation_type", pa.string()),
        ("_cf_error_msg", pa.string()),
        ("_cf_source_row", pa.int64()),
        ("_cf_source_offset", pa.int64()),
        ("_cf_output_row_index", pa.int64()),
        ("_cf_raw", pa.string()),
        ("_cf_raw_encoding", pa.string()),
    ]
)


#: A kept file that is missing after this long will not appear any more.
_ON_ITS_WAY = timedelta(minutes=1)


@dataclass(slots=True)
class Dataset:
    """One version of an output: its files (absolute paths), and the contract that all its rows satisfy."""

    output: str
    version: int
    data: list[str] = field(default_factory=list)
    quarantine: list[str] = field(default_factory=list)
    contract: Contract | None = None
    #: Files of several contracts may differ in their columns, so they are matched by name, which requires reading each file.
    contract_hashes: set[str] = field(default_factory=set)
    #: Whether some of its data have the column `_cf_raw_encoding`.
    has_raw_encoding: bool = False
    #: Whether queries that name no version see this one.
    is_live: bool = False


def datasets(
    home: Home,
    files: Iterable[PublishedFile],
    contracts: Iterable[ApprovedContract],
    live_outputs: Iterable[LiveOutput],
) -> list[Dataset]:
    """The datasets to publish."""
    found: dict[tuple[str, int], Dataset] = {}
    rows = list(contracts)
    for file in files:
        key = (file["output"], file["version"])
        dataset = found.setdefault(key, Dataset(*key))
        if file["path"] is not None:  # superseded rows are no longer shown, but their dataset stays in the catalog
            (dataset.data if file["kind"] == "data" else dataset.quarantine).append(str(home.root / file["path"]))
        dataset.has_raw_encoding |= file["path"] is not None and file["has_raw_encoding"]
        if file["contract_hash"] is not None:
            dataset.contract_hashes.add(file["contract_hash"])
    own: dict[tuple[str, int], str | None] = {}
    for live in live_outputs:
        key = (live["output"], live["version"])
        own[key] = live["contract_hash"]
        found.setdefault(key, Dataset(*key)).is_live = True
    for key, dataset in found.items():
        agreed = own.get(key)
        hashes = {agreed} if agreed else dataset.contract_hashes
        newest = next((row for row in reversed(rows) if row["contract_hash"] in hashes), None)
        dataset.contract = _contract(newest) if newest is not None else None
    known = {output for output, _version in found}
    for row in rows:  # approved, but no version has taken files yet; the newest approval comes last and wins
        if row["output"] not in known:
            found[(row["output"], 1)] = Dataset(row["output"], 1, contract=_contract(row), is_live=True)
    return sorted(found.values(), key=lambda dataset: (dataset.output, dataset.version))


def _contract(row: ApprovedContract) -> Contract:
    return Contract.from_literal(json.loads(row["schema_json"]))


@dataclass(frozen=True, slots=True)
class Kept:
    """Quarantined rows of failed jobs: output → files (absolute paths)."""

    files: dict[str, list[str]]
    #: Whether some were recorded just now and are not in place yet, so that the catalog must be published again soon.
    is_waiting: bool


def kept(home: Home, rows: Iterable[UncommittedFiles], now: datetime) -> Kept:
    """The files that are in place; each is moved there shortly after the event that names it."""
    files: dict[str, list[str]] = {}
    is_waiting = False
    for row in rows:
        for path in json.loads(row["files"] or "[]"):
            if (home.root / path).is_file():
                files.setdefault(row["output"], []).append(str(home.root / path))
            elif now.replace(tzinfo=None) - row["recorded_at"] < _ON_ITS_WAY:
                is_waiting = True
    return Kept(files, is_waiting)


def publish(
    home: Home,
    found: list[Dataset],
    lineage: pa.Table | None = None,
    uncommitted: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Replace the catalog. Readers that have the old file open continue with it. Raises `OutputViewsNotWritten` or `OSError`.

    `lineage` has the rows of `queries.LINEAGE_FILES`, published as `lineage.files`: the origin of every job's rows.
    Datasets with a file that cannot be read are left out and named in `lineage.unpublished`.
    `uncommitted` names the files of `uncommitted.<output>`: quarantined rows of jobs that failed.
    """
    # next to the catalog, because a rename does not cross file systems
    aside = home.catalog_db.with_name(f".catalog-{os.getpid()}-{secrets.token_hex(4)}.duckdb")
    _remove_leftovers(home.catalog_db.parent)
    try:
        with duckdb.connect(str(aside)) as db:
            db.execute("create schema quarantine")
            if lineage is not None:
                db.execute("create schema lineage")
                db.register("jobs_of_rows", lineage)
                db.execute("create table lineage.files as select * from jobs_of_rows")
                db.unregister("jobs_of_rows")
            live: list[Dataset] = []
            left_out: list[tuple[str, int, str]] = []
            for dataset in found:
                try:
                    _create_views(db, home, dataset, suffix=f"@v{dataset.version}")
                except (duckdb.Error, OSError) as cause:  # a missing file must not affect the other outputs
                    left_out.append((dataset.output, dataset.version, str(cause).splitlines()[0]))
                    _log.error("%s v%d is not published: %s", *left_out[-1])
                else:
                    live += [dataset] if dataset.is_live else []
            for dataset in live:
                _create_views(db, home, dataset, suffix="")
            if left_out:
                db.execute("create schema if not exists lineage")
                db.execute(f"create table lineage.{UNPUBLISHED} (output varchar, version integer, problem varchar)")
                db.executemany(f"insert into lineage.{UNPUBLISHED} values (?, ?, ?)", left_out)
            db.execute("create schema uncommitted")
            for output, files in (uncommitted or {}).items():
                rows = _scan(list(files), is_mixed=True)
                try:
                    db.execute(f"create view uncommitted.{_identifier(output)} as select * from {rows}")
                except duckdb.Error as cause:
                    _log.error(
                        "quarantined rows that failed jobs left for %s are not shown: %s",
                        output,
                        str(cause).splitlines()[0],
                    )
            db.execute("checkpoint")
        aside.chmod(0o444)
        home.catalog_db.with_name(home.catalog_db.name + ".wal").unlink(missing_ok=True)
        aside.replace(home.catalog_db)
        _sync_directory(home.catalog_db.parent)
    except duckdb.Error as cause:  # even if DuckDB calls it fatal, it is about this new file alone
        raise OutputViewsNotWritten(home, str(cause).splitlines()[0]) from cause
    finally:
        aside.unlink(missing_ok=True)
        aside.with_name(aside.name + ".wal").unlink(missing_ok=True)


@contextmanager
def opened(home: Home, reader: duckdb.DuckDBPyConnection | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """The newest catalog, read-only. Raises `FileNotFoundError` if there is none.

    DuckDB keeps one instance per path in a process, and would show an old catalog while another thread has it open; so the
    catalog is opened through a link with a unique name. `reader` is a `reader()` for it: most of the time goes into starting
    and ending DuckDB. It stays open; its owner closes it.
    """
    link = home.run / f"catalog-{os.getpid()}-{secrets.token_hex(4)}.duckdb"
    link.hardlink_to(home.catalog_db)
    try:
        with duckdb.connect() if reader is None else nullcontext(reader) as db:
            db.execute(f"attach {_literal(str(link))} as catalog (read_only)")
            db.execute("use catalog")
            yield db
    finally:
        link.unlink()


def reader() -> duckdb.DuckDBPyConnection:
    """A started DuckDB without a database, with its lists of views and tables loaded."""
    db = duckdb.connect()
    db.execute("select view_name from duckdb_views() where not internal").fetchall()
    db.execute("select table_name from duckdb_tables()").fetchall()
    return db


def unpublished(db: duckdb.DuckDBPyConnection) -> set[str]:
    """Outputs that this catalog cannot show."""
    found = db.execute(
        "select 1 from duckdb_tables() where schema_name = 'lineage' and table_name = ?", [UNPUBLISHED]
    ).fetchall()
    rows = db.execute(f"select output from lineage.{UNPUBLISHED}").fetchall() if found else []
    return {output for (output,) in rows}


def published_files(home: Home) -> tuple[dict[str, list[str]], set[str]]:
    """Output → the files of its live version in the catalog (absolute paths), and the outputs that it cannot show.

    This reads only the catalog, never the tables. Raises `OutputViewsUnreadable` if the catalog is damaged, is missing although
    the log has events, or shows files of another place: a copied or restored home has the old catalog until it is opened.
    """
    if not home.catalog_db.exists():
        if _has_events(home):
            raise OutputViewsUnreadable("it does not exist yet")
        return {}, set()
    try:
        with opened(home) as db:
            views = db.execute(
                "select view_name, sql from duckdb_views() where not internal and schema_name in ('main', 'quarantine')"
            ).fetchall()
            left_out = unpublished(db)
    except (duckdb.Error, OSError) as cause:
        raise OutputViewsUnreadable(str(cause).splitlines()[0]) from cause
    roots = tuple(f"{root}/" for root in {home.root, home.root.resolve()})
    files: dict[str, list[str]] = {}
    for name, sql in views:
        if "@" not in name:
            paths = [path.replace("''", "'") for path in _QUOTED.findall(sql)]
            foreign = next((path for path in paths if path.endswith(".parquet") and not path.startswith(roots)), None)
            if foreign is not None:
                raise OutputViewsUnreadable(f"it shows files outside this home, such as {foreign}")
            files.setdefault(name, []).extend(path for path in paths if path.startswith(roots))
    return files, left_out


def _has_events(home: Home) -> bool:
    """Whether the log has any content; `log verify` checks that it is valid."""
    return home.log.is_dir() and any(each.is_file() and each.stat().st_size > 0 for each in home.log.iterdir())


def _create_views(db: duckdb.DuckDBPyConnection, home: Home, dataset: Dataset, *, suffix: str) -> None:
    name = _identifier(dataset.output + suffix)
    is_mixed = len(dataset.contract_hashes) > 1 or dataset.has_raw_encoding
    data = [*_empties(home, dataset, "data"), *dataset.data]  # the first file determines the types
    quarantined = [*_empties(home, dataset, "quarantine"), *dataset.quarantine]
    if data:
        db.execute(f"create view main.{name} as select * from {_scan(data, is_mixed=is_mixed)}")
    if quarantined:
        db.execute(f"create view quarantine.{name} as select * from {_scan(quarantined, is_mixed=True)}")


def _scan(paths: list[str], *, is_mixed: bool) -> str:
    listed = ", ".join(map(_literal, paths))
    return f"read_parquet([{listed}], union_by_name = {is_mixed}, hive_partitioning = false)"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _empties(home: Home, dataset: Dataset, kind: str) -> list[str]:
    """An empty Parquet file that determines the view's types, created once for each version and contract.

    If it cannot be written to its folder the list is empty, and the view has the types of the existing files or is not created.
    """
    if dataset.contract is None:
        return []
    try:
        return [_empty(home, dataset, dataset.contract, kind)]
    except OSError as cause:
        _log.error(
            "%s v%d: its empty file, which fixes the column types, cannot be written: %s",
            dataset.output,
            dataset.version,
            cause,
        )
        return []


def _empty(home: Home, dataset: Dataset, contract: Contract, kind: str) -> str:
    tree = home.output_version if kind == "data" else home.quarantine_version
    directory = tree(dataset.output, dataset.version) if home.empties is None else home.empties / kind
    path = directory / f".empty-{contract.hash()[:16]}.parquet"
    if not path.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        typed = arrow_schema(contract)
        if kind == "data":
            schema = pa.schema([*typed, *LINEAGE])
        else:
            texts = [pa.field(column.name, pa.string()) for column in typed]
            rest = [one for one in LINEAGE if one.name != "_cf_source_row"]
            schema = pa.schema([*texts, *QUARANTINE_COLUMNS, *rest])
        aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        pq.write_table(schema.empty_table(), aside)
        aside.replace(path)
    return str(path)


def _remove_leftovers(directory: Path) -> None:
    """Remove the unfinished catalogs of publishers that have died."""
    per_process: dict[int, list[Path]] = defaultdict(list)
    for path in directory.glob(".catalog-*"):
        owner = path.name.split("-")[1]
        if owner.isdecimal():
            per_process[int(owner)].append(path)
    for pid, paths in per_process.items():
        if pid != os.getpid() and not Path(f"/proc/{pid}").exists():
            for path in paths:
                path.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
