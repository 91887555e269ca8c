"""The story of a job from the log: the events that matter, with their causes, in plain sentences.

The events come from the tables; progress, which the tables leave out, is read from the log on request. An event type without a
sentence is printed with its data, so that a story does not leave out events of a newer version. The caller escapes the text
for a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from casparian_app.gateway import Gateway
from casparian_app.texts import count, when
from casparian_protocol.errors import RETRYABLE_ONCE
from casparian_protocol.events import CATALOGUE
from casparian_protocol.jobs import JobSpec, JobState, Work
from casparian_protocol.queries.jobs import JobRow, JobStory, StoryEvent
from casparian_protocol.wording import say_violated

Data = Mapping[str, Any]
#: Whether an event led to the job, is about it, or happened around it.
Part = Literal["before", "job", "around"]


@dataclass(frozen=True, slots=True)
class StoryEntry:
    """One event of a story."""

    seq: int
    ts: int
    type: str
    actor: str
    data: Data
    part: Part = "job"
    #: The sequence of the event that caused it; None: a request caused it, or the cause is unknown.
    cause: int | None = None


def sentence(event: StoryEntry) -> str:
    """The event and its cause in one line."""
    say = _SENTENCES.get(event.type)
    return say(event) if say is not None else f"{event.type}: {json.dumps(event.data, default=str)[:300]}"


def ending(events: Sequence[StoryEntry]) -> str:
    """The job's state at the end of the story."""
    for event in reversed(events):
        if event.part != "job":
            continue
        if event.type == "FailureClosed":
            return "It failed, and the failure was closed: no more attention is needed."
        if event.type == "JobQueued":
            return "It is queued."
        if (state := _state_behind(event)) is not None:
            return _ENDINGS[state]
    return "No event is recorded about it."


def _state_behind(event: StoryEntry) -> JobState | None:
    """The state that an event of this type leads its job to; None if it changes none."""
    known = CATALOGUE.get(event.type)
    return known.about.leads_to[0] if known is not None and known.about.leads_to else None


def _by(event: StoryEntry) -> str:
    return "" if event.actor == "sentinel" else f" by {event.actor}"


def _because(data: Data) -> str:
    return f": {data['reason']}" if data.get("reason") else ""


def _error(data: Data) -> str:
    error = data.get("error") or {}
    name = f"{error.get('exception')}: " if error.get("exception") else ""
    if str(error.get("message", "")).startswith(name):  # earlier versions did not include it in the message
        name = ""
    mark = f" (ERR-{error['fingerprint']})" if error.get("fingerprint") else ""
    return f"{error.get('code', 'UNKNOWN_ERROR')}: {name}{error.get('message', '')}".rstrip(": ") + mark


def _spec(work: Work) -> str:
    parser = f"{work.parser} {work.parser_version}" if work.parser else f"a {work.kind}"
    shown = f" (content {work.content[:12]})" if work.content != work.subject else ""
    return f"{work.subject}{shown} for {parser}"


def _queued(event: StoryEntry) -> str:
    job = JobSpec.model_validate(event.data["job"])
    if job.rerun_of:
        cause = f", as a rerun of job {job.rerun_of}{_by(event)}"
    elif job.work.topic:
        cause = f", because the file has the tag {job.work.topic!r}, which its parser takes"
    else:
        cause = _by(event)
    return f"Queued {_spec(job.work)}{cause}."


def _replayed(event: StoryEntry) -> str:
    return f"Queued again{_by(event)}, with its counts reset; it was {event.data.get('from_state', 'ended')}."


def _leased(event: StoryEntry) -> str:
    data = event.data
    return (
        f"Given to worker {data['worker_id']} as attempt {data['attempt']} under epoch {event.seq}"
        f" (sandbox {data.get('sandbox', 'none')})."
    )


def _progressed(event: StoryEntry) -> str:
    progress = event.data.get("progress") or {}
    total = f" of {progress['items_total']:,}" if progress.get("items_total") else ""
    return f"Progress: {progress.get('items_done') or 0:,}{total} {progress.get('unit', 'items')}."


def _committed(event: StoryEntry) -> str:
    data = event.data
    places = ", ".join(f"{name} v{version}" for name, version in sorted((data.get("versions") or {}).items()))
    numbers = f"{count(data['rows'], 'valid row')}, {data['quarantined']:,} quarantined"
    skipped = f", {data['skipped']:,} skipped" if data.get("skipped") else ""
    return f"Committed {numbers}{skipped} after {data['seconds']:.3f} s" + (f", into {places}." if places else ".")


