"""How jobs enter the book: from a snapshot, from events, from the projection's history.

What the projection answers is older or younger than the feed by a little; a job that the feed has spoken of is left to
the feed.
"""

from __future__ import annotations

from typing import Any

from casparian_console.effects import Query
from casparian_console.facts.jobs import ENDED_STATES, STANDINGS, Job, JobBook, Standing
from casparian_console.messages import Answer
from casparian_protocol.feed import FeedEvent, Snapshot
from casparian_protocol.jobs import JobSpec
from casparian_protocol.wording import WAITING_FILES

#: Ended jobs that are listed one by one; older ones are in the totals, and in `casparian jobs`.
HISTORY_JOBS = 100_000

#: What an ended or replayed job does to the totals: state, sign, rows, quarantined rows.
Settled = tuple[str, int, int, int]

_BEGUN = frozenset({"RUNNING", "COMMITTED"})
_NOT_LEASED = frozenset({"QUEUED", "RETRY_WAIT"})
_ENDED = ", ".join(f"'{state}'" for state in sorted(ENDED_STATES))
_JOBS = f"""
select id, job_type, status, plugin_name, parser_version, input_file, topic, attempt, lease_epoch, worker_id, retry_count,
    epoch_us(queued_at) as queued_at, epoch_us(started_at) as started_at, epoch_us(end_time) as ended_at, rows_valid,
    quarantine_rows, rows_skipped, data_bytes, seconds, output_path, error_code, error_message, error_fingerprint, reason,
    closed_by, scanned.files
from cf_processing_queue left join (
    select job_id, least(coalesce(sum(bytes), 0), 9223372036854775807)::bigint as data_bytes
    from cf_output_files where kind = 'data' group by job_id
) written on written.job_id = id left join (
    select job_id, max(files) as files from cf_scans where job_id is not null group by job_id
) scanned on scanned.job_id = id
where status in ({_ENDED})
order by end_time desc limit {HISTORY_JOBS}
"""
_TOTALS = f"""
select status, count(*)::bigint as jobs,
    least(coalesce(sum(rows_valid), 0), 9223372036854775807)::bigint as rows,
    least(coalesce(sum(quarantine_rows), 0), 9223372036854775807)::bigint as quarantined
from cf_processing_queue where status in ({_ENDED}) and closed_at is null group by status
"""
_SOURCES = "select id, name, path, poll_interval_secs, enabled from scout_sources"
_FILES = """
select count(*)::bigint as files, least(coalesce(sum(size), 0), 9223372036854775807)::bigint as bytes,
    (count(*) filter (tag is null and id not in (select file_id from scout_file_tags)))::bigint as untagged
from scout_files where status <> 'vanished'
"""
_PARSERS = """
select p.name, p.version, p.state, epoch_us(p.registered_at) as registered_at, p.artifact_hash, p.outputs_json,
    r.pause_reason, r.paused_at is not null as is_paused, r.total_executions, r.successful_executions,
    epoch_us(r.last_run_at) as last_run_at, r.last_failure_reason, b.state as breaker, b.reason as breaker_reason,
    case when b.state = 'open' then epoch_us(b.probe_at) end as probe_at,
    b.consecutive_failures, p.is_current, p.waits_json, p.may_be_chosen,
    (select string_agg(t.topic, ',') from cf_parser_topics t where t.parser_id = p.id) as topics
from cf_parsers p left join cf_parser_runs r on r.parser_name = p.name
    left join cf_breakers b on b.parser_name = p.name and b.parser_version = p.version
order by p.registered_at
"""
_CONTRACTS = """
select contract_id, parser, version, output, state, columns, contract_hash, epoch_us(proposed_at) as proposed_at
from cf_schema_contracts order by proposed_at
"""
_OUTPUTS = """
select name, owner_parser, live_version, rows, bytes, files, quarantined_rows, epoch_us(last_commit) as last_commit
from cf_outputs
"""


def queries() -> list[Query]:
    """What completes a snapshot."""
    texts = {
        "totals": _TOTALS,
        "parsers": _PARSERS,
        "contracts": _CONTRACTS,
        "outputs": _OUTPUTS,
        "sources": _SOURCES,
        "files": _FILES,
        "waiting": WAITING_FILES,
        "jobs": _JOBS,
    }
    return [Query(("facts", what), sql, limit_rows=HISTORY_JOBS) for what, sql in texts.items()]


