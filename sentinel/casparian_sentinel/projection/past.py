"""The tables as of an earlier event, and their comparison with the log: folds of the log from its beginning into a separate file.

`fold_from_scratch` reads only the log and the blobs, not the home's `state.duckdb`, so it works while a sentinel runs. It serves
`--as-of`. `compare` compares every stored table with such a fold, row by row, at the event up to which the stored tables were
written; it changes nothing in the home. If no daemon runs, the caller holds the home's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import duckdb
import pyarrow as pa

from casparian_protocol.home import Home
from casparian_protocol.wording import last_event_at
from casparian_sentinel import output_views
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.log import Head, LogReader, LogRecord, Position
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.database import SCHEMA_FINGERPRINT, boot_id
from casparian_sentinel.projection.poison import StartAgain
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection, chunked

_BATCH_EVENTS = 20_000
#: Tables of live readings, and the position itself, which is compared separately.
EPHEMERAL = frozenset({"cf_position", "cf_workers", "cf_job_metrics", "cf_sink_stats"})
#: Tables that are halves of a view; a difference is reported under the name of the view.
_SHOWN_AS = {"cf_unsettled_jobs": "cf_processing_queue", "cf_settled_jobs": "cf_processing_queue"}
_SHOWN_ROWS = 10
_SHOWN_CHARACTERS = 200
_NEWEST = 2**63 - 1


def fold_from_scratch(home: Home, path: Path, seq: int, end: Position) -> Projection:
    """A new projection at `path` with events 1 to `seq` of the log whose whole batches end at `end`.

    If that event is not the last of its batch, only `seq` is exact in its position. Raises `LogCorrupt`.
    """
    projection = Projection(path, BlobStore(RealFs(), home.blobs).get, boot_id="past")
    try:
        with LogReader(RealFs(), home.log) as reader:
            while True:
                batches = _upto(reader.event_batches(reader.start(), end), seq)
                try:
                    for head, events in chunked(batches, _BATCH_EVENTS):
                        projection.apply(events, head)
                except StartAgain:
                    continue
                break
    except BaseException:
        projection.close()
        raise
    return projection


def last_seq_at(home: Home, microseconds: int, end: Position) -> int:
    """The last event that is not newer than that time, or 0 if all are."""
    with LogReader(RealFs(), home.log) as reader:
        batches = reader.event_batches(reader.start(), end)
        return last_event_at(((event.seq, event.ts) for _head, events in batches for event in events), microseconds)


def publish_past_output_views(home: Home, projection: Projection) -> dict[str, str]:
    """Write the catalog of the outputs published at that event. Returns table → one of its files that no longer exists."""
    files = projection.rows(planning.OUTPUT_FILES)
    missing: dict[str, str] = {}
    for file in files:
        if file["path"] is not None and not (home.root / file["path"]).is_file():
            schema = "quarantine." if file["kind"] == "quarantine" else ""
            for name in (file["output"], f"{file['output']}@v{file['version']}"):
                missing.setdefault(schema + name, file["path"])
            file["path"] = None
    contracts = projection.rows(planning.APPROVED_CONTRACTS)
    live_outputs = projection.rows(planning.LIVE_OUTPUTS)
    uncommitted = projection.rows(planning.UNCOMMITTED_FILES)
    output_views.publish(
        home,
        output_views.datasets(home, files, contracts, live_outputs),
        projection.query(planning.LINEAGE_FILES),
        output_views.kept(home, uncommitted, datetime.now(UTC)).files,
    )
    return missing


def _upto(batches: Iterator[tuple[Head, list[LogRecord]]], seq: int) -> Iterator[tuple[Head, list[LogRecord]]]:
    for head, events in batches:
        if head.seq <= seq:
            yield head, events
            continue
        wanted = [event for event in events if event.seq <= seq]
        if wanted:
            yield Head(head.position, head.batch_no, seq, head.sha256), wanted
        return


# --- comparison


class Place(TypedDict):
    """A position of tables in the log: the last event, and the digest of the log's chain at that event."""

    seq: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs: `stored` in `state.duckdb`, `folded` from the log; None if it does not exist there."""

    table: str
    row: str
    stored: Mapping[str, object] | None
    folded: Mapping[str, object] | None

    def __str__(self) -> str:
        if self.stored is None:
            return f"{self.table}: the row {self.row} is missing in state.duckdb"
        if self.folded is None:
            return f"{self.table}: the row {self.row} is in state.duckdb, but not in the log's fold"
        names = [name for name in self.folded if self.stored.get(name) != self.folded[name]]
        shown = "; ".join(
            f"{name} is {_short(self.stored.get(name))}, the log says {_short(self.folded[name])}" for name in names[:4]
        )
        return f"{self.table}: the row {self.row} differs: {shown}"


@dataclass(frozen=True, slots=True)
class Poison:
    """An event that is in no table because it could not be applied."""

    seq: int
    type: str
    error: str

    def __str__(self) -> str:
        return f"event {self.seq} ({self.type}) cannot be made part of the tables: {self.error}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison. `not_compared` says why the stored tables were not compared; the log was folded anyway."""

    seq: int
    tables: tuple[str, ...]
    differences: tuple[Difference, ...]
    difference_count: int
    not_compared: str | None = None
    #: The events that could not be applied; without them the tables would be complete.
    poison: tuple[Poison, ...] = ()


