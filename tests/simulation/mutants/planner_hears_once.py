"""«While a plan is made, nothing needs to be remembered: it will see what has changed.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.daemon.planner import Planner

_want = Planner.want


def _deaf(planner: Planner) -> None:
    if planner._running is None:
        _want(planner)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(Planner, "want", _deaf):
        yield