def take_snapshot(book: JobBook, taken: Snapshot, now_us: int, stalled_after_us: int) -> None:
    """What is open now. Since when a job runs is told by the worker that holds it."""
    book.forget_open()
    seconds = {held["job_id"]: held["seconds"] for worker in taken.workers for held in worker["jobs"]}
    stuck = _stuck(taken)
    for job in taken.jobs:
        progress = job.get("progress") or {}
        reported_at = progress.get("updated_at", 0)  # also without progress since the report before
        book.replace(
            job["job_id"],
            type=job["type"],
            state=job["state"],
            parser=job["parser"],
            version=job["parser_version"],
            input=job["input"],
            attempt=job["attempt"] - (job["state"] in _NOT_LEASED),  # those that it had
            epoch=job["epoch"],
            worker_id=job["worker_id"],
            retry_count=job["retry_count"],
            not_before=job["not_before"],
            queued_at=job["queued_at"],
            # one that waits at its worker behind another has not begun
            started_at=round(now_us - seconds.get(job["job_id"], 0.0) * 1e6) if job["state"] in _BEGUN else 0,
            progress=progress,
            progressed_at=min(reported_at, now_us - stalled_after_us) if job["job_id"] in stuck else reported_at,
            seq=taken.seq,
        )


def _stuck(taken: Snapshot) -> set[str]:
    """Jobs that make no progress, as far as that is told of their workers: nothing says which of several it is."""
    running = {job["job_id"] for job in taken.jobs if job["state"] == "RUNNING"}
    held = [[each["job_id"] for each in worker["jobs"]] for worker in taken.workers if worker["state"] == "stalled"]
    return {begun[0] for jobs in held if len(begun := [job_id for job_id in jobs if job_id in running]) == 1}


def take_jobs(book: JobBook, answer: Answer) -> None:
    """Ended jobs of the projection as of `answer.seq`, but for those that the feed knows better."""
    fresh = []
    for row in answer.maps():
        known = book.get(row["id"])
        if known is None:
            fresh.append(Job(row["id"], row["job_type"], row["status"], **_ended(row)))
        elif known.state in ENDED_STATES and known.seq <= answer.seq and known.ended_at != row["ended_at"]:
            book.replace(row["id"], state=row["status"], **_ended(row))
    book.add_all(fresh)


def _ended(row: dict[str, Any]) -> dict[str, Any]:
    is_done = STANDINGS[row["status"]] is Standing.DONE
    return {
        "parser": row["plugin_name"] or "",
        "version": row["parser_version"] or "",
        "input": row["input_file"] or "",
        "topic": row["topic"] or "",
        "attempt": row["attempt"] or 0,
        "epoch": row["lease_epoch"] or 0,
        "worker_id": row["worker_id"] or "",
        "retry_count": row["retry_count"] or 0,
        "queued_at": row["queued_at"] or 0,
        "started_at": row["started_at"] or 0,
        "ended_at": row["ended_at"] or 0,
        "rows": row["rows_valid"] or 0,
        "quarantined": row["quarantine_rows"] or 0,
        "skipped": row["rows_skipped"] or 0,
        "bytes": row["data_bytes"] or 0,
        "seconds": row["seconds"] or 0.0,
        "files": row.get("files") or 0,
        "outputs": outputs_of(row["output_path"] or ""),
        "error_code": "" if is_done else row["error_code"] or "",  # the tables keep that of an attempt before
        "error_message": "" if is_done else row["error_message"] or "",
        "fingerprint": "" if is_done else row["error_fingerprint"] or "",
        "reason": row["reason"] or "",
        "closed_by": row.get("closed_by") or "",
    }


def outputs_of(paths: str) -> tuple[str, ...]:
    """The outputs in `outputs/<name>/v1/…`, as the projection notes where a job's rows went."""
    parts = paths.split("/")
    return tuple(name for at, name in enumerate(parts[1:], 1) if parts[at - 1].endswith("outputs"))


