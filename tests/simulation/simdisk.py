"""The simulated disk as a worker's staging sees it: `casparian_worker.staging.Disk` over `SimFs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.simulation.simfs import SimFs


@dataclass(frozen=True, slots=True)
class SimDisk:
    fs: SimFs

    def open_directory(self, path: Path) -> int:
        return self.fs.open_directory(path)

    def names(self, path: Path) -> list[str]:
        return self.fs.names(path)

    def create(self, directory: int, name: str) -> int:
        return self.fs.create_at(directory, name)

    def remove_below(self, directory: int, name: str) -> None:
        self.fs.unlink_at(directory, name)

    def append(self, descriptor: int, data: memoryview) -> int:
        return self.fs.append(descriptor, bytes(data))

    def sync(self, descriptor: int) -> None:
        self.fs.sync_opened(descriptor)

    def close(self, descriptor: int) -> None:
        self.fs.close(descriptor)
