"""«A fenced attempt is somebody else's now: it is none of ours, so we forget it.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_worker.execute.run import StopCause
from casparian_worker.leases import Lease, LeaseTable

_give_up = LeaseTable._give_up


def _forget(table: LeaseTable, lease: Lease, cause: StopCause) -> None:
    if cause is StopCause.FENCED:
        table._forget(lease.key)
    else:
        _give_up(table, lease, cause)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(LeaseTable, "_give_up", _forget):
        yield
