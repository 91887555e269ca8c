"""«The name of the job is enough for a staged file: only one attempt is ever current.»"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.home import Home
from casparian_sentinel.commit import offers, promote
from casparian_sentinel.daemon import promoter
from casparian_sentinel.ports import Fs
from casparian_worker import staging as workers
from tests.simulation.simdisk import SimDisk


def _staged_name(job_id: str, epoch: int, name: str) -> str:
    return f"{job_id}.0.{name}"


def _create(disk: SimDisk, directory: int, name: str) -> int:
    try:
        return disk.fs.create_at(directory, name)
    except FileExistsError:
        return disk.fs.open_regular(directory, name)


def _remove(fs: Fs, home: Home, attempts: Collection[tuple[str, int]]) -> None:
    """By job, since attempts have nothing of their own."""
    jobs = {job_id for job_id, _ in attempts}
    for name in [name for name in fs.names(home.staging) if name.partition(".")[0] in jobs]:
        fs.unlink(home.staging / name)


def _sweep(fs: Fs, home: Home, alive: Collection[tuple[str, int]], upto_epoch: int) -> list[str]:
    jobs = {job_id for job_id, _ in alive}
    dead = [name for name in fs.names(home.staging) if name.partition(".")[0] not in jobs]
    for name in dead:
        fs.unlink(home.staging / name)
    return dead


@contextmanager
def mutated() -> Iterator[None]:
    with (
        patch.object(workers, "staged_name", _staged_name),
        patch.object(offers, "staged_name", _staged_name),
        patch.object(promote, "staged_name", _staged_name),
        patch.object(promote, "remove_attempts", _remove),
        patch.object(promoter, "remove_attempts", _remove),
        patch.object(promoter, "sweep", _sweep),
        patch.object(SimDisk, "create", _create),
    ):
        yield
