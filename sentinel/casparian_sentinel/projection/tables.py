"""Writing the changes of a run of events into the tables of jobs and the tables that belong to them.

A job that may still change is in `cf_unsettled_jobs`, whose columns are altered; a settled job is moved to `cf_settled_jobs`.
The cost of a batch depends on what it changes: tables that grow with history are only appended to, or looked up by an index.
`jobs` defines what the events mean, and `store` decides when this is written and in which transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from casparian_protocol.events import Event
from casparian_protocol.jobs import JobState
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection.database import (
    FEW_ROWS,
    Row,
    Types,
    as_columns,
    as_json,
    insert,
    mark_of,
    registered,
    relation,
    with_keys,
)
from casparian_sentinel.projection.job_rows import JobChanges, Queued, Succeeded

#: Only a retry changes a job in one of these states; a failure is settled once it is closed.
_SETTLED = frozenset({JobState.COMPLETED.value, JobState.PARTIAL_SUCCESS.value, JobState.CANCELLED.value})
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
#: The first success after a failure closes it: of the same parser, on the same file or the same content.
_CLOSED_BY = """
select f.id, arg_min(s.job_id, s.seq) as closed_by, arg_min(s.at, s.seq) as at, null::varchar as reason
from cf_unsettled_jobs f join {succeeded}
    on s.job_type = f.job_type and s.plugin_name is not distinct from f.plugin_name and s.seq > f.sequence
where f.status in ('FAILED', 'DEAD_LETTER')
    and (s.input_file = f.input_file or s.file_id = f.file_version_id or s.content_hash = f.content_hash)
