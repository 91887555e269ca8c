"""The rows that events of jobs produce: the row of a job as queued and as it is now, and the rows added by its events.

Rows are maps with the columns of `schema.sql`, built only from typed events; times are µs UTC. `jobs` decides which row an event
is about and when it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from casparian_protocol.events import JobOutputsCommitted, JobProgressed, JobQueued, JobReplayed, QuarantineRecorded
from casparian_protocol.job_life import JobLife
from casparian_protocol.jobs import JobError, JobSpec, JobState, Manifest, published_path
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection.database import Row, as_json
from casparian_sentinel.projection.kinds import KINDS
from casparian_sentinel.projection.liveness import Change


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A job that succeeded, and the event; it closes earlier failures on the same input."""

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
    """The changes of one batch of events, ready to be written."""

    #: job id → the whole current row of the queue.
    jobs: dict[str, Row] = field(default_factory=dict)
    #: The ones in `jobs` that were never written, so that nothing has to be replaced.
    new_jobs: set[str] = field(default_factory=set)
    #: The ones that were written earlier as open jobs: the columns that changed.
    altered: dict[str, list[str]] = field(default_factory=dict)
    #: The ones that had ended, and may be among the settled jobs.
    reopened: set[str] = field(default_factory=set)
    #: job id → progress row, or None if the progress is over.
    progress: dict[str, Row | None] = field(default_factory=dict)
    #: Jobs whose progress was written earlier.
    stale_progress: list[str] = field(default_factory=list)
    #: file id → status of the file.
    file_status: dict[tuple[str, str | None], str] = field(default_factory=dict)
    #: table → rows to append.
    appended: dict[str, list[Row]] = field(default_factory=dict)
    #: parser → executions, successes, last failure, last run.
    health: dict[str, Row] = field(default_factory=dict)
    #: (parser, version) → failures caused by the parser, and whether counting restarts after a success.
    streaks: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    #: job → when it was replayed, for dead letters of earlier batches and of this one.
    replayed: dict[str, int] = field(default_factory=dict)
    dead: dict[str, Row] = field(default_factory=dict)
    #: The changes to which rows are live, in order, and the facts of each new commit for `cf_commits`.
    liveness: list[Change] = field(default_factory=list)
    commits: dict[str, Row] = field(default_factory=dict)
    #: (job, output or "" for all) whose earlier counts of quarantined rows belong to a repeated attempt.
    recounted: list[tuple[str, str]] = field(default_factory=list)
    succeeded: list[Succeeded] = field(default_factory=list)

    def append(self, table: str, *rows: Row) -> None:
        self.appended.setdefault(table, []).extend(rows)

    def recount(self, job_id: str, output: str) -> None:
        """Discard the quarantine counts of an earlier attempt of the job, here and in the table."""
        counted = self.appended.get("cf_quarantine_counts", [])
        counted[:] = [row for row in counted if row["job_id"] != job_id or output not in ("", row["output"])]
        self.recounted.append((job_id, output))


# --- the row of a job


def queued(event: LogRecord, fact: JobQueued | JobReplayed) -> Row:
    """The columns of a job that are known when it is queued."""
    spec = fact.job
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
        "spec_json": as_json(event.data["job"]),
        "sequence": event.seq,
        "queued_seq": event.seq,
        **kind.columns(work),
    }


def life_of(row: Row) -> JobLife:
    """The state of a row's job, in the form that the shared fold of jobs uses."""
    return JobLife(
        state=JobState(row["status"]),
        attempt=row["attempt"] or 0,
        retry_count=row["retry_count"] or 0,
        losses=row["losses"] or 0,
        worker_id=row["worker_id"] or "",
        epoch=row["lease_epoch"] or 0,
        leased_at=row["claim_time"] or 0,
        started_at=row["started_at"] or 0,
        ended_at=row["end_time"] or 0,
        not_before=row["not_before"] or 0,
        reason=row["reason"] or "",
    )


def standing(life: JobLife) -> Row:
    """The columns that describe a job's state. Those of the last lease remain after the lease has ended."""
    lease = {"lease_epoch": life.epoch, "claim_time": life.leased_at} if life.epoch else {}
    return {
        "status": life.state.value,
        "attempt": life.attempt,
        "retry_count": life.retry_count,
        "losses": life.losses,
        "worker_id": life.worker_id or None,
        "started_at": life.started_at or None,
        "end_time": life.ended_at or None,
        "not_before": life.not_before or None,
        "reason": life.reason or None,
        **lease,
    }


