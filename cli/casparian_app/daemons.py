"""The daemon of a home: start one, run as one, and report the status with a daemon, without one, or in the past.

A child reports `ready`, or an error, through a pipe, so nothing is polled. Its output goes to `logs/daemon.log`.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from casparian_app.gateway import Gateway, open_gateway
from casparian_app.measuring import count_orphans, measure_sandbox
from casparian_app.texts import NoDaemon, NoHome, WorkFailed
from casparian_protocol.client import Client, NoSentinel, RequestRefused, default_actor
from casparian_protocol.events import WeakerSandboxAccepted
from casparian_protocol.home import Home, is_home
from casparian_protocol.jobs import FILTERS
from casparian_protocol.queries import Query
from casparian_protocol.queries.jobs import JobsByStatus, OpenFailuresByStatus
from casparian_protocol.queries.registry import (
    ContractsListed,
    JoinedWorkers,
    LastEventSeq,
    ParserVersions,
    PausedParser,
    PausedParsers,
    PoisonCount,
    WaitingTags,
    WorkerRow,
)
from casparian_protocol.settings import Settings
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.operations.daemon import STATUS, StatusResult
from casparian_protocol.wording import RegisteredVersion, WaitingFiles, waiting_files

#: The exit code of a daemon that could not open its home (`casparian start --foreground`).
_HOME_NOT_OURS_STATUS = 3


class DaemonDidNotStart(WorkFailed):
    """The daemon ended before it was ready; the message has its last output."""


class HomeNotOurs(NoDaemon):
    """Another process owns the home. Exit code 3."""


def spawn_daemon(home: Home, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a daemon in a session of its own and wait until it is ready. Raises `DaemonDidNotStart`."""
    home.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "casparian", "--home", str(home.root), "start", "--foreground"]
    command += [*arguments, "--ready-fd", str(writing)]
    with home.daemon_log.open("a+b") as log:
        began = log.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing,), start_new_session=True
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            word = ready.read(16)
        if word.strip() == b"ready":
            return child
        status = child.wait()
        log.seek(began)
        printed = log.read(65_536) + _printed_since_rotation(home, log)
    kind = HomeNotOurs if status == _HOME_NOT_OURS_STATUS else DaemonDidNotStart
    problem, remedy = _last_words(printed)
    raise kind(
        f"The daemon did not start (exit {status}): {problem}",
        remedy=f"{remedy} {home.daemon_log} has its output.".lstrip(),
    )


def _printed_since_rotation(home: Home, log: BinaryIO) -> bytes:
    """The text in the new file, if the log was rotated meanwhile."""
    with home.daemon_log.open("rb") as present:
        return b"" if os.path.sameopenfile(present.fileno(), log.fileno()) else present.read(65_536)


def _last_words(output: bytes) -> tuple[str, str]:
    """The problem and its remedy: the last ones that were printed, or else the last line."""
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    places = [number for number, line in enumerate(lines) if line.startswith("casparian: ")]
    if not places:
        return (lines or ["it printed nothing"])[-1], ""
    below = itertools.takewhile(lambda line: line.startswith("  "), lines[places[-1] + 1 :])
    return lines[places[-1]].removeprefix("casparian: "), " ".join(line.strip() for line in below)


def accepted_sandbox(minimum: str) -> WeakerSandboxAccepted | None:
    """What a user accepts who lets jobs run here whatever the settings demand; None if this machine offers that anyway."""
    facts = measure_sandbox()
    missing = "; ".join(facts.missing[minimum])
    return WeakerSandboxAccepted(minimum=minimum, level=facts.level, missing=missing) if missing else None


def run_daemon(
    home: Home,
    settings: Settings,
    *,
    flags: Mapping[str, object],
    plans_by_itself: bool,
    ready_descriptor: int | None,
    log_to_stderr: bool,
    accepted: WeakerSandboxAccepted | None,
    on_locked: Callable[[], None],
) -> int:
    """Run as the daemon of `home` until it ends. Returns the exit code. Raises an error that prevents the start, such as
    `LogInUse`; otherwise `on_locked` is called once the home is this process's."""
    from casparian_sentinel import run_daemon as run

    return run(
        home,
        settings,
        flags=flags,
        plans_by_itself=plans_by_itself,
        ready_descriptor=ready_descriptor,
        log_to_stderr=log_to_stderr,
        accepted=(accepted, default_actor("cli")) if accepted is not None else None,
        on_locked=on_locked,
    )


