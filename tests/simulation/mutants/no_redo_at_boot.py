"""«Promotions are performed when they are decided; a start has nothing to do with them.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.core import decide, decide_clock
from casparian_sentinel.core.case import Case
from casparian_sentinel.core.commands import RecordStart
from casparian_sentinel.core.effects import Promote


def _start(case: Case, command: RecordStart) -> None:
    decide_clock.start(case, command)
    effects = case.decision.effects
    effects[:] = [effect for effect in effects if not isinstance(effect, Promote)]


@contextmanager
def mutated() -> Iterator[None]:
    with patch.dict(decide._HANDLERS, {RecordStart: _start}):
        yield
