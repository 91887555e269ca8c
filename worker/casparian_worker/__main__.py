"""`python -m casparian_worker`: one worker process of a home, usually started by its sentinel.

SIGTERM drains: the worker takes no more jobs and finishes the running ones. A second SIGTERM stops it at once. Ctrl-C does the
same for a worker that a person started by hand; a managed worker ignores it, because its sentinel handles it.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import gc
import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

import uvloop

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import home_from, make_home
from casparian_protocol.settings import Settings, load
from casparian_shim import process
from casparian_shim.sandbox.confine import LEVELS
from casparian_worker.agent import RESEND_SECONDS, Agent, AgentOptions
from casparian_worker.connection import DEFAULT_WAIT_SECONDS
from casparian_worker.guest import SandboxTooWeak, children, probe, require_level
from casparian_worker.guest.sandbox import SHIM_FOLDER

logger = logging.getLogger(__name__)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="casparian-worker", description="A worker of a Casparian home.")
    parser.add_argument("--home", help="the home; default: CASPARIAN_HOME, then ~/.casparian_flow")
    parser.add_argument("--worker-id", required=True, help="the name that leases are given under")
    parser.add_argument("--slots", type=int, help="jobs at a time; default: daemon.slots_per_worker")
    parser.add_argument("--endpoint", help="the sentinel's bus; default: the home's")
    parser.add_argument(
        "--managed",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave when no daemon answers for long, and ignore Ctrl-C",
    )
    parser.add_argument(
        "--wait", type=float, default=DEFAULT_WAIT_SECONDS, help="with --no-managed: seconds to wait for a sentinel"
    )
    parser.add_argument("--sandbox-minimum", choices=LEVELS, help="the level accepted instead of sandbox.minimum")
    parser.add_argument("--resend-seconds", type=float, default=RESEND_SECONDS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def run(arguments: Sequence[str], tell: Callable[[str], None] = logger.info) -> int:
    """Run a worker; returns its exit status. For a hand-started worker, `tell` gets a line for each change of its connection."""
    given = parse_arguments(arguments)
    process.reset_signals(keep=() if given.managed else process.TERMINAL)
    home = home_from(given.home, dict(os.environ))
    accepted = {"sandbox.minimum": given.sandbox_minimum} if given.sandbox_minimum else {}
    settings = load(home, os.environ, accepted).settings
    make_home(home)
    os.umask(0o077)
    compileall.compile_dir(SHIM_FOLDER, quiet=2)  # guests write no bytecode, so it is compiled here, once
    options = AgentOptions(
        worker_id=given.worker_id,
        slots=given.slots or settings.daemon.slots_per_worker,
        endpoint=given.endpoint or home.bus_endpoint,
        version=importlib.metadata.version("casparian"),
        is_managed=given.managed,
        resend_seconds=given.resend_seconds,
        tell=None if given.managed else tell,
        wait_seconds=given.wait,
    )
    process.prepare_arrow()
    children.adopt()
    _warn_of_refusals(settings)
    gc.freeze()
    return uvloop.run(_work(Agent(home, settings, options), given.managed))


def _warn_of_refusals(settings: Settings) -> None:
    """Log that every PARSE job will be refused, if this machine offers guests less than the settings demand."""
    try:
        require_level(settings.sandbox.minimum, probe())
    except SandboxTooWeak as weak:
        logger.warning("Every job that runs a parser will be refused: %s %s", weak.problem, weak.remedy)


async def _work(agent: Agent, is_managed: bool) -> int:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, agent.drain)
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if is_managed else agent.drain)
    return await agent.run()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        return run(sys.argv[1:])
    except CasparianError as error:
        sys.stderr.write(f"casparian-worker: {error.problem}\n  {error.remedy}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
