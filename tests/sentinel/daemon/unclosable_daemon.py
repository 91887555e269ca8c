"""The daemon with a fault of ours: one of its parts raises when it is closed."""

from __future__ import annotations

import sys

from casparian_sentinel.daemon.main import main
from casparian_sentinel.daemon.promoter import Promoter

_close = Promoter.close


def _fails(promoter: Promoter) -> None:
    _close(promoter)
    raise OSError("a fault of ours")


Promoter.close = _fails  # type: ignore[assignment]

if __name__ == "__main__":
    sys.exit(main())
