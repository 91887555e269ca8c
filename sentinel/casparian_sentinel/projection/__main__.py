"""`python -m casparian_sentinel.projection --home H --control-fd N`: the program that the sentinel starts as its projector."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from casparian_protocol.home import Home
from casparian_sentinel.projection.projector import run
from casparian_shim import process


def main() -> int:
    process.reset_signals()
    process.remember_absent("dateutil")  # pyarrow looks for it at each Python scalar
    parser = argparse.ArgumentParser(prog="casparian projector", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--batch-events", type=int, default=5000)
    parser.add_argument("--batch-milliseconds", type=int, default=100)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s projector %(levelname)s %(message)s")
    return run(Home(given.home), given.control_fd, given.batch_events, given.batch_milliseconds)


if __name__ == "__main__":
    sys.exit(main())