def fold_job(book: JobBook, event: FeedEvent) -> tuple[Settled, ...]:
    """Apply an event about a job; its effects on the totals, each as (state, sign, rows, quarantined)."""
    data, seq, at = event.data, event.seq, event.ts
    match event.type:
        case "JobQueued" | "JobReplayed":
            spec = JobSpec.model_validate(data["job"])
            known = book.get(spec.job_id)
            was_counted = event.type == "JobReplayed" and not (known is not None and known.is_closed)
            book.replace(spec.job_id, **_fresh(spec, at), seq=seq)
            if was_counted:
                return ((data["from_state"], -1, 0, 0),)
        case "FailureClosed":
            known = book.get(data["job_id"])
            if known is not None and known.standing is Standing.FAILED:
                book.replace(known.job_id, closed_by=event.actor, seq=seq)
                return ((known.state, -1, 0, 0),)
        case "ScanFinished" if book.get(data["scan_id"]) is not None:  # a SCAN job gives its scan its own id
            book.replace(data["scan_id"], files=data["files"])
        case "JobLeased":
            _change(
                book,
                event,
                state="LEASED",
                started_at=0,
                worker_id=data["worker_id"],
                attempt=data["attempt"],
                epoch=seq,
                progress={},
            )
        case "JobStarted":
            _change(book, event, state="RUNNING", started_at=at, progressed_at=at)
        case "JobProgressed":
            book.touch(data["job_id"], data["progress"], at, seq)
        case "LeaseExpired" | "JobDue":
            _change(book, event, state="QUEUED", epoch=0, worker_id="", progress={})
        case "JobRetryScheduled":
            _change(
                book,
                event,
                state="RETRY_WAIT",
                not_before=data["not_before"],
                retry_count=data["retry_count"],
                epoch=0,
                worker_id="",
                **_error(data),
            )
        case "JobOutputsCommitted":
            manifest = data.get("manifest") or {}
            written = sum(file["bytes"] for file in manifest.get("files", []) if file["kind"] == "data")
            outputs = tuple(sorted(data.get("versions") or manifest.get("outputs") or {}))
            _change(book, event, state="COMMITTED", outputs=outputs, bytes=written)
        case "JobCompleted":
            _change(
                book,
                event,
                state=data["status"],
                ended_at=at,
                rows=data["rows"],
                quarantined=data["quarantined"],
                skipped=data["skipped"],
                seconds=data["seconds"],
                error_code="",
                error_message="",
                fingerprint="",
            )
            closed = book.close_failures(book.by_id[data["job_id"]], seq)
            return ((data["status"], 1, data["rows"], data["quarantined"]), *((state, -1, 0, 0) for state in closed))
        case "JobFailed":
            _change(book, event, state="FAILED", ended_at=at, **_error(data))
            return (("FAILED", 1, 0, 0),)
        case "JobDeadLettered":
            _change(book, event, state="DEAD_LETTER", ended_at=at, reason=data["reason"], **_error(data))
            return (("DEAD_LETTER", 1, 0, 0),)
        case "JobCancelled":
            _change(book, event, state="CANCELLED", ended_at=at, reason=data["reason"])
            return (("CANCELLED", 1, 0, 0),)
    return ()


def _fresh(spec: JobSpec, at: int) -> dict[str, Any]:
    return {
        "type": spec.work.kind,
        "state": "QUEUED",
        "parser": spec.work.parser,
        "version": spec.work.parser_version,
        "input": spec.work.subject,
        "topic": spec.work.topic,
        "attempt": 0,
        "epoch": 0,
        "queued_at": spec.queued_at or at,
        "started_at": 0,
        "ended_at": 0,
        "rows": 0,
        "quarantined": 0,
        "skipped": 0,
        "bytes": 0,
        "seconds": 0.0,
        "outputs": (),
        "worker_id": "",
        "retry_count": 0,
        "progress": {},
        "error_code": "",
        "error_message": "",
        "fingerprint": "",
        "reason": "",
        "closed_by": "",
    }


def _error(data: dict[str, Any]) -> dict[str, Any]:
    error = data.get("error") or {}
    if not error:
        return {}
    return {
        "error_code": error.get("code", ""),
        "error_message": error.get("message", ""),
        "fingerprint": error.get("fingerprint", ""),
    }


def _change(book: JobBook, event: FeedEvent, **changes: Any) -> None:
    """A job that nobody has told of (its snapshot is older than the console's history) is made."""
    book.replace(event.data["job_id"], **changes, seq=event.seq)
