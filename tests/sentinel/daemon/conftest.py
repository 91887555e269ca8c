"""No daemon outlives its test, however the test ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sentinel.daemon.world import Daemon


@pytest.fixture(autouse=True)
def no_daemon_stays() -> Iterator[None]:
    before = len(Daemon.started)  # one that a module shares is ended by its fixture
    yield
    while len(Daemon.started) > before:
        daemon = Daemon.started.pop()
        if daemon.process.poll() is None:
            daemon.kill()
