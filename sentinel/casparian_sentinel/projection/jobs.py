"""Events of jobs, folded into rows of `cf_processing_queue` and of the tables that belong to it.

A projection repeats decisions and never judges: `casparian_protocol.job_life` folds the state of a job, and this module derives
the rows from it. Rows of open jobs stay in memory between batches, because later events change them; rows of ended jobs are
dropped once they are written, so memory depends on open jobs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import msgpack

from casparian_protocol.errors import is_parsers_own
from casparian_protocol.events import (
    Event,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobDeadLettered,
    JobDue,
    JobFailed,
    JobLeased,
    JobOutputsCommitted,
    JobProgressed,
    JobQueued,
    JobReplayed,
    JobRetryScheduled,
    JobStarted,
    LeaseExpired,
    QuarantineRecorded,
)
from casparian_protocol.job_life import advance
from casparian_protocol.jobs import ENDED, JobError, JobState, Manifest
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection import job_rows
from casparian_sentinel.projection.database import Row
from casparian_sentinel.projection.job_rows import JobChanges, Succeeded
from casparian_sentinel.projection.kinds import KINDS
from casparian_sentinel.projection.liveness import Committed

_ENDED_NAMES = frozenset(state.value for state in ENDED)
#: The columns of the previous attempt that a job still shows after a replay, until a newer attempt replaces them.
_KEPT_BY_A_REPLAY = (
    "attempt",
    "error_code",
    "error_message",
    "error_fingerprint",
    "error_exception",
    "error_trace",
    "error_context",
)


class JobFold:
    """Folds job events; `load` gives it the open rows at the start, and `missing` fetches an ended row that an event changes.

    A row always has all `columns` of its table, in order, so that the store can turn rows into columns without checks.
    """

    def __init__(
        self, columns: Iterable[str], missing: Callable[[str], Row | None], blob: Callable[[str], bytes]
    ) -> None:
        self._blank: Row = dict.fromkeys(columns)
        self._rows: dict[str, Row] = {}
        self._with_progress: set[str] = set()
        self._failing: set[tuple[str, str | None]] = set()
        #: job → its row (None if it had none) and whether its progress was written, at the time of `begin`.
        self._before: dict[str, tuple[Row | None, bool]] = {}
        #: job → its row as last written, for the jobs of this run.
        self._written: dict[str, Row] = {}
        self._missing = missing
        self._blob = blob
        self.changes = JobChanges()

    def load(
        self, rows: Iterable[Row], with_progress: Iterable[str], failing: Iterable[tuple[str, str | None]]
    ) -> None:
        """`failing` has the type and parser of the failed jobs whose failure is open."""
        self._rows = {row["id"]: row for row in rows}
        self._failing = set(failing)
        self._with_progress = set(with_progress)

    def begin(self) -> None:
        """Mark the state that `roll_back` returns to."""
        self._before, self._written = {}, {}

    def roll_back(self) -> None:
        """Undo what was folded since `begin`, because it was not written."""
        for job_id, (row, has_progress) in self._before.items():
            if row is None:
                self._rows.pop(job_id, None)
            else:
                self._rows[job_id] = row
            (self._with_progress.add if has_progress else self._with_progress.discard)(job_id)
        self._before, self._written = {}, {}
        self.changes = JobChanges()

    def take(self) -> JobChanges:
        """The changes since the last call; ended rows are dropped."""
        taken, self.changes = self.changes, JobChanges()
        for job_id, row in taken.jobs.items():
            before = self._written.get(job_id) or self._before[job_id][0]
            if before is not None and job_id not in taken.new_jobs and job_id not in taken.reopened:
                taken.altered[job_id] = [name for name, value in row.items() if value != before[name]]
            if row["status"] in _ENDED_NAMES:
                self._rows.pop(job_id, None)
                self._written.pop(job_id, None)
            else:
                self._written[job_id] = dict(row)
        for job_id, progress in taken.progress.items():
            if job_id in self._with_progress:
                taken.stale_progress.append(job_id)
            if progress is None:
                self._with_progress.discard(job_id)
            else:
                self._with_progress.add(job_id)
        return taken

    def may_close_failures(self, succeeded: Succeeded) -> bool:
        """Whether the job's parser may have an open failure."""
        return (succeeded.job_type, succeeded.plugin_name) in self._failing

    def is_open(self, job_id: str) -> bool:
        return job_id in self._rows

    def apply(self, event: LogRecord, fact: Event) -> bool:
        """Fold one event; returns False if it is not about a job."""
        handler = _HANDLERS.get(type(fact))
        if handler is None:
            return False
        handler(self, event, fact)
        return True

    # --- the row of a job

    def _row(self, event: LogRecord, fact: Any) -> Row:
        """The row that the event is about, with the state after the event."""
        job_id: str = fact.job_id
        self._remember(job_id)
        row = self._rows.get(job_id)
        if row is None:
            row = self._missing(job_id)
            self.changes.reopened.add(job_id)
            if row is None:  # the start of the log was cut off; the job is known from here on
                row = {**self._blank, "id": job_id, "status": JobState.QUEUED.value}
            self._rows[job_id] = row
        row["updated_at"] = event.ts
        row["sequence"] = event.seq
        life = job_rows.life_of(row)
        advance(life, event.seq, event.ts, fact)
        row.update(job_rows.standing(life))
        self.changes.jobs[job_id] = row
        return row

    def _remember(self, job_id: str) -> None:
        if job_id not in self._before:
            row = self._rows.get(job_id)
            self._before[job_id] = (None if row is None else dict(row), job_id in self._with_progress)

    def _put(self, row: Row) -> None:
        self._rows[row["id"]] = row
        self.changes.jobs[row["id"]] = row
        self._mark_file(row, "queued")

    # --- one method for each event

    def _queued(self, event: LogRecord, fact: JobQueued) -> None:
        self._remember(fact.job.job_id)
        self.changes.new_jobs.add(fact.job.job_id)
        self._put({**self._blank, **job_rows.queued(event, fact)})

    def _replayed(self, event: LogRecord, fact: JobReplayed) -> None:
        job_id = fact.job.job_id
        self._remember(job_id)
        self.changes.reopened.add(job_id)
        before = self.changes.jobs.get(job_id) or self._missing(job_id) or self._blank
        kept = {name: before[name] for name in _KEPT_BY_A_REPLAY}
        self._put({**self._blank, **job_rows.queued(event, fact), **kept, "replayed_at": event.ts})
        dead = self.changes.dead.pop(job_id, None)
        if dead is not None:
            dead["replayed_at"] = event.ts
        else:
            self.changes.replayed[job_id] = event.ts

    def _leased(self, event: LogRecord, fact: JobLeased) -> None:
        row = self._row(event, fact)
        row["sandbox"] = fact.sandbox
        self._mark_file(row, "processing")

    def _progressed(self, event: LogRecord, fact: JobProgressed) -> None:
        row, progress = self._row(event, fact), fact.progress
        done, total = progress.items_done, progress.items_total
        row.update(
            items_processed=done, items_total=total, progress_pct=round(100 * done / total, 2) if total else None
        )
        self.changes.progress[row["id"]] = job_rows.progress(row, fact)

    def _committed(self, event: LogRecord, fact: JobOutputsCommitted) -> None:
        row, manifest = self._row(event, fact), self._manifest(fact)
        self.changes.streaks[job_rows.version_of(row)] = (0, True)
        row.update(job_rows.accounted(manifest, dict(fact.versions)))
        if row["replayed_at"]:
            self.changes.recount(row["id"], "")
        self._note_commit(row, event, manifest)
        self.changes.append("cf_output_parts", *job_rows.parts(row, event, fact, manifest))

    def _note_commit(self, row: Row, event: LogRecord, manifest: Manifest) -> None:
        content_hash = row["content_hash"] or manifest.source_hash
        spec = job_rows.spec_of(row)
        if spec is None or not KINDS[spec.work.kind].publishes_contents or not content_hash:
            return
        change = Committed(
            seq=event.seq,
            ts=event.ts,
            job_id=row["id"],
            parser=row["plugin_name"] or "",
            file_id=row["file_version_id"] or row["input_file"] or "",
            content_hash=content_hash,
            queued_seq=row["queued_seq"] or 0,
            keeps_earlier=getattr(spec.work, "on_change", "replace") == "append",
        )
        self.changes.liveness.append(change)
        self.changes.commits[row["id"]] = {
            "job_id": row["id"],
            "parser": change.parser,
            "parser_version": row["parser_version"],
            "file_id": change.file_id,
            "input_file": row["input_file"],
            "content_hash": content_hash,
            "generation": spec.generation,
            "rows": manifest.valid_rows,
            "quarantined": manifest.quarantined_rows,
            "committed_at": event.ts,
            "sequence": event.seq,
        }

    def _manifest(self, fact: JobOutputsCommitted) -> Manifest:
        if fact.manifest_blob:
            return Manifest.model_validate(msgpack.unpackb(self._blob(fact.manifest_blob)))
        return cast(Manifest, fact.manifest)

    def _completed(self, event: LogRecord, fact: JobCompleted) -> None:
        row = self._row(event, fact)
        row.update(job_rows.damaged(fact.damaged))
        inputs = (row[name] for name in ("job_type", "plugin_name", "input_file", "file_version_id", "content_hash"))
        self.changes.succeeded.append(Succeeded(row["id"], event.seq, event.ts, *inputs))
        self._end(row, "processed")
        self._count_run(row, event, failure=None)
        spec = job_rows.spec_of(row)
        if spec is not None and KINDS[spec.work.kind].publishes_contents:
            self.changes.append("cf_processing_history", job_rows.history(row, event, spec))

    def _failed(self, event: LogRecord, fact: JobFailed) -> None:
        row = self._row(event, fact)
        self._record_error(row, event, fact.error)
        self._end(row, "failed")
        self._count_run(row, event, failure=fact.error.message)

    def _retry_scheduled(self, event: LogRecord, fact: JobRetryScheduled) -> None:
        row = self._row(event, fact)
        self._record_error(row, event, fact.error)
        self._leave_attempt(row)

    def _dead_lettered(self, event: LogRecord, fact: JobDeadLettered) -> None:
        row = self._row(event, fact)
        self._failing.add((row["job_type"], row["plugin_name"]))
        if fact.error is not None:
            self._record_error(row, event, fact.error)
        self._end(row, "failed")
        self._count_run(row, event, failure=row["error_message"])
        dead = {
            "original_job_id": row["id"],
            "plugin_name": row["plugin_name"],
            "error_message": row["error_message"],
            "retry_count": fact.retry_count,
            "moved_at": event.ts,
            "reason": fact.reason,
            "replayed_at": None,
        }
        self.changes.append("cf_dead_letter", dead)
        self.changes.dead[row["id"]] = dead

    def _cancelled(self, event: LogRecord, fact: JobCancelled) -> None:
        self._end(self._row(event, fact), "cancelled")

    def _lease_expired(self, event: LogRecord, fact: LeaseExpired) -> None:
        self._leave_attempt(self._row(event, fact))

    def _quarantined(self, event: LogRecord, fact: QuarantineRecorded) -> None:
        row = self._row(event, fact)
        if row["replayed_at"]:  # an earlier attempt may have counted the same rows
            self.changes.recount(row["id"], fact.output)
        self.changes.append("cf_quarantine_counts", *job_rows.violations(row, event, fact))

    def _touched(self, event: LogRecord, fact: Event) -> None:
        self._row(event, fact)

    # --- shared by several events

    def _end(self, row: Row, file_status: str) -> None:
        self.changes.progress[row["id"]] = None
        self._mark_file(row, file_status)

    def _leave_attempt(self, row: Row) -> None:
        self._end(row, "queued")

    def _mark_file(self, row: Row, status: str) -> None:
        if row["file_version_id"]:
            self.changes.file_status[row["file_version_id"], row["content_hash"]] = status

    def _record_error(self, row: Row, event: LogRecord, error: JobError) -> None:
        self._failing.add((row["job_type"], row["plugin_name"]))
        row.update(job_rows.errors_of(error))
        self.changes.append("cf_failures", job_rows.failure(row, event, error))
        if is_parsers_own(error.origin, error.code):
            version = job_rows.version_of(row)
            failures, is_reset = self.changes.streaks.get(version, (0, False))
            self.changes.streaks[version] = (failures + 1, is_reset)

    def _count_run(self, row: Row, event: LogRecord, failure: str | None) -> None:
        parser = row["plugin_name"]
        if not parser:
            return
        health = self.changes.health.setdefault(parser, {"runs": 0, "good": 0, "failure": None, "at": 0})
        health["runs"] += 1
        health["at"] = event.ts
        if failure is None:
            health["good"] += 1
        else:
            health["failure"] = failure


_HANDLERS: dict[type[Event], Callable[[JobFold, LogRecord, Any], None]] = {
    JobQueued: JobFold._queued,
    JobReplayed: JobFold._replayed,
    JobLeased: JobFold._leased,
    JobStarted: JobFold._touched,
    JobProgressed: JobFold._progressed,
    JobOutputsCommitted: JobFold._committed,
    JobCompleted: JobFold._completed,
    JobFailed: JobFold._failed,
    JobRetryScheduled: JobFold._retry_scheduled,
    JobDue: JobFold._touched,
    JobDeadLettered: JobFold._dead_lettered,
    JobCancelRequested: JobFold._touched,
    JobCancelled: JobFold._cancelled,
    LeaseExpired: JobFold._lease_expired,
    QuarantineRecorded: JobFold._quarantined,
}
