"""Events of jobs, folded into rows of `cf_processing_queue` and what hangs on it. Pure.

A projection repeats the verdict; it never judges. Rows of open jobs are kept here between batches (they are what later
events change); rows of ended jobs are forgotten once written, so memory follows what is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from casparian_protocol.errors import is_parsers_own
from casparian_protocol.jobs import ENDED, JobSpec, JobState, Manifest, published_path
from casparian_sentinel.log.event import Event
from casparian_sentinel.projection.kinds import KINDS
from casparian_sentinel.projection.liveness import Change, Committed
from casparian_sentinel.projection.rows import Row, as_json

_ENDED_NAMES = frozenset(state.value for state in ENDED)
#: A job's progress rows are live readings: written when they come, gone with the attempt.
_PROGRESS_COLUMNS = ("unit", "done", "total", "throughput", "eta_seconds", "payload_json", "updated_at")


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A job that succeeded, with the event: it closes what failed before it on the same input."""

    job_id: str
    seq: int
    ts: int
    job_type: str
    plugin_name: str | None
    input_file: str | None
    file_id: str | None
    content_hash: str | None


@dataclass(slots=True)
class JobChanges:
    """What one batch of events changed, ready to be written."""

    #: job id → whole row of the queue as it now stands.
    jobs: dict[str, Row] = field(default_factory=dict)
    #: Those of `jobs` that were never written: nothing has to be replaced.
    new_jobs: set[str] = field(default_factory=set)
    #: Those that had ended, and may lie among the settled ones.
    reopened: set[str] = field(default_factory=set)
    #: job id → progress row, or None when it is over.
    progress: dict[str, Row | None] = field(default_factory=dict)
    #: Jobs whose progress was written before.
    stale_progress: list[str] = field(default_factory=list)
    #: file id → status of the file.
    file_status: dict[tuple[str, str | None], str] = field(default_factory=dict)
    #: table → rows to append.
    appended: dict[str, list[Row]] = field(default_factory=dict)
    #: parser → executions, successes, last failure, last run.
    health: dict[str, Row] = field(default_factory=dict)
    #: (parser, version) → failures of its own making, and whether they are counted from a success on.
    streaks: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    #: job → when it was replayed, for dead letters written before; and those of this batch.
    replayed: dict[str, int] = field(default_factory=dict)
    dead: dict[str, Row] = field(default_factory=dict)
    #: What changed which rows are live, in order; and the facts of each new commit for `cf_commits`.
    liveness: list[Change] = field(default_factory=list)
    commits: dict[str, Row] = field(default_factory=dict)
    #: (job, output or "" for all) whose earlier counts of quarantined rows are of an attempt that was repeated.
    recounted: list[tuple[str, str]] = field(default_factory=list)
    succeeded: list[Succeeded] = field(default_factory=list)

    def append(self, table: str, row: Row) -> None:
        self.appended.setdefault(table, []).append(row)

    def recount(self, job_id: str, output: str) -> None:
        """Forget what an earlier attempt of the job counted in quarantine, here and in the table."""
        counted = self.appended.get("cf_quarantine_counts", [])
        counted[:] = [row for row in counted if row["job_id"] != job_id or output not in ("", row["output"])]
        self.recounted.append((job_id, output))


