"""`start`, `stop`, `status`, `worker`: the daemon and its workers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import rich_click as click

from casparian.app import TIMEOUT, WAIT_SECONDS, App, Command, ExitCode, accept_option, as_of_option, pass_app
from casparian.render import as_json, cell, fields, table
from casparian_app.texts import NoHome, UsageProblem, WorkFailed, count, size
from casparian_protocol import wording
from casparian_protocol.home import is_home, make_home
from casparian_protocol.settings import load
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.operations.daemon import OPEN_INTAKE, PING, STOP

if TYPE_CHECKING:
    from casparian_app.daemons import PastStatus, Status
    from casparian_protocol.wire.operations.daemon import ProjectionView, WorkerView


@click.command(
    cls=Command,
    examples="""casparian start --detach --workers 2
casparian start            # stays in the foreground; Ctrl-C drains, twice stops at once""",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    metavar="N",
    help="Start N local worker processes (default: daemon.max_concurrent_workers, or one for each core).",
)
@click.option("--no-workers", is_flag=True, help="Start no local workers; start them yourself with `casparian worker`.")
@click.option(
    "--foreground/--detach",
    default=True,
    show_default=True,
    help="Stay in the foreground, or return when the daemon is ready.",
)
@accept_option
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--with-parent", is_flag=True, hidden=True, help="Drain when the process that started this one exits.")
@click.option("--no-planning", is_flag=True, hidden=True, help="Do not queue files automatically.")
@pass_app
def start(
    app: App,
    workers: int | None,
    no_workers: bool,
    foreground: bool,
    accept_weaker_sandbox: bool,
    ready_fd: int | None,
    with_parent: bool,
    no_planning: bool,
) -> ExitCode:
    """Start the daemon and its local workers."""
    if no_workers and workers:
        raise UsageProblem("--workers and --no-workers cannot be combined.", remedy="Leave one of them out.")
    worker_count = 0 if no_workers else workers
    if not is_home(app.home):
        app.say(f"created a home at {app.home.root}")
    make_home(app.home)
    flags: dict[str, object] = {} if worker_count is None else {"daemon.max_concurrent_workers": worker_count}
    loaded = load(app.home, dict(os.environ), flags)
    for sentence in loaded.ignored:
        app.say(sentence)
    if not foreground:
        return _detach(app, worker_count, accept_weaker_sandbox=accept_weaker_sandbox)
    if with_parent:
        _end_with_parent()
    from casparian_app.daemons import accepted_sandbox, run_daemon

    settings = loaded.settings
    accepted = accepted_sandbox(settings.sandbox.minimum) if accept_weaker_sandbox else None
    if accepted is not None:
        flags |= {"sandbox.minimum": accepted.level}
        settings = load(app.home, dict(os.environ), flags).settings
        app.say(f"accepted: guests at sandbox level {accepted.level}, the settings demand {accepted.minimum}")

    def greet() -> None:
        if ready_fd is None:
            app.say(f"casparian daemon, pid {os.getpid()}, home {app.home.root}; Ctrl-C drains, twice stops at once")

    status = run_daemon(
        app.home,
        settings,
        flags=flags,
        plans_by_itself=not no_planning,
        ready_descriptor=ready_fd,
        log_to_stderr=ready_fd is None and not app.is_quiet,
        accepted=accepted,
        on_locked=greet,
    )
    return ExitCode(status)


def _detach(app: App, workers: int | None, *, accept_weaker_sandbox: bool) -> ExitCode:
    from casparian_app.daemons import spawn_daemon

    options = [] if workers is None else ["--workers", str(workers)]
    child = spawn_daemon(app.home, [*options, *(["--accept-weaker-sandbox"] if accept_weaker_sandbox else [])])
    if app.is_json:
        as_json(app, {"pid": child.pid, "home": str(app.home.root), "log": str(app.home.daemon_log)})
    else:
        app.say(f"daemon ready, pid {child.pid}; `casparian status` shows it, `casparian stop` stops it")
    child.returncode = 0  # the daemon outlives this command: this prevents a warning about an unawaited child
    return ExitCode.OK


