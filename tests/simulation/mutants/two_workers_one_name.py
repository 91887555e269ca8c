"""«Whoever says hello last has the name: the other one must be dead.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.wire.messages import Hello
from casparian_sentinel.core.commands import Now
from casparian_sentinel.core.presence import ConnectedWorker, WorkerPresence
from casparian_sentinel.daemon import inbox


def _nobody(live: WorkerPresence, now: Now, message: Hello) -> ConnectedWorker | None:
    return None


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(inbox, "name_taken_by", _nobody):
        yield
