"""What `catalog.duckdb` shows, kept in the file itself, so that a publish costs what changed and not what there is.

The schema `parts` lists the files of every dataset. Up to `Catalog.slot_files` of them are the text of the dataset's view. More
are divided among slots, each with a view of its own, and the dataset's view unites these; a publish replaces the views of the
slots whose files changed. There is always a power of two of slots, the last ones empty, so the view over all is seldom replaced.

This module writes into an open catalog. `output_views` owns the file: copying, replacing and reading it.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from casparian_protocol.contract import Contract, arrow_schema
from casparian_protocol.home import Home
from casparian_sentinel.projection.database import registered

_log = logging.getLogger("casparian.catalog")

#: Written into the file; another version's file is built from nothing.
FORMAT = 1
#: A table in the schema `lineage`, if needed: outputs that cannot be shown, and why.
UNPUBLISHED = "unpublished"

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
#: Files to show: `path` is absolute. `job_id` says which commit a file belongs to, `sequence` where it stands among the others.
FILES = pa.schema(
    [
        ("output", pa.string()),
        ("version", pa.int32()),
        ("kind", pa.string()),
        ("path", pa.string()),
        ("job_id", pa.string()),
        ("sequence", pa.uint64()),
    ]
)
#: Quarantined rows of failed jobs are no version of an output; their dataset has this number.
UNCOMMITTED_VERSION = 0
_SCHEMA_OF = {"data": "main", "quarantine": "quarantine", "uncommitted": "uncommitted"}

_TABLES = """
create schema quarantine; create schema uncommitted; create schema lineage; create schema parts;
create table parts.made (format integer, root varchar);
create table parts.files (output varchar, version integer, kind varchar, path varchar, job_id varchar, sequence ubigint,
    slot integer);
create table parts.datasets (output varchar, version integer, traits varchar, problem varchar);
create table parts.shapes (output varchar, version integer, kind varchar, width integer, columns varchar);
create table parts.names (output varchar, kind varchar, version integer);
"""
_GONE = """
delete from parts.files p where {scope} and not exists (from fresh f where f.path = p.path and f.output = p.output
    and f.version = p.version and f.kind = p.kind)
returning output, version, kind, slot
"""
#: A new file goes into the last slot, or into the next one if that is full.
_NEW = """
insert into parts.files by name
with ends as (
    select output, version, kind, slot, count(*) as files from parts.files join (
        select output, version, kind, max(slot) as slot from parts.files group by output, version, kind
    ) using (output, version, kind, slot) group by output, version, kind, slot
), new as (
    select f.*, row_number() over (partition by output, version, kind order by sequence, path) - 1 as place
    from fresh f anti join parts.files p using (output, version, kind, path)
)
select n.output, n.version, n.kind, n.path, n.job_id, n.sequence,
    coalesce(e.slot, 0) + (coalesce(e.files, 0) + n.place) // $slot_files as slot