class JobFold:
    """Folds job events; `load` gives it what is open at start, `missing` fetches an ended row that is touched again.

    A row always has all `columns` of its table, in their order: the store turns rows into columns without looking.
    """

    def __init__(
        self, columns: Iterable[str], missing: Callable[[str], Row | None], blob: Callable[[str], bytes]
    ) -> None:
        self._blank: Row = dict.fromkeys(columns)
        self._rows: dict[str, Row] = {}
        self._with_progress: set[str] = set()
        #: job → its row (None: none) and whether its progress was written, as they were when `begin` was called.
        self._before: dict[str, tuple[Row | None, bool]] = {}
        self._missing = missing
        self._blob = blob
        self.changes = JobChanges()

    def load(self, rows: Iterable[Row], with_progress: Iterable[str]) -> None:
        self._rows = {row["id"]: row for row in rows}
        self._with_progress = set(with_progress)

    def begin(self) -> None:
        """From here on `roll_back` returns to this moment."""
        self._before = {}

    def roll_back(self) -> None:
        """What was folded since `begin` was not written after all."""
        for job_id, (row, has_progress) in self._before.items():
            if row is None:
                self._rows.pop(job_id, None)
            else:
                self._rows[job_id] = row
            (self._with_progress.add if has_progress else self._with_progress.discard)(job_id)
        self._before = {}
        self.changes = JobChanges()

    def _remember(self, job_id: str) -> None:
        if job_id not in self._before:
            row = self._rows.get(job_id)
            self._before[job_id] = (None if row is None else dict(row), job_id in self._with_progress)

    def take(self) -> JobChanges:
        """The changes since the last call; ended rows are forgotten."""
        taken, self.changes = self.changes, JobChanges()
        for job_id, row in taken.jobs.items():
            if row["status"] in _ENDED_NAMES:
                self._rows.pop(job_id, None)
        for job_id, progress in taken.progress.items():
            if job_id in self._with_progress:
                taken.stale_progress.append(job_id)
            if progress is None:
                self._with_progress.discard(job_id)
            else:
                self._with_progress.add(job_id)
        return taken

    def apply(self, event: Event) -> bool:
        """Fold one event; False when it is not about a job."""
        handler = _HANDLERS.get(event.type)
        if handler is None:
            return False
        handler(self, event)
        return True

    def _row(self, event: Event) -> Row:
        job_id = event.data["job_id"]
        self._remember(job_id)
        row = self._rows.get(job_id)
        if row is None:
            row = self._missing(job_id)
            self.changes.reopened.add(job_id)
            if row is None:  # a log that was cut at its start: the job is known from here on
                row = {**self._blank, "id": job_id, "status": JobState.QUEUED.value}
            self._rows[job_id] = row
        row["updated_at"] = event.ts
        row["sequence"] = event.seq
        self.changes.jobs[job_id] = row
        return row

    def _queued(self, event: Event) -> None:
        spec = event.data["job"]
        self._remember(spec["job_id"])
        row = {**self._blank, **_row_of_spec(spec, event)}
        (self.changes.new_jobs if event.type == "JobQueued" else self.changes.reopened).add(row["id"])
        self._rows[row["id"]] = row
        self.changes.jobs[row["id"]] = row
        if row["file_version_id"]:
            self.changes.file_status[row["file_version_id"], row.get("content_hash")] = "queued"

    def _leased(self, event: Event) -> None:
        row = self._row(event)
        row.update(
            status=JobState.LEASED.value,
            worker_id=event.data["worker_id"],
            attempt=event.data["attempt"],
            lease_epoch=event.seq,
            claim_time=event.ts,
            started_at=None,
            sandbox=event.data.get("sandbox"),
            not_before=None,
        )
        self._mark_file(row, "processing")

    def _started(self, event: Event) -> None:
        self._row(event).update(status=JobState.RUNNING.value, started_at=event.ts)

    def _progressed(self, event: Event) -> None:
        row, progress = self._row(event), event.data["progress"]
        done, total = progress.get("items_done"), progress.get("items_total")
        row.update(
            items_processed=done, items_total=total, progress_pct=round(100 * done / total, 2) if total else None
        )
        values = (
            progress.get("unit"),
            done,
            total,
            progress.get("throughput_per_sec"),
            progress.get("eta_seconds"),
            as_json(progress.get("payload", {})),
            progress.get("updated_at"),
        )
        self.changes.progress[row["id"]] = {
            "job_id": row["id"],
            "worker_id": row.get("worker_id"),
            "lease_epoch": event.data["epoch"],
            **dict(zip(_PROGRESS_COLUMNS, values, strict=True)),
        }

    def _committed(self, event: Event) -> None:
        row, data = self._row(event), event.data
        manifest = self._manifest(data)
        self.changes.streaks[_version_of(row)] = (0, True)
        row.update(
            status=JobState.COMMITTED.value,
            rows_valid=manifest.valid_rows,
            quarantine_rows=manifest.quarantined_rows,
            rows_skipped=manifest.skipped_records,
            rows_received=sum(one.received for one in manifest.outputs.values()),
            rows_without_source_row=sum(one.rows_without_source_row for one in manifest.outputs.values()),
            source_hash=manifest.source_hash,
            sandbox=manifest.sandbox,
            seconds=manifest.total_seconds,
            output_size_bytes=sum(file.bytes for file in manifest.files),
            accounting_json=as_json(manifest.outputs),
            skipped_json=as_json(manifest.skipped),
            records_given=manifest.records.given if manifest.records and manifest.records.is_counted else None,
            records_unaccounted=manifest.records.unaccounted if manifest.records else None,
            records_json=as_json(manifest.records) if manifest.records else None,
        )
        if row.get("replayed_at"):
            self.changes.recount(row["id"], "")
        self._note_commit(row, event, manifest)
        if manifest.outputs:
            row["output_path"] = ", ".join(f"outputs/{name}/v{data['versions'][name]}" for name in manifest.outputs)
        for file in manifest.files:
            if file.kind == "changes":
                continue
            version = data["versions"][file.output]
            counted = manifest.outputs.get(file.output)
            self.changes.append(
                "cf_output_parts",
                {
                    "output": file.output,
                    "version": version,
                    "kind": file.kind,
                    "path": published_path(file, row["id"], version, data["part_names"]),
                    "job_id": row["id"],
                    "rows": file.rows,
                    "bytes": file.bytes,
                    "digest": file.digest,
                    "contract_hash": counted.contract_hash if counted else "",
                    "parser": row.get("plugin_name"),
                    "parser_version": row.get("parser_version"),
                    "committed_at": event.ts,
                    "is_damaged": False,
                    "sequence": event.seq,
                },
            )

    def _note_commit(self, row: Row, event: Event, manifest: Manifest) -> None:
        content_hash = row.get("content_hash") or manifest.source_hash
        spec = _spec_of(row)
        if spec is None or not KINDS[spec.work.kind].publishes_contents or not content_hash:
            return
        change = Committed(
            seq=event.seq,
            ts=event.ts,
            job_id=row["id"],
            parser=row.get("plugin_name") or "",
            file_id=row.get("file_version_id") or row.get("input_file") or "",
            content_hash=content_hash,
            queued_seq=row.get("queued_seq") or 0,
            keeps_earlier=getattr(spec.work, "on_change", "replace") == "append",
        )
        self.changes.liveness.append(change)
        self.changes.commits[row["id"]] = {
            "job_id": row["id"],
            "parser": change.parser,
            "parser_version": row.get("parser_version"),
            "file_id": change.file_id,
            "input_file": row.get("input_file"),
            "content_hash": content_hash,
            "generation": spec.generation,
            "rows": manifest.valid_rows,
            "quarantined": manifest.quarantined_rows,
            "committed_at": event.ts,
            "sequence": event.seq,
        }

    def _manifest(self, data: Mapping[str, Any]) -> Manifest:
        if data.get("manifest_blob"):
            return Manifest.model_validate(msgpack.unpackb(self._blob(data["manifest_blob"])))
        return Manifest.model_validate(data["manifest"])

    def _completed(self, event: Event) -> None:
        row, data = self._row(event), event.data
        row.update(status=data["status"], end_time=event.ts, damaged_json=as_json(data.get("damaged") or []))
        self.changes.succeeded.append(
            Succeeded(
                row["id"],
                event.seq,
                event.ts,
                row["job_type"],
                row["plugin_name"],
                row["input_file"],
                row["file_version_id"],
                row["content_hash"],
            )
        )
        self._end(row, "processed")
        self._count_run(row, event, failure=None)
        spec = _spec_of(row)
        if spec is not None and KINDS[spec.work.kind].publishes_contents:
            contracts = spec.work.contracts
            self.changes.append(
                "cf_processing_history",
                {
                    "input_hash": row.get("content_hash"),
                    "parser_name": row.get("plugin_name"),
                    "parser_version": row.get("parser_version"),
                    "artifact_hash": row.get("artifact_hash"),
                    "contract_hash": ",".join(f"{name}={contracts[name]}" for name in sorted(contracts)),
                    "params_hash": as_json(dict(sorted(getattr(spec.work, "params", {}).items()))),
                    "generation": spec.generation,
                    "job_id": row["id"],
                    "processed_at": event.ts,
                },
            )

    def _failed(self, event: Event) -> None:
        row = self._record_error(event)
        row.update(status=JobState.FAILED.value, end_time=event.ts)
        self._end(row, "failed")
        self._count_run(row, event, failure=row.get("error_message"))

    def _retry_scheduled(self, event: Event) -> None:
        row = self._record_error(event)
        row.update(
            status=JobState.RETRY_WAIT.value,
            retry_count=event.data["retry_count"],
            not_before=event.data["not_before"],
            worker_id=None,
        )
        self.changes.progress[row["id"]] = None
        self._mark_file(row, "queued")

    def _due(self, event: Event) -> None:
        self._row(event)["status"] = JobState.QUEUED.value

    def _dead_lettered(self, event: Event) -> None:
        row = self._record_error(event) if event.data.get("error") else self._row(event)
        row.update(status=JobState.DEAD_LETTER.value, end_time=event.ts, reason=event.data.get("reason"))
        self._end(row, "failed")
        self._count_run(row, event, failure=row.get("error_message"))
        dead = {
            "original_job_id": row["id"],
            "plugin_name": row.get("plugin_name"),
            "error_message": row.get("error_message"),
            "retry_count": event.data.get("retry_count", 0),
            "moved_at": event.ts,
            "reason": event.data.get("reason"),
            "replayed_at": None,
        }
        self.changes.append("cf_dead_letter", dead)
        self.changes.dead[row["id"]] = dead

    def _replayed(self, event: Event) -> None:
        self._queued(event)
        job_id = event.data["job"]["job_id"]
        self._rows[job_id]["replayed_at"] = event.ts
        dead = self.changes.dead.pop(job_id, None)
        if dead is not None:
            dead["replayed_at"] = event.ts
        else:
            self.changes.replayed[job_id] = event.ts

    def _cancelled(self, event: Event) -> None:
        row = self._row(event)
        row.update(status=JobState.CANCELLED.value, end_time=event.ts, reason=event.data.get("reason"))
        self._end(row, "cancelled")

    def _lease_expired(self, event: Event) -> None:
        row = self._row(event)
        row.update(status=JobState.QUEUED.value, worker_id=None)
        if event.data.get("is_loss"):
            row["losses"] = (row.get("losses") or 0) + 1
        self.changes.progress[row["id"]] = None
        self._mark_file(row, "queued")

    def _quarantined(self, event: Event) -> None:
        row, data = self._row(event), event.data
        if row.get("replayed_at"):  # an earlier attempt may have counted the same rows
            self.changes.recount(row["id"], data["output"])
        for code, column, rows in data["counts"]:
            self.changes.append(
                "cf_quarantine_counts",
                {
                    "job_id": row["id"],
                    "output": data["output"],
                    "version": data.get("version"),
                    "code": code,
                    "column_name": column,
                    "rows": rows,
                    "files": as_json(data.get("files", [])),
                    "parser": row.get("plugin_name"),
                    "parser_version": row.get("parser_version"),
                    "input_file": row.get("input_file"),
                    "is_committed": data.get("is_committed", True),
                    "resolved_by": None,
                    "recorded_at": event.ts,
                },
            )

    def _touched(self, event: Event) -> None:
        self._row(event)

    def _end(self, row: Row, file_status: str) -> None:
        self.changes.progress[row["id"]] = None
        self._mark_file(row, file_status)

    def _mark_file(self, row: Row, status: str) -> None:
        if row.get("file_version_id"):
            self.changes.file_status[row["file_version_id"], row.get("content_hash")] = status

    def _record_error(self, event: Event) -> Row:
        row, error = self._row(event), event.data["error"]
        row.update(
            error_code=error.get("code"),
            error_message=error.get("message"),
            error_fingerprint=error.get("fingerprint"),
            error_exception=error.get("exception"),
            error_trace=error.get("trace"),
            error_context=as_json(error.get("context", {})),
        )
        self.changes.append(
            "cf_failures",
            {
                "fingerprint": error.get("fingerprint"),
                "job_id": row["id"],
                "parser": row.get("plugin_name"),
                "parser_version": row.get("parser_version"),
                "file": row.get("input_file"),
                "code": error.get("code"),
                "exception": error.get("exception"),
                "message": error.get("message"),
                "trace": error.get("trace"),
                "at": event.ts,
                "context": as_json(error.get("context", {})),
                "attempt": row.get("attempt"),
            },
        )
        if is_parsers_own(error.get("origin", ""), error.get("code", "")):
            version = _version_of(row)
            failures, is_reset = self.changes.streaks.get(version, (0, False))
            self.changes.streaks[version] = (failures + 1, is_reset)
        return row

    def _count_run(self, row: Row, event: Event, failure: str | None) -> None:
        parser = row.get("plugin_name")
        if not parser:
            return
        health = self.changes.health.setdefault(parser, {"runs": 0, "good": 0, "failure": None, "at": 0})
        health["runs"] += 1
        health["at"] = event.ts
        if failure is None:
            health["good"] += 1
        else:
            health["failure"] = failure


