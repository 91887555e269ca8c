"""«The files are written and closed: what more could syncing do?»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_worker.staging import StagedSink


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(StagedSink, "sync", StagedSink.release):
        yield
