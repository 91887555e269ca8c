"""«The write returned, so the kernel has it; the sync can wait for the segment's end.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.daemon.journal import GroupCommit
from casparian_sentinel.log.format import Head


def _append_only(commit: GroupCommit, batches: list[list[bytes]]) -> Head:
    for batch in batches:
        commit._log.append_packed(batch)
    return commit._log.end


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(GroupCommit, "_append_and_sync", _append_only):
        yield
