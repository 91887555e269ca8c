"""Homes to be attacked. One is prepared; each test gets a copy of it, with the same inbox, which nobody writes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.crash.load import generate
from tests.crash.site import Site
from tests.homes import copy_home

FILES = 6


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("prepared")
    site = Site(root, root / "inbox")
    site.prepare(generate(site.files, seed=3, files=FILES))
    return site


def copied(prepared: Site, root: Path) -> Site:
    copy_home(prepared.home, root / "home")
    return Site(root, prepared.files, dict(prepared.truth), calm=prepared.calm)


@pytest.fixture(scope="session")
def calm(prepared: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The same work done with nobody attacking: what it costs in descriptors is the measure for all others."""
    made = copied(prepared, tmp_path_factory.mktemp("calm"))
    made.start()
    made.until_idle()
    made.until_running(worker=2, projector=1)
    counts = made.descriptors()
    made.stop()
    prepared.calm.update(counts)
    yield made
    ended(made)


@pytest.fixture
def site(prepared: Site, calm: Site, tmp_path: Path) -> Iterator[Site]:
    made = copied(prepared, tmp_path)
    yield made
    ended(made)


def ended(site: Site) -> None:
    """Only after a failure there is anything to end: a test leaves nothing running."""
    for process in site.processes():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    if site.daemon is not None:
        site.reap()
