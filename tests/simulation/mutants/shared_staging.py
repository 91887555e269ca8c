"""«One staging directory a job is enough: only one attempt is ever current.»"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from casparian_protocol.home import Home
from casparian_sentinel.daemon import promoter
from casparian_sentinel.ports import Fs
from tests.simulation.world import World

_SHARED = "shared"


def _staging_of(home: Home, job_id: str, epoch: int) -> Path:
    return home.staging / job_id / _SHARED


def _make(world: World, path: Path) -> None:
    world.fs.make_directory(path)


def _create(world: World, path: Path) -> int:
    return world.fs.open_write(path) if world.fs.exists(path) else world.fs.create(path)


def _sweep(fs: Fs, home: Home, alive: Collection[tuple[str, int]], upto_epoch: int) -> list[str]:
    """By job, since attempts have nothing of their own."""
    jobs = {job_id for job_id, _ in alive}
    dead = [name for name in fs.names(home.staging) if name not in jobs]
    for name in dead:
        fs.remove_tree(home.staging / name)
    return dead


@contextmanager
def mutated() -> Iterator[None]:
    with (
        patch.object(Home, "staging_of", _staging_of),
        patch.object(promoter, "sweep", _sweep),
        patch.object(World, "make_attempt_directory", _make),
        patch.object(World, "create_staged", _create),
    ):
        yield
