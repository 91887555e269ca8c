"""«A job that has failed has no lease, so nobody needs what it staged.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.core.state import State

_whole = State.attempts_with_staging


def _of_open_jobs(state: State) -> frozenset[tuple[str, int]]:
    return _whole(state) - state.keeping.keys()


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(State, "attempts_with_staging", _of_open_jobs):
        yield