def accounted(manifest: Manifest, versions: dict[str, int]) -> Row:
    """The columns that a commit fills. From here on items are records: those from readers, or received rows."""
    records = manifest.records
    received = sum(one.received for one in manifest.outputs.values())
    items = records.given if records is not None and records.is_counted else received + manifest.skipped_records
    paths = [f"outputs/{name}/v{versions[name]}" for name in manifest.outputs]
    return {
        "rows_valid": manifest.valid_rows,
        "quarantine_rows": manifest.quarantined_rows,
        "rows_skipped": manifest.skipped_records,
        "rows_received": received,
        "rows_without_source_row": sum(one.rows_without_source_row for one in manifest.outputs.values()),
        "source_hash": manifest.source_hash,
        "sandbox": manifest.sandbox,
        "seconds": manifest.total_seconds,
        "output_size_bytes": sum(file.bytes for file in manifest.files),
        "data_bytes": sum(file.bytes for file in manifest.files if file.kind == "data"),
        "accounting_json": as_json(manifest.outputs),
        "skipped_json": as_json(manifest.skipped),
        "records_given": records.given if records is not None and records.is_counted else None,
        "records_unaccounted": records.unaccounted if records is not None else None,
        "records_json": as_json(records) if records is not None else None,
        "items_total": items,
        "items_processed": items,
        "items_failed": manifest.quarantined_rows,
        "progress_pct": 100.0,
        **({"output_path": ", ".join(paths)} if paths else {}),
    }


def errors_of(error: JobError) -> Row:
    return {
        "error_code": error.code,
        "error_message": error.message,
        "error_fingerprint": error.fingerprint,
        "error_exception": error.exception,
        "error_trace": error.trace,
        "error_context": as_json(error.context),
    }


def spec_of(row: Row) -> JobSpec | None:
    """The job as it was queued; None if that event is not in the log."""
    return JobSpec.model_validate_json(row["spec_json"]) if row.get("spec_json") else None


# --- rows that belong to a job


def progress(row: Row, fact: JobProgressed) -> Row:
    progress = fact.progress
    return {
        "job_id": row["id"],
        "worker_id": row["worker_id"],
        "lease_epoch": fact.epoch,
        "unit": progress.unit,
        "done": progress.items_done,
        "total": progress.items_total,
        "throughput": progress.throughput_per_sec,
        "eta_seconds": progress.eta_seconds,
        "payload_json": as_json(progress.payload),
        "updated_at": progress.updated_at,
    }


def parts(row: Row, event: LogRecord, fact: JobOutputsCommitted, manifest: Manifest) -> Iterator[Row]:
    """`cf_output_parts`: every file of a commit that queries may show."""
    for file in manifest.files:
        if not file.is_published:
            continue
        version = fact.versions[file.output]
        counted = manifest.outputs.get(file.output)
        yield {
            "output": file.output,
            "version": version,
            "kind": file.kind,
            "path": published_path(file, row["id"], version, fact.part_names),
            "job_id": row["id"],
            "rows": file.rows,
            "bytes": file.bytes,
            "digest": file.digest,
            "contract_hash": counted.contract_hash if counted else "",
            "has_raw_encoding": counted is not None and counted.has_raw_encoding,
            "parser": row["plugin_name"],
            "parser_version": row["parser_version"],
            "committed_at": event.ts,
            "is_damaged": False,
            "sequence": event.seq,
        }


def failure(row: Row, event: LogRecord, error: JobError) -> Row:
    """`cf_failures`: one failed attempt."""
    return {
        "fingerprint": error.fingerprint,
        "job_id": row["id"],
        "parser": row["plugin_name"],
        "parser_version": row["parser_version"],
        "file": row["input_file"],
        "code": error.code,
        "exception": error.exception,
        "message": error.message,
        "trace": error.trace,
        "at": event.ts,
        "context": as_json(error.context),
        "attempt": row["attempt"],
    }


def violations(row: Row, event: LogRecord, fact: QuarantineRecorded) -> Iterator[Row]:
    """`cf_quarantine_counts`: quarantined rows by code and column."""
    files = as_json(fact.files)
    for code, column, rows in fact.counts:
        yield {
            "job_id": row["id"],
            "output": fact.output,
            "version": fact.version,
            "code": code,
            "column_name": column,
            "rows": rows,
            "files": files,
            "parser": row["plugin_name"],
            "parser_version": row["parser_version"],
            "input_file": row["input_file"],
            "is_committed": fact.is_committed,
            "resolved_by": None,
            "recorded_at": event.ts,
        }


def history(row: Row, event: LogRecord, spec: JobSpec) -> Row:
    """`cf_processing_history`: this artifact processed a content under these contracts."""
    contracts = spec.work.contracts
    return {
        "input_hash": row["content_hash"],
        "parser_name": row["plugin_name"],
        "parser_version": row["parser_version"],
        "artifact_hash": row["artifact_hash"],
        "contract_hash": ",".join(f"{name}={contracts[name]}" for name in sorted(contracts)),
        "params_hash": as_json(dict(sorted(getattr(spec.work, "params", {}).items()))),
        "generation": spec.generation,
        "job_id": row["id"],
        "processed_at": event.ts,
    }


def version_of(row: Row) -> tuple[str, str]:
    return row["plugin_name"] or "", row["parser_version"] or ""


def damaged(paths: Sequence[str]) -> Row:
    return {"damaged_json": as_json(list(paths))}
