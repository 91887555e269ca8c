"""The daemon with local workers that do as WORKER_TRICK says; children that die are started again soon."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from casparian_protocol.home import Home
from casparian_protocol.settings import load
from casparian_sentinel.daemon.main import run_with
from casparian_sentinel.daemon.options import Options, ServiceManager
from casparian_sentinel.ports import RealClock, RealFs


def command(home: Home, worker_id: str) -> list[str]:
    if (trick := os.environ["WORKER_TRICK"]) == "dies":
        return [sys.executable, "-S", "-c", "print('cannot start: no reason')", worker_id]
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from tests.sentinel.daemon.worker_that import main; main()"
    )
    root = str(Path(__file__).parents[3])
    return [sys.executable, "-c", program, root, trick, "--home", str(home.root), "--worker-id", worker_id]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--until-idle", action="store_true")
    given = parser.parse_args()
    home = Home(given.home)
    options = Options(
        workers=given.workers,
        until_idle=given.until_idle,
        ready_descriptor=given.ready_fd,
        log_to_stderr=True,
        first_backoff_seconds=0.01,
        worker_command=command,
        service=ServiceManager.from_environment(os.environ),
    )
    return run_with(home, load(home, {}).settings, options, RealClock(), RealFs())


if __name__ == "__main__":
    sys.exit(main())
