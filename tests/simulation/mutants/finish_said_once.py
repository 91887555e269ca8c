"""«The bus is reliable, so an offer is sent once.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_worker.leases import LeaseTable


def _nothing(table: LeaseTable, now_s: float) -> None:
    return


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(LeaseTable, "_resend", _nothing):
        yield
