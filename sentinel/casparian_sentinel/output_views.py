"""`catalog.duckdb`: views over the published files for any DuckDB client. A new version replaces the file by a rename.

The new file is built under another name (DuckDB keeps one instance per path in a process), as a copy of the old one in which only
what changed is replaced (`output_parts`), or from nothing. It is checkpointed, made read-only and durable, then renamed over the
old one; a stale write-ahead log is removed first. Views list the committed files by absolute path and never use a glob, so that a
half-promoted job is not visible. An output without rows gets a view on an empty Parquet file with the contract's types. The file
is never kept open in this process.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.contract import Contract
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_sentinel.output_parts import (
    FILES,
    UNCOMMITTED_VERSION,
    UNPUBLISHED,
    AnotherFile,
    Catalog,
    Dataset,
    files_of,
    literal,
    table_of_files,
)
from casparian_sentinel.projection.queries.planning import (
    ApprovedContract,
    LiveOutput,
    PublishedFile,
    UncommittedFiles,
)

_log = logging.getLogger("casparian.catalog")


_LIVE_FILES = """
select output, list(path order by kind, sequence, path) from parts.files join parts.names using (output, version, kind)
group by output
"""


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


#: A kept file that is missing after this long will not appear any more.
_ON_ITS_WAY = timedelta(minutes=1)


def datasets(
    home: Home,
    files: Iterable[PublishedFile],
    contracts: Iterable[ApprovedContract],
    live_outputs: Iterable[LiveOutput],
) -> list[Dataset]:
    """The datasets to publish."""
    found: dict[tuple[str, int], Dataset] = {}
    for file in files:
        key = (file["output"], file["version"])
        dataset = found.setdefault(key, Dataset(*key))
        if file["path"] is not None:  # superseded rows are no longer shown, but their dataset stays in the catalog
            (dataset.data if file["kind"] == "data" else dataset.quarantine).append(str(home.root / file["path"]))
        dataset.has_raw_encoding |= file["path"] is not None and file["has_raw_encoding"]
        if file["contract_hash"] is not None:
            dataset.contract_hashes.add(file["contract_hash"])
    return _with_contracts(found, list(contracts), live_outputs)


def changed_datasets(
    files: pa.Table,
    contracts: Sequence[ApprovedContract],
    live_outputs: Iterable[LiveOutput],
    known: Known,
) -> list[Dataset]:
    """Like `datasets`, without their files: `files` has rows of `PublishedFile`, `known` is what the catalog knows already."""
    found = {
        key: Dataset(*key, contract_hashes=set(hashes), has_raw_encoding=raw) for key, (hashes, raw) in known.items()
    }
    traits = (files[name].to_pylist() for name in ("output", "version", "contract_hash", "has_raw_encoding"))
    for output, version, contract_hash, has_raw_encoding in set(zip(*traits, strict=True)):
        dataset = found.setdefault((output, version), Dataset(output, version))
        dataset.has_raw_encoding |= bool(has_raw_encoding)
        if contract_hash is not None:
            dataset.contract_hashes.add(contract_hash)
    return _with_contracts(found, contracts, live_outputs)


def shown(home: Home, files: pa.Table) -> pa.Table:
    """Of rows of `PublishedFile` the files to show, with absolute paths."""
    shown = files.filter(pc.is_valid(files["path"]))
    paths = pc.binary_join_element_wise(pa.scalar(f"{home.root}/"), shown["path"].cast(pa.string()), "")
    return shown.set_column(shown.schema.get_field_index("path"), "path", paths).select(FILES.names).cast(FILES)


def _with_contracts(
    found: dict[tuple[str, int], Dataset], rows: Sequence[ApprovedContract], live_outputs: Iterable[LiveOutput]
) -> list[Dataset]:
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
            found[(row["output"], 1)] = Dataset(
                row["output"], 1, contract=_contract(row), is_live=True, is_awaited=True
            )
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
    """Replace the catalog by one that shows these datasets, built from nothing. Raises `OutputViewsNotWritten` or `OSError`.

    Readers that have the old file open continue with it. `lineage` has the rows of `queries.LINEAGE_FILES`, published as
    `lineage.files`: the origin of every job's rows. Datasets with a file that cannot be read are left out and named in
    `lineage.unpublished`. `uncommitted` names the files of `uncommitted.<output>`: quarantined rows of jobs that failed.
    """
    with _replacing(home, None) as db:
        catalog = Catalog.new(db, home)
        catalog.update(found, files_of(found), _uncommitted(uncommitted or {}))
        if lineage is not None:
            catalog.replace_lineage(lineage)


#: The datasets of a catalog: (output, version) → the contracts of its files, and whether some have `_cf_raw_encoding`.
Known: TypeAlias = Mapping[tuple[str, int], tuple[set[str], bool]]
News: TypeAlias = Callable[[Known], "Changes"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a publish is to show. Without `jobs` it is everything; otherwise what belongs to these jobs."""

    found: list[Dataset]
    files: pa.Table
    uncommitted: Mapping[str, Sequence[str]]
    lineage: pa.Table
    jobs: Collection[str] | None = None
    #: The jobs whose rows of `lineage.files` are replaced; None: all rows are.
    lineage_jobs: Collection[str] | None = None