def _end_with_parent() -> None:
    """Ask the kernel to send SIGTERM (drain) when the thread that started this process ends; Linux only."""
    import ctypes
    import signal

    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0) != 0:  # PR_SET_PDEATHSIG
        raise WorkFailed(
            f"This worker cannot be tied to its parent process: {os.strerror(ctypes.get_errno())}",
            remedy="Use `casparian start`.",
        )
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


@click.command(cls=Command, examples="casparian stop\ncasparian stop --now")
@click.option("--now", is_flag=True, help="Stop running jobs at once; they are queued again.")
@click.option(
    "--timeout",
    type=TIMEOUT,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait at most SECONDS seconds for the daemon to end.",
)
@pass_app
def stop(app: App, now: bool, timeout: float) -> ExitCode:
    """Stop the daemon: running jobs may finish, and nothing is lost."""
    with app.daemon_client() as client:
        pid = client.perform(PING()).pid
        client.perform(STOP(now=now))
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
    """Wait for the end of a process that is not a child of this one."""
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
    """Show what the daemon and its workers are doing; without a daemon, show what waits in the queue."""
    from casparian_app import daemons as standing

    if app.as_of is not None:
        with app.gateway() as gateway:
            _tell_past(app, standing.past_status(gateway))
        return ExitCode.OK
    found = standing.status(app.home)
    if app.is_json:
        as_json(app, _document(found))
    elif found.is_daemon:
        _print_daemon(app, found)
    else:
        queue = _queue_without_daemon(found.queue)
        fields(app, [("daemon", "not running (`casparian start`)"), ("home", app.home.root), *queue])
        _print_waiting(app, found)
        _print_trouble(app, found)
    return ExitCode.OK


def _document(found: Status) -> dict[str, object]:
    daemon, is_daemon = found.sentinel, found.is_daemon
    plain = daemon.model_dump(mode="json")
    starting = [{"id": one.id, "pid": one.pid, "state": "starting", "jobs": []} for one in daemon.starting]
    return {
        "sentinel": {
            "pid": daemon.pid if is_daemon else None,
            "seq": daemon.seq,
            "ready": is_daemon and daemon.ready,
            "planning": is_daemon and daemon.planning,
            "version": daemon.version,
            "intake": daemon.intake,
        },
        "workers": [*plain["workers"], *starting] if is_daemon else [],
        "queue": found.queue,
        "projection": {**plain["projection"], "poison_events": found.poison_events},
        "paused_parsers": plain["parsers"]["paused"],
        "given_up": plain["given_up"] if is_daemon else [],
        "orphans": found.orphans,
        "parked": plain["parked"],
        "internal_errors": plain["internal_errors"],
        "waiting_files": None if found.waiting is None else [asdict(each) for each in found.waiting],
    }


def _tell_past(app: App, found: PastStatus) -> None:
    if app.is_json:
        sentinel = {"pid": None, "seq": found.seq, "ready": False}
        queue = {"queue": found.queue, "paused_parsers": found.paused}
        as_json(app, {"sentinel": sentinel, "workers": found.workers, **queue})
        return
    fields(app, [("home", app.home.root), ("event", f"{found.seq:,}"), *_queue(found.queue)])
    for parser in found.paused:
        print(f"paused: {cell(parser['name'])}: {cell(parser['reason'])}", file=app.out)
    rows = [(one["id"], one["host"], one["pid"], one["slots"]) for one in found.workers]
    table(app, ("worker", "host", "pid", "slots"), rows, empty="No workers had joined.", right=("pid", "slots"))


def _print_trouble(app: App, found: Status) -> None:
    for line in wording.say_trouble(found.sentinel, found.poison_events):
        print(f"trouble: {cell(line)}", file=app.out)


def _print_waiting(app: App, found: Status) -> None:
    for each in found.waiting or []:
        verb = "waits" if each.files == 1 else "wait"
        print(f"waiting: {count(each.files, 'file')} tagged {cell(each.tag)} {verb}: {cell(each.reason)}", file=app.out)


def _queue(queue: Mapping[str, int]) -> list[tuple[str, Any]]:
    names = ("queued", "running", "retrying", "failed", "dead_letter")
    return [(name.replace("_", " "), f"{queue[name]:,}") for name in names if name in queue]