def _quarantined(event: StoryEntry) -> str:
    data = event.data
    shown = ", ".join(f"{rows:,} × {say_violated(code, column)}" for code, column, rows in data["counts"][:5])
    kept = "" if data.get("is_committed", True) else " (kept apart, not committed)"
    return f"{count(data['rows'], 'row')} of {data['output']} set aside{kept}: {shown}."


def _files(paths: Sequence[str]) -> str:
    return f"{count(len(paths), 'file')} {'is' if len(paths) == 1 else 'are'}"


def _kept(event: StoryEntry) -> str:
    missing = event.data.get("missing")
    if missing:
        return f"Of its quarantined rows, {_files(missing)} missing: {', '.join(missing[:3])}."
    return "Its quarantined rows are in their place, apart from those of commits."


def _completed(event: StoryEntry) -> str:
    damaged = event.data.get("damaged")
    if damaged:
        return f"Published, but {_files(damaged)} damaged: {', '.join(damaged[:3])}."
    words = "in place" if event.data["status"] == "COMPLETED" else "in place; some rows are in quarantine"
    return f"Published: its files are {words}."


def _retry(event: StoryEntry) -> str:
    data = event.data
    alone = " It will run alone on its host." if data["error"]["code"] in RETRYABLE_ONCE else ""
    return (
        f"The attempt failed with {_error(data)}. That may pass, so retry {data['retry_count']} is due"
        f" at {when(data['not_before'])} (after {data['delay_seconds']:g} s).{alone}"
    )


def _dead(event: StoryEntry) -> str:
    why = {"retries": "its retries are used up", "poison": "too many workers were lost while running it"}
    data = event.data
    last = f" The last error was {_error(data)}." if data.get("error") else ""
    return f"Given up, because {why.get(data['reason'], data['reason'])}.{last}"


def _lease_expired(event: StoryEntry) -> str:
    data = event.data
    why = {
        "lost": f"its worker {data['worker_id']} was lost",
        "released": f"worker {data['worker_id']} gave it back",
        "fenced": f"worker {data['worker_id']} no longer held it",
        "paused": "its parser was paused before it had started",
        "recalled": "it waited behind a longer job while another worker was idle",
        "shutdown": f"worker {data['worker_id']} was shutting down",
    }
    burnt = " This counts as a loss." if data.get("is_loss") else ""
    reason = why.get(data["reason"], data["reason"])
    return f"The attempt under epoch {data['epoch']} ended without a result, because {reason}; queued again.{burnt}"


def _parser(event: StoryEntry) -> str:
    data = event.data
    return f"Parser {data['name']} {data['version']} was registered{_by(event)} (artifact {data['artifact'][:12]})."


def _decided(event: StoryEntry) -> str:
    verb = "approved" if event.type == "ContractApproved" else "rejected"
    output = event.data.get("output")
    return f"The contract{f' of {output}' if output else ''} was {verb}{_by(event)}{_because(event.data)}."


def _observed(event: StoryEntry) -> str:
    seen = [
        f"{event.data[name]:,} {name}" for name in ("new", "changed", "renamed", "vanished") if event.data.get(name)
    ]
    return f"The scan reported what it saw: {', '.join(seen) or 'nothing new'}."


def _scan(event: StoryEntry) -> str:
    roots = ", ".join(event.data.get("roots") or [])
    return f"A scan of {roots} began{_by(event)}; the last one that saw the input change."


def _started(event: StoryEntry) -> str:
    data = event.data
    return f"The daemon started (pid {data['pid']}, version {data['version']}) while the job was running."


def _fixed(text: str) -> Callable[[StoryEntry], str]:
    return lambda event: text + _by(event) + _because(event.data) + "."