from new n left join ends e using (output, version, kind)
returning output, version, kind, slot
"""

_OF_KEY = "(output, version, kind) = (?, ?, ?)"

#: (output, version, kind)
Key = tuple[str, int, str]


class AnotherFile(Exception):
    """The catalog was written by another version, or for a home at another place."""


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
    #: Whether it is an approved contract that has no files yet.
    is_awaited: bool = False

    @property
    def traits(self) -> str:
        """What every view of the dataset depends on, in addition to files."""
        contract = None if self.contract is None else self.contract.hash()
        return json.dumps([contract, sorted(self.contract_hashes), self.has_raw_encoding, self.is_awaited])


def files_of(found: Iterable[Dataset]) -> pa.Table:
    """The files that the datasets name themselves, in their order."""
    rows = [
        (each.output, each.version, kind, path, "", place)
        for each in found
        for kind, paths in (("data", each.data), ("quarantine", each.quarantine))
        for place, path in enumerate(paths)
    ]
    return table_of_files(rows)


def table_of_ids(ids: Iterable[str]) -> pa.Table:
    return pa.table({"job_id": pa.array(list(ids), pa.string())})


def table_of_files(rows: Sequence[tuple[str, int, str, str, str, int]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(FILES)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, FILES.types, strict=True)], schema=FILES)


class Catalog:
    """An open catalog that is being written."""

    #: The most files in the text of one view. A larger number makes each publish slower, a smaller one each query.
    slot_files = 500

    def __init__(self, db: duckdb.DuckDBPyConnection, home: Home) -> None:
        """Raises `AnotherFile`, or `duckdb.Error` if the file has no such tables."""
        self._db = db
        self._home = home
        if db.execute("from parts.made").fetchall() != [(FORMAT, str(home.root))]:
            raise AnotherFile

    @classmethod
    def new(cls, db: duckdb.DuckDBPyConnection, home: Home) -> Catalog:
        db.execute(_TABLES)
        db.execute("insert into parts.made values (?, ?)", [FORMAT, str(home.root)])
        return cls(db, home)

    def known(self) -> dict[tuple[str, int], tuple[set[str], bool]]:
        """The contracts of each dataset's files, and whether some have `_cf_raw_encoding`, as of the last publish."""
        found: dict[tuple[str, int], tuple[set[str], bool]] = {}
        for output, version, traits in self._db.execute(
            "select output, version, traits from parts.datasets"
        ).fetchall():
            _contract, hashes, has_raw_encoding, is_awaited = json.loads(traits)
            if not is_awaited:
                found[output, version] = set(hashes), has_raw_encoding
        return found

    def update(
        self, found: Sequence[Dataset], files: pa.Table, uncommitted: pa.Table, jobs: Collection[str] | None = None
    ) -> None:
        """Show these datasets: all that there are. `files` are those of `jobs`; without `jobs`, of all jobs."""
        stored = {
            (output, version): (traits, problem)
            for output, version, traits, problem in self._db.execute("from parts.datasets").fetchall()
        }
        affected = self._move(pa.concat_tables([files, uncommitted]), jobs)
        live: dict[tuple[str, str], int] = {}
        renewed: set[Key] = set()
        left_out: list[tuple[str, int, str]] = []
        for dataset in found:
            key = (dataset.output, dataset.version)
            before = stored.pop(key, None)
            is_same = before == (dataset.traits, None)
            slots = {kind: affected.get((*key, kind), set()) if is_same else None for kind in ("data", "quarantine")}
            try:
                renewed |= {(*key, kind) for kind, those in slots.items() if self._show(dataset, kind, those)}
                problem = None
            except (duckdb.Error, OSError) as cause:  # a missing file must not affect the other outputs
                problem = str(cause).splitlines()[0]
                left_out.append((*key, problem))
                _log.error("%s v%d is not published: %s", *left_out[-1])
                self._hide(*key)
            else:
                live |= dict.fromkeys(
                    ((dataset.output, "data"), (dataset.output, "quarantine")) * dataset.is_live, key[1]
                )
            if before != (dataset.traits, problem):
                self._db.execute("delete from parts.datasets where (output, version) = (?, ?)", key)
                self._db.execute("insert into parts.datasets values (?, ?, ?, ?)", [*key, dataset.traits, problem])
        for gone in stored:  # what is left is no dataset any more
            self._hide(*gone)
            for table in ("files", "datasets"):
                self._db.execute(f"delete from parts.{table} where (output, version) = (?, ?)", gone)
        self._name(live, renewed)
        self._say_unpublished(left_out)
        for whole, of_it in affected.items():
            if whole[2] == "uncommitted":
                self._show_uncommitted(whole, of_it)

    def replace_lineage(self, rows: pa.Table, jobs: Collection[str] | None = None) -> None:
        """`lineage.files`: the rows of these jobs, or all rows. Rows of other jobs may be given too."""
        with registered(self._db, "jobs_of_rows", rows):
            if jobs is None:
                self._db.execute("create or replace table lineage.files as from jobs_of_rows")
                return
            with registered(self._db, "scope", table_of_ids(jobs)):
                for source in ("select job_id from scope", "select _cf_job_id from jobs_of_rows"):
                    self._db.execute(f"delete from lineage.files where _cf_job_id in ({source})")
            self._db.execute("insert into lineage.files by name from jobs_of_rows")

    def _move(self, fresh: pa.Table, jobs: Collection[str] | None) -> dict[Key, set[int]]:
        """Bring the list of files up to date. Returns the slots whose files changed."""
        affected: dict[Key, set[int]] = {}
        scope = "true" if jobs is None else "(p.kind = 'uncommitted' or p.job_id in (select job_id from scope))"
        with registered(self._db, "fresh", fresh), registered(self._db, "scope", table_of_ids(jobs or ())):
            gone = self._db.execute(_GONE.format(scope=scope)).fetchall()
            new = self._db.execute(_NEW, {"slot_files": self.slot_files}).fetchall()
            for output, version, kind, slot in gone + new:
                affected.setdefault((output, version, kind), set()).add(slot)
        return affected

    def _show(self, dataset: Dataset, kind: str, slots: Collection[int] | None) -> bool:
        """Replace the views of these slots, or of all; whether the columns may have changed."""
        if slots is not None and not slots:
            return False
        is_mixed = kind != "data" or len(dataset.contract_hashes) > 1 or dataset.has_raw_encoding
        first = _empties(self._home, dataset, kind)  # the first file determines the types
        return self._unite((dataset.output, dataset.version, kind), first, slots, is_mixed=is_mixed)

    def _unite(self, key: Key, first: list[str], slots: Collection[int] | None, *, is_mixed: bool) -> bool:
        used = self._db.execute(f"select max(slot) from parts.files where {_OF_KEY}", key).fetchall()[0][0] or 0
        width = 1 << used.bit_length()
        stored = self._db.execute(f"select width, columns from parts.shapes where {_OF_KEY}", key).fetchone()
        before, columns = stored or (0, "[]")
        shape = [tuple(each) for each in json.loads(columns)]
        is_sure = 1 < before <= width and bool(
            first
        )  # without empties, a view may take its columns from another's file
        if slots is None or not is_sure:
            before, slots = 0, range(width)
        is_stale = before != width
        top, names = _view(*key), [f"parts.{_identifier(f'{key[2]} {key[0]}@v{key[1]} {n}')}" for n in range(width)]
        for slot in sorted({*slots, *range(before, width)}):
            source = self._source(key, slot, first, is_mixed=is_mixed)
            if source is None:
                self._drop(key)
                return True
            self._db.execute(f"create or replace view {top if width == 1 else names[slot]} as {source}")
            mine = _columns(self._db, source)
            is_stale |= mine != shape
        if not is_stale:
            return False
        if width > 1:
            union = " union all by name " if is_mixed else " union all "
            self._db.execute(f"create or replace view {top} as {union.join(f'select * from {name}' for name in names)}")
        columns = json.dumps(_columns(self._db, f"from {top}"))
        self._db.execute(f"delete from parts.shapes where {_OF_KEY}", key)
        self._db.execute("insert into parts.shapes values (?, ?, ?, ?, ?)", [*key, width, columns])
        return True

    def _source(self, key: Key, slot: int, first: list[str], *, is_mixed: bool) -> str | None:
        """The SELECT of one slot; None if there is no file to take its columns from."""
        sql = f"select path from parts.files where {_OF_KEY} and {{}} order by sequence, path"
        paths = [path for (path,) in self._db.execute(sql.format("slot = ?"), [*key, slot]).fetchall()]
        if first or paths:
            return f"select * from {_scan([*first, *paths], is_mixed=is_mixed)}"
        some = self._db.execute(f"{sql.format('true')} limit 1", key).fetchall()
        return f"select * from {_scan([some[0][0]], is_mixed=is_mixed)} limit 0" if some else None

    def _name(self, live: Mapping[tuple[str, str], int], renewed: Collection[Key]) -> None:
        """Let each output's own name show its live version."""
        shaped = set(self._db.execute("select output, version, kind from parts.shapes").fetchall())
        wanted = {each: version for each, version in live.items() if (each[0], version, each[1]) in shaped}
        stored = {
            (output, kind): version
            for output, kind, version in self._db.execute("select output, kind, version from parts.names").fetchall()
        }
        for output, kind in stored.keys() - wanted.keys():
            self._db.execute(f"drop view if exists {_SCHEMA_OF[kind]}.{_identifier(output)}")
            self._db.execute("delete from parts.names where (output, kind) = (?, ?)", [output, kind])
        for (output, kind), version in wanted.items():
            if stored.get((output, kind)) == version and (output, version, kind) not in renewed:
                continue
            name = f"{_SCHEMA_OF[kind]}.{_identifier(output)}"
            self._db.execute(f"create or replace view {name} as select * from {_view(output, version, kind)}")
            self._db.execute("delete from parts.names where (output, kind) = (?, ?)", [output, kind])
            self._db.execute("insert into parts.names values (?, ?, ?)", [output, kind, version])

    def _hide(self, output: str, version: int) -> None:
        for kind in ("data", "quarantine"):
            self._drop((output, version, kind))

    def _drop(self, key: Key) -> None:
        self._db.execute(f"drop view if exists {_view(*key)}")
        self._db.execute(f"delete from parts.shapes where {_OF_KEY}", key)

    def _say_unpublished(self, left_out: Sequence[tuple[str, int, str]]) -> None:
        self._db.execute(f"drop table if exists lineage.{UNPUBLISHED}")
        if left_out:
            self._db.execute(f"create table lineage.{UNPUBLISHED} (output varchar, version integer, problem varchar)")
            self._db.executemany(f"insert into lineage.{UNPUBLISHED} values (?, ?, ?)", left_out)

    def _show_uncommitted(self, key: Key, slots: Collection[int]) -> None:
        try:
            self._unite(key, [], slots, is_mixed=True)
        except duckdb.Error as cause:
            self._drop(key)
            said = str(cause).splitlines()[0]
            _log.error("quarantined rows that failed jobs left for %s are not shown: %s", key[0], said)


def _columns(db: duckdb.DuckDBPyConnection, source: str) -> list[tuple[str, str]]:
    made = db.sql(source)
    return [*zip(made.columns, map(str, made.types), strict=True)]


def _view(output: str, version: int, kind: str) -> str:
    return f"{_SCHEMA_OF[kind]}.{_identifier(output if kind == 'uncommitted' else f'{output}@v{version}')}"


def _scan(paths: list[str], *, is_mixed: bool) -> str:
    listed = ", ".join(map(literal, paths))
    return f"read_parquet([{listed}], union_by_name = {is_mixed}, hive_partitioning = false)"


def literal(text: str) -> str:
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
