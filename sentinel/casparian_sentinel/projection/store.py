"""`state.duckdb`: opened by one process, fed with committed events, its position in the same transaction as its rows.

Each event counts exactly once: a batch and the place behind it are written together, so a crash repeats, never skips. A
file that does not fit (another schema, another chain, an unclean end before a reboot, damage) is deleted and rebuilt.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import NOT_AUDITED
from casparian_protocol.jobs import OPEN
from casparian_protocol.queries import Query, RowT
from casparian_sentinel.log.event import Event
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.projection import bulk, contents, poison
from casparian_sentinel.projection.answers import rows_of, table_of
from casparian_sentinel.projection.facts import statements, subject
from casparian_sentinel.projection.jobs import JobChanges, JobFold
from casparian_sentinel.projection.liveness import Change
from casparian_sentinel.projection.position import PositionFile
from casparian_sentinel.projection.rows import Row, as_columns, as_json

_log = logging.getLogger("casparian.projection")

SCHEMA_SQL = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")


def _fingerprint() -> str:
    """16 hex digits of the schema and of the code that fills it: tables that other code made are made anew."""
    digest = hashlib.sha256()
    package = resources.files(__package__)
    events = resources.files("casparian_protocol.events")
    for file in sorted(
        [*package.iterdir(), *events.iterdir()], key=lambda file: file.name
    ):  # not `queries`: they fill nothing
        if file.name.endswith((".py", ".sql")):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


SCHEMA_FINGERPRINT = _fingerprint()

MEMORY_BYTES = 2 * 1024**3
SPILL_BYTES = 4 * 1024**3
_LOCK_WAIT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.05
_BULK = frozenset({"FilesObserved", "FilesTagged"})
_OPEN_STATES = ", ".join(f"'{state.value}'" for state in sorted(OPEN))
_COUNT_RUN = """
update cf_parser_runs set
    total_executions = total_executions + ?, successful_executions = successful_executions + ?,
    last_failure_reason = coalesce(?, last_failure_reason), last_run_at = make_timestamp(?)
where parser_name = ?
"""
_COUNT_FAILURES = """
update cf_breakers set consecutive_failures = case when ? then ? else consecutive_failures + ? end
where parser_name = ? and parser_version = ?
"""
_FORGET_COUNTS = """
delete from cf_quarantine_counts c using recounted r where r.job_id = c.job_id and r.output in ('', c.output)
"""
#: The first success behind a failure closes it: of the same parser, on the same file or the same content.
_CLOSE_FAILURES = """
update cf_processing_queue set closed_at = c.at, closed_by = c.closed_by from (
    select f.id, arg_min(s.id, s.seq) as closed_by, arg_min(s.at, s.seq) as at
    from cf_processing_queue f join (select q.*, d.seq, d.at from cf_processing_queue q join succeeded d on d.id = q.id) s
        on s.job_type = f.job_type and s.plugin_name is not distinct from f.plugin_name and s.seq > f.sequence
        and (s.input_file = f.input_file or s.file_version_id = f.file_version_id or s.content_hash = f.content_hash)
    where f.status in ('FAILED', 'DEAD_LETTER') and f.closed_at is null group by f.id) c
