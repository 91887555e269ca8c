"""Gateways to copies of the home that has lived: one a module to read from, one a test to change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from casparian_app.daemons import spawn_daemon
from casparian_app.gateway import Gateway, open_gateway
from casparian_protocol.client import TablesAway
from casparian_protocol.home import Home
from casparian_protocol.queries.registry import LastEventSeq
from tests.homes import copy_home


def copy_of(original: Path, root: Path) -> Home:
    return Home(copy_home(original, root))


@contextmanager
def running(home: Home) -> Iterator[Home]:
    """A daemon without workers whose tables can be asked, as long as the block lasts."""
    child = spawn_daemon(home, ["--no-workers", "--with-parent", "--no-planning"])
    try:
        await_tables(home, time.monotonic() + 60)
        yield home
    finally:
        child.terminate()
        child.wait(20)


def await_tables(home: Home, deadline: float) -> None:
    """On a busy machine a projector that has just started may be silent for longer than a client waits."""
    while True:
        try:
            with open_gateway(home) as gateway:
                gateway.query(LastEventSeq())
            return
        except TablesAway:
            if time.monotonic() > deadline:
                raise


@pytest.fixture(scope="module")
def home(original_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """For tests that change nothing."""
    return copy_of(original_home, tmp_path_factory.mktemp("read") / "home")


@pytest.fixture(scope="module")
def gateway(home: Home) -> Iterator[Gateway]:
    """For tests that ask."""
    with open_gateway(home) as opened:
        yield opened


@pytest.fixture
def own_home(original_home: Path, tmp_path: Path) -> Home:
    """A test's own."""
    return copy_of(original_home, tmp_path / "home")


@pytest.fixture
def own(own_home: Home) -> Iterator[Gateway]:
    """For tests that change something."""
    with open_gateway(own_home) as opened:
        yield opened


@pytest.fixture(scope="session")
def inbox(original_home: Path) -> Path:
    """The directory that was scanned: good.txt, partial.txt, boom.txt."""
    return original_home.parent / "inbox"