def compare(home: Home, end: Position, scratch: Path) -> Comparison:
    """Compare the tables; `scratch` is an empty directory for the fold. Raises `LogCorrupt` if the log cannot be folded."""
    stored, why_not = _stored_position(home.state_db)
    folded_path = scratch / "folded.duckdb"
    folded = fold_from_scratch(home, folded_path, _NEWEST if stored is None else stored["seq"], end)
    seq, head = folded.seq, folded.head
    poison = _poison_of(folded)
    folded.close()
    return replace(_compared(home, folded_path, stored, why_not, seq, head), poison=poison)


def compare_dump(home: Home, dump: Path, seq: int, sha256: str, end: Position, scratch: Path) -> Comparison:
    """Like `compare`, for tables that a running projector dumped as of event `seq`: one file of Arrow IPC each."""
    folded = fold_from_scratch(home, scratch / "folded.duckdb", seq, end)
    try:
        head = folded.head
        if (folded.seq, head.sha256.hex() if head is not None else "") != (seq, sha256):
            place = {"sha256": head.sha256.hex() if head is not None else ""}
            wrong = Difference("cf_position", f"seq {seq}", {"sha256": sha256}, place)
            return Comparison(folded.seq, ("cf_position",), (wrong,), 1)
        listed = folded.query("select table_name from duckdb_tables() where not temporary order by 1").to_pylist()
        tables = tuple(row["table_name"] for row in listed if row["table_name"] not in EPHEMERAL)
        differences: list[Difference] = []
        total = 0
        with duckdb.connect() as db:
            for table in tables:
                with pa.memory_map(str(dump / f"{table}.arrows")) as source:
                    db.register(f"stored_{table}", pa.ipc.open_stream(source).read_all())
                db.register(f"folded_{table}", folded.query(f"select * from {table}"))
                here, count_here = _only_in(db, f"stored_{table}", f"folded_{table}")
                there, count_there = _only_in(db, f"folded_{table}", f"stored_{table}")
                total += max(count_here, count_there)
                differences += _paired(_SHOWN_AS.get(table, table), here, there)
        poison = _poison_of(folded)
    finally:
        folded.close()
    return Comparison(seq, _shown(tables), tuple(differences), total, poison=poison)


def _poison_of(folded: Projection) -> tuple[Poison, ...]:
    rows = folded.query("select seq, type, error from cf_poison_events order by seq").to_pylist()
    return tuple(Poison(row["seq"], row["type"], row["error"]) for row in rows)


