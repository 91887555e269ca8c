"""The assistant's tools: commands that read, requests that the user must allow, and a description of the screen.

Reading runs at once. A request that changes something becomes a question to the user, which names what it changes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from casparian_console.canvas import Glyphs, Line, clean, clip, count
from casparian_console.facts import Facts
from casparian_console.messages import Effects, OfferedFunction, OfferedTool
from casparian_console.overlays import Overlay, wrapped
from casparian_protocol.jobs import JobState
from casparian_protocol.wire.operations import OPERATIONS, BadArguments, Call, Result
from casparian_protocol.wire.operations.jobs import CANCEL, RETRY
from casparian_protocol.wire.operations.registry import DECIDE_CONTRACT
from casparian_protocol.wording import command_line
from casparian_shim.safe import scrub

_SUMMARY_CHARACTERS = 4_000


def seen(shell: Any) -> str:
    """Describe the mode, the selection and the numbers of the top bar for the model."""
    facts, screen = shell.facts, shell.current
    selected = scrub(str(screen.summary(shell))[:_SUMMARY_CHARACTERS], keep_newlines=True)
    lines = [f"The user looks at: {screen.title}.", f"Selected there: {selected}"]
    if shell.past_seq is not None:
        lines.append(f"The console shows the past, as it was after event {shell.past_seq}.")
    elif not shell.can_change:
        lines.append("The daemon does not answer; what is shown may be old.")
    numbers = f"{facts.running} running, {facts.waiting} queued"
    if facts.totals.is_known:
        rows = count(facts.totals.quarantined, "row")
        numbers += f", {facts.failed} failed, {facts.dead} dead-lettered, {rows} quarantined"
    return "\n".join([*lines, f"Jobs: {numbers}."])


@dataclass
class Decision(Overlay):
    """A request to allow or refuse. The model learns either answer; `Esc` leaves the question open."""

    question: str
    details: Sequence[str]
    accept: Callable[[], Effects]
    decline: Callable[[], Effects]
    title: str = "The assistant asks"

    def __post_init__(self) -> None:
        self.wish = (76, min(20, 7 + len(self.details) + len(self.question) // 60))

    def handle(self, key: str) -> Effects:
        if key in ("y", "enter"):
            self.is_closed = True
            return self.accept()
        if key in ("n", "q"):
            self.is_closed = True
            return self.decline()
        return []

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        details: list[Line] = [[("", clip(clean(each), width, glyphs.ellipsis))] for each in self.details]
        return [*wrapped(self.question, width, "bold"), [], *details]

    def hint(self) -> str:
        return "y or Enter: do it   n: refuse   Esc: decide later"


def hits(request: Request, facts: Facts) -> list[str]:
    """Describe the job that a request is about, as far as the console knows it."""
    job = facts.jobs.get(request.job_id)
    if job is None and request.job_id:
        found = [job for job_id, job in facts.jobs.by_id.items() if job_id.startswith(request.job_id)]
        job = found[0] if len(found) == 1 else None
    if job is None:
        return []
    return ["", f"The job is {job.state}:", f"  {job.type} {job.parser} {job.version}".rstrip(), f"  {job.input}"]


_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_JOB = re.compile(r"[0-9a-f]{4,16}\Z")
_FINGERPRINT = re.compile(r"(?:ERR-)?[0-9a-f]{4,16}\Z")
_SELECTOR = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.@/+!-]{0,254}\Z")
_STATES = [state.value for state in JobState]
_SQL_LIMIT_CHARACTERS = 8_000
_SQL_ROWS = 200
_BLANKS = str.maketrans("\n\r\t", "   ")
_MOST = 200
_REASON_CHARACTERS = 500

#: The model's arguments, not validated yet.
Arguments = dict[str, Any]


class BadCall(ValueError):
    """The model called a tool that does not exist, or passed invalid arguments. The message goes back to the model."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that only reads."""

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A change that the user must allow. `job_id` or `selector` names what it changes."""

    call: Call[Result]
    cli: str
    question: str
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    meaning: str
    #: name → (JSON type, meaning, is it required)
    parameters: dict[str, tuple[str, str, bool]]
    plan: Callable[[Arguments, str], Command | Request]
    #: The operation that the tool needs. A tool is only offered if the operation exists.
    needs: str = ""


def offered(*, may_change: bool) -> tuple[OfferedTool, ...]:
    """The tools in the form that an OpenAI-compatible server takes."""
    return tuple(_schema(tool) for tool in _TOOLS.values() if may_change or not tool.needs)


def plan(name: str, arguments: str, *, as_of: str = "") -> Command | Request:
    """The command or request for a call; raises `BadCall`. `as_of` is the event shown when the console shows the past."""
    tool = _TOOLS.get(name)
    if tool is None:
        raise BadCall(f"There is no tool {name[:64]!r}; there are {', '.join(_TOOLS)}.")
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError) as cause:
        raise BadCall(f"{name}: the arguments are not JSON ({cause}).") from cause
    if not isinstance(given, dict):
        raise BadCall(f"{name}: the arguments must be an object.")
    unknown = [key for key in given if key not in tool.parameters]
    if unknown:
        raise BadCall(f"{name}: there is no argument {str(unknown[0])[:64]!r}; there are {', '.join(tool.parameters)}.")
    missing = [key for key, (_, _, is_required) in tool.parameters.items() if is_required and not given.get(key)]
    if missing:
        raise BadCall(f"{name}: {missing[0]} is missing.")
    try:
        return tool.plan({key: value for key, value in given.items() if value is not None}, as_of)
    except BadArguments as cause:
        raise BadCall(f"{name}: {cause.problem}") from cause


def _schema(tool: _Tool) -> OfferedTool:
    properties = {name: {"type": kind, "description": meaning} for name, (kind, meaning, _) in tool.parameters.items()}
    required = [name for name, (_, _, is_required) in tool.parameters.items() if is_required]
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    function: OfferedFunction = {"name": tool.name, "description": tool.meaning, "parameters": parameters}
    return {"type": "function", "function": function}


def _fitting(given: Arguments, name: str, pattern: re.Pattern[str], what: str) -> str:
    """A validated argument."""
    value = given[name]
    if not isinstance(value, str) or not pattern.match(value):
        raise BadCall(f"{name}: {str(value)[:64]!r} is not {what}.")
    return value


def _options(given: Arguments, **patterns: re.Pattern[str]) -> list[str]:
    """`--name value` for each argument that was given."""
    options: list[str] = []
    for name, pattern in patterns.items():
        if name in given:
            options += [f"--{name}", _fitting(given, name, pattern, f"a {name}")]
    return options


def _count(given: Arguments, name: str, usual: int) -> str:
    value = given.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadCall(f"{name} must be a number.")
    return str(max(1, min(int(value), _MOST)))


def _then(as_of: str) -> list[str]:
    return ["--as-of", as_of] if as_of else []


def _query(given: Arguments, as_of: str) -> Command:
    sql = given["sql"]
    if not isinstance(sql, str) or len(sql) > _SQL_LIMIT_CHARACTERS:
        raise BadCall(f"sql must be a text of at most {_SQL_LIMIT_CHARACTERS:,} characters.")
    plain = sql.translate(_BLANKS)
    if scrub(plain) != plain:
        raise BadCall("sql holds control characters or invisible ones; write them as chr(…).")
    return Command(("sql", "--json", "--limit", str(_SQL_ROWS), "--timeout", "60", *_then(as_of), "--", sql))


def _list_jobs(given: Arguments, as_of: str) -> Command:
    options = _options(given, parser=_NAME)
    if "status" in given:
        state = str(given["status"]).upper()
        if state not in _STATES:
            raise BadCall(f"status must be one of {', '.join(_STATES)}.")
        options += ["--status", state]
    return Command(("jobs", "--json", "--limit", _count(given, "limit", 20), *options, *_then(as_of)))


def _show_job(given: Arguments, as_of: str) -> Command:
    return Command(("job", "show", "--json", *_then(as_of), "--", _fitting(given, "job_id", _JOB, "a job's id")))


def _job_log(given: Arguments, _as_of: str) -> Command:
    lines = _count(given, "lines", 50)
    return Command(("job", "logs", "--lines", lines, "--", _fitting(given, "job_id", _JOB, "a job's id")))


def _list_errors(given: Arguments, as_of: str) -> Command:
    limit = _count(given, "limit", 20)
    return Command(("errors", "list", "--json", "--limit", limit, *_options(given, parser=_NAME), *_then(as_of)))


def _show_error(given: Arguments, as_of: str) -> Command:
    fingerprint = _fitting(given, "fingerprint", _FINGERPRINT, "a fingerprint")
    return Command(("errors", "show", "--json", *_then(as_of), "--", fingerprint))


def _quarantine(given: Arguments, as_of: str) -> Command:
    return Command(("quarantine", "summary", "--json", *_options(given, parser=_NAME, output=_NAME), *_then(as_of)))


def _tail_log(given: Arguments, _as_of: str) -> Command:
    return Command(("log", "tail", "--json", "--lines", _count(given, "lines", 20)))


def _reason(given: Arguments) -> str:
    return scrub(str(given.get("reason", "")).strip())[:_REASON_CHARACTERS]


def _with_reason(line: list[str], reason: str) -> str:
    return command_line(*line, *(["--reason", reason] if reason else []))


def _cancel(given: Arguments, _as_of: str) -> Request:
    job_id, reason = _fitting(given, "job_id", _JOB, "a job's id"), _reason(given)
    cli = _with_reason(["job", "cancel", job_id], reason)
    return Request(CANCEL(job_id=job_id, reason=reason), cli, f"Cancel job {job_id}?", job_id)


def _retry(given: Arguments, _as_of: str) -> Request:
    job_id = _fitting(given, "job_id", _JOB, "a job's id")
    cli = _with_reason(["job", "retry", job_id], "")
    return Request(RETRY(job_id=job_id), cli, f"Try job {job_id} again?", job_id)


def _approve(given: Arguments, _as_of: str) -> Request:
    selector, reason = _fitting(given, "selector", _SELECTOR, "a contract"), _reason(given)
    cli = _with_reason(["contract", "approve", selector], reason)
    question = f"Approve the proposed contracts of {selector}?"
    return Request(DECIDE_CONTRACT(selector=selector, approve=True, reason=reason), cli, question)


_JOB_ID = ("string", "The job's id, or its first 4 or more digits", True)
_WHY = ("string", "Why; kept in the log", False)
_PARSER = ("string", "Only of this parser", False)
_ALL = (
    _Tool(
        "query",
        "Read-only SQL (DuckDB, one SELECT) over the published tables, quarantine.<table>, and the state: cf_jobs,"
        " cf_processing_queue, cf_parsers, cf_schema_contracts, cf_outputs, cf_errors, cf_quarantine, cf_audit,"
        " scout_sources, cf_files. At most 200 rows come back.",
        {"sql": ("string", "One SELECT statement", True)},
        _query,
    ),
    _Tool(
        "list_jobs",
        "The latest jobs",
        {
            "status": ("string", f"One of {', '.join(_STATES)}", False),
            "parser": _PARSER,
            "limit": ("integer", "How many", False),
        },
        _list_jobs,
    ),
    _Tool("show_job", "Everything about one job", {"job_id": _JOB_ID}, _show_job),
    _Tool(
        "job_log",
        "What a job's parser and worker wrote",
        {"job_id": _JOB_ID, "lines": ("integer", "How many of the last lines", False)},
        _job_log,
    ),
    _Tool(
        "list_errors",
        "Failures by cause",
        {"parser": _PARSER, "limit": ("integer", "How many", False)},
        _list_errors,
    ),
    _Tool(
        "show_error",
        "One cause of failures, with its trace",
        {"fingerprint": ("string", "As list_errors names it", True)},
        _show_error,
    ),
    _Tool(
        "quarantine_summary",
        "Rows that broke their contract, by output, code and column",
        {"parser": _PARSER, "output": ("string", "Only of this output", False)},
        _quarantine,
    ),
    _Tool("tail_log", "The last events of the log", {"lines": ("integer", "How many", False)}, _tail_log),
    _Tool(
        "request_cancel",
        "Ask the user to cancel an open job; nothing happens unless they agree",
        {"job_id": _JOB_ID, "reason": _WHY},
        _cancel,
        "cancel",
    ),
    _Tool(
        "request_retry",
        "Ask the user to let a failed job try again; nothing happens unless they agree",
        {"job_id": _JOB_ID},
        _retry,
        "retry",
    ),
    _Tool(
        "request_approval",
        "Ask the user to approve proposed contracts; nothing happens unless they agree",
        {
            "selector": ("string", "parser, parser@version, parser@version/output or a contract's id", True),
            "reason": _WHY,
        },
        _approve,
        "decide_contract",
    ),
)
_TOOLS = {tool.name: tool for tool in _ALL if not tool.needs or tool.needs in OPERATIONS}
