"""`start`, `stop`, `status`, `worker`: the daemon and its workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import TIMEOUT, as_of_option
from casparian.render import as_json, cell, fields, table
from casparian_app.doctor.measure import count_orphans
from casparian_app.gateway import Gateway
from casparian_app.problems import NoHome, UsageProblem, WorkFailed
from casparian_app.waiting import find_waiting_files
from casparian_app.wording import count, size
from casparian_protocol import wording
from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.home import is_home, make_home
from casparian_protocol.settings import load
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wording import WaitingFiles

_COUNT_OPEN_FAILURES = """
select status, count(*) as n from cf_processing_queue
where status in ('FAILED', 'DEAD_LETTER') and closed_at is null group by status
"""
_COUNT_STATES = "select status, count(*) as n from cf_processing_queue group by status"


@click.command(
    cls=Command,
    examples="""casparian start --detach --workers 2
casparian start            # stays in the foreground; Ctrl-C drains, twice stops at once""",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    help="Run so many local worker processes (default: the setting, or cores).",
)
@click.option("--no-workers", is_flag=True, help="Only the sentinel; workers join with `casparian worker`.")
@click.option("--foreground/--detach", default=True, show_default=True, help="Stay, or return when ready.")
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--with-parent", is_flag=True, hidden=True, help="Drain when the process that started this one is gone.")
@click.option("--no-planning", is_flag=True, hidden=True, help="Queue nothing unasked.")
@pass_app
def start(
    app: App,
    workers: int | None,
    no_workers: bool,
    foreground: bool,
    ready_fd: int | None,
    with_parent: bool,
    no_planning: bool,
) -> ExitCode:
    """Start the daemon: sentinel, projector and local workers."""
    if no_workers and workers:
        raise UsageProblem("--workers and --no-workers contradict each other.", remedy="Leave one out.")
    worker_count = 0 if no_workers else workers
    make_home(app.home)
    flags = {} if worker_count is None else {"daemon.max_concurrent_workers": worker_count}
    loaded = load(app.home, dict(os.environ), flags)
    for sentence in loaded.ignored:
        app.say(sentence)
    if not foreground:
        return _detach(app, worker_count)
    if with_parent:
        _end_with_parent()
    from casparian_app.spawning import run_daemon

    if ready_fd is None:
        app.say(f"casparian daemon, pid {os.getpid()}, home {app.home.root}; Ctrl-C drains, twice stops at once")
    status = run_daemon(
        app.home,
        loaded.settings,
        flags=flags,
        plans_by_itself=not no_planning,
        ready_descriptor=ready_fd,
        log_to_stderr=ready_fd is None and not app.is_quiet,
    )
    return ExitCode(status)


def _detach(app: App, workers: int | None) -> ExitCode:
    from casparian_app.spawning import spawn_daemon

    child = spawn_daemon(app.home, [] if workers is None else ["--workers", str(workers)])
    if app.is_json:
        as_json(app, {"pid": child.pid, "home": str(app.home.root), "log": str(app.home.daemon_log)})
    else:
        app.say(f"daemon ready, pid {child.pid}; `casparian status` looks at it, `casparian stop` ends it")
    child.returncode = 0  # it goes on without us: nothing to wait for, and no warning about that
    return ExitCode.OK


def _end_with_parent() -> None:
    """Ask the kernel to send SIGTERM (drain) when the thread that started this process ends; Linux only."""
    import ctypes
    import signal

    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0) != 0:  # PR_SET_PDEATHSIG
        raise WorkFailed(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}", remedy="Use `casparian start`.")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


@click.command(cls=Command, examples="casparian stop\ncasparian stop --now")
@click.option("--now", is_flag=True, help="Stop guests at once; their jobs are queued again.")
@click.option(
    "--timeout", type=TIMEOUT, default=60.0, show_default=True, help="Wait at most so many seconds for the end."
)
@pass_app
def stop(app: App, now: bool, timeout: float) -> ExitCode:
    """Stop the daemon: what runs may finish, nothing is lost."""
    with app.daemon_client() as client:
        pid = int(client.request("ping")["pid"])
        client.request("stop", {"now": now})
    if not _gone(pid, timeout):
        raise WorkFailed(
            f"The daemon (pid {pid}) is still draining.", remedy="`casparian stop --now` stops guests at once."
        )
    if app.is_json:
        as_json(app, {"pid": pid, "stopped": True})
    else:
        app.say("stopped")
    return ExitCode.OK


def _gone(pid: int, timeout_seconds: float) -> bool:
    """Wait for the end of a process that is not our child."""
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_seconds)[0])
    finally:
        os.close(descriptor)


