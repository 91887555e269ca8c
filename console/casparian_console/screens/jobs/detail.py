"""The queries about one job for its detail, and their answers.

One query is in flight at a time. If the selection moves on meanwhile, only the last job is queried next. The projection
answers for the present, so in the past `casparian job show --as-of` is used instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from casparian_console.canvas import clock
from casparian_console.facts import Job
from casparian_console.messages import Answer, Effects, Ended, Failed, Output, RunCommand, RunQuery, Tag, Tagged
from casparian_console.screen import Context
from casparian_protocol.events import EventData
from casparian_protocol.jobs import RecordAccounting
from casparian_protocol.queries import Query
from casparian_protocol.queries.jobs import (
    JobFile,
    JobFiles,
    JobHistory,
    JobRow,
    JobsWithPrefix,
    JobViolation,
    JobViolations,
)
from casparian_protocol.queries.outputs import Occurrence, OtherOccurrences
from casparian_protocol.wording import in_columns

_MOST_FILES, _MOST_VIOLATIONS, _MOST_EVENTS = 200, 50, 100
#: A key that changes when the job must be queried again; progress does not change it.
Stamp = tuple[str, str, int, int, int, int]


def stamp_of(job: Job, context: Context) -> Stamp:
    return (job.job_id, job.state, job.attempt, job.retry_count, job.at, context.past_seq or 0)


class Accounted(BaseModel):
    """The row counts of one output."""

    received: int
    valid: int
    quarantined: int
    rows_without_source_row: int = 0


class JobFacts(BaseModel):
    """The facts about a job besides its life; None and empty: not recorded."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error_message: str | None = None
    error_exception: str | None = None
    error_trace: str | None = None
    error_context: str | None = None
    content_hash: str | None = None
    topic: str | None = None
    artifact_hash: str | None = None
    source_hash: str | None = None
    rerun_of: str | None = None
    selection_snapshot_hash: str | None = None
    logical_date: str | None = None
    started_at: int = 0
    rows_received: int | None = None
    sequence: int | None = None
    accounting: dict[str, Accounted] = Field(default_factory=dict)
    skipped: dict[str, int] = Field(default_factory=dict)
    records: RecordAccounting | None = None

    @classmethod
    def of_row(cls, row: JobRow) -> JobFacts:
        unpacked = {
            "accounting": _parsed(row["accounting_json"]) or {},
            "skipped": _parsed(row["skipped_json"]) or {},
            "records": _parsed(row["records_json"]),
            "logical_date": clock(row["logical_date"] or 0),
            "started_at": row["started_at"] or 0,
        }
        return cls.model_validate({**row, **unpacked})

    @classmethod
    def of_document(cls, document: Mapping[str, object]) -> JobFacts:
        """From the document that `casparian job show --json` prints."""
        unpacked = {
            "accounting": document.get("accounting") or {},
            "skipped": document.get("skips") or {},
            "started_at": microseconds(document.get("started_at")),
        }
        return cls.model_validate({**in_columns(document), **unpacked})


@dataclass(frozen=True, slots=True)
class Happened:
    """An event about the job as it was recorded, of any version."""

    at: int
    type: str
    actor: str
    data: EventData


@dataclass(slots=True)
class Known:
    """All answers about a job; empty fields are not known (yet)."""

    job_id: str = ""
    job: JobFacts | None = None
    files: list[JobFile] = field(default_factory=list)
    violations: list[JobViolation] = field(default_factory=list)
    #: The earliest first.
    history: list[Happened] = field(default_factory=list)
    related: list[Occurrence] = field(default_factory=list)
    problem: str = ""


