"""«The content is on the disk: who would lose a name?»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_worker import staging
from casparian_worker.staging import StagingDirectory


def _files_alone(directory: StagingDirectory) -> None:
    for sink in directory._sinks:
        sink.sync()


@contextmanager
def mutated() -> Iterator[None]:
    with (
        patch.object(StagingDirectory, "sync_files", _files_alone),
        patch.object(staging, "_sync_root", lambda of: None),
    ):
        yield
