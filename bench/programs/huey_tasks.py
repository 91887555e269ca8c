"""The queue and the job that Huey's consumers import; `BENCH_HUEY` is the directory of the storage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from huey import SqliteHuey  # type: ignore[import-not-found, unused-ignore]

from bench.stamps import Stamp

DIRECTORY = Path(os.environ["BENCH_HUEY"])

queue: Any = SqliteHuey(filename=str(DIRECTORY / "queue.db"), results=False, fsync=True)
_stamps: list[Stamp] = []


@queue.task()  # type: ignore[untyped-decorator, unused-ignore]
def no_op() -> None:
    if not _stamps:
        _stamps.append(Stamp(DIRECTORY / "bodies" / str(os.getpid())))
    _stamps[0].hit()