def _queue_without_daemon(queue: Mapping[str, int]) -> list[tuple[str, Any]]:
    """The queue of a home without a daemon. Jobs that the log calls running were interrupted when their daemon ended."""
    shown = [(name, jobs) for name, jobs in _queue(queue) if name != "running"]
    cut_off = queue.get("running", 0)
    return (
        [*shown, ("interrupted", f"{cut_off:,} when the daemon ended; `casparian start` takes them up again")]
        if cut_off
        else shown
    )


_NO_NEW_WORK = "; no new job starts until there is room again"


def _say_behind(tables: ProjectionView) -> str:
    """How far the tables are behind the log; unknown until they are open."""
    if tables.phase == ProjectorPhase.STARTING:
        return " (tables are being opened)"
    return f" (tables {tables.lag:,} behind: {tables.state})" if tables.lag else ""


def _print_daemon(app: App, found: Status) -> None:
    daemon = found.sentinel
    tables = daemon.projection
    fields(
        app,
        [
            ("daemon", f"running, pid {daemon.pid}, version {daemon.version}"),
            ("home", daemon.home),
            ("event", f"{daemon.seq:,}{_say_behind(tables)}"),
            ("intake", daemon.intake + ("" if daemon.intake == OPEN_INTAKE else _NO_NEW_WORK)),
            *([("planning", "checking which pending files can be queued")] if daemon.planning else []),
            *_queue(found.queue),
        ],
    )
    for parser in daemon.parsers.paused:
        print(f"paused: {cell(parser.name)}: {cell(parser.reason)}", file=app.out)
    _print_waiting(app, found)
    if found.orphans:
        moved = f"{found.orphans:,} files that belong to no commit"
        print(f"moved aside: {moved}, in {app.home.orphans}", file=app.out)
    for one in daemon.given_up:
        print(f"given up: worker {cell(one.worker)}: {cell(one.reason)}", file=app.out)
    _print_trouble(app, found)
    if tables.phase not in (ProjectorPhase.READY, ProjectorPhase.STARTING):
        print(f"projection: {cell(tables.state)}", file=app.out)
    rows = [row for worker in daemon.workers for row in _worker_rows(worker)]
    rows += [(one.id, one.pid, "starting", "", "", "", "") for one in daemon.starting]
    columns = ("worker", "pid", "state", "job", "guest", "cpu", "memory")
    table(
        app,
        columns,
        rows,
        empty="No workers; jobs stay queued until one joins.",
        right=("pid", "guest", "cpu", "memory"),
    )


def _worker_rows(worker: WorkerView) -> Iterator[tuple[Any, ...]]:
    """One row for each job, and one for each idle worker."""
    usage = (f"{worker.cpu_percent:.0f}%", size(worker.rss_bytes))
    if not worker.jobs:
        yield (worker.id, worker.pid, worker.state, "", "", *usage)
    for job in worker.jobs:
        doing = f"{job.parser or 'scanning'} {PurePath(job.input).name} ({job.seconds:.0f} s)"
        yield (worker.id, worker.pid, worker.state, doing, job.guest_pid or "", *usage)


@click.command(cls=Command, examples="casparian worker\ncasparian worker --slots 2\ncasparian worker --wait 600")
@click.option(
    "--connect",
    "address",
    metavar="ADDR",
    help="Connect to the daemon at this bus address (default: that of the home).",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Run at most N jobs at a time (default: daemon.slots_per_worker).",
)
@click.option("--id", "worker_id", metavar="NAME", help="Name the worker (default: host and pid).")
@click.option(
    "--wait",
    "wait_seconds",
    type=WAIT_SECONDS,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait at most SECONDS seconds for a daemon, then exit with status 3.",
)
@pass_app
def worker(app: App, address: str | None, slots: int | None, worker_id: str | None, wait_seconds: float) -> ExitCode:
    """Run one worker until Ctrl-C: once lets running jobs finish, twice stops at once.

    If the daemon ends, the worker waits for the next one."""
    if not is_home(app.home):
        raise NoHome(app.home)
    if address and not address.startswith("ipc://"):
        raise UsageProblem(
            f"{address} is not a valid bus address: it does not begin with ipc://.",
            remedy="Leave --connect out; workers on other hosts are not supported yet.",
        )
    import socket

    from casparian_app.daemons import run_worker

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
