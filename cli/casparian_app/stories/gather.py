"""The events that make a job's story: its own, what led to it, and what happened around it while it was under way.

Asks the projection (`cf_audit`); progress, which the audit leaves out, is read from the log itself when asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

from casparian_app.gateway import Gateway
from casparian_app.stories.sentences import Part, Told
from casparian_protocol.queries.jobs import JobRow, JobStory, StoryEvent

_UNDER_WAY = frozenset({"JobLeased", "JobStarted", "JobOutputsCommitted"})


def story(gateway: Gateway, job: JobRow) -> list[Told]:
    """Everything about `job`, in order."""
    told = [_told(row) for row in gateway.query(JobStory(job["id"]))]
    if not any(event.part == "job" for event in told):
        return []
    return list(_that_matters(event for event in told if _is_of_version(event, job["parser_version"])))


def _is_of_version(event: Told, version: str | None) -> bool:
    """Not what happened to another version of the parser meanwhile."""
    is_about_parser = event.part == "around" and event.type.startswith("Parser")
    return not is_about_parser or event.data.get("version") in (None, "", version)


def with_progress(events: Iterable[Told], progress: Iterable[Any], job_id: str) -> list[Told]:
    """The story with the progress of the job, taken from events of the log."""
    told = [
        Told(event.seq, event.ts, event.type, event.actor, event.data)
        for event in progress
        if event.type == "JobProgressed" and event.data["job_id"] == job_id
    ]
    return sorted([*events, *told], key=lambda event: event.seq)


def _told(row: StoryEvent) -> Told:
    data = json.loads(row["data"])
    if row["output"] is not None:
        data["output"] = row["output"]
    return Told(row["seq"], row["ts"], row["type"], row["actor"], data, cast(Part, row["part"]))


def _that_matters(events: Iterable[Told]) -> Iterator[Told]:
    """Of what happened around the job: the end of the worker that had it, and starts and stops while it ran."""
    holder = ""
    for event in events:
        if event.part == "job":
            if event.type == "JobLeased":
                holder = event.data["worker_id"]
            elif event.type not in _UNDER_WAY and event.type not in ("QuarantineRecorded", "JobCancelRequested"):
                holder = ""
        elif event.type in ("WorkerLost", "WorkerLeft"):
            if event.data["worker_id"] != holder:
                continue
        elif event.type in ("SentinelStarted", "SentinelStopped") and not holder:
            continue
        yield event
