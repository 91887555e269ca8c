"""One sentinel per home: an exclusive lock that the kernel drops with its holder, whose pid stands in the file.

Owns `run/sentinel.lock`. The pid is for people and messages; the lock alone decides.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from casparian_sentinel.log.errors import LogInUse

_PID_DIGITS = 20


class HomeLock:
    """Held from `acquire` to `release` or the end of the process. The file stays; only its lock matters."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path) -> HomeLock:
        """Take the lock at once, or raise `LogInUse` with the holder's pid."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            owner_pid = _read_pid(descriptor)
            os.close(descriptor)
            raise LogInUse(path, owner_pid) from cause
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        return cls(path, descriptor)

    def release(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _read_pid(descriptor: int) -> int | None:
    """None in the moment between locking and writing the pid."""
    text = os.pread(descriptor, _PID_DIGITS, 0).strip()
    return int(text) if text.isdigit() else None
