"""The daemon with a fault of ours: deciding about a finished job always fails."""

from __future__ import annotations

import sys
from typing import Any

from casparian_sentinel.core import commands, decide
from casparian_sentinel.daemon.__main__ import main


def _fails(case: Any, command: commands.FinishReceived) -> None:
    raise ZeroDivisionError("a fault of ours")


decide._HANDLERS[commands.FinishReceived] = _fails

if __name__ == "__main__":
    sys.exit(main())