where cf_processing_queue.id = c.id
"""
#: Events that change what the catalogue says of files: commits before them are folded with what it said then.
_BEFORE_FILES = frozenset({"FilesObserved", "SourceAdded", "SourceRemoved"})
#: Events whose statements change what jobs before them wrote.
_AFTER_JOBS = frozenset({"JobCompleted", "ParserResumed", "FailureClosed"})


class ProjectionError(CasparianError):
    """The projection cannot be opened or asked."""


class Projection:
    """The tables of `schema.sql` and the place in the log that they stand at. One writer, in one process."""

    def __init__(
        self, path: Path, read_blob: Callable[[str], bytes], boot_id: str, position_file: PositionFile | None = None
    ) -> None:
        self._path = path
        self._position_file = position_file
        self._read_blob = read_blob
        self._boot_id = boot_id
        self._suspects = poison.Suspects()
        self._db = self._open()
        try:
            self._load()
        except duckdb.Error as cause:  # damage may lie anywhere in the file
            _log.warning("rebuilding %s from the log: %s", path.name, str(cause).splitlines()[0])
            self._db.close()
            self._db = self._create()
            self._load()
        if self._is_curable():
            _log.warning("rebuilding %s from the log: a blob that was missing is there again", path.name)
            self.rebuild()

    def _load(self) -> None:
        self._columns = self._column_types()
        self.head = self._stored_head()
        self._applied_seq, self.poison_count = self._stored_progress()
        self._jobs = self._loaded_fold()
        self._liveness: list[Change] = []
        self._commits: dict[str, Row] = {}
        self._succeeded: list[tuple[str, int, int]] = []
        self.outputs_changed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self._db.execute("update cf_position set is_clean = true")
        finally:
            self._db.close()
            if self._position_file is not None:
                self._position_file.close()

    # --- writing

    def apply(self, events: Sequence[Event], head: Head) -> None:
        """Apply one run of events and move to `head`, in one transaction.

        When it cannot be applied as a whole, it is divided until the events that are poison stand alone and are set
        aside. Raises what says nothing about the events (`poison.may_pass`); then a part of them may have been applied.
        `poison.StartAgain`: the tables broke and are empty now; the caller applies the log from its start.
        """
        if events and events[0].seq <= self._applied_seq:
            events = [event for event in events if event.seq > self._applied_seq]
        self._apply_parts(events, head)

    def _apply_parts(self, events: Sequence[Event], head: Head | None) -> None:
        """`head`: the place behind these events; None when it is not yet behind a whole batch."""
        if self._suspects.stand_alone(events):
            for event in events[:-1]:
                self._apply_parts([event], None)
            self._apply_parts(events[-1:], head)
            return
        if events and (known := self._suspects.found.get(events[0].seq)) is not None:
            self._set_aside(events[0], known, head)
            return
        try:
            self._apply_whole(events, head)
        except poison.BREAKS as error:
            if not self._suspects.note(events, error):
                raise
            _log.error("the tables broke at event %d, and are made anew: %s", events[0].seq, error)
            self.rebuild()
            raise poison.StartAgain from error
        except Exception as error:
            if not events or poison.may_pass(error):
                raise
            if len(events) == 1:
                self._set_aside(events[0], error, head)
                return
            middle = len(events) // 2
            self._apply_parts(events[:middle], None)
            self._apply_parts(events[middle:], head)

    def _apply_whole(self, events: Sequence[Event], head: Head | None) -> None:
        with self._transaction(events, head):
            for event in events:
                self._apply_one(event)
            self._flush_jobs()
            self._close_failures()
            self._fold_contents()
            self._audit(events)

    def _set_aside(self, event: Event, error: Exception, head: Head | None) -> None:
        row = poison.row_of(event, error)
        _log.error("event %d (%s) cannot be made part of the tables: %s", event.seq, event.type, row["error"])
        with self._transaction([event], head):
            self._append("cf_poison_events", [row])
        self.poison_count += 1

    @contextmanager
    def _transaction(self, events: Sequence[Event], head: Head | None) -> Iterator[None]:
        """What is done within is written together with the place behind `events`, or not at all."""
        applied_seq = head.seq if head is not None else events[-1].seq
        self._db.execute("begin")
        self._jobs.begin()
        try:
            yield
            if head is not None:
                self._db.execute(
                    "update cf_position set seq = ?, batch_no = ?, segment = ?, byte_offset = ?, sha256 = ?",
                    (head.seq, head.batch_no, head.position.segment, head.position.offset, head.sha256.hex()),
                )
            self._db.execute("update cf_position set applied_seq = ?", (applied_seq,))
            self._db.execute("commit")
        except BaseException:
            self._roll_back()
            raise
        self._applied_seq = applied_seq
        if head is not None:
            self.head = head
            if self._position_file is not None:
                self._position_file.write(head)

    def _roll_back(self) -> None:
        with suppress(duckdb.Error):  # an error may have ended the transaction already
            self._db.execute("rollback")
        self._jobs.roll_back()
        self._liveness, self._commits, self._succeeded = [], {}, []

    def _apply_one(self, event: Event) -> None:
        if event.type in _BEFORE_FILES:
            self._flush_jobs()
            self._fold_contents()
        if self._jobs.apply(event) and event.type != "JobCompleted":
            return
        if event.type in _BULK:
            self._flush_jobs()
            blob = event.data.get("blob")
            content = self._read_blob(blob) if blob else None
            if event.type == "FilesObserved" and content is not None:
                bulk.apply_observed(self._db, event, content)
            elif event.type == "FilesTagged":
                bulk.apply_tagged(self._db, event, content)
        made = statements(event, lambda digest: self._read_blob(digest).decode())
        if made and event.type in _AFTER_JOBS:
            self._flush_jobs()
            if event.type == "FailureClosed":
                self._close_failures()
        if event.type == "ContentsRecognised":
            self._flush_jobs()
            recognised = contents.recognised(event, self._read_blob)
            contents.mark_processed(self._db, recognised)
            self._liveness += recognised
        for statement in made:
            self._db.execute(statement.sql, statement.parameters)
        if event.type in ("JobCompleted", "ContractApproved", "ContentsRecognised") or _left_rows(event):
            self.outputs_changed = True

    def _flush_jobs(self) -> None:
        changes = self._jobs.take()
        known = [job_id for job_id in changes.jobs if job_id not in changes.new_jobs]
        self._replace("cf_processing_queue", "id", known, list(changes.jobs.values()))
        progress = [row for row in changes.progress.values() if row is not None]
        self._replace("cf_job_progress", "job_id", changes.stale_progress, progress)
        if changes.replayed:
            self._mark_replayed(changes.replayed)
        if changes.recounted:
            self._forget_counts(changes.recounted)
        for table, rows in changes.appended.items():
            self._append(table, rows)
        self._mark_files(changes)
        for parser, health in changes.health.items():
            self._db.execute(_COUNT_RUN, (health["runs"], health["good"], health["failure"], health["at"], parser))
        for (parser, version), (failures, is_reset) in changes.streaks.items():
            self._db.execute(_COUNT_FAILURES, (is_reset, failures, failures, parser, version))
        self._liveness += changes.liveness
        self._commits.update(changes.commits)
        self._succeeded += changes.succeeded

    def _fold_contents(self) -> None:
        """Which rows are live, after all that this run of events said about it, in its order."""
        if self._liveness:
            changes = sorted(self._liveness, key=lambda change: change.seq)
            contents.fold(self._db, self._columns, changes, self._commits)
        self._liveness, self._commits = [], {}

    def _close_failures(self) -> None:
        if not self._succeeded:
            return
        ids, seqs, times = zip(*self._succeeded, strict=True)
        columns = {"id": pa.array(ids, pa.string()), "seq": pa.array(seqs, pa.uint64())}
        self._db.register("succeeded", pa.table({**columns, "at": pa.array(times, pa.timestamp("us"))}))
        self._db.execute(_CLOSE_FAILURES)
        self._db.unregister("succeeded")
        self._succeeded = []

    def _forget_counts(self, recounted: list[tuple[str, str]]) -> None:
        jobs, outputs = zip(*recounted, strict=True)
        self._db.register(
            "recounted", pa.table({"job_id": pa.array(jobs, pa.string()), "output": pa.array(outputs, pa.string())})
        )
        self._db.execute(_FORGET_COUNTS)
        self._db.unregister("recounted")

    def _mark_replayed(self, replayed: dict[str, int]) -> None:
        """Dead letters of earlier batches that wait again: job → when."""
        times = pa.array(list(replayed.values()), pa.timestamp("us"))
        self._db.register("replayed", pa.table({"id": pa.array(list(replayed), pa.string()), "replayed_at": times}))
        self._db.execute(
            "update cf_dead_letter set replayed_at = r.replayed_at from replayed r"
            " where original_job_id = r.id and cf_dead_letter.replayed_at is null"
        )
        self._db.unregister("replayed")

    def _replace(self, table: str, key: str, stale: Sequence[str], rows: Sequence[Row]) -> None:
        if stale:
            self._db.register("touched", pa.table({"id": pa.array(stale, pa.string())}))
            self._db.execute(f"delete from {table} where {key} in (select id from touched)")
            self._db.unregister("touched")
        self._append(table, rows)

    def _append(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            self._insert(table, as_columns(rows, self._columns[table]))

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._db.register("fresh", rows)
        self._db.execute(f"insert into {table} by name select * from fresh")
        self._db.unregister("fresh")

    def _mark_files(self, changes: JobChanges) -> None:
        if not changes.file_status:
            return
        files, hashes = zip(*changes.file_status, strict=True)
        marks = pa.table(
            {
                "id": pa.array(files, pa.string()),
                "content_hash": pa.array(hashes, pa.string()),
                "status": pa.array(list(changes.file_status.values()), pa.string()),
            }
        )
        self._db.register("marks", marks)
        self._db.execute(
            "update scout_files set status = m.status from marks m"
            " where scout_files.id = m.id and scout_files.status <> 'vanished'"
            " and coalesce(m.content_hash = scout_files.content_hash, true)"
        )
        self._db.unregister("marks")

    def _audit(self, events: Sequence[Event]) -> None:
        kept = [event for event in events if event.type not in NOT_AUDITED]
        columns = {
            "seq": [event.seq for event in kept],
            "ts": [event.ts for event in kept],
            "type": [event.type for event in kept],
            "actor": [event.actor for event in kept],
            "subject": [subject(event) for event in kept],
            "data": [as_json(event.data) for event in kept],
        }
        types = self._columns["cf_audit"]
        self._insert("cf_audit", pa.table({name: pa.array(values, types[name]) for name, values in columns.items()}))

    # --- reading

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A second connection to the same database, for readers in other threads of this process."""
        return self._db.cursor()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        return ask(self._db, sql, parameters)

    def ask(self, query: Query[RowT]) -> list[RowT]:
        """The rows that answer a named query."""
        rows: list[Any] = rows_of(self.table(query))
        return rows

    def table(self, query: Query[Any]) -> pa.Table:
        """As `ask`, but as an Arrow table."""
        return table_of(self._db, query)

    # --- opening

    def _open(self) -> duckdb.DuckDBPyConnection:
        if not self._path.exists():
            return self._create()
        reason = "it cannot be read"
        try:
            db = _connect_patiently(self._path)
        except duckdb.Error as cause:
            reason = str(cause).splitlines()[0]
        else:
            try:
                stored = next(
                    iter(db.execute("select schema_fingerprint, boot_id, is_clean from cf_position").fetchall()), None
                )
                if stored and stored[0] == SCHEMA_FINGERPRINT and (stored[1] == self._boot_id or stored[2]):
                    db.execute("update cf_position set boot_id = ?, is_clean = false", (self._boot_id,))
                    return db
                reason = "the machine went down with it open" if stored else "it is empty"
                if stored and stored[0] != SCHEMA_FINGERPRINT:
                    reason = "it was made by another version"
            except duckdb.Error as cause:
                reason = str(cause).splitlines()[0]
            db.close()
        _log.warning("rebuilding %s from the log: %s", self._path.name, reason)
        return self._create()

    def _create(self) -> duckdb.DuckDBPyConnection:
        discard(self._path)
        db = _connect(self._path)
        db.execute(SCHEMA_SQL)
        db.execute(
            "insert into cf_position values (0, 0, 0, 0, '', ?, ?, false, 0)", (SCHEMA_FINGERPRINT, self._boot_id)
        )
        return db

    def rebuild(self) -> None:
        """Forget everything; the caller applies the log from its start."""
        with suppress(duckdb.Error):  # broken beyond being closed: the file is removed in any case
            self._db.close()
        self._db = self._create()
        self._load()

    def _stored_head(self) -> Head | None:
        """The place that the tables stand at, None for the very beginning."""
        stored = self._db.execute("select seq, batch_no, segment, byte_offset, sha256 from cf_position").fetchall()
        for seq, batch_no, segment, offset, sha256 in stored:
            if segment:
                return Head(Position(segment, offset), batch_no, seq, bytes.fromhex(sha256))
        return None

    def _stored_progress(self) -> tuple[int, int]:
        """The last event that is applied or set aside, and how many were set aside."""
        (applied_seq,) = self._db.execute("select max(applied_seq) from cf_position").fetchall()[0]
        (count,) = self._db.execute("select count(*) from cf_poison_events").fetchall()[0]
        return applied_seq or 0, count

    def _is_curable(self) -> bool:
        """Whether an event was set aside for want of a blob that can be read now."""
        for (blob,) in self._db.execute("select distinct blob from cf_poison_events where blob is not null").fetchall():
            with suppress(CasparianError, ValueError, OSError):
                self._read_blob(blob)
                return True
        return False

    @property
    def seq(self) -> int:
        return self.head.seq if self.head is not None else 0

    def _column_types(self) -> dict[str, dict[str, pa.DataType]]:
        tables = self._db.execute("select table_name from duckdb_tables() where not temporary").fetchall()
        found = {}
        for (table,) in tables:
            schema = self._db.sql(f"select * from {table} limit 0").to_arrow_table().schema
            found[table] = {field.name: field.type for field in schema}
        return found

    def _loaded_fold(self) -> JobFold:
        fold = JobFold(self._columns["cf_processing_queue"], self._ended_row, self._read_blob)
        fold.load(
            self._rows(f"select * from cf_processing_queue where status in ({_OPEN_STATES})"),
            self.query("select job_id from cf_job_progress").column(0).to_pylist(),
        )
        return fold

    def _ended_row(self, job_id: str) -> Row | None:
        rows = self._rows("select * from cf_processing_queue where id = ?", (job_id,))
        return rows[0] if rows else None

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows as the fold keeps them: times as µs."""
        table = ask(self._db, sql, parameters)
        for index, column in enumerate(table.schema):
            if pa.types.is_timestamp(column.type):
                table = table.set_column(index, column.name, table.column(index).cast(pa.int64()))
        rows: list[Row] = table.to_pylist()
        return rows


def _left_rows(event: Event) -> bool:
    """Whether a failed job left quarantined rows, which the catalogue shows apart."""
    return event.type == "JobFailed" and ("uncommitted" in event.data or "uncommitted_blob" in event.data)


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


def chunked(events: Iterable[tuple[Head, list[Event]]], limit: int) -> Iterable[tuple[Head, list[Event]]]:
    """Log batches gathered to about `limit` events, so that a rebuild writes few transactions."""
    gathered: list[Event] = []
    last: Head | None = None
    for head, batch in events:
        gathered += batch
        last = head
        if len(gathered) >= limit:
            yield head, gathered
            gathered = []
    if gathered and last is not None:
        yield last, gathered
