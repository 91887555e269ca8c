"""«A job that runs will end soon enough; a cancel is for those that wait.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_worker.leases import LeaseTable, Stage
from casparian_worker.steps import LeaseKey

_cancel = LeaseTable._cancel


def _only_if_waiting(table: LeaseTable, key: LeaseKey) -> None:
    lease = table._leases.get(key)
    if lease is None or lease.stage is Stage.WAITING:
        _cancel(table, key)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(LeaseTable, "_cancel", _only_if_waiting):
        yield