@dataclass
class Detail:
    """The open detail: its facts and its scroll position."""

    is_open: bool = False
    is_focused: bool = False
    top: int = 0
    known: Known = field(default_factory=Known)
    _stamp: Stamp | None = None
    _waiting: set[str] = field(default_factory=set)
    _text: list[str] = field(default_factory=list)

    def want(self, job: Job | None, context: Context) -> Effects:
        """Query the job if it is another one or has changed, and no query is in flight."""
        if job is None or not self.is_open or self._waiting:
            return []
        stamp = stamp_of(job, context)
        if stamp == self._stamp:
            return []
        if self._stamp is None or self._stamp[0] != job.job_id:
            self.known, self.top = Known(job.job_id), 0
        self._stamp, self._text = stamp, []
        self.known.problem = ""
        if context.past_seq is not None:
            self._waiting = {"past"}
            args = ("--json", "job", "show", job.job_id, "--as-of", str(context.past_seq))
            return [RunCommand(_tag("past", job.job_id), args, is_logged=False)]
        asked: dict[str, Query[Any]] = {
            "job": JobsWithPrefix(job.job_id),
            "files": JobFiles(job.job_id, _MOST_FILES),
            "violations": JobViolations(job.job_id, _MOST_VIOLATIONS),
            "history": JobHistory(job.job_id, _MOST_EVENTS),
        }
        if job.fingerprint:
            asked["related"] = OtherOccurrences(job.fingerprint, job.job_id)
        self._waiting = set(asked)
        return [RunQuery(_tag(what, job.job_id), query) for what, query in asked.items()]

    def move(self, key: str, page: int) -> None:
        """Scroll by one of `listing.MOVES`; `page` is the number of rows of a page."""
        steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pgdn": page, "pgup": -page, "g": -100_000, "home": -100_000}
        self.top = max(0, self.top + steps.get(key, 100_000))

    def on_answer(self, message: Tagged) -> None:
        """Take an answer to `want`."""
        tag: Tag = message.tag
        what, job_id = tag[2], tag[3]
        is_current = job_id == self.known.job_id
        match message:
            case Output(text=text):
                self._text.append(text)
                return
            case Answer() if is_current:
                self._answer(what, message.rows)
            case Ended() if is_current:
                self._ended(message)
            case Failed() if is_current:
                self.known.problem = f"{message.problem} {message.remedy}".strip()
        self._waiting.discard(what)

    def _answer(self, what: str, rows: list[Any]) -> None:
        known = self.known
        match what:
            case "job":
                known.job = JobFacts.of_row(rows[0]) if rows else None
            case "files":
                known.files = rows
            case "violations":
                known.violations = rows
            case "related":
                known.related = rows
            case "history":
                known.history = [
                    Happened(row["ts"], row["type"], row["actor"], _parsed(row["data"]) or {})
                    for row in rows
                    if row["type"] != "JobProgressed"
                ]

    def _ended(self, message: Ended) -> None:
        document = _parsed("".join(self._text)) if message.code == 0 else None
        if not isinstance(document, dict):
            self.known.problem = message.stderr.strip() or "The job could not be read as it was then."
            return
        self.known.job = JobFacts.of_document(document)
        self.known.files = document.get("files") or []
        self.known.violations = document.get("violations") or []
        self.known.history = [
            Happened(microseconds(each["ts"]), each["type"], each["actor"], each["data"])
            for each in document.get("history") or []
            if each["type"] != "JobProgressed"
        ]


def _tag(what: str, job_id: str) -> Tag:
    return ("jobs", "detail", what, job_id)


def _parsed(text: object) -> Any:
    """A JSON column of the projection; None if empty."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def microseconds(value: object) -> int:
    """A time from a document of the command line (µs or ISO text, UTC) as µs."""
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or not value:
        return 0
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return 0
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


@dataclass(slots=True)
class Attempt:
    """One attempt of a job, from its history."""

    number: int
    worker_id: str
    sandbox: str
    leased_at: int
    started_at: int = 0
    ended_at: int = 0
    end: str = ""
    #: `ok`, `bad` or `warn`.
    style: str = "dim"


def attempts(history: Sequence[Happened]) -> list[Attempt]:
    """The attempts of a job: worker, times and result."""
    found: list[Attempt] = []
    for event in history:
        data, at = event.data, event.at
        if event.type == "JobLeased":
            worker, sandbox = str(data.get("worker_id", "")), str(data.get("sandbox", ""))
            found.append(Attempt(int(data.get("attempt") or 0), worker, sandbox, at))
        elif found and event.type == "JobStarted":
            found[-1].started_at = at
        elif found and (end := _end_of(event.type, data)) is not None:
            found[-1].ended_at, (found[-1].end, found[-1].style) = at, end
    return found


def _end_of(kind: str, data: EventData) -> tuple[str, str] | None:
    code = str((data.get("error") or {}).get("code", ""))
    match kind:
        case "JobOutputsCommitted":
            return "committed", "ok"
        case "JobCompleted":
            return str(data.get("status", "COMPLETED")), "ok"
        case "JobFailed":
            return f"failed: {code}", "bad"
        case "JobRetryScheduled":
            return f"failed, to be retried: {code}", "warn"
        case "JobDeadLettered":
            return f"dead letter ({data.get('reason', '')}): {code}", "bad"
        case "LeaseExpired":
            return f"given back ({data.get('reason', '')})", "warn"
        case "JobCancelled":
            return "cancelled", "dim"
    return None
