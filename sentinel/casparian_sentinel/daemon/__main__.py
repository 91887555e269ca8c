"""`python -m casparian_sentinel.daemon --home H [--workers N] [--until-idle] [--ready-fd N]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.settings import load
from casparian_sentinel.daemon.main import run
from casparian_shim import process


def main() -> int:
    process.reset_signals(keep=process.TERMINAL)
    parser = argparse.ArgumentParser(prog="casparian sentinel", description=__doc__)
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
        print(f"casparian: {error.problem}\n  {error.remedy}", file=sys.stderr)  # noqa: T201 -- a program's last words
        return 1


if __name__ == "__main__":
    sys.exit(main())
