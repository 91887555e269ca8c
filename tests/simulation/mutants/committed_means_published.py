"""«What is committed is published: its staging can go.»"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.wire.messages import Held
from casparian_worker.leases import LeaseTable
from casparian_worker.steps import Drop

_take_answers = LeaseTable._take_answers


def _tidy(table: LeaseTable, answered: Sequence[Held]) -> None:
    table._outputs += [Drop(lease.key) for lease in table._found(answered)]
    _take_answers(table, answered)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(LeaseTable, "_take_answers", _tidy):
        yield
