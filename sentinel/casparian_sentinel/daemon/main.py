"""The daemon process from start to exit code: the home's lock, its log file, the event loop, and the order of shutdown.

The command line calls `run` in the process that becomes the daemon; `python -m casparian_sentinel.daemon.main` calls it too.
Errors during the start are raised unchanged; once the daemon serves, every end has an exit code.

`live` starts, serves and shuts down in the order that loses nothing. It drains, so that running jobs may finish; it stops the
workers, which give back their leases; it records the stop, durable and sealed. A daemon whose log failed skips the record,
because nothing more may be written.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path

import uvloop

from casparian_protocol.client import RequestRefused
from casparian_protocol.errors import CasparianError
from casparian_protocol.events import WeakerSandboxAccepted
from casparian_protocol.home import Home, make_home, open_daemon_log, record_sockets
from casparian_protocol.jobs import JobState
from casparian_protocol.settings import Settings, load
from casparian_protocol.wire.operations.jobs import QueueArgs
from casparian_sentinel.core import commands
from casparian_sentinel.daemon.boot import boot_home, tables_in_a_process
from casparian_sentinel.daemon.children import worker_command
from casparian_sentinel.daemon.journal import StillFull
from casparian_sentinel.daemon.options import Options, ServiceManager
from casparian_sentinel.daemon.projector import ProjectionAway
from casparian_sentinel.daemon.shell import Shell
from casparian_sentinel.daemon.upkeep import clear_unknown_scratch
from casparian_sentinel.log import HomeLock
from casparian_sentinel.ports import Clock, Fs, RealClock, RealFs
from casparian_shim import process
from casparian_shim.safe import scrub

#: How long a starting daemon waits for a command that works on the home without a daemon.
_COMMANDS_END_SECONDS = 10.0
_GOODBYE_SECONDS = 5.0
#: The garbage collector visits objects for nothing: decisions make many and leave no cycles, so it runs rarely.
_COLLECT_AFTER = (50_000, 20, 50)
#: How long an end waits for room for its last events on a full disk.
_ROOM_SECONDS = 5.0
_VIEWS_SECONDS = 30.0

logger = logging.getLogger("casparian_sentinel")


class _OneLine(logging.Formatter):
    """Formats a record as one line without control characters: texts from workers and files must not affect a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record), keep_newlines=True)


def run(
    home: Home,
    settings: Settings,
    *,
    flags: Mapping[str, object] | None = None,
    workers: int | None = None,
    until_idle: bool = False,
    plans_by_itself: bool = True,
    plan: QueueArgs | None = None,
    ready_descriptor: int | None = None,
    log_to_stderr: bool = False,
    accepted: tuple[WeakerSandboxAccepted, str] | None = None,
    on_locked: Callable[[], None] = lambda: None,
) -> int:
    """Run the daemon of `home` until it ends; returns the exit code. Raises `LogInUse`, `LogCorrupt` and other start-up errors.

    `flags` are the settings given on the command line. `accepted` is what the user who starts it accepts, for the log, and that
    user; the local workers then take that level for `sandbox.minimum`. `on_locked` is called once no other process can have the
    home.
    """
    count = settings.daemon.max_concurrent_workers if workers is None else workers
    options = Options(
        workers=count,
        flags=flags or {},
        plans_by_itself=plans_by_itself,
        until_idle=until_idle,
        plan=plan or QueueArgs(),
        ready_descriptor=ready_descriptor,
        log_to_stderr=log_to_stderr,
        service=ServiceManager.from_environment(os.environ),
        accepted=accepted,
        worker_command=partial(worker_command, sandbox_minimum=accepted[0].level) if accepted else worker_command,
    )
    return run_with(home, settings, options, RealClock(), RealFs(), on_locked)