def update(home: Home, news: News, everything: News) -> None:
    """Replace the catalog by a copy with what changed, or, if it cannot be continued, by one built from nothing."""
    try:
        with _replacing(home, home.catalog_db) as db:
            _write(Catalog(db, home), news)
    except (AnotherFile, FileNotFoundError):
        rewrite(home, everything)
    except OutputViewsNotWritten as cause:
        _log.info("%s is built from nothing: %s", home.catalog_db.name, cause.problem)
        rewrite(home, everything)


def rewrite(home: Home, everything: News) -> None:
    with _replacing(home, None) as db:
        _write(Catalog.new(db, home), everything)


class _TablesFailed(Exception):
    """The tables could not be read. That is not about the catalog."""


def _write(catalog: Catalog, news: News) -> None:
    known = catalog.known()
    try:
        changes = news(known)
    except duckdb.Error as cause:
        raise _TablesFailed from cause
    catalog.update(changes.found, changes.files, _uncommitted(changes.uncommitted), changes.jobs)
    catalog.replace_lineage(changes.lineage, changes.lineage_jobs)


def _uncommitted(files: Mapping[str, Sequence[str]]) -> pa.Table:
    return table_of_files(
        [
            (output, UNCOMMITTED_VERSION, "uncommitted", path, "", place)
            for output, paths in files.items()
            for place, path in enumerate(paths)
        ]
    )


@contextmanager
def _replacing(home: Home, base: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A new database, or a copy of `base`, that takes the catalog's place when nothing failed."""
    # next to the catalog, because a rename does not cross file systems
    aside = home.catalog_db.with_name(f".catalog-{os.getpid()}-{secrets.token_hex(4)}.duckdb")
    _remove_leftovers(home.catalog_db.parent)
    try:
        if base is not None:
            shutil.copyfile(base, aside)
        with duckdb.connect(str(aside)) as db:
            db.execute("set fsync_mode = 'NONE'")  # one sync below makes all of it durable
            yield db
            db.execute("checkpoint")
        aside.chmod(0o444)
        _sync(aside, os.O_RDONLY)
        home.catalog_db.with_name(home.catalog_db.name + ".wal").unlink(missing_ok=True)
        aside.replace(home.catalog_db)
        _sync(home.catalog_db.parent, os.O_RDONLY | os.O_DIRECTORY)
    except _TablesFailed as failed:
        assert failed.__cause__ is not None
        raise failed.__cause__ from None
    except duckdb.Error as cause:  # even if DuckDB calls it fatal, it is about this new file alone
        raise OutputViewsNotWritten(home, str(cause).splitlines()[0]) from cause
    finally:
        aside.unlink(missing_ok=True)
        aside.with_name(aside.name + ".wal").unlink(missing_ok=True)


def identity(home: Home) -> tuple[int, ...] | None:
    """What tells this catalog from every other one; None if there is none."""
    try:
        status = home.catalog_db.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


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
            db.execute(f"attach {literal(str(link))} as catalog (read_only)")
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
            (root,) = db.execute("select root from parts.made").fetchall()[0]
            shown = db.execute(_LIVE_FILES).fetchall()
            left_out = unpublished(db)
    except (duckdb.Error, OSError) as cause:
        raise OutputViewsUnreadable(str(cause).splitlines()[0]) from cause
    if Path(root) not in {home.root, home.root.resolve()}:
        raise OutputViewsUnreadable(f"it shows files outside this home, such as {root}/{home.outputs.name}")
    return dict(shown), left_out


def _has_events(home: Home) -> bool:
    """Whether the log has any content; `log verify` checks that it is valid."""
    return home.log.is_dir() and any(each.is_file() and each.stat().st_size > 0 for each in home.log.iterdir())


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


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
