"""«A job that goes back to the queue is as good as new.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from casparian_protocol.events import JobRetryScheduled
from casparian_sentinel.core import folding
from casparian_sentinel.core.state import State

_scheduled = folding._attempt_failed


def _forgetful(state: State, seq: int, ts: int, event: JobRetryScheduled) -> None:
    _scheduled(state, seq, ts, replace(event, retry_count=0))


@contextmanager
def mutated() -> Iterator[None]:
    with patch.dict(folding.HANDLERS, {JobRetryScheduled: _forgetful}):
        yield
