"""«What a welcome does not keep was given back.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.wire.messages import Welcome
from casparian_worker.execute.run import StopCause
from casparian_worker.leases import LeaseTable

_welcomed = LeaseTable._welcomed


def _all_else_goes(table: LeaseTable, now_s: float, welcome: Welcome) -> None:
    kept = {(item.job_id, item.epoch) for item in welcome.keep}
    for lease in table:
        if lease.key not in kept:
            table._give_up(lease, StopCause.FENCED)
    _welcomed(table, now_s, welcome)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(LeaseTable, "_welcomed", _all_else_goes):
        yield