@click.command(
    cls=Command, examples="casparian status\ncasparian status --json\ncasparian status --as-of 2026-05-01T18:00"
)
@as_of_option
@pass_app
def status(app: App) -> ExitCode:
    """Show what the daemon and its workers are doing; without a daemon, what waits in the queue."""
    if not is_home(app.home):
        raise NoHome(app.home)
    if app.as_of is not None:
        return _status_in_the_past(app)
    try:
        client = Client.connect(app.home)
    except NoSentinel:
        return _status_without_daemon(app)
    with client:
        found = client.request("status")
        waiting, open_failures = _from_tables(client, found)
        found["queue"] = {**found["queue"], **open_failures}
    document = {
        "sentinel": {
            "pid": found["pid"],
            "seq": found["seq"],
            "ready": found["ready"],
            "planning": found.get("planning", False),
            "version": found["version"],
            "intake": found["intake"],
        },
        "workers": [*found["workers"], *_starting(found)],
        "queue": found["queue"],
        "projection": found["projection"],
        "paused_parsers": found["parsers"]["paused"],
        "given_up": found.get("given_up", []),
        "orphans": count_orphans(app.home),
        "parked": found.get("parked", []),
        "internal_errors": found.get("internal_errors", {}),
        "waiting_files": None if waiting is None else [asdict(each) for each in waiting],
    }
    if app.is_json:
        as_json(app, document)
        return ExitCode.OK
    _print_status(app, found, waiting)
    return ExitCode.OK


