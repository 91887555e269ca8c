"""Events of jobs, folded into rows of `cf_processing_queue` and of the tables that belong to it.

A projection repeats decisions and never judges: `casparian_protocol.job_life` folds the state of a job, and this module derives
the rows from it. A job is in memory only while events change it: before a run of events, the jobs that it is about are fetched
from the tables at once, and of those that stay open a limited number is kept for the next run. So memory does not grow with the
queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from casparian_protocol.errors import is_parsers_own
from casparian_protocol.events import (
    Event,
    EventData,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobDeadLettered,
    JobDue,
    JobEvent,
    JobFailed,
    JobLeased,
    JobOutputsCommitted,
    JobProgressed,
    JobReplayed,
    JobRetryScheduled,
    JobStarted,
    LeaseExpired,
    QuarantineRecorded,
)
from casparian_protocol.events.base import as_map
from casparian_protocol.job_life import advance
from casparian_protocol.jobs import ENDED, PENDING, JobError, JobState
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection import job_rows
from casparian_sentinel.projection.database import ReadBlob, Row, as_json
from casparian_sentinel.projection.job_rows import Job, JobChanges, Queued, Succeeded
from casparian_sentinel.projection.liveness import Committed

#: The most jobs that are kept for the next run. The others are fetched again when an event is about them.
KEPT_JOBS = 10_000
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
    """Folds job events. `fetch` gives the `FOLDED` columns of open jobs, `missing` all columns of any other job."""

    def __init__(
        self,
        columns: Iterable[str],
        fetch: Callable[[Sequence[str]], list[Row]],
        missing: Callable[[str], Row | None],
        blob: ReadBlob,
    ) -> None:
        self._blank: Row = dict.fromkeys(columns)
        self._jobs: dict[str, Job] = {}
        self._with_progress: set[str] = set()
        self._failing: set[tuple[str | None, str | None]] = set()
        #: job → whether its progress was written at the time of `begin`.
        self._progress_before: dict[str, bool] = {}
        self._fetch = fetch
        self._missing = missing
        self._blob = blob
        self.changes = JobChanges()

    def load(self, with_progress: Iterable[str], failing: Iterable[tuple[str, str | None]]) -> None:
        """`failing` has the type and parser of the failed jobs whose failure is open."""
        self._failing = set(failing)
        self._with_progress = set(with_progress)

    def begin(self) -> None:
        """Mark the state that `roll_back` returns to."""
        self._progress_before = {}

    def prepare(self, facts: Iterable[tuple[LogRecord, Event]]) -> None:
        """Fetch the jobs that a run of events is about; jobs of earlier runs are dropped if they are too many."""
        if len(self._jobs) > KEPT_JOBS:  # those that wait longest are needed last
            self._jobs = {job_id: job for job_id, job in self._jobs.items() if job.life.state not in PENDING}
        if len(self._jobs) > KEPT_JOBS:
            self._jobs = {}
        queued: set[str] = set()
        wanted: dict[str, None] = {}
        for _event, fact in facts:
            if isinstance(fact, Queued):
                queued.add(fact.job_id)
            elif isinstance(fact, JobEvent) and not isinstance(fact, JobReplayed):
                wanted[fact.job_id] = None  # type: ignore[attr-defined]  # all others have one
        unknown = [job_id for job_id in wanted if job_id not in queued and job_id not in self._jobs]
        if unknown:
            for row in self._fetch(unknown):
                self._jobs[row["id"]] = job_rows.known_job(row)

    def roll_back(self) -> None:
        """Undo what was folded since `begin`, because it was not written."""
        for job_id, has_progress in self._progress_before.items():
            (self._with_progress.add if has_progress else self._with_progress.discard)(job_id)
        self._jobs = {}
        self._progress_before = {}
        self.changes = JobChanges()

    def take(self) -> JobChanges:
        """The changes since the last call, to be written; then call `forget`."""
        taken, self.changes = self.changes, JobChanges()
        for job_id, progress in taken.progress.items():
            has_progress = job_id in self._with_progress
            self._progress_before.setdefault(job_id, has_progress)
            if has_progress:
                taken.stale_progress.append(job_id)
            if progress is None:
                self._with_progress.discard(job_id)
            else:
                self._with_progress.add(job_id)
        return taken

    def forget(self, written: JobChanges) -> None:
        """Drop jobs that ended; note that the others are written."""
        for job_id, job in written.jobs.items():
            if job.life.state in ENDED:
                del self._jobs[job_id]
            else:
                if job.spec.__class__ is dict:
                    job.spec = as_json(job.spec) if job.queued is None else job.queued["spec_json"]
                job.queued = job.whole = None
                job.changed = {}

    def may_close_failures(self, succeeded: Succeeded) -> bool:
        """Whether the job's parser may have an open failure."""
        return (succeeded.job_type, succeeded.plugin_name) in self._failing

    def is_pending(self, job_id: str) -> bool:
        """Whether changes of the job are not written yet."""
        return job_id in self.changes.jobs

    def apply(self, event: LogRecord, fact: Event) -> bool:
        """Fold one event; returns False if it is not about a job."""
        handler = _HANDLERS.get(fact.__class__)
        if handler is None:
            return False
        handler(self, event, fact)
        return True

    # --- the job

    def _job(self, event: LogRecord, fact: Any) -> Job:
        """The job that the event is about, with its state after the event."""
        job_id: str = fact.job_id
        job = self._jobs.get(job_id)
        if job is None:
            whole = self._missing(job_id)
            if whole is None:  # the start of the log was cut off; the job is known from here on
                whole = {**self._blank, "id": job_id, "status": JobState.QUEUED.value}
            job = self._jobs[job_id] = job_rows.known_job(whole)
            job.whole = whole
        job.updated_at, job.sequence = event.ts, event.seq
        advance(job.life, event.seq, event.ts, fact)
        self.changes.jobs[job_id] = job
        return job

    def _put(self, event: LogRecord, row: Row, spec: EventData) -> Job:
        job = job_rows.new_job(event, row, spec)
        self._jobs[job.id] = self.changes.jobs[job.id] = job
        self._mark_file(job, "queued")
        return job

    # --- one method for each event

    def _queued(self, event: LogRecord, fact: Queued) -> None:
        row = job_rows.queued(event, fact.job, fact.spec_json)
        self._put(event, row, fact.job).queued = row

    def _replayed(self, event: LogRecord, fact: JobReplayed) -> None:
        """The caller wrote everything before: the row of the earlier attempts is in the tables, if it is anywhere."""
        spec = as_map(fact.job)
        before = self._missing(fact.job.job_id) or self._blank
        row = job_rows.queued(event, spec, as_json(spec))
        kept = {name: before[name] for name in _KEPT_BY_A_REPLAY}
        job = self._put(event, row, spec)
        job.life.attempt, job.error_message = kept["attempt"] or 0, kept["error_message"]
        job.whole = {**self._blank, **row, **kept, "replayed_at": event.ts}
        job.replayed_at = event.ts
        self.changes.replayed[job.id] = event.ts

    def _leased(self, event: LogRecord, fact: JobLeased) -> None:
        job = self._job(event, fact)
        job.changed["sandbox"] = fact.sandbox
        job.changed["lease_epoch"], job.changed["claim_time"] = job.life.epoch, job.life.leased_at
        self._mark_file(job, "processing")

    def _progressed(self, event: LogRecord, fact: JobProgressed) -> None:
        job, progress = self._job(event, fact), fact.progress
        done, total = progress.items_done, progress.items_total
        job.changed["items_processed"] = done
        job.changed["items_total"] = total
        job.changed["progress_pct"] = round(100 * done / total, 2) if total else None
        self.changes.progress[job.id] = job_rows.progress(job, fact)

    def _committed(self, event: LogRecord, fact: JobOutputsCommitted) -> None:
        job, manifest = self._job(event, fact), job_rows.manifest_of(event, fact, self._blob)
        self.changes.streaks[job.version] = (0, True)
        counted = job_rows.accounted(manifest, dict(fact.versions))
        job.changed.update(counted)
        if job.replayed_at:
            self.changes.recount(job.id, "")
        if (content_hash := job.content_hash or manifest["source_hash"]) and job.publishes_contents:
            self._note_commit(job, event, content_hash, counted)
        self.changes.append("cf_output_parts", *job_rows.parts(job, event, fact, manifest))

    def _note_commit(self, job: Job, event: LogRecord, content_hash: str, counted: Row) -> None:
        file_id = job.file_version_id or job.input_file or ""
        keeps_earlier = (job.facts or {})["work"].get("on_change") == "append"
        parser = job.plugin_name or ""
        self.changes.liveness.append(
            Committed(event.seq, event.ts, job.id, parser, file_id, content_hash, job.queued_seq, keeps_earlier)
        )
        self.changes.commits[job.id] = job_rows.commit(job, event, content_hash, file_id, counted)

    def _completed(self, event: LogRecord, fact: JobCompleted) -> None:
        job = self._job(event, fact)
        job.changed.update(job_rows.damaged(fact.damaged))
        inputs = (job.job_type or "", job.plugin_name, job.input_file, job.file_version_id, job.content_hash)
        self.changes.succeeded.append(Succeeded(job.id, event.seq, event.ts, *inputs))
        self._end(job, "processed")
        self._count_run(job, event, is_good=True)
        if job.facts is not None and job.publishes_contents:
            self.changes.append("cf_processing_history", job_rows.history(job, event, job.facts))

    def _failed(self, event: LogRecord, fact: JobFailed) -> None:
        job = self._job(event, fact)
        self._record_error(job, event, fact.error)
        self._end(job, "failed")
        self._count_run(job, event)

    def _retry_scheduled(self, event: LogRecord, fact: JobRetryScheduled) -> None:
        job = self._job(event, fact)
        self._record_error(job, event, fact.error)
        self._end(job, "queued")

    def _dead_lettered(self, event: LogRecord, fact: JobDeadLettered) -> None:
        job = self._job(event, fact)
        self._failing.add((job.job_type, job.plugin_name))
        if fact.error is not None:
            self._record_error(job, event, fact.error)
        self._end(job, "failed")
        self._count_run(job, event)
        dead = {
            "original_job_id": job.id,
            "plugin_name": job.plugin_name,
            "error_message": job.error_message,
            "retry_count": fact.retry_count,
            "moved_at": event.ts,
            "reason": fact.reason,
            "replayed_at": None,
        }
        self.changes.append("cf_dead_letter", dead)

    def _cancelled(self, event: LogRecord, fact: JobCancelled) -> None:
        self._end(self._job(event, fact), "cancelled")

    def _lease_expired(self, event: LogRecord, fact: LeaseExpired) -> None:
        self._end(self._job(event, fact), "queued")

    def _quarantined(self, event: LogRecord, fact: QuarantineRecorded) -> None:
        job = self._job(event, fact)
        if job.replayed_at:  # an earlier attempt may have counted the same rows
            self.changes.recount(job.id, fact.output)
        self.changes.append("cf_quarantine_counts", *job_rows.violations(job, event, fact))

    def _touched(self, event: LogRecord, fact: Event) -> None:
        self._job(event, fact)

    # --- shared by several events

    def _end(self, job: Job, file_status: str) -> None:
        """The attempt ended."""
        if job.id in self._with_progress or job.id in self.changes.progress:
            self.changes.progress[job.id] = None
        self._mark_file(job, file_status)

    def _mark_file(self, job: Job, status: str) -> None:
        if job.file_version_id:
            self.changes.file_status[job.file_version_id, job.content_hash] = status

    def _record_error(self, job: Job, event: LogRecord, error: JobError) -> None:
        self._failing.add((job.job_type, job.plugin_name))
        job.error_message = error.message
        job.changed.update(job_rows.errors_of(error))
        self.changes.append("cf_failures", job_rows.failure(job, event, error))
        if is_parsers_own(error.origin, error.code):
            failures, is_reset = self.changes.streaks.get(job.version, (0, False))
            self.changes.streaks[job.version] = (failures + 1, is_reset)

    def _count_run(self, job: Job, event: LogRecord, *, is_good: bool = False) -> None:
        parser = job.plugin_name
        if not parser:
            return
        health = self.changes.health.setdefault(parser, {"runs": 0, "good": 0, "failure": None, "at": 0})
        health["runs"] += 1
        health["at"] = event.ts
        if is_good:
            health["good"] += 1
        else:
            health["failure"] = job.error_message


_HANDLERS: dict[type[Event], Callable[[JobFold, LogRecord, Any], None]] = {
    Queued: JobFold._queued,
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
#: The events that `JobFold.apply` folds.
FOLDED: frozenset[type[Event]] = frozenset(_HANDLERS)