group by f.id
"""
_SETTLE = """
insert into cf_settled_jobs select q.* replace (c.at as closed_at, c.closed_by as closed_by, c.reason as close_reason)
from cf_unsettled_jobs q join closing c on c.id = q.id where q.status in ('FAILED', 'DEAD_LETTER')
"""
_UNSETTLE = """
delete from cf_unsettled_jobs where id in (select id from closing) and status in ('FAILED', 'DEAD_LETTER')
"""
_MARK_REPLAYED = """
update cf_dead_letter set replayed_at = r.replayed_at from replayed r
where original_job_id = r.id and cf_dead_letter.replayed_at is null
"""
#: A file may be marked for several contents at once; a mark for a content that it does not have must not apply.
_MARK_FILES = """
update scout_files set status = m.status from marks m
where scout_files.id = m.id and scout_files.status <> 'vanished' and coalesce(m.content_hash = scout_files.content_hash, true)
"""
#: The key is the only condition: with another one next to it, DuckDB reads the whole table instead of the index.
_MARK_FILE = """
update scout_files set status = case when status <> 'vanished' and coalesce(? = content_hash, true) then ? else status end
where id = ?
"""
_CLOSINGS = pa.schema(
    [("id", pa.string()), ("closed_by", pa.string()), ("at", pa.timestamp("us")), ("reason", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Closing:
    """A failure needs no more attention since `at`; `by` is the job that succeeded, or the person who closed it."""

    job_id: str
    at: int
    by: str
    reason: str | None


class Tables:
    """The writing half of an open database; `types` has the columns of every table."""

    def __init__(self, db: duckdb.DuckDBPyConnection, types: Types) -> None:
        self._db = db
        self._types = types

    def append(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            insert(self._db, table, rows, self._types[table])

    def write(self, changes: JobChanges) -> None:
        """Write the current rows of jobs, and everything that these events add, mark and count."""
        self._write_jobs(changes)
        self._write_progress(changes)
        if changes.replayed:
            self._mark_replayed(changes.replayed)
        if changes.recounted:
            self._forget_counts(changes.recounted)
        for table, rows in changes.appended.items():
            self.append(table, rows)
        if changes.file_status:
            self._mark_files(changes.file_status)
        for parser, health in changes.health.items():
            self._db.execute(_COUNT_RUN, (health["runs"], health["good"], health["failure"], health["at"], parser))
        for (parser, version), (failures, is_reset) in changes.streaks.items():
            self._db.execute(_COUNT_FAILURES, (is_reset, failures, failures, parser, version))

    def close_failures(self, succeeded: Sequence[Succeeded]) -> None:
        """Close failures of the same parser on the same input that happened before these jobs succeeded."""
        columns = {
            "job_id": pa.array([one.job_id for one in succeeded], pa.string()),
            "seq": pa.array([one.seq for one in succeeded], pa.uint64()),
            "at": pa.array([one.ts for one in succeeded], pa.timestamp("us")),
            **{
                name: pa.array([getattr(one, name) for one in succeeded], pa.string())
                for name in ("job_type", "plugin_name", "input_file", "file_id", "content_hash")
            },
        }
        with relation(self._db, "s", pa.table(columns)) as (jobs, parameters):
            found = self._db.execute(_CLOSED_BY.format(succeeded=jobs), parameters).fetchall()
        if found:
            self._settle(
                pa.Table.from_pylist([dict(zip(_CLOSINGS.names, row, strict=True)) for row in found], _CLOSINGS)
            )

    def close(self, closing: Closing) -> None:
        """Close a failure for a person."""
        row = {"id": closing.job_id, "closed_by": closing.by, "at": closing.at, "reason": closing.reason}
        self._settle(pa.Table.from_pylist([row], _CLOSINGS))

    def audit(self, events: Sequence[tuple[LogRecord, Event]]) -> None:
        """Add events to the audit table as they are in the log; `subject` is what a person would search for."""
        if not events:
            return
        seqs, times, types, _versions, actors, _data, causes = zip(*[event for event, _fact in events], strict=True)
        columns: dict[str, Sequence[object]] = {
            "seq": seqs,
            "ts": times,
            "type": types,
            "actor": actors,
            "subject": [getattr(fact, "job_id", "") or fact.subject for _event, fact in events],
            "cause_seq": [cause if cause.__class__ is int and cause else None for cause in causes],
            "request": [cause if cause.__class__ is str else None for cause in causes],
            "data": [_json_of(event, fact) for event, fact in events],
        }
        insert(self._db, "cf_audit", columns, self._types["cf_audit"])

    def _write_jobs(self, changes: JobChanges) -> None:
        """Insert new jobs whole, alter open ones where they are, move those that are settled, and write reopened ones again.

        Jobs of which the same columns changed are written in one statement; the events of a batch leave few such groups.
        """
        groups: dict[tuple[object, ...], list[Row]] = {}
        reopened = []
        for job in changes.jobs.values():
            if job.whole is not None:
                reopened.append(job.id)
            fixed = job.whole or job.queued
            row = {**(fixed or {"id": job.id}), **job.standing(), **job.changed}
            key = (fixed is None, is_settled(row), job.whole is None, *job.changed)
            groups.setdefault(key, []).append(row)
        for table in ("cf_unsettled_jobs", "cf_settled_jobs"):
            self._forget(table, "id", reopened)
        for (is_known, is_settled_, *_), rows in groups.items():
            if not is_known:
                self.append("cf_settled_jobs" if is_settled_ else "cf_unsettled_jobs", rows)
            elif is_settled_:
                self._move(rows)
            else:
                self._alter(rows)

    def _alter(self, rows: Sequence[Row]) -> None:
        """Update these columns of open jobs."""
        names = [name for name in rows[0] if name != "id"]
        types = self._types["cf_unsettled_jobs"]
        if len(rows) <= FEW_ROWS:
            sets = ", ".join(f"{name} = {mark_of(types[name])}" for name in names)
            for row in rows:
                self._db.execute(
                    f"update cf_unsettled_jobs set {sets} where id = ?", [*(row[name] for name in names), row["id"]]
                )
            return
        sets = ", ".join(f"{name} = c.{name}" for name in names)
        with registered(self._db, "changed", as_columns(rows, types)):
            self._db.execute(f"update cf_unsettled_jobs set {sets} from changed c where cf_unsettled_jobs.id = c.id")

    def _move(self, rows: Sequence[Row]) -> None:
        """Append open jobs to the settled ones with these columns changed."""
        types = self._types["cf_unsettled_jobs"]
        replaced = ", ".join(f"c.{name} as {name}" for name in rows[0] if name != "id")
        with registered(self._db, "changed", as_columns(rows, types)):
            self._db.execute(
                f"insert into cf_settled_jobs select q.* replace ({replaced}) from cf_unsettled_jobs q"
                " join changed c on c.id = q.id"
            )
        self._forget("cf_unsettled_jobs", "id", [row["id"] for row in rows])

    def _write_progress(self, changes: JobChanges) -> None:
        self._forget("cf_job_progress", "job_id", changes.stale_progress)
        self.append("cf_job_progress", [row for row in changes.progress.values() if row is not None])

    def _forget(self, table: str, key: str, ids: Sequence[str]) -> None:
        if ids:
            self._db.execute(*with_keys(f"delete from {table} where {key} in $keys", ids))

    def _settle(self, closing: pa.Table) -> None:
        with registered(self._db, "closing", closing):
            self._db.execute(_SETTLE)
            self._db.execute(_UNSETTLE)

    def _forget_counts(self, recounted: Iterable[tuple[str, str]]) -> None:
        jobs, outputs = zip(*recounted, strict=True)
        rows = pa.table({"job_id": pa.array(jobs, pa.string()), "output": pa.array(outputs, pa.string())})
        with registered(self._db, "recounted", rows):
            self._db.execute(_FORGET_COUNTS)

    def _mark_replayed(self, replayed: dict[str, int]) -> None:
        """Mark dead letters of earlier batches as replayed: job → when."""
        times = pa.array(list(replayed.values()), pa.timestamp("us"))
        rows = pa.table({"id": pa.array(list(replayed), pa.string()), "replayed_at": times})
        with registered(self._db, "replayed", rows):
            self._db.execute(_MARK_REPLAYED)

    def _mark_files(self, statuses: dict[tuple[str, str | None], str]) -> None:
        if len(statuses) <= FEW_ROWS:
            for (file_id, content_hash), status in statuses.items():
                self._db.execute(_MARK_FILE, (content_hash, status, file_id))
            return
        files, hashes = zip(*statuses, strict=True)
        columns: dict[str, pa.Array] = {
            "id": pa.array(files, pa.string()),
            "content_hash": pa.array(hashes, pa.string()),
            "status": pa.array(list(statuses.values()), pa.string()),
        }
        with registered(self._db, "marks", pa.table(columns)):
            self._db.execute(_MARK_FILES)


def is_settled(row: Row) -> bool:
    """Whether only a retry can change this job."""
    return row["status"] in _SETTLED or (
        row.get("closed_at") is not None and row["status"] in ("FAILED", "DEAD_LETTER")
    )


def _json_of(event: LogRecord, fact: Event) -> str:
    """The data of an event as JSON; that of a queued job was made for its row."""
    if isinstance(fact, Queued) and len(event.data) == 1:
        return f'{{"job":{fact.spec_json}}}'
    return as_json(event.data)
