"""The rows that events of jobs produce: a job as queued, what later events change in it, and the rows added by its events.

Rows are maps with the columns of `schema.sql`; times are µs UTC. The two largest events, the queued job and the manifest of a
commit, are read as the maps that they are in the log: the sentinel checked them before it recorded them, and building their
models again would take longer than all the rest. `jobs` decides which row an event is about and when it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgpack

from casparian_protocol.events import (
    VERSIONS,
    Event,
    EventData,
    JobOutputsCommitted,
    JobProgressed,
    JobQueued,
    QuarantineRecorded,
    decode,
)
from casparian_protocol.events.base import as_map
from casparian_protocol.job_life import JobLife
from casparian_protocol.jobs import JobError, JobState, Manifest, StagedFile, published_path
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection.database import ReadBlob, Row, as_json
from casparian_sentinel.projection.kinds import KINDS
from casparian_sentinel.projection.liveness import Change


class Queued(Event):
    """`JobQueued` with its job as a map."""

    __slots__ = ("job", "job_id", "spec_json")
    about = JobQueued.about

    def __init__(self, job: EventData) -> None:
        self.job = job
        self.job_id: str = job["job_id"]
        self.spec_json = as_json(job)

    @property
    def subject(self) -> str:
        return self.job_id


_QUEUED, _COMMITTED = JobQueued.about.name, JobOutputsCommitted.about.name


def fact_of(event: LogRecord) -> Event:
    """The fact of an event, as the fold takes it; of a commit without its manifest. Raises for data of no version."""
    if event.v == VERSIONS.get(event.type):
        if event.type == _QUEUED:
            return Queued(event.data["job"])
        if event.type == _COMMITTED:
            return decode(event.type, event.v, {**event.data, "manifest": None})
    fact = decode(event.type, event.v, event.data)
    return Queued(as_map(fact.job)) if isinstance(fact, JobQueued) else fact


#: What a manifest of an older version may lack.
_MANIFEST = as_map(Manifest())


def manifest_of(event: LogRecord, fact: JobOutputsCommitted, read_blob: ReadBlob) -> EventData:
    """The manifest of a commit as a map, from the event or from its blob."""
    if fact.manifest_blob:
        return as_map(Manifest.model_validate(msgpack.unpackb(read_blob(fact.manifest_blob))))
    given = as_map(fact.manifest) if fact.manifest is not None else event.data["manifest"]
    return {**_MANIFEST, **given}


@dataclass(slots=True)
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
class Job:
    """A job while events change it: what is fixed, where it stands, and the columns that are not written yet."""

    id: str
    job_type: str | None
    plugin_name: str | None
    parser_version: str | None
    input_file: str | None
    file_version_id: str | None
    content_hash: str | None
    artifact_hash: str | None
    queued_seq: int
    error_message: str | None = None
    #: When it was replayed, if it was.
    replayed_at: int | None = None
    life: JobLife = field(default_factory=JobLife)
    updated_at: int = 0
    sequence: int = 0
    #: The job as it was queued: JSON, or a map once it was needed; None if that event is not in the log.
    spec: EventData | str | None = None
    #: The columns as queued, until they are written.
    queued: Row | None = None
    #: All columns, of a job whose row is written again because it had ended.
    whole: Row | None = None
    #: The columns that events changed since the last writing, besides `standing`.
    changed: Row = field(default_factory=dict)

    @property
    def facts(self) -> EventData | None:
        """The job as it was queued."""
        if isinstance(self.spec, str):
            self.spec = json.loads(self.spec)
        return self.spec  # type: ignore[return-value]  # it is no text any more

    @property
    def publishes_contents(self) -> bool:
        facts = self.facts
        return facts is not None and KINDS[facts["work"]["kind"]].publishes_contents

    @property
    def version(self) -> tuple[str, str]:
        return self.plugin_name or "", self.parser_version or ""

    def standing(self) -> Row:
        """The columns that describe its state, but for those of its last lease, which remain when the lease has ended."""
        life = self.life
        return {
            "updated_at": self.updated_at,
            "sequence": self.sequence,
            "status": str.__str__(life.state),  # as `.value`, which is a function of the enumeration
            "attempt": life.attempt,
            "retry_count": life.retry_count,
            "losses": life.losses,
            "worker_id": life.worker_id or None,
            "started_at": life.started_at or None,
            "end_time": life.ended_at or None,
            "not_before": life.not_before or None,
            "reason": life.reason or None,
        }


@dataclass(slots=True)
class JobChanges:
    """The changes of one batch of events, ready to be written."""

    #: The jobs that changed, by id.
    jobs: dict[str, Job] = field(default_factory=dict)
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
    #: job → when it was replayed, for its dead letters.
    replayed: dict[str, int] = field(default_factory=dict)
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


#: The columns of the queue that the fold needs of a job.
FOLDED = (
    "id, job_type, plugin_name, parser_version, input_file, file_version_id, content_hash, artifact_hash, queued_seq, "
    "error_message, replayed_at, spec_json, status, attempt, retry_count, losses, worker_id, lease_epoch, claim_time, "
    "started_at, end_time, not_before, reason"
)


def queued(event: LogRecord, job: EventData, spec_json: str) -> Row:
    """The columns of a job that are known when it is queued."""
    work = job["work"]
    kind = KINDS[work["kind"]]
    return {
        "id": job["job_id"],
        "job_type": work["kind"],
        "plugin_name": work.get("parser") or None,
        "parser_version": work.get("parser_version") or None,
        "input_file": kind.label(work),
        "priority": job.get("priority", 0),
        "queued_at": job.get("queued_at") or event.ts,
        "job_key": job["key"],
        "rerun_of": job.get("rerun_of") or None,
        "spec_json": spec_json,
        "queued_seq": event.seq,
        "file_version_id": None,
        "content_hash": None,
        "artifact_hash": None,
        "topic": None,
        **kind.columns(work),
    }


def new_job(event: LogRecord, row: Row, spec: EventData) -> Job:
    """The job of a row made by `queued`."""
    return Job(
        row["id"],
        row["job_type"],
        row["plugin_name"],
        row["parser_version"],
        row["input_file"],
        row["file_version_id"],
        row["content_hash"],
        row["artifact_hash"],
        event.seq,
        updated_at=event.ts,
        sequence=event.seq,
        spec=spec,
    )


def known_job(row: Row) -> Job:
    """The job of a row with the columns `FOLDED`."""
    life = JobLife(
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
    return Job(
        row["id"],
        row["job_type"],
        row["plugin_name"],
        row["parser_version"],
        row["input_file"],
        row["file_version_id"],
        row["content_hash"],
        row["artifact_hash"],
        row["queued_seq"] or 0,
        row["error_message"],
        row["replayed_at"],
        life,
        spec=row["spec_json"] or None,
    )


def accounted(manifest: EventData, versions: dict[str, int]) -> Row:
    """The columns that a commit fills. From here on items are records: those from readers, or received rows."""
    outputs, files, skipped = manifest["outputs"], manifest["files"], manifest["skipped"]
    records = manifest.get("records")
    is_counted = records is not None and records["is_counted"]
    received = valid = quarantined = unplaced = 0
    for one in outputs.values():
        received += one["received"]
        valid += one["valid"]
        quarantined += one["quarantined"]
        unplaced += one.get("rows_without_source_row", 0)
    skipped_records = sum(skipped.values())
    items = records["given"] if records is not None and is_counted else received + skipped_records
    row: Row = {
        "rows_valid": valid,
        "quarantine_rows": quarantined,
        "rows_skipped": skipped_records,
        "rows_received": received,
        "rows_without_source_row": unplaced,
        "source_hash": manifest["source_hash"],
        "sandbox": manifest["sandbox"],
        "seconds": manifest["total_seconds"],
        "output_size_bytes": sum(file["bytes"] for file in files),
        "data_bytes": sum(file["bytes"] for file in files if file["kind"] == "data"),
        "accounting_json": as_json(outputs),
        "skipped_json": as_json(skipped),
        "items_total": items,
        "items_processed": items,
        "items_failed": quarantined,
        "progress_pct": 100.0,
    }
    if records is not None:
        row["records_given"] = records["given"] if is_counted else None
        row["records_unaccounted"] = records["unaccounted"]
        row["records_json"] = as_json(records)
    if outputs:
        row["output_path"] = ", ".join([f"outputs/{name}/v{versions[name]}" for name in outputs])
    return row


def errors_of(error: JobError) -> Row:
    return {
        "error_code": error.code,
        "error_message": error.message,
        "error_fingerprint": error.fingerprint,
        "error_exception": error.exception,
        "error_trace": error.trace,
        "error_context": as_json(error.context),
    }


# --- rows that belong to a job


def progress(job: Job, fact: JobProgressed) -> Row:
    progress = fact.progress
    return {
        "job_id": job.id,
        "worker_id": job.life.worker_id or None,
        "lease_epoch": fact.epoch,
        "unit": progress.unit,
        "done": progress.items_done,
        "total": progress.items_total,
        "throughput": progress.throughput_per_sec,
        "eta_seconds": progress.eta_seconds,
        "payload_json": as_json(progress.payload),
        "updated_at": progress.updated_at,
    }


def commit(job: Job, event: LogRecord, content_hash: str, file_id: str, counted: Row) -> Row:
    """`cf_commits`: the commit of a job that publishes a file's content, without its life."""
    facts = job.facts or {}
    return {
        "job_id": job.id,
        "parser": job.plugin_name or "",
        "parser_version": job.parser_version,
        "file_id": file_id,
        "input_file": job.input_file,
        "content_hash": content_hash,
        "generation": facts.get("generation", 0),
        "rows": counted["rows_valid"],
        "quarantined": counted["quarantine_rows"],
        "committed_at": event.ts,
        "sequence": event.seq,
    }


