"""The life of a daemon as one coroutine: begin, serve, and end in the order that loses nothing.

Drain first, so that running jobs may finish; then stop the workers, which give back what they hold; then the record of
the stop, made durable and sealed. A daemon whose log failed leaves all that out: nothing more may be written.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from casparian_protocol.client import RequestRefused
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobState
from casparian_sentinel.core import commands
from casparian_sentinel.daemon.children.projector import ProjectionAway
from casparian_sentinel.daemon.shell import Shell

_GOODBYE_SECONDS = 5.0
_VIEWS_SECONDS = 30.0

logger = logging.getLogger(__name__)


async def run(shell: Shell) -> int:
    """Returns the exit code: 0 after a clean end, 1 when the sentinel had to stop."""
    try:
        await shell.begin()
        if shell.failure is None:
            _announce(shell)
            await shell.until(lambda: shell.drain_requested.is_set() or shell.stop_requested.is_set() or is_idle(shell))
        shell.options.service.stopping(_farewell(shell))
        if shell.failure is None:
            await _end_cleanly(shell)
    finally:
        await _close(shell)
    return 0 if shell.failure is None else 1


def _farewell(shell: Shell) -> str:
    if shell.failure is not None:
        return f"stops: {shell.failure}"
    return "idle" if is_idle(shell) and not shell.drain_requested.is_set() else "draining"


def is_idle(shell: Shell) -> bool:
    """For `until_idle`: planned, and nothing open that could still move."""
    if not shell.options.until_idle or shell.planner.is_planning:
        return False
    return not shell.promoter.is_busy and shell.inbox.requests_open == 0 and not can_move(shell)


def can_move(shell: Shell) -> bool:
    """Whether some open job may still change by itself soon.

    Not those queued for a paused parser, nor those whose committed files the disk has refused several times.
    """
    state = shell.booted.state
    blocked, stuck = state.blocked_lanes(), shell.promoter.stuck_jobs
    return any(
        (job.state is not JobState.QUEUED or job.lane not in blocked) and job.job_id not in stuck
        for job in state.jobs.values()
    )


def _announce(shell: Shell) -> None:
    """The pid file, then the notice to whoever waits."""
    pid_file = shell.home.pid_file
    aside = pid_file.with_suffix(".new")
    aside.write_text(f"{os.getpid()}\n", encoding="ascii")
    aside.replace(pid_file)
    descriptor = shell.options.ready_descriptor
    if descriptor is not None:
        try:
            os.write(descriptor, b"ready\n")
        except BrokenPipeError:
            logger.info("The process that started the sentinel did not wait for it.")
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
    await shell.journal.settle()
    if shell.has_published and not shell.stop_requested.is_set():
        await _publish(shell)


async def _publish(shell: Shell) -> None:
    """Leave a catalogue that shows everything committed; without it the next start makes one."""
    try:
        async with asyncio.timeout(_VIEWS_SECONDS):
            await shell.queries.publish_output_views(shell.journal.durable.seq)
    except (ProjectionAway, RequestRefused, TimeoutError) as cause:
        logger.warning("The catalogue was not brought up to date: %s", cause or "no answer in time")


async def _close(shell: Shell) -> None:
    """Let go of everything; children first, the log last."""
    shell.planner.close()
    shell.orphans.close()
    shell.snapshotter.close()
    await shell.workers.close(grace_seconds=0.0)
    await shell.projector.close()
    shell.promoter.close()
    shell.queries.close()
    shell.journal.close()
    shell.threads.shutdown(wait=True)
    shell.context.uploads.close()
    shell.bus.close()
    shell.feed.close()
    shell.zmq.destroy(linger=0)
    _remove_sockets(shell.home)
    shell.home.pid_file.unlink(missing_ok=True)
    if shell.failure is None:
        shell.snapshotter.write_last(shell.journal.durable)
    shell.booted.log.close(seal=shell.failure is None)
    if shell.failure is None:
        logger.info("Stopped at event %d.", shell.journal.durable.seq)


def _remove_sockets(home: Home) -> None:
    """A projector that was killed left its own."""
    for endpoint in (home.bus_endpoint, home.feed_endpoint, home.query_endpoint):
        Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)
    home.sockets_record.unlink(missing_ok=True)
