"""How jobs enter the book: from a snapshot, from events, from the projection's history.

What the projection answers is older or younger than the feed by a little; a job that the feed has spoken of is left to
the feed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from casparian_console.facts.book import JobBook
from casparian_console.facts.jobs import CLOSED, ENDED_STATES, STANDINGS, BucketKey, Counts, Job, Standing
from casparian_console.kinds import look_of
from casparian_console.messages import RunQuery, Tag
from casparian_protocol.feed import FeedEvent, Snapshot
from casparian_protocol.jobs import JobSpec
from casparian_protocol.queries import Query
from casparian_protocol.queries.files import FileSums
from casparian_protocol.queries.jobs import (
    EndedJobs,
    GroupedJob,
    JobGroupRow,
    JobGroups,
    JobsById,
    JobsMatching,
    JobsOfGroup,
)
from casparian_protocol.queries.outputs import OutputsListed
from casparian_protocol.queries.registry import ContractsListed, ParserVersions, Sources, WaitingTags

#: Ended jobs that are known one by one from the start; the others are counted, and asked for when a group is opened.
RECENT_JOBS = 1_000
PAGE_JOBS = 500
#: Jobs that are asked for by their ids at once.
IDS_AT_ONCE = 500

#: What an ended or replayed job does to the totals: state, sign, rows, quarantined rows.
Settled = tuple[str, int, int, int]

_BEGUN = frozenset({"RUNNING", "COMMITTED"})
_NOT_LEASED = frozenset({"QUEUED", "RETRY_WAIT"})
#: What completes a snapshot, by the name of the table that it fills.
LOADS: dict[str, Query[Any]] = {
    "groups": JobGroups(),
    "jobs": EndedJobs(RECENT_JOBS),
    "parsers": ParserVersions(),
    "contracts": ContractsListed(),
    "outputs": OutputsListed(),
    "sources": Sources(),
    "files": FileSums(),
    "waiting": WaitingTags(),
}


def load(table: str) -> RunQuery:
    return RunQuery(("facts", table), LOADS[table])


def by_id(job_ids: list[str]) -> RunQuery:
    return RunQuery(("facts", "byid"), JobsById(tuple(job_ids)))


def page_of(key: BucketKey, state: str, before: tuple[int, str] | None) -> RunQuery:
    """The next jobs of a bucket of ended jobs in one state, the latest change first."""
    _, kind, which, version, cause = key
    of_parser = look_of(kind).is_grouped_by_parser
    before_at, before_id = before if before is not None else (None, "")
    query = JobsOfGroup(
        state,
        kind,
        which if of_parser else "",
        version,
        cause,
        "" if of_parser else which,
        before_at=before_at,
        before_id=before_id,
        limit=PAGE_JOBS,
    )
    return RunQuery(page_tag(key, state), query)


def matching(query: JobsMatching) -> RunQuery:
    return RunQuery(("facts", "found"), query)


def page_tag(key: BucketKey, state: str) -> Tag:
    return ("facts", "page", state, *map(str, key))


def page_key(tag: Tag) -> tuple[BucketKey, str]:
    """The bucket and the state that a page is of."""
    _, _, state, standing, kind, which, version, cause = tag
    return (int(standing), kind, which, version, cause), state


def states_of(standing: int) -> list[str]:
    """The states of ended jobs that stand so."""
    return [state for state in sorted(ENDED_STATES) if STANDINGS[state] == standing]


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
    if taken.groups:
        book.count_open(
            (each["state"], each["type"], each["parser"], each["parser_version"], each["input"], each["jobs"])
            for each in taken.groups
        )


def _stuck(taken: Snapshot) -> set[str]:
    """Jobs that make no progress, as far as that is told of their workers: nothing says which of several it is."""
    running = {job["job_id"] for job in taken.jobs if job["state"] == "RUNNING"}
    held = [[each["job_id"] for each in worker["jobs"]] for worker in taken.workers if worker["state"] == "stalled"]
    return {begun[0] for jobs in held if len(begun := [job_id for job_id in jobs if job_id in running]) == 1}


def take_groups(book: JobBook, rows: list[JobGroupRow], seq: int) -> Counter[tuple[str, str]]:
    """Count the ended jobs as of `seq`; sums by (state, number): jobs, rows and quarantined rows, closed failures left out."""
    counted: dict[BucketKey, tuple[Counts, int, set[str]]] = {}
    totals: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row["status"] not in ENDED_STATES:
            continue  # the snapshot and the feed know better what is open
        standing = Standing.CANCELLED if row["is_closed"] else STANDINGS[row["status"]]
        which = look_of(row["type"]).group(row["parser"], row["input"])
        key = (int(standing), row["type"], which, row["version"], CLOSED if row["is_closed"] else row["cause"])
        sums, latest_at, outputs = counted.setdefault(key, (Counts(), 0, set()))
        sums.add(Counts(row["jobs"], row["rows"], row["quarantined"], row["skipped"], row["bytes"]))
        counted[key] = (sums, max(latest_at, row["latest_at"]), outputs | set(row["outputs"]))
        if not row["is_closed"]:
            for number, value in (("jobs", row["jobs"]), ("rows", row["rows"]), ("quarantined", row["quarantined"])):
                totals[row["status"], number] += value
    book.count_ended({key: (sums, at, outputs) for key, (sums, at, outputs) in counted.items()}, seq)
    return totals


def job_of(row: GroupedJob) -> Job:
    """A job as the tables have it."""
    is_done = STANDINGS[row["status"]] is Standing.DONE
    return Job(
        row["id"],
        row["job_type"],
        row["status"],
        parser=row["plugin_name"] or "",
        version=row["parser_version"] or "",
        input=row["input_file"] or "",
        topic=row["topic"] or "",
        attempt=row["attempt"] or 0,
        epoch=row["lease_epoch"] or 0,
        worker_id=row["worker_id"] or "",
        retry_count=row["retry_count"] or 0,
        not_before=row["not_before"] or 0,
        queued_at=row["queued_at"] or 0,
        started_at=row["started_at"] or 0,
        ended_at=row["ended_at"] or 0,
        rows=row["rows_valid"] or 0,
        quarantined=row["quarantine_rows"] or 0,
        skipped=row["rows_skipped"] or 0,
        bytes=row["data_bytes"] or 0,
        files=row["files"] or 0,
        seconds=row["seconds"] or 0.0,
        outputs=outputs_of(row["output_path"] or ""),
        error_code="" if is_done else row["error_code"] or "",  # the tables keep that of an attempt before
        error_message="" if is_done else row["error_message"] or "",
        fingerprint="" if is_done else row["error_fingerprint"] or "",
        reason=row["reason"] or "",
        closed_by=row["closed_by"] or "",
    )


def queued_again(job: Job) -> Job:
    """The job as it was before the events that its answer knows already: counted among those that wait."""
    return Job(
        job.job_id,
        job.type,
        "QUEUED",
        parser=job.parser,
        version=job.version,
        input=job.input,
        topic=job.topic,
        queued_at=job.queued_at,
    )


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