def _starting(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Local workers that have not said hello yet, as workers that hold nothing."""
    return [{"id": one["id"], "pid": one["pid"], "state": "starting", "jobs": []} for one in found.get("starting", [])]


def _status_without_daemon(app: App) -> ExitCode:
    """The queue as the log has it. Raises `LogInUse` while another command owns the home."""
    with app.gateway() as gateway:
        found = gateway.request("status")
        waiting = find_waiting_files(gateway.rows)
        document = {
            "sentinel": {
                "pid": None,
                "seq": found["seq"],
                "ready": False,
                "version": found["version"],
                "intake": found["intake"],
            },
            "workers": [],
            "queue": {**found["queue"], **_open_failures(gateway.rows)},
            "projection": {**found["projection"], "poison_events": _poison_events(gateway)},
            "paused_parsers": found["parsers"]["paused"],
            "given_up": [],
            "parked": found.get("parked", []),
            "internal_errors": found.get("internal_errors", {}),
            "waiting_files": [asdict(each) for each in waiting],
        }
    if app.is_json:
        as_json(app, document)
    else:
        fields(
            app, [("daemon", "not running (`casparian start`)"), ("home", app.home.root), *_queue(document["queue"])]
        )
        _print_waiting(app, waiting)
        _print_trouble(app, document)
    return ExitCode.OK


def _print_trouble(app: App, found: dict[str, Any]) -> None:
    for line in wording.say_trouble(found):
        print(f"trouble: {cell(line)}", file=app.out)


def _poison_events(gateway: Gateway) -> int:
    return int(gateway.rows("select count(*) as n from cf_poison_events")[0]["n"])


def _status_in_the_past(app: App) -> ExitCode:
    """The queue and the workers as the events up to then say."""
    from casparian_protocol.jobs import FILTERS

    with app.gateway() as gateway:
        counts = {row["status"]: row["n"] for row in gateway.rows(_COUNT_STATES)}
        workers = gateway.rows(
            "select worker_id as id, pid, host, slots, sandbox from cf_workers where state = 'joined'"
        )
        paused = gateway.rows(
            "select parser_name as name, pause_reason as reason from cf_parser_health where paused_at is not null"
        )
        (last,) = gateway.rows("select max(seq) as seq from cf_audit")
        failures = _open_failures(gateway.rows)
    queue = {
        "queued": counts.get("QUEUED", 0) + counts.get("LEASED", 0),
        "running": sum(counts.get(state.value, 0) for state in FILTERS["running"]),
        "retrying": counts.get("RETRY_WAIT", 0),
        **failures,
    }
    if app.is_json:
        sentinel = {"pid": None, "seq": last["seq"] or 0, "ready": False}
        as_json(app, {"sentinel": sentinel, "workers": workers, "queue": queue, "paused_parsers": paused})
        return ExitCode.OK
    fields(app, [("home", app.home.root), ("event", f"{last['seq'] or 0:,}"), *_queue(queue)])
    for parser in paused:
        print(f"paused: {cell(parser['name'])}: {cell(parser['reason'])}", file=app.out)
    rows = [(one["id"], one["host"], one["pid"], one["slots"]) for one in workers]
    table(app, ("worker", "host", "pid", "slots"), rows, empty="No workers had joined.", right=("pid", "slots"))
    return ExitCode.OK


def _from_tables(client: Client, found: dict[str, Any]) -> tuple[list[WaitingFiles] | None, dict[str, int]]:
    """What waits and how many failures are open; nothing while the tables cannot be asked: `status` answers without."""
    if found["projection"]["phase"] != ProjectorPhase.READY:
        return None, {}

    def rows(sql: str) -> list[dict[str, Any]]:
        answer = client.query(sql)
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    try:
        return find_waiting_files(rows), _open_failures(rows)
    except (RequestRefused, NoSentinel):
        return None, {}


def _print_waiting(app: App, waiting: list[WaitingFiles] | None) -> None:
    for each in waiting or []:
        verb = "waits" if each.files == 1 else "wait"
        print(f"waiting: {count(each.files, 'file')} tagged {cell(each.tag)} {verb}: {cell(each.reason)}", file=app.out)


def _open_failures(rows: Callable[[str], list[dict[str, Any]]]) -> dict[str, int]:
    """Failures that neither a later success nor a person has closed."""
    counts = {row["status"]: row["n"] for row in rows(_COUNT_OPEN_FAILURES)}
    return {"failed": counts.get("FAILED", 0), "dead_letter": counts.get("DEAD_LETTER", 0)}


def _queue(queue: dict[str, Any]) -> list[tuple[str, Any]]:
    names = ("queued", "running", "retrying", "failed", "dead_letter")
    return [(name.replace("_", " "), f"{queue[name]:,}") for name in names if name in queue]


def _print_status(app: App, found: dict[str, Any], waiting: list[WaitingFiles] | None) -> None:
    lag = found["projection"]["lag"]
    fields(
        app,
        [
            ("daemon", f"running, pid {found['pid']}, version {found['version']}"),
            ("home", found["home"]),
            (
                "event",
                f"{found['seq']:,}" + (f" (tables {lag:,} behind: {found['projection']['state']})" if lag else ""),
            ),
            ("intake", found["intake"]),
            *([("planning", "pending files are being looked at")] if found.get("planning") else []),
            *_queue(found["queue"]),
        ],
    )
    for parser in found["parsers"]["paused"]:
        print(f"paused: {cell(parser['name'])}: {cell(parser['reason'])}", file=app.out)
    _print_waiting(app, waiting)
    if orphans := count_orphans(app.home):
        print(f"moved aside: {orphans:,} files that no commit of the log names, in {app.home.orphans}", file=app.out)
    for one in found.get("given_up", []):
        print(f"given up: worker {cell(one['worker'])}: {cell(one['reason'])}", file=app.out)
    _print_trouble(app, found)
    if found["projection"]["phase"] not in (ProjectorPhase.READY, ProjectorPhase.STARTING):
        print(f"projection: {cell(found['projection']['state'])}", file=app.out)
    rows = []
    for worker in found["workers"]:
        jobs = worker["jobs"] or [None]
        for job in jobs:
            doing = (
                ""
                if job is None
                else f"{job['parser'] or 'SCAN'} {PurePath(job['input']).name} ({job['seconds']:.0f} s)"
            )
            guest = "" if job is None else job["guest_pid"] or ""
            rows.append(
                (
                    worker["id"],
                    worker["pid"],
                    worker["state"],
                    doing,
                    guest,
                    f"{worker['cpu_percent']:.0f}%",
                    size(worker["rss_bytes"]),
                )
            )
    rows += [(one["id"], one["pid"], one["state"], "", "", "", "") for one in _starting(found)]
    columns = ("worker", "pid", "state", "job", "guest", "cpu", "memory")
    table(app, columns, rows, empty="No workers; jobs wait until one joins.", right=("pid", "guest", "cpu", "memory"))


@click.command(cls=Command, examples="casparian worker\ncasparian worker --slots 2\ncasparian worker --wait 600")
@click.option("--connect", "address", metavar="ADDR", help="Bus of the sentinel (default: this home's).")
@click.option("--slots", type=click.IntRange(1, 64), help="Run so many jobs at a time (default: the setting).")
@click.option("--id", "worker_id", metavar="NAME", help="Default: host and pid.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, 86_400),
    default=30.0,
    show_default=True,
    help="Wait at most so many seconds for the first sentinel, then end with status 3.",
)
@pass_app
def worker(app: App, address: str | None, slots: int | None, worker_id: str | None, wait_seconds: float) -> ExitCode:
    """Run one worker until Ctrl-C (drains; twice stops at once). When its sentinel is lost it waits for the next one."""
    if not is_home(app.home):
        raise NoHome(app.home)
    if address and not address.startswith("ipc://"):
        raise UsageProblem(
            f"{address} is not an ipc:// address.",
            remedy="This version serves one host; workers elsewhere come with encrypted TCP.",
        )
    import socket

    from casparian_app.spawning import run_worker

    name = worker_id or f"{socket.gethostname().split('.')[0]}-{os.getpid()}"
    arguments = ["--home", str(app.home.root), "--worker-id", name, "--no-managed"]
    arguments += ["--slots", str(slots)] if slots else []
    arguments += ["--endpoint", address] if address else []
    arguments += ["--wait", str(wait_seconds)]
    began = time.monotonic()
    result = run_worker(arguments, lambda news: app.say(f"worker {name}: {news}"))
    app.say(f"worker {name} left after {time.monotonic() - began:.0f} s")
    return ExitCode(result or 0)


COMMANDS: dict[str, click.Command] = {"start": start, "stop": stop, "status": status, "worker": worker}
