"""The daemon as a process: the lock for its whole life, where its words go, the loop, the exit code.

`run` is called by the command line in the process that is to be the daemon; `python -m casparian_sentinel.daemon` does
the same from outside. Start-up errors are raised as they are; once serving, everything ends in an exit code.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import uvloop

from casparian_protocol.home import Home, make_home, open_daemon_log, record_sockets
from casparian_protocol.settings import Settings
from casparian_protocol.wire.operations.jobs import QueueArgs
from casparian_sentinel.daemon.boot import boot
from casparian_sentinel.daemon.journal.witnesses import tables_in_a_process
from casparian_sentinel.daemon.life import run as live_and_end
from casparian_sentinel.daemon.options import Options, ServiceManager
from casparian_sentinel.daemon.shell import Shell
from casparian_sentinel.daemon.upkeep import clear_scratch_of_strangers
from casparian_sentinel.log.lock import HomeLock
from casparian_sentinel.ports import Clock, Fs, RealClock, RealFs
from casparian_shim.text import scrub

#: How long a starting daemon waits for a command that has the home without one.
_COMMANDS_END_SECONDS = 10.0

logger = logging.getLogger("casparian_sentinel")


class _OneLine(logging.Formatter):
    """Words from workers and files end up here: nothing in them may obey a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record), keep_newlines=True)


def run(
    home: Home,
    settings: Settings,
    *,
    flags: Mapping[str, Any] | None = None,
    workers: int | None = None,
    until_idle: bool = False,
    plans_by_itself: bool = True,
    plan: QueueArgs | None = None,
    ready_descriptor: int | None = None,
    log_to_stderr: bool = False,
) -> int:
    """Be the daemon of `home` until it ends; the exit code. Raises `LogInUse`, `LogCorrupt` and other start-up errors.

    `flags` are the settings that the command line gave.
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
    )
    return run_with(home, settings, options, RealClock(), RealFs())


def run_with(home: Home, settings: Settings, options: Options, clock: Clock, fs: Fs) -> int:
    """As `run`, with the doors to the machine passed in."""
    os.umask(0o077)
    make_home(home)
    with HomeLock.acquire(home.lock_file, patience_seconds=_COMMANDS_END_SECONDS):
        record_sockets(home)
        output = open_daemon_log(home.daemon_log)
        handlers = _log_to(output, also_stderr=options.log_to_stderr)
        try:
            booted = boot(home, settings, fs, tables_in_a_process)
            clear_scratch_of_strangers(home, booted.log.end.seq)
            logger.info("Log open at event %d; %d events folded.", booted.log.end.seq, booted.folded_events)

            gc.collect()
            gc.freeze()  # the loaded state is not garbage; a full collection over it would stall the loop

            async def life() -> int:
                return await live_and_end(Shell(home, settings, options, booted, clock, fs, version(), output))

            return uvloop.run(life())
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
            os.close(output)
            options.service.close()


def version() -> str:
    return metadata.version("casparian")


def _log_to(output: int, *, also_stderr: bool) -> list[logging.Handler]:
    """Through `output` itself: a rotation puts the new file behind that descriptor."""
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
