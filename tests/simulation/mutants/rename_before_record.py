"""«The commit is decided, so the files may move while its record is being synced.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from casparian_sentinel.core.decision import Promote
from casparian_sentinel.daemon.journal import Entry, GroupCommit

_add = GroupCommit.add


def _eager(commit: GroupCommit, entry: Entry) -> None:
    shell: Any = commit._release.__self__  # type: ignore[attr-defined]
    effects = entry.decision.effects
    for effect in [e for e in effects if isinstance(e, Promote)]:
        effects.remove(effect)
        shell._perform(effect)
    _add(commit, entry)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(GroupCommit, "add", _eager):
        yield
