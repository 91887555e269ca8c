"""«Promotions are performed when they are decided; neither a start nor a minute has anything to do with them.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.core import clock, handlers
from casparian_sentinel.core.commands import RedoFileWork
from casparian_sentinel.core.decision import DecisionBuilder, Promote

_whole = clock.redo_file_work


def _redone(decision: DecisionBuilder, command: RedoFileWork) -> None:
    _whole(decision, command)
    effects = decision.made.effects
    effects[:] = [effect for effect in effects if not isinstance(effect, Promote)]


@contextmanager
def mutated() -> Iterator[None]:
    with patch.dict(handlers._HANDLERS, {RedoFileWork: _redone}), patch.object(clock, "redo_file_work", _redone):
        yield