def run_with(
    home: Home,
    settings: Settings,
    options: Options,
    clock: Clock,
    fs: Fs,
    on_locked: Callable[[], None] = lambda: None,
) -> int:
    """Run the daemon like `run`, with the clock and the file system as arguments."""
    os.umask(0o077)
    make_home(home)
    with HomeLock.acquire(home.lock_file, patience_seconds=_COMMANDS_END_SECONDS):
        on_locked()
        output = open_daemon_log(home.daemon_log)
        handlers = _log_to(output, also_stderr=options.log_to_stderr)
        try:
            with _logged_if_full(home.sockets_record):
                record_sockets(home)
            booted = boot_home(home, settings, fs, tables_in_a_process)
            clear_unknown_scratch(home, booted.log.end.seq)
            logger.info("Log open at event %d; %d events folded.", booted.log.end.seq, booted.folded_events)

            gc.collect()
            gc.freeze()  # the loaded state is not garbage; a full collection over it would stall the loop
            gc.set_threshold(*_COLLECT_AFTER)

            async def life() -> int:
                return await live(Shell(home, settings, options, booted, clock, fs, version(), output))

            return uvloop.run(life())
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
            os.close(output)
            options.service.close()


@contextmanager
def _logged_if_full(path: Path) -> Iterator[None]:
    """A file that only informs others may be missing; the daemon also starts when the disk is full."""
    try:
        yield
    except OSError as cause:
        logger.warning("%s cannot be written: %s", path, cause.strerror)


def version() -> str:
    return metadata.version("casparian")


def _log_to(output: int, *, also_stderr: bool) -> list[logging.Handler]:
    """Log through the descriptor `output` itself, because a rotation puts the new file behind that descriptor."""
    streams = [open(output, "a", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)]  # noqa: SIM115 -- closed with `output`
    if also_stderr:
        streams.append(sys.stderr)  # type: ignore[arg-type]
    handlers: list[logging.Handler] = []
    for stream in streams:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_OneLine("%(asctime)s sentinel %(levelname)s %(message)s"))
        logger.addHandler(handler)
        handlers.append(handler)
    logger.setLevel(logging.INFO)
    return handlers


async def live(shell: Shell) -> int:
    """Run the daemon in the event loop. Returns the exit code: 0 after a clean end, 1 if the sentinel had to stop."""
    try:
        await shell.begin()
        if shell.failure is None:
            _announce(shell)
            await shell.until(lambda: shell.drain_requested.is_set() or shell.stop_requested.is_set() or is_idle(shell))
        shell.options.service.stopping(_why_stopping(shell))
        if shell.failure is None:
            await _end_cleanly(shell)
    finally:
        is_closed = await _close(shell)
    return 0 if shell.failure is None and is_closed else 1


def _why_stopping(shell: Shell) -> str:
    if shell.failure is not None:
        return f"stops: {shell.failure}"
    return "idle" if is_idle(shell) and not shell.drain_requested.is_set() else "draining"


def is_idle(shell: Shell) -> bool:
    """For `until_idle`: planning is finished, and no open job can still change."""
    if not shell.options.until_idle or shell.planner.is_planning:
        return False
    return not shell.promoter.is_busy and shell.inbox.requests_open == 0 and not can_move(shell)


def can_move(shell: Shell) -> bool:
    """Whether some open job may still change without outside help soon.

    Jobs queued for a paused parser do not count, nor do jobs whose committed files the disk has refused several times.
    """
    state = shell.booted.state
    blocked, stuck = state.blocked_lanes(), shell.promoter.stuck_jobs
    return any(
        (job.state is not JobState.QUEUED or job.lane not in blocked) and job.job_id not in stuck
        for job in state.jobs.values()
    )


def _announce(shell: Shell) -> None:
    """Write the pid file, then notify the process that waits."""
    pid_file = shell.home.pid_file
    aside = pid_file.with_suffix(".new")
    with _logged_if_full(pid_file):
        aside.write_text(f"{os.getpid()}\n", encoding="ascii")
        aside.replace(pid_file)
    descriptor = shell.options.ready_descriptor
    if descriptor is not None:
        try:
            os.write(descriptor, b"ready\n")
        except BrokenPipeError:
            logger.info("The launching process exited before the daemon was ready.")
        os.close(descriptor)
    shell.options.service.ready(shell.words())
    logger.info("Ready: pid %d, event %d, home %s.", os.getpid(), shell.journal.durable.seq, shell.home.root)


