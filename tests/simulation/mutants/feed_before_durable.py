"""«Followers want news early; it will be durable in a moment anyway.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from casparian_sentinel.daemon.journal import Entry, GroupCommit

_add = GroupCommit.add


def _chatty(commit: GroupCommit, entry: Entry) -> None:
    shell: Any = commit._release.__self__  # type: ignore[attr-defined]
    shell.feed.publish(entry.decision)
    _add(commit, entry)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(GroupCommit, "add", _chatty):
        yield