def _compared(
    home: Home, folded_path: Path, stored: Place | None, why_not: str | None, seq: int, head: Head | None
) -> Comparison:
    if stored is None:
        return Comparison(seq, (), (), 0, why_not)
    place = Place(seq=seq, sha256=head.sha256.hex() if head is not None else "")
    if place != stored:
        wrong = Difference("cf_position", f"seq {stored['seq']}", stored, place)
        return Comparison(seq, ("cf_position",), (wrong,), 1)
    try:
        return _side_by_side(home.state_db, folded_path, seq)
    except duckdb.Error as cause:  # damage may be anywhere in the file
        damage = str(cause).splitlines()[0]
        return Comparison(seq, (), (), 0, f"state.duckdb is damaged ({damage}); `casparian log rebuild` rebuilds it")


def _stored_position(path: Path) -> tuple[Place | None, str | None]:
    """The position of the stored tables, or why they are not compared: they will be rebuilt before their next use."""
    if not path.exists():
        return None, "there is no state.duckdb; it is rebuilt when it is needed"
    try:
        with duckdb.connect() as db:
            db.execute(f"attach '{_quoted(path)}' as stored (read_only)")
            answer = db.execute("select seq, sha256, schema_fingerprint, boot_id, is_clean from stored.cf_position")
            row = answer.fetchone()
    except duckdb.Error as cause:
        return None, f"state.duckdb cannot be read ({str(cause).splitlines()[0]}); it is rebuilt when it is opened"
    if row is None:
        return None, "state.duckdb is empty; it is rebuilt when it is opened"
    seq, sha256, fingerprint, boot, is_clean = row
    if fingerprint != SCHEMA_FINGERPRINT:
        return None, "state.duckdb was made by another version; it is rebuilt when it is opened"
    if boot != boot_id() and not is_clean:
        return None, "the machine crashed while state.duckdb was open; it is rebuilt when it is opened"
    return Place(seq=seq, sha256=sha256), None


def _side_by_side(stored: Path, folded: Path, seq: int) -> Comparison:
    differences: list[Difference] = []
    total = 0
    with duckdb.connect() as db:
        db.execute(f"attach '{_quoted(stored)}' as stored (read_only)")
        db.execute(f"attach '{_quoted(folded)}' as folded (read_only)")
        listed = db.execute("select table_name from duckdb_tables() where database_name = 'folded' order by 1")
        tables = tuple(name for (name,) in listed.fetchall() if name not in EPHEMERAL)
        for table in tables:
            here, count_here = _only_in(db, f"stored.{table}", f"folded.{table}")
            there, count_there = _only_in(db, f"folded.{table}", f"stored.{table}")
            total += max(count_here, count_there)
            differences += _paired(_SHOWN_AS.get(table, table), here, there)
    return Comparison(seq, _shown(tables), tuple(differences), total)


def _shown(tables: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({_SHOWN_AS.get(table, table) for table in tables}))


def _only_in(db: duckdb.DuckDBPyConnection, one: str, other: str) -> tuple[list[dict[str, object]], int]:
    rows = f"(select * from {one} except all select * from {other})"
    ((count,),) = db.execute(f"select count(*) from {rows}").fetchall()
    if not count:
        return [], 0
    answer = db.execute(f"select * from {rows} order by all limit {_SHOWN_ROWS}")
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()], count


def _paired(table: str, stored: list[dict[str, object]], folded: list[dict[str, object]]) -> list[Difference]:
    """Pair the rows of both sides that have the same first column: they are the same row, changed."""
    waiting = {_name(row): row for row in folded}
    found = [Difference(table, _name(row), row, waiting.pop(_name(row), None)) for row in stored]
    return found + [Difference(table, name, None, row) for name, row in waiting.items()]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _name(row: Mapping[str, object]) -> str:
    """The name of a row: its first column with a value."""
    return next((f"{name}={value}" for name, value in row.items() if value is not None), "(all NULL)")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
