"""Worlds for one test, or for a module whose tests tell one story in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.world import World


def _ended(world: World) -> Iterator[World]:
    yield world
    for process in world.processes():  # only after a failure: a test leaves nothing running
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from _ended(World(tmp_path))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from _ended(World(tmp_path_factory.mktemp("story")))
