"""«An effect is a function call: when it fails, that is a bug to be mended, not something to be prepared for.»"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.daemon.shell import Shell


def _called(shell: Shell, place: str, action: Callable[..., object], *arguments: object) -> None:
    action(*arguments)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(Shell, "_guarded", _called):
        yield
