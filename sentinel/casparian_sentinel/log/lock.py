"""One writer per home: an exclusive lock that the kernel drops with its holder, whose pid and role stand in the file.

Owns `run/sentinel.lock`. Pid and role are for people, messages and patience; the lock alone decides.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from casparian_sentinel.log.errors import LogInUse

#: A daemon has the home for long, a command that runs without one only while it works.
Role = Literal["sentinel", "command"]

_LINE_BYTES = 40
_LOOK_AGAIN_SECONDS = 0.02


class HomeLock:
    """Held from `acquire` to `release` or the end of the process. The file stays; only its lock matters."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path, role: Role = "sentinel", *, patience_seconds: float = 0.0) -> HomeLock:
        """Take the lock, or raise `LogInUse` with the holder's pid.

        At once, unless a command holds it: that one is waited for up to `patience_seconds`.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + patience_seconds
        try:
            while not _lock(descriptor):
                owner_pid, owner_role = _read_owner(descriptor)
                if owner_role == "sentinel" or time.monotonic() >= deadline:
                    raise LogInUse(path, owner_pid, owner_role)
                time.sleep(_LOOK_AGAIN_SECONDS)  # the kernel has no lock with a deadline
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d %s\n" % (os.getpid(), role.encode()), 0)
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


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_owner(descriptor: int) -> tuple[int | None, Role]:
    """Nobody yet in the moment between locking and writing: that moment is waited for like a command."""
    words = os.pread(descriptor, _LINE_BYTES, 0).split()
    if not words or not words[0].isdigit():
        return None, "command"
    return int(words[0]), "command" if words[1:] == [b"command"] else "sentinel"
