"""`state.duckdb` as one process writes it: events are applied with the position in the log, in the same transaction.

A batch and the position after it are written together, so each event counts exactly once: after a crash a batch may be repeated
but is never skipped. A file that does not fit (another schema or chain, an unclean end before a reboot, damage) is deleted and
rebuilt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import (
    NOT_AUDITED,
    ContentsRecognised,
    ContractApproved,
    Event,
    FailureClosed,
    FilesObserved,
    FilesRevised,
    FilesTagged,
    JobCompleted,
    JobFailed,
    JobReplayed,
    ParserResumed,
    QuarantineKept,
    SourceAdded,
    SourceRemoved,
)
from casparian_protocol.jobs import OPEN
from casparian_protocol.queries import Query, RowT
from casparian_sentinel.log import Head, LogRecord, Position
from casparian_sentinel.projection import database, files, jobs, liveness, poison, registry
from casparian_sentinel.projection.answers import rows_of, table_of
from casparian_sentinel.projection.database import PositionFile, Row
from casparian_sentinel.projection.job_rows import FOLDED, Succeeded, fact_of
from casparian_sentinel.projection.jobs import JobFold
from casparian_sentinel.projection.liveness import Change
from casparian_sentinel.projection.queries.planning import RowSelect
from casparian_sentinel.projection.tables import Closing, Tables

_log = logging.getLogger("casparian.projection")

_MOVE = """
update cf_position set seq = ?, batch_no = ?, segment = ?, byte_offset = ?, sha256 = ?, applied_seq = ?
"""
_FAILING = "select distinct job_type, plugin_name from cf_unsettled_jobs where status in ('FAILED', 'DEAD_LETTER')"
_OPEN_STATES = frozenset(state.value for state in OPEN)
#: Events that change the file index; commits before them are folded with the index as it was before.
_BEFORE_FILES = (FilesObserved, FilesRevised, SourceAdded, SourceRemoved)
#: Events whose statements change rows that earlier jobs wrote.
_AFTER_JOBS = (JobCompleted, ParserResumed)
#: Events that change what the catalog shows.
_SHOWN = (JobCompleted, QuarantineKept, ContractApproved, ContentsRecognised)

#: More changed jobs than this are not listed: then everything is compared.
_UNPUBLISHED_JOBS = 50_000

#: Events that only change jobs; nearly all events are of these kinds.
_OF_JOBS = jobs.FOLDED - {JobReplayed, JobCompleted, JobFailed}
#: Events that become statements for small tables.
_HANDLERS = {**files.HANDLERS, **registry.HANDLERS}


@dataclass(slots=True)
class Unpublished:
    """What has changed since the last publish of the catalog; at first nothing is known."""

    #: The jobs that changed; None: any job may have.
    jobs: set[str] | None = None
    #: Whether the file index changed otherwise than by new files.
    has_other_files: bool = True

    def add(self, jobs: Iterable[str]) -> None:
        if self.jobs is not None:
            self.jobs.update(jobs)
            if len(self.jobs) > _UNPUBLISHED_JOBS:
                self.jobs = None


class Projection:
    """The tables of `schema.sql` and their position in the log. There is one writer, in one process."""

    def __init__(
        self, path: Path, read_blob: Callable[[str], bytes], boot_id: str, position_file: PositionFile | None = None
    ) -> None:
        self._path = path
        self._position_file = position_file
        self._read_blob = read_blob
        self._boot_id = boot_id
        self._suspects = poison.Suspects()
        self._db = database.open_database(path, boot_id)
        try:
            self._load()
        except duckdb.Error as cause:  # damage may be anywhere in the file
            if database.is_failed_write(cause):
                self._db.close()
                raise
            _log.warning("rebuilding %s from the log: %s", path.name, str(cause).splitlines()[0])
            self._db.close()
            self._db = database.create(path, boot_id)
            self._load()
        if self._is_curable():
            _log.warning("rebuilding %s from the log: a blob that was missing has come back", path.name)
            self.rebuild()

    def _load(self) -> None:
        self._types = database.column_types(self._db)
        self._tables = Tables(self._db, self._types)
        self.head = self._stored_head()
        self._applied_seq, self.poison_count = self._stored_progress()
        self._jobs = self._loaded_fold()
        self._liveness: list[Change] = []
        self._commits: dict[str, Row] = {}
        self._succeeded: list[Succeeded] = []
        #: Rows of ended jobs that events of this run change, as they were before it.
        self._fetched: dict[str, Row] = {}
        self.outputs_changed = True
        self.unpublished = Unpublished()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self._db.execute("update cf_position set is_clean = true")
        except duckdb.Error as cause:
            if not database.is_failed_write(
                cause
            ):  # otherwise the tables are only rebuilt after a restart of the machine
                raise
        finally:
            self._db.close()
            if self._position_file is not None:
                self._position_file.close()

    # --- writing

    def apply(self, events: Sequence[LogRecord], head: Head) -> None:
        """Apply one run of events and move to `head`, in one transaction.

        If the run cannot be applied as a whole, it is split until each poison event stands alone and is set aside. Raises errors
        that say nothing about the events (`poison.may_pass`); a part of the events may then have been applied. Raises
        `poison.StartAgain` if the tables broke and are now empty; the caller then applies the log from its start.
        """
        if events and events[0].seq <= self._applied_seq:
            events = [event for event in events if event.seq > self._applied_seq]
        self._apply_parts(events, head)

    def _apply_parts(self, events: Sequence[LogRecord], head: Head | None) -> None:
        """`head` is the place after these events, or None if a batch is not complete yet."""
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
            if database.is_failed_write(error) or not self._suspects.note(events, error):
                raise
            _log.error("the tables failed at event %d and are rebuilt: %s", events[0].seq, error)
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

    def _apply_whole(self, events: Sequence[LogRecord], head: Head | None) -> None:
        with self._transaction(events, head):
            facts = [(event, fact_of(event)) for event in events]
            self._jobs.prepare(facts)
            self._fetch_replayed(facts)
            for event, fact in facts:
                self._apply_one(event, fact)
            self._flush_jobs()
            self._close_failures()
            self._fold_contents()
            self._tables.audit([(event, fact) for event, fact in facts if event.type not in NOT_AUDITED])

    def _set_aside(self, event: LogRecord, error: Exception, head: Head | None) -> None:
        row = poison.row_of(event, error)
        _log.error("event %d (%s) cannot be made part of the tables: %s", event.seq, event.type, row["error"])
        with self._transaction([event], head):
            self._tables.append("cf_poison_events", [dict(row)])
        self.poison_count += 1

    @contextmanager
    def _transaction(self, events: Sequence[LogRecord], head: Head | None) -> Iterator[None]:
        """Commits the changes made inside together with the place after `events`, or rolls everything back."""
        applied_seq = head.seq if head is not None else events[-1].seq
        self._db.execute("begin")
        self._jobs.begin()
        try:
            yield
            if head is not None:
                place = (head.seq, head.batch_no, head.position.segment, head.position.offset, head.sha256.hex())
                self._db.execute(_MOVE, (*place, applied_seq))
            else:
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

    def _apply_one(self, event: LogRecord, fact: Event) -> None:
        if fact.__class__ in _OF_JOBS:
            self._jobs.apply(event, fact)
            return
        if isinstance(fact, _BEFORE_FILES):
            self._flush_jobs()
            self._fold_contents()
            self.unpublished.has_other_files |= not isinstance(fact, FilesObserved)
        elif isinstance(fact, JobReplayed) and self._jobs.is_pending(fact.job.job_id):
            self._flush_jobs()
        elif isinstance(fact, JobCompleted) and not fact.damaged and not fact.damaged_left_out:
            self._jobs.apply(event, fact)
            self.outputs_changed = True
            return
        if self._jobs.apply(event, fact) and not isinstance(fact, JobCompleted):
            self.outputs_changed |= _left_rows(fact)
            return
        self._apply_files(event, fact)
        handler = _HANDLERS.get(type(fact))
        made = handler(event, fact, self._read_blob) if handler is not None else []
        if made and isinstance(fact, _AFTER_JOBS):
            self._flush_jobs()
        if isinstance(fact, FailureClosed):
            self._flush_jobs()
            self._close_failures()
            self._tables.close(Closing(fact.job_id, event.ts, event.actor, fact.reason))
        for statement in made:
            self._db.execute(statement.sql, statement.parameters)
        self.outputs_changed |= isinstance(fact, _SHOWN)

    def _apply_files(self, event: LogRecord, fact: Event) -> None:
        """Apply an event about many files at once."""
        match fact:
            case FilesObserved(blob=blob) | FilesRevised(blob=blob):
                self._flush_jobs()
                self.unpublished.has_other_files |= files.apply_observed(self._db, event, fact, self._read_blob(blob))
            case FilesTagged(blob=blob):
                self._flush_jobs()
                files.apply_tagged(self._db, event, fact, self._read_blob(blob) if blob else None)
                self.unpublished.has_other_files = True  # a tag changes the state of a file
            case ContentsRecognised():
                self._flush_jobs()
                recognised = liveness.recognised(event, fact, self._read_blob)
                liveness.mark_processed(self._db, recognised)
                self._liveness += recognised
                self.unpublished.jobs = None  # which commits live again is decided later

    def _flush_jobs(self) -> None:
        taken = self._jobs.take()
        self._tables.write(taken)
        self.unpublished.add(taken.jobs)
        self._jobs.forget(taken)
        for job_id in taken.jobs:
            self._fetched.pop(job_id, None)
        self._liveness += taken.liveness
        self._commits.update(taken.commits)
        self._succeeded += taken.succeeded

    def _fold_contents(self) -> None:
        """Decide which rows are live from everything in this run of events, in order."""
        if self._liveness:
            ordered = sorted(self._liveness, key=lambda change: change.seq)
            liveness.fold(self._db, self._types, ordered, self._commits)
        self._liveness, self._commits = [], {}

    def _close_failures(self) -> None:
        succeeded = [one for one in self._succeeded if self._jobs.may_close_failures(one)]
        if succeeded:
            self._tables.close_failures(succeeded)
        self._succeeded = []

    # --- reading

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A second connection to the same database, for readers in other threads of this process."""
        return self._db.cursor()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        return database.ask(self._db, sql, parameters)

    def rows(self, select: RowSelect[RowT], *parameters: object) -> list[RowT]:
        """The rows of one of the sentinel's own SELECTs."""
        rows: list[Any] = self.query(select, parameters).to_pylist()
        return rows

    def ask(self, query: Query[RowT]) -> list[RowT]:
        """The rows of a named query."""
        rows: list[Any] = rows_of(self.table(query))
        return rows

    def table(self, query: Query[Any]) -> pa.Table:
        """Like `ask`, but as an Arrow table."""
        return table_of(self._db, query)

    # --- opening

    def rebuild(self) -> None:
        """Replace the tables by empty ones; the caller applies the log from its start."""
        with suppress(duckdb.Error):  # too broken to be closed; the file is removed in any case
            self._db.close()
        self._db = database.create(self._path, self._boot_id)
        self._load()

    def _stored_head(self) -> Head | None:
        """The position of the tables, or None at the very beginning."""
        stored = self._db.execute("select seq, batch_no, segment, byte_offset, sha256 from cf_position").fetchall()
        for seq, batch_no, segment, offset, sha256 in stored:
            if segment:
                return Head(Position(segment, offset), batch_no, seq, bytes.fromhex(sha256))
        return None

    def _stored_progress(self) -> tuple[int, int]:
        """The last event that was applied or set aside, and how many were set aside."""
        (applied_seq,) = self._db.execute("select max(applied_seq) from cf_position").fetchall()[0]
        (count,) = self._db.execute("select count(*) from cf_poison_events").fetchall()[0]
        return applied_seq or 0, count

    def _is_curable(self) -> bool:
        """Whether an event was set aside because of a missing blob that can be read now."""
        for (blob,) in self._db.execute("select distinct blob from cf_poison_events where blob is not null").fetchall():
            with suppress(CasparianError, ValueError, OSError):
                self._read_blob(blob)
                return True
        return False

    @property
    def seq(self) -> int:
        return self.head.seq if self.head is not None else 0

    def _loaded_fold(self) -> JobFold:
        fold = JobFold(self._types["cf_unsettled_jobs"], self._open_rows, self._whole_row, self._read_blob)
        fold.load(
            self.query("select job_id from cf_job_progress").column(0).to_pylist(),
            self._db.execute(_FAILING).fetchall(),
        )
        return fold

    def _fetch_replayed(self, facts: Iterable[tuple[LogRecord, Event]]) -> None:
        """Fetch the rows of ended jobs that are replayed, possibly very many, with one query."""
        ids = [fact.job.job_id for _event, fact in facts if isinstance(fact, JobReplayed)]
        sql = "select * from cf_processing_queue where id in (select unnest(?::varchar[]))"
        self._fetched = {row["id"]: row for row in self._rows(sql, (ids,))} if ids else {}

    def _open_rows(self, ids: Sequence[str]) -> list[Row]:
        """The open ones of these jobs, with the columns that the fold needs."""
        sql, keys = database.with_keys(f"select {FOLDED} from cf_unsettled_jobs where id in $keys", ids)
        return [row for row in self._rows(sql, keys) if row["status"] in _OPEN_STATES]

    def _whole_row(self, job_id: str) -> Row | None:
        if (fetched := self._fetched.pop(job_id, None)) is not None:
            return fetched
        rows = self._rows("select * from cf_processing_queue where id = ?", (job_id,))
        return rows[0] if rows else None

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows as the fold uses them: times as µs."""
        table = database.ask(self._db, sql, parameters)
        for index, column in enumerate(table.schema):
            if pa.types.is_timestamp(column.type):
                table = table.set_column(index, column.name, table.column(index).cast(pa.int64()))
        rows: list[Row] = table.to_pylist()
        return rows


def _left_rows(fact: Event) -> bool:
    """Whether a failed job left quarantined rows, which the catalog shows separately."""
    return isinstance(fact, JobFailed) and (fact.uncommitted is not None or bool(fact.uncommitted_blob))


def chunked(events: Iterable[tuple[Head, list[LogRecord]]], limit: int) -> Iterable[tuple[Head, list[LogRecord]]]:
    """Combine log batches to about `limit` events, so that a rebuild needs few transactions."""
    gathered: list[LogRecord] = []
    last: Head | None = None
    for head, batch in events:
        gathered += batch
        last = head
        if len(gathered) >= limit:
            yield head, gathered
            gathered = []
    if gathered and last is not None:
        yield last, gathered
