"""What is asked about one job for its detail, and what was answered.

One question at a time: while it is on its way the selection may move on, and then only the last job is asked about. In
the past the projection would answer for now, so there `casparian job show --as-of` is asked instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from casparian_console.canvas import clock
from casparian_console.facts.jobs import Job
from casparian_console.messages import Answer, Effects, Ended, Failed, Output, RunCommand, RunQuery, Tag, Tagged
from casparian_console.screen import Context
from casparian_protocol.queries import Query
from casparian_protocol.queries.jobs import JobFiles, JobHistory, JobsWithPrefix, JobViolations
from casparian_protocol.queries.outputs import OtherOccurrences
from casparian_protocol.wording import in_columns

_MOST_FILES, _MOST_VIOLATIONS, _MOST_EVENTS = 200, 50, 100
#: What tells that a job must be asked about again; its progress does not.
Stamp = tuple[str, str, int, int, int, int]


def stamp_of(job: Job, context: Context) -> Stamp:
    return (job.job_id, job.state, job.attempt, job.retry_count, job.at, context.past_seq or 0)


@dataclass(slots=True)
class Known:
    """Everything that was answered about a job; empty fields are not known (yet)."""

    job_id: str = ""
    job: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)
    #: Events about the job, the first one first; `data` is a map.
    history: list[dict[str, Any]] = field(default_factory=list)
    related: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


@dataclass
class Detail:
    """The open detail: what is known, and how far it is scrolled."""

    is_open: bool = False
    is_focused: bool = False
    top: int = 0
    known: Known = field(default_factory=Known)
    _stamp: Stamp | None = None
    _waiting: set[str] = field(default_factory=set)
    _text: list[str] = field(default_factory=list)

    def want(self, job: Job | None, context: Context) -> Effects:
        """Ask about the job, if it is another one or was changed since, and nothing is on its way."""
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

    def on_answer(self, message: Tagged) -> None:
        """An answer to what `want` asked."""
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
                known.job = dict(rows[0]) if rows else {}
                known.job["ended_at"] = known.job.pop("end_time", None)
                known.job["logical_date"] = clock(known.job.get("logical_date") or 0)
                for name in ("accounting", "skipped", "records", "damaged"):
                    known.job[name] = _parsed(known.job.pop(f"{name}_json", None))
            case "files":
                known.files = rows
            case "violations":
                known.violations = [{**row, "column_name": row["column"]} for row in rows]
            case "related":
                known.related = rows
            case "history":
                known.history = [
                    {**row, "data": _parsed(row["data"]) or {}} for row in rows if row["type"] != "JobProgressed"
                ]

    def _ended(self, message: Ended) -> None:
        text = "".join(self._text)
        document = _parsed(text) if message.code == 0 else None
        if not isinstance(document, dict):
            self.known.problem = message.stderr.strip() or "The job could not be read as it was then."
            return
        document = in_columns(document)
        for new, old in (("queued_at", "queued_at"), ("started_at", "started_at"), ("ended_at", "end_time")):
            document[new] = microseconds(document.get(old))
        document["skipped"] = document.pop("skips", None)
        self.known.files = document.pop("files", None) or []
        violations = document.pop("violations", None) or []
        self.known.violations = [{**each, "column_name": each.get("column")} for each in violations]
        history = document.pop("history", None) or []
        self.known.history = [
            {**each, "ts": microseconds(each.get("ts"))} for each in history if each.get("type") != "JobProgressed"
        ]
        self.known.job = document


def _tag(what: str, job_id: str) -> Tag:
    return ("jobs", "detail", what, job_id)


def _parsed(text: object) -> Any:
    """JSON as the projection keeps it; None when there is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def microseconds(value: object) -> int:
    """A time as documents of the command line have it (µs or ISO text, UTC)."""
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
    """One lease of a job, from its history."""

    number: int
    worker_id: str
    sandbox: str
    leased_at: int
    started_at: int = 0
    ended_at: int = 0
    end: str = ""
    #: ok, bad or warn
    style: str = "dim"


def attempts(history: list[dict[str, Any]]) -> list[Attempt]:
    """Who worked on the job when, and how each attempt ended."""
    found: list[Attempt] = []
    for event in history:
        data, at = event["data"], event["ts"]
        if event["type"] == "JobLeased":
            worker, sandbox = str(data.get("worker_id", "")), str(data.get("sandbox", ""))
            found.append(Attempt(int(data.get("attempt") or 0), worker, sandbox, at))
        elif found and event["type"] == "JobStarted":
            found[-1].started_at = at
        elif found and (end := _end_of(event["type"], data)) is not None:
            found[-1].ended_at, (found[-1].end, found[-1].style) = at, end
    return found


def _end_of(kind: str, data: dict[str, Any]) -> tuple[str, str] | None:
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
