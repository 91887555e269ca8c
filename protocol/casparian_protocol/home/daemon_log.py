"""Rotation of `logs/daemon.log`, which sentinel, projector and workers write through one inherited descriptor.

Only the sentinel rotates. The full file is renamed to `daemon.log.1` and a new one takes its place in one step, so that
the name always exists. Other processes keep writing to the renamed file until their next `follow`. No line is lost or
copied.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
#: Standard output and error, which is what children inherit.
STANDARD_DESCRIPTORS = (1, 2)
#: More old files than any setting keeps.
OLD_FILES_MAX = 100


def open_daemon_log(path: Path) -> int:
    """A descriptor that appends."""
    return os.open(path, _FLAGS, 0o600)


def old_name(path: Path, number: int) -> Path:
    """`daemon.log.1` is the youngest of the old ones."""
    return path.with_name(f"{path.name}.{number}")


def rotate_if_large(path: Path, descriptor: int, *, max_bytes: int, keep_files: int) -> bool:
    """Begin a new file behind `descriptor` when the old one is full; True if so. For the holder of the home's lock.

    When the disk refuses, all stays as it was and the caller gets the `OSError`.
    """
    if os.fstat(descriptor).st_size < max_bytes:
        return False
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    new = open_daemon_log(fresh)
    try:
        _make_room(path, keep_files)
        os.link(path, old_name(path, 1))
        fresh.replace(path)
        os.dup2(new, descriptor, inheritable=False)
    finally:
        os.close(new)
    return True


def follow(path: Path, descriptors: Sequence[int] = STANDARD_DESCRIPTORS) -> bool:
    """Let descriptors that still write into a rotated file write into the present one; True if any did.

    What never was the daemon's log (a terminal, a pipe, a file of somebody's choice) is left alone.
    """
    try:
        present = path.stat()
    except OSError:
        return False
    stale = [each for each in descriptors if _is_other_file(each, present)]
    if not stale:
        return False
    old = _identities_of_old_files(path)
    stale = [each for each in stale if _identity(os.fstat(each)) in old]
    if not stale:
        return False
    try:
        new = open_daemon_log(path)
    except OSError:
        return False  # no descriptor free, or no right: the old file serves until the next look
    for each in stale:
        os.dup2(new, each, inheritable=True)
    os.close(new)
    return True


def _make_room(path: Path, keep_files: int) -> None:
    """Every old file one number up; those beyond the number to keep are removed."""
    numbers = [number for number in range(1, OLD_FILES_MAX + 1) if old_name(path, number).exists()]
    for number in reversed(numbers):
        if number >= keep_files:
            old_name(path, number).unlink()
        else:
            old_name(path, number).replace(old_name(path, number + 1))


def _is_other_file(descriptor: int, present: os.stat_result) -> bool:
    try:
        held = os.fstat(descriptor)
    except OSError:  # closed
        return False
    return stat.S_ISREG(held.st_mode) and _identity(held) != _identity(present)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identities_of_old_files(path: Path) -> set[tuple[int, int]]:
    found = set()
    for number in range(1, OLD_FILES_MAX + 1):
        try:
            found.add(_identity(old_name(path, number).stat()))
        except OSError:
            break
    return found
