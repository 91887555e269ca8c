"""«A sync that failed is worth a second try.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.log.format import Head
from casparian_sentinel.log.writer import LogWriter

_sync_upto = LogWriter._sync_upto


def _stubborn(writer: LogWriter, written: Head) -> None:
    try:
        writer._fs.fdatasync(writer._descriptor)
    except OSError:
        _sync_upto(writer, written)
    else:
        writer.durable = written


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(LogWriter, "_sync_upto", _stubborn):
        yield
