"""Removing private directories of guests, whatever a guest made of them and whoever finds them.

A directory in use is locked (`flock`) by its worker; the kernel lets go of the lock when that worker dies. Which
attempts are over is told by the caller.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path


def remove_scratch(scratch: Path) -> None:
    """Remove it with everything in it, directories that the guest closed included. Links are not followed."""
    shutil.rmtree(scratch, ignore_errors=True)
    pending = [scratch] if scratch.exists() else []
    while pending:  # something could not be entered
        folder = pending.pop()
        folder.chmod(0o700)
        with os.scandir(folder) as scan:
            pending += [Path(entry.path) for entry in scan if entry.is_dir(follow_symlinks=False)]
    shutil.rmtree(scratch, ignore_errors=True)


def remove_if_unused(scratch: Path) -> bool:
    """Remove it unless a living worker holds it; True if it was removed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            lock = os.open(scratch, flags)
        except PermissionError:  # its guest closed it
            if scratch.is_symlink():
                return False
            scratch.chmod(0o700)
            lock = os.open(scratch, flags)
    except OSError:  # removed at this moment, or no directory
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_scratch(scratch)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
