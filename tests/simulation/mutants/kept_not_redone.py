"""«Quarantine is moved when its job fails; who reads the log later has nothing to do with that.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.events import JobFailed
from casparian_sentinel.core import folding
from casparian_sentinel.core.state import State


def _failed(state: State, seq: int, ts: int, event: JobFailed) -> None:
    folding._attempt_failed(state, seq, ts, event)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.dict(folding.HANDLERS, {JobFailed: _failed}):
        yield
