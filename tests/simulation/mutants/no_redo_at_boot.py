"""«Promotions are performed when they are decided; a start has nothing to do with them.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.core import clock, handlers
from casparian_sentinel.core.commands import RecordStart
from casparian_sentinel.core.decision import DecisionBuilder, Promote


def _start(decision: DecisionBuilder, command: RecordStart) -> None:
    clock.start(decision, command)
    effects = decision.made.effects
    effects[:] = [effect for effect in effects if not isinstance(effect, Promote)]


@contextmanager
def mutated() -> Iterator[None]:
    with patch.dict(handlers._HANDLERS, {RecordStart: _start}):
        yield
