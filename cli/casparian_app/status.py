"""How a home stands: its daemon, workers and queue, what waits and what failed; beside a daemon, without one, in the past."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from casparian_app.doctor.measure import count_orphans
from casparian_app.gateway import Gateway, open_gateway
from casparian_app.problems import NoHome
from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.home import Home, is_home
from casparian_protocol.jobs import FILTERS
from casparian_protocol.queries import Query
from casparian_protocol.queries.jobs import JobsByStatus, OpenFailuresByStatus
from casparian_protocol.queries.parsers import (
    ContractsListed,
    JoinedWorkers,
    LastEventSeq,
    ParserVersions,
    PausedParser,
    PausedParsers,
    PoisonCount,
    WorkerRow,
)
from casparian_protocol.queries.sources import WaitingTags
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.operation_views import StatusResult
from casparian_protocol.wording import Candidate, WaitingFiles, waiting_files

#: Answers a named query with its rows.
Ask = Callable[[Query[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class Status:
    """How the home stands now."""

    #: As the sentinel says it; without a daemon as this process does, which has opened the home.
    sentinel: StatusResult
    is_daemon: bool
    #: Jobs by how they stand; failures that nobody closed instead of all dead letters.
    queue: dict[str, int]
    #: None while the tables cannot be asked.
    waiting: list[WaitingFiles] | None
    orphans: int
    #: Events that cannot be made part of the tables.
    poison_events: int


@dataclass(frozen=True, slots=True)
class PastStatus:
    """How it stood after an event, as far as the log tells."""

    seq: int
    queue: dict[str, int]
    workers: list[WorkerRow] = field(default_factory=list)
    paused: list[PausedParser] = field(default_factory=list)


def status(home: Home) -> Status:
    """Ask the daemon, or open the home. Raises `NoHome`, or `LogInUse` while another command has the home."""
    if not is_home(home):
        raise NoHome(home)
    try:
        client = Client.connect(home)
    except NoSentinel:
        with open_gateway(home) as gateway:
            return _without_daemon(gateway)
    with client:
        found = StatusResult.model_validate(client.request("status"))
        queue, waiting = found.queue.model_dump(), None
        if found.projection.phase == ProjectorPhase.READY:
            try:
                waiting = find_waiting_files(lambda query: client.ask(query).rows)
                queue |= open_failures(lambda query: client.ask(query).rows)
            except (RequestRefused, NoSentinel):
                waiting = None  # `status` answers without the tables
        return Status(found, True, queue, waiting, count_orphans(home), found.projection.poison_events)


def _without_daemon(gateway: Gateway) -> Status:
    found = StatusResult.model_validate(gateway.request("status"))
    queue = found.queue.model_dump() | open_failures(gateway.query)
    (poison,) = gateway.query(PoisonCount())
    waiting = find_waiting_files(gateway.query)
    return Status(found, False, queue, waiting, count_orphans(gateway.home), poison["n"])


def past_status(gateway: Gateway) -> PastStatus:
    """Of a gateway to the past."""
    counts = {row["status"]: row["jobs"] for row in gateway.query(JobsByStatus())}
    (last,) = gateway.query(LastEventSeq())
    queue = {
        "queued": counts.get("QUEUED", 0) + counts.get("LEASED", 0),
        "running": sum(counts.get(state.value, 0) for state in FILTERS["running"]),
        "retrying": counts.get("RETRY_WAIT", 0),
        **open_failures(gateway.query),
    }
    return PastStatus(last["seq"] or 0, queue, gateway.query(JoinedWorkers()), gateway.query(PausedParsers()))


def open_failures(ask: Ask) -> dict[str, int]:
    """Failures that neither a later success nor a person has closed."""
    counts = {row["status"]: row["jobs"] for row in ask(OpenFailuresByStatus())}
    return {"failed": counts.get("FAILED", 0), "dead_letter": counts.get("DEAD_LETTER", 0)}


def find_waiting_files(ask: Ask) -> list[WaitingFiles]:
    """Files that will never run as things stand, by tag."""
    counts = {row["tag"]: row["files"] for row in ask(WaitingTags())}
    if not counts:
        return []
    states: dict[tuple[str, str], dict[str, str]] = {}
    for row in ask(ContractsListed()):
        states.setdefault((row["parser"], row["version"]), {})[row["output"]] = row["state"].lower()
    candidates = []
    for row in ask(ParserVersions()):
        known = states.get((row["name"], row["version"]), {})
        contracts = {output: known.get(output, "") for output in json.loads(row["outputs_json"] or "{}")}
        topics = frozenset(row["topics"] or ())
        candidates.append(Candidate(row["name"], row["version"], topics, contracts, row["state"] == "RETIRED"))
    return waiting_files(counts, candidates)
