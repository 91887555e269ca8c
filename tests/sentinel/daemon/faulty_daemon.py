"""The daemon with a fault of ours: deciding about a finished job always fails."""

from __future__ import annotations

import sys
from typing import Any

from casparian_sentinel.core import handlers, worker_commands
from casparian_sentinel.daemon.main import main


def _fails(case: Any, command: worker_commands.FinishReceived) -> None:
    raise ZeroDivisionError("a fault of ours")


handlers._HANDLERS[worker_commands.FinishReceived] = _fails

if __name__ == "__main__":
    sys.exit(main())