_SENTENCES: dict[str, Callable[[StoryEntry], str]] = {
    "ParserRegistered": _parser,
    "ContractApproved": _decided,
    "ContractRejected": _decided,
    "ScanStarted": _scan,
    "FilesObserved": _observed,
    "JobQueued": _queued,
    "JobReplayed": _replayed,
    "JobLeased": _leased,
    "JobStarted": lambda event: f"The parser began (pid {event.data['guest_pid']}).",
    "JobProgressed": _progressed,
    "JobOutputsCommitted": _committed,
    "QuarantineRecorded": _quarantined,
    "QuarantineKept": _kept,
    "JobCompleted": _completed,
    "JobFailed": lambda event: f"Failed permanently with {_error(event.data)}; a retry would not help.",
    "JobRetryScheduled": _retry,
    "JobDue": lambda _event: "The wait is over; it may run again.",
    "JobDeadLettered": _dead,
    "JobCancelRequested": _fixed("A stop was requested"),
    "JobCancelled": _fixed("Cancelled; it left nothing"),
    "FailureClosed": lambda event: f"The failure was closed by {event.actor}{_because(event.data)}.",
    "RowsSuperseded": lambda event: f"Its rows were superseded by those of job {event.data['by']}.",
    "LeaseExpired": _lease_expired,
    "WorkerLost": lambda event: f"Worker {event.data['worker_id']} fell silent or died{_because(event.data)}.",
    "WorkerLeft": lambda event: f"Worker {event.data['worker_id']} left{_because(event.data)}.",
    "ParserPaused": _fixed("The parser was paused"),
    "ParserHalfOpened": lambda _event: "The circuit breaker's cool-down is over; one job may try the parser.",
    "ParserResumed": _fixed("The parser was resumed"),
    "SentinelStarted": _started,
    "SentinelStopped": _fixed("The daemon stopped"),
}

#: The sentence about a job's state, by the first state that its latest event leads to.
_ENDINGS = {
    JobState.QUEUED: "It is queued again.",
    JobState.LEASED: "It is running.",
    JobState.RUNNING: "It is running.",
    JobState.COMMITTED: "It is committed; its files are being put in place.",
    JobState.COMPLETED: "It was completed.",
    JobState.FAILED: "It failed; `casparian job retry ID` runs it again.",
    JobState.RETRY_WAIT: "It waits for its retry.",
    JobState.DEAD_LETTER: "It was given up; `casparian job retry ID` runs it again.",
    JobState.CANCELLED: "It was cancelled.",
}


# --- selecting events -------------------------------------------------------------------------------------------------

_HELD = frozenset({JobState.LEASED, JobState.RUNNING, JobState.COMMITTED})


def story(gateway: Gateway, job: JobRow) -> list[StoryEntry]:
    """The story of `job`, in order."""
    entries = [_entry_of(row) for row in gateway.query(JobStory(job["id"]))]
    if not any(event.part == "job" for event in entries):
        return []
    return list(_that_matters([event for event in entries if _is_of_version(event, job["parser_version"])]))


def _is_of_version(event: StoryEntry, version: str | None) -> bool:
    """Whether the event is not about another version of the parser."""
    is_about_parser = event.part == "around" and event.type.startswith("Parser")
    return not is_about_parser or event.data.get("version") in (None, "", version)


def with_progress(events: Iterable[StoryEntry], progress: Iterable[Any], job_id: str) -> list[StoryEntry]:
    """The story with the progress of the job, taken from events of the log."""
    added = [
        StoryEntry(event.seq, event.ts, event.type, event.actor, event.data)
        for event in progress
        if event.type == "JobProgressed" and event.data["job_id"] == job_id
    ]
    return sorted([*events, *added], key=lambda event: event.seq)


def _entry_of(row: StoryEvent) -> StoryEntry:
    data = json.loads(row["data"])
    if row["output"] is not None:
        data["output"] = row["output"]
    return StoryEntry(row["seq"], row["ts"], row["type"], row["actor"], data, cast(Part, row["part"]), row["cause_seq"])


def _that_matters(events: Sequence[StoryEntry]) -> Iterator[StoryEntry]:
    """Whether an event around the job belongs in the story: the end of a worker that caused one of its events, or a start or stop
    of the daemon while it ran.

    Older events have no cause; for them, the end of the worker that held the job belongs in the story.
    """
    causes = {event.cause for event in events if event.part == "job" and event.cause}
    holder = ""
    for event in events:
        if event.part == "job":
            state = _state_behind(event)
            if event.type == "JobLeased":
                holder = event.data["worker_id"]
            elif state is not None and state not in _HELD:
                holder = ""
        elif event.type in ("WorkerLost", "WorkerLeft"):
            if (event.seq not in causes) if causes else (event.data["worker_id"] != holder):
                continue
        elif event.type in ("SentinelStarted", "SentinelStopped") and not holder:
            continue
        yield event
