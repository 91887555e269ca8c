"""«One staging directory a job is enough: only one attempt is ever current.»"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from casparian_protocol.home import Home
from casparian_sentinel.daemon import promoter
from casparian_sentinel.ports import Fs
from casparian_worker.staging import Disk, StagingDirectory
from tests.simulation import workers
from tests.simulation.simdisk import SimDisk

_SHARED = "shared"


def _staging_of(home: Home, job_id: str, epoch: int) -> Path:
    return home.staging / job_id / _SHARED


def _make(disk: SimDisk, directory: int, name: str) -> None:
    with suppress(FileExistsError):
        disk.fs.make_at(directory, name)


def _create(disk: SimDisk, directory: int, name: str) -> int:
    try:
        return disk.fs.create_at(directory, name)
    except FileExistsError:
        return disk.fs.open_regular(directory, name)


def _shared(root: Path, job_id: str, epoch: int, disk: Disk) -> StagingDirectory:
    staging = StagingDirectory(root, job_id, epoch, disk)
    staging.path = staging.path.with_name(_SHARED)
    return staging


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
        patch.object(workers, "StagingDirectory", _shared),
        patch.object(SimDisk, "make_below", _make),
        patch.object(SimDisk, "create", _create),
    ):
        yield
