"""«A beat every second is what the setting says, and a question every five seconds is polite.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.wire import Rhythm


def _as_set(heartbeat_seconds: float, lease_seconds: float) -> Rhythm:
    return Rhythm(lease_seconds, heartbeat_seconds)


def _politely(rhythm: Rhythm, silent_seconds: float, since_hello_seconds: float) -> bool:
    return min(silent_seconds, since_hello_seconds) > max(5.0, rhythm.lease_seconds / 4)


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(Rhythm, "of", _as_set), patch.object(Rhythm, "must_ask", _politely):
        yield