def run_worker(arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    """Run as one worker until it ends. Returns the exit code. `tell` is called at each change of its connection."""
    from casparian_worker import run_worker as run

    return run(arguments, tell)


#: `status` waits for tables that are so little behind, and otherwise shows them as they are.
_NEAR_EVENTS = 5_000
#: A function that answers a named query with its rows.
RowsOf = Callable[[Query[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class Status:
    """The current status of a home."""

    #: The answer of the daemon; without one, of this process, which has opened the home.
    sentinel: StatusResult
    is_daemon: bool
    #: Jobs by state, with open failures instead of all dead letters.
    queue: dict[str, int]
    #: None while the tables are not available.
    waiting: list[WaitingFiles] | None
    orphans: int
    #: Events that could not be applied to the tables.
    poison_events: int


@dataclass(frozen=True, slots=True)
class PastStatus:
    """The status after an event, as far as the log contains it."""

    seq: int
    queue: dict[str, int]
    workers: list[WorkerRow] = field(default_factory=list)
    paused: list[PausedParser] = field(default_factory=list)


def status(home: Home) -> Status:
    """The status from the daemon, or from the opened home. Raises `NoHome`, or `LogInUse` while another command has the home."""
    if not is_home(home):
        raise NoHome(home)
    try:
        client = Client.connect(home)
    except NoSentinel:
        with open_gateway(home) as gateway:
            return _without_daemon(gateway)
    with client:
        found = client.perform(STATUS())
        queue, waiting = found.queue.model_dump(), None
        if found.projection.phase in (ProjectorPhase.READY, ProjectorPhase.BUSY):
            is_near = found.seq - found.projection.seq <= _NEAR_EVENTS
            as_of = found.seq if is_near else 0
            try:
                waiting = find_waiting_files(lambda query: client.ask(query, at_least_seq=as_of).rows)
                queue |= open_failures(lambda query: client.ask(query, at_least_seq=as_of).rows)
            except (RequestRefused, NoSentinel):
                waiting = None  # `status` also works without the tables
        return Status(found, True, queue, waiting, count_orphans(home), found.projection.poison_events)


def _without_daemon(gateway: Gateway) -> Status:
    found = gateway.perform(STATUS())
    queue = found.queue.model_dump() | open_failures(gateway.query)
    (poison,) = gateway.query(PoisonCount())
    waiting = find_waiting_files(gateway.query)
    return Status(found, False, queue, waiting, count_orphans(gateway.home), poison["n"])


def past_status(gateway: Gateway) -> PastStatus:
    """The status as of a gateway to the past."""
    counts = {row["status"]: row["jobs"] for row in gateway.query(JobsByStatus())}
    (last,) = gateway.query(LastEventSeq())
    queue = {
        "queued": counts.get("QUEUED", 0) + counts.get("LEASED", 0),
        "running": sum(counts.get(state.value, 0) for state in FILTERS["running"]),
        "retrying": counts.get("RETRY_WAIT", 0),
        **open_failures(gateway.query),
    }
    return PastStatus(last["seq"] or 0, queue, gateway.query(JoinedWorkers()), gateway.query(PausedParsers()))


def open_failures(ask: RowsOf) -> dict[str, int]:
    """Failures that neither a later success nor a user has closed."""
    counts = {row["status"]: row["jobs"] for row in ask(OpenFailuresByStatus())}
    return {"failed": counts.get("FAILED", 0), "dead_letter": counts.get("DEAD_LETTER", 0)}


def find_waiting_files(ask: RowsOf) -> list[WaitingFiles]:
    """Files that will not run until something changes, by tag."""
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
        candidates.append(RegisteredVersion(row["name"], row["version"], topics, contracts, row["state"] == "RETIRED"))
    return waiting_files(counts, candidates)
