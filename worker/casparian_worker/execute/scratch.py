"""The private directory of a running guest: watched for size, removed whatever the guest made of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casparian_protocol.home import measure_tree, remove_if_unused, remove_scratch
from casparian_worker.validation import LimitExceeded

ENTRIES_MAX = 100_000
#: A directory this young may not be locked yet.
_NEW_SECONDS = 60.0


def check_scratch(scratch: Path, bytes_max: int) -> None:
    """Raise `LimitExceeded` for too many bytes (as the disk counts them) or too many entries."""
    total_bytes = entries = 0

    def count(status: os.stat_result) -> None:
        nonlocal total_bytes, entries
        entries += 1
        total_bytes += status.st_blocks * 512
        if entries > ENTRIES_MAX:
            raise LimitExceeded("Files in the scratch directory", entries, ENTRIES_MAX)

    measure_tree(scratch, count)
    if total_bytes > bytes_max:
        raise LimitExceeded("Bytes in the scratch directory", total_bytes, bytes_max)


@contextmanager
def held_scratch(scratch: Path) -> Iterator[Path]:
    """A new private directory, locked while it is in use and removed afterwards."""
    scratch.mkdir(mode=0o700)
    lock = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield scratch
    finally:
        remove_scratch(scratch)
        os.close(lock)


def sweep(root: Path, now_seconds: float) -> list[str]:
    """Remove what workers that died left behind: directories that nobody has locked and that are not quite new."""
    removed: list[str] = []
    for path in sorted(root.iterdir()):
        try:
            if not path.is_dir() or path.is_symlink() or now_seconds - path.stat().st_mtime < _NEW_SECONDS:
                continue
        except OSError:  # removed at this moment
            continue
        if remove_if_unused(path):
            removed.append(path.name)
    return removed
