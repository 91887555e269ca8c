"""The shipped daemon with odd doors: a disk that fails at its n-th operation, a clock that jumps, an odd first worker.

`python -m tests.crash.odd_daemon --home H --ready-fd N [--workers N] [--fault fdatasync:40:EIO] [--jumps]
[--odd-worker late|stalls FOLDER]`
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import sys
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from casparian_protocol.home import Home
from casparian_protocol.settings import load
from casparian_sentinel.daemon.children import worker_command
from casparian_sentinel.daemon.main import run_with
from casparian_sentinel.daemon.options import Options
from casparian_sentinel.ports import RealClock, RealFs

DAY_MICROSECONDS = 86_400_000_000
#: How many looks at the clock until it jumps again.
_LOOKS_PER_JUMP = 10


class JumpingClock(RealClock):
    """Wall time goes forward a day, back a day, back another; monotonic time is what it is."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def wall_microseconds(self) -> int:
        days = (0, 1, 0, -1)[next(self._looks) // _LOOKS_PER_JUMP % 4]
        return super().wall_microseconds() + days * DAY_MICROSECONDS


def failing_fs(operation: str, number: int, code: int, times: int | None) -> RealFs:
    """The kernel's files: one operation fails from its `number`-th call on, so many times, or for ever."""
    fs = RealFs()
    count = itertools.count(1)
    lock = threading.Lock()
    real: Callable[..., Any] = getattr(fs, operation)

    @wraps(real)
    def failing(*arguments: Any) -> Any:
        with lock:
            call = next(count)
        if call >= number and (times is None or call < number + times):
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    setattr(fs, operation, failing)
    return fs


def with_odd_worker(door: str, folder: str) -> Callable[[Home, str], list[str]]:
    """The command of a worker: the first one is odd (`odd_worker`), all others are as shipped."""

    def command(home: Home, worker_id: str) -> list[str]:
        python, _m, _module, *arguments = worker_command(home, worker_id)
        if worker_id != "local-1":
            return worker_command(home, worker_id)
        return [python, "-m", "tests.crash.odd_worker", door, folder, *arguments]

    return command


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fault", help="operation:number:errno[:times]")
    parser.add_argument("--jumps", action="store_true", help="the wall clock jumps by a day, again and again")
    parser.add_argument("--odd-worker", nargs=2, metavar=("DOOR", "FOLDER"))
    given = parser.parse_args()
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # children start elsewhere
    fs = RealFs()
    if given.fault:
        operation, number, code, *times = given.fault.split(":")
        fs = failing_fs(operation, int(number), getattr(errno, code), int(times[0]) if times else None)
    home = Home(given.home)
    command = with_odd_worker(*given.odd_worker) if given.odd_worker else worker_command
    options = Options(given.workers, ready_descriptor=given.ready_fd, log_to_stderr=True, worker_command=command)
    clock = JumpingClock() if given.jumps else RealClock()
    return run_with(home, load(home, {}).settings, options, clock, fs)


if __name__ == "__main__":
    sys.exit(main())
