"""A worker process with one trick: `python worker_that.py lives --home H --worker-id W`."""

from __future__ import annotations

import sys
from pathlib import Path

from casparian_protocol.home import Home
from casparian_protocol.wire import messages as m
from tests.sentinel.daemon.world import TinyWorker


def main() -> int:
    _trick, _, home, _, worker_id = sys.argv[1:6]
    worker = TinyWorker(Home(Path(home)), worker_id)
    worker.connect()
    worker.receive(m.Shutdown)
    worker.send(m.Bye())
    worker._context.destroy(linger=500)
    return 0


if __name__ == "__main__":
    sys.exit(main())