def parts(job: Job, event: LogRecord, fact: JobOutputsCommitted, manifest: EventData) -> Iterator[Row]:
    """`cf_output_parts`: every file of a commit that queries may show."""
    for each in manifest["files"]:
        file = StagedFile.model_construct(**each)
        if not file.is_published:
            continue
        version = fact.versions[file.output]
        counted = manifest["outputs"].get(file.output) or {}
        yield {
            "output": file.output,
            "version": version,
            "kind": file.kind,
            "path": published_path(file, job.id, version, fact.part_names),
            "job_id": job.id,
            "rows": file.rows,
            "bytes": file.bytes,
            "digest": file.digest,
            "contract_hash": counted.get("contract_hash", ""),
            "has_raw_encoding": counted.get("has_raw_encoding", False),
            "parser": job.plugin_name,
            "parser_version": job.parser_version,
            "committed_at": event.ts,
            "is_damaged": False,
            "sequence": event.seq,
        }


def failure(job: Job, event: LogRecord, error: JobError) -> Row:
    """`cf_failures`: one failed attempt."""
    return {
        "fingerprint": error.fingerprint,
        "job_id": job.id,
        "parser": job.plugin_name,
        "parser_version": job.parser_version,
        "file": job.input_file,
        "code": error.code,
        "exception": error.exception,
        "message": error.message,
        "trace": error.trace,
        "at": event.ts,
        "context": as_json(error.context),
        "attempt": job.life.attempt,
    }


