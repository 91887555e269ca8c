"""The daemon on a disk that fails on demand: what the file named by FAILING_DISK says is what the log's disk does."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path

from casparian_protocol.home import Home
from casparian_protocol.settings import load
from casparian_sentinel.daemon.main import run_with
from casparian_sentinel.daemon.options import Options
from casparian_sentinel.ports import RealClock, RealFs


class FailingFs(RealFs):
    """`ENOSPC`: no write fits and nothing is free. `EIO`: syncs fail. Anything else: a good disk."""

    def __init__(self, switch: Path) -> None:
        self._switch = switch

    def _mood(self) -> str:
        return self._switch.read_text() if self._switch.exists() else ""

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if self._mood() == "ENOSPC":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().pwrite(descriptor, data, offset)

    def fdatasync(self, descriptor: int) -> None:
        if self._mood() == "EIO":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fdatasync(descriptor)

    def free_bytes(self, directory: Path) -> int:
        return 0 if self._mood() == "ENOSPC" else super().free_bytes(directory)

    def free_files(self, directory: Path) -> int | None:
        return 7 if self._mood() == "INODES" else super().free_files(directory)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    home = Home(given.home)
    options = Options(workers=given.workers, ready_descriptor=given.ready_fd, log_to_stderr=True)
    fs = FailingFs(Path(os.environ["FAILING_DISK"]))
    return run_with(home, load(home, {}).settings, options, RealClock(), fs)


if __name__ == "__main__":
    sys.exit(main())