def _version_of(row: Row) -> tuple[str, str]:
    return row.get("plugin_name") or "", row.get("parser_version") or ""


def _spec_of(row: Row) -> JobSpec | None:
    """The job as it was queued; None for one that the log does not tell of."""
    return JobSpec.model_validate_json(row["spec_json"]) if row.get("spec_json") else None


def _row_of_spec(facts: Mapping[str, Any], event: Event) -> Row:
    spec = JobSpec.model_validate(facts)
    work = spec.work
    kind = KINDS[work.kind]
    return {
        "id": spec.job_id,
        "job_type": work.kind,
        "plugin_name": work.parser or None,
        "parser_version": work.parser_version or None,
        "input_file": kind.label(work),
        "status": JobState.QUEUED.value,
        "priority": spec.priority,
        "retry_count": 0,
        "losses": 0,
        "attempt": 0,
        "queued_at": spec.queued_at or event.ts,
        "updated_at": event.ts,
        "job_key": spec.key,
        "topic": work.topic or None,
        "rerun_of": spec.rerun_of or None,
        "spec_json": as_json(facts),
        "sequence": event.seq,
        "queued_seq": event.seq,
        **kind.columns(work),
    }


_HANDLERS: dict[str, Callable[[JobFold, Event], None]] = {
    "JobQueued": JobFold._queued,
    "JobLeased": JobFold._leased,
    "JobStarted": JobFold._started,
    "JobProgressed": JobFold._progressed,
    "JobOutputsCommitted": JobFold._committed,
    "JobCompleted": JobFold._completed,
    "JobFailed": JobFold._failed,
    "JobRetryScheduled": JobFold._retry_scheduled,
    "JobDue": JobFold._due,
    "JobDeadLettered": JobFold._dead_lettered,
    "JobReplayed": JobFold._replayed,
    "JobCancelRequested": JobFold._touched,
    "JobCancelled": JobFold._cancelled,
    "LeaseExpired": JobFold._lease_expired,
    "QuarantineRecorded": JobFold._quarantined,
}
