"""«A job that goes back to the queue is as good as new.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.core import evolve
from casparian_sentinel.core.state import State

_scheduled = evolve._retry_scheduled


def _forgetful(state: State, seq: int, ts: int, data: evolve.Data) -> None:
    _scheduled(state, seq, ts, {**data, "retry_count": 0})


@contextmanager
def mutated() -> Iterator[None]:
    with patch.dict(evolve._HANDLERS, {"JobRetryScheduled": _forgetful}):
        yield