def violations(job: Job, event: LogRecord, fact: QuarantineRecorded) -> Iterator[Row]:
    """`cf_quarantine_counts`: quarantined rows by code and column."""
    files = as_json(fact.files)
    for code, column, rows in fact.counts:
        yield {
            "job_id": job.id,
            "output": fact.output,
            "version": fact.version,
            "code": code,
            "column_name": column,
            "rows": rows,
            "files": files,
            "parser": job.plugin_name,
            "parser_version": job.parser_version,
            "input_file": job.input_file,
            "is_committed": fact.is_committed,
            "resolved_by": None,
            "recorded_at": event.ts,
        }


def history(job: Job, event: LogRecord, facts: EventData) -> Row:
    """`cf_processing_history`: this artifact processed a content under these contracts."""
    work = facts["work"]
    contracts = work.get("contracts") or {}
    return {
        "input_hash": job.content_hash,
        "parser_name": job.plugin_name,
        "parser_version": job.parser_version,
        "artifact_hash": job.artifact_hash,
        "contract_hash": ",".join([f"{name}={contracts[name]}" for name in sorted(contracts)]),
        "params_hash": as_json(dict(sorted((work.get("params") or {}).items()))),
        "generation": facts.get("generation", 0),
        "job_id": job.id,
        "processed_at": event.ts,
    }


def damaged(paths: Sequence[str]) -> Row:
    return {"damaged_json": as_json(list(paths))}
