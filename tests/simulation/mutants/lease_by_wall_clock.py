"""«Time is time.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from casparian_sentinel.core import presence
from casparian_sentinel.core.commands import Now
from casparian_sentinel.core.state import State
from casparian_sentinel.daemon import shell
from casparian_sentinel.daemon.journal import Engine


def _wall_only(engine: Engine) -> Now:
    wall_us = engine._clock.wall_microseconds()
    return Now(wall_us, wall_us / 1_000_000)


def _after_boot(state: State, now: Now, *settings: Any) -> presence.WorkerPresence:
    return presence.after_boot(state, Now(now.wall_us, now.wall_us / 1_000_000), *settings)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(Engine, "now", _wall_only), patch.object(shell, "after_boot", _after_boot):
        yield