async def _end_cleanly(shell: Shell) -> None:
    state, presence, engine = shell.booted.state, shell.engine.presence, shell.engine
    shell.planner.close()
    engine.submit(commands.Drain())
    if not shell.stop_requested.is_set():
        await shell.until(
            lambda: not state.epochs_held or shell.stop_requested.is_set(), shell.settings.daemon.drain_seconds
        )
    if shell.failure is not None:
        return
    engine.submit(commands.Stop())
    await shell.until(lambda: not presence.workers or shell.failure is not None, _GOODBYE_SECONDS)
    await shell.workers.close(grace_seconds=1.0)
    await shell.until(lambda: not shell.promoter.is_busy or shell.failure is not None, _GOODBYE_SECONDS)
    if shell.failure is not None:
        return
    reason = "idle" if shell.options.until_idle and not shell.drain_requested.is_set() else "asked to stop"
    engine.submit(commands.RecordStop(reason))
    try:
        await shell.journal.flush(patience_seconds=0.0 if shell.stop_requested.is_set() else _ROOM_SECONDS)
    except StillFull as full:
        shell.fail(full)
        return
    if shell.has_published and not shell.stop_requested.is_set():
        await _publish(shell)


async def _publish(shell: Shell) -> None:
    """Bring `catalog.duckdb` up to date with all commits; otherwise the next start would have to."""
    try:
        async with asyncio.timeout(_VIEWS_SECONDS):
            await shell.queries.publish_output_views(shell.journal.durable.seq)
    except (ProjectionAway, RequestRefused, TimeoutError) as cause:
        logger.warning("catalog.duckdb was not brought up to date: %s", cause or "no answer in time")


async def _close(shell: Shell) -> bool:
    """Release all resources: children first, the log last. After an error the others are still released; returns False."""
    parts: tuple[Callable[[], Awaitable[None] | None], ...] = (
        shell.planner.close,
        shell.orphans.close,
        shell.snapshotter.close,
        lambda: shell.workers.close(grace_seconds=0.0),
        shell.projector.close,
        shell.promoter.close,
        shell.queries.close,
        shell.journal.close,
        lambda: shell.threads.shutdown(wait=True),
        shell.context.uploads.close,
        shell.bus.close,
        shell.feed.close,
        lambda: shell.zmq.destroy(linger=0),
        lambda: _remove_sockets(shell.home),
        lambda: shell.home.pid_file.unlink(missing_ok=True),
        lambda: _close_log(shell),
    )
    is_closed = True
    for close in parts:
        try:
            closing = close()
            if closing is not None:
                await closing
        except Exception as error:
            logger.error("A part of the sentinel could not be closed.", exc_info=error)
            is_closed = False
    return is_closed


def _close_log(shell: Shell) -> None:
    if shell.failure is None:
        shell.snapshotter.write_last(shell.journal.durable)
    shell.booted.log.close(seal=shell.failure is None)
    if shell.failure is None:
        logger.info("Stopped at event %d.", shell.journal.durable.seq)


def _remove_sockets(home: Home) -> None:
    """Remove the sockets. A projector that was killed leaves its socket behind."""
    for endpoint in (home.bus_endpoint, home.feed_endpoint, home.query_endpoint):
        Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)
    home.sockets_record.unlink(missing_ok=True)


def main() -> int:
    process.reset_signals(keep=process.TERMINAL)
    process.remember_absent("dateutil")  # pyarrow looks for it at each Python scalar
    parser = argparse.ArgumentParser(prog="casparian sentinel", description="Run the daemon of a home.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--until-idle", action="store_true")
    parser.add_argument("--ready-fd", type=int)
    given = parser.parse_args()
    home = Home(given.home.absolute())
    try:
        settings = load(home, os.environ).settings
        return run(
            home,
            settings,
            workers=given.workers,
            until_idle=given.until_idle,
            ready_descriptor=given.ready_fd,
            log_to_stderr=True,
        )
    except CasparianError as error:
        print(f"casparian: {error.problem}\n  {error.remedy}", file=sys.stderr)  # noqa: T201 -- the program ends here
        return 1


if __name__ == "__main__":
    sys.exit(main())
