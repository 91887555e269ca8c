"""Opens, measures and removes directory trees that a guest may have filled with anything. Links are never followed.

It works at any depth, and for directories whose permissions a guest removed. A worker locks (`flock`) a scratch directory in use,
and the kernel releases the lock when the worker dies. The caller decides which attempts are over.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER = 0o700


def remove_tree(path: Path) -> None:
    """Remove a directory with its content. Raises the first `OSError`, after removing everything that can be removed.

    Directories below the first level are moved up to it before they are emptied, which flattens the tree instead of descending.
    """
    root = _entered(None, os.fspath(path))
    try:
        problem = _Removal(root).run()
    finally:
        os.close(root)
    try:
        path.rmdir()
    except OSError as cause:
        raise problem or cause from None


def open_directory(path: Path) -> int:
    """A descriptor of a real directory, never of a link, that may be listed and changed; its mode is changed if necessary."""
    return _entered(None, os.fspath(path))


class _Removal:
    """Empties one directory."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._device = os.fstat(root).st_dev
        self._prefix = f".removing-{secrets.token_hex(8)}-"
        self._count = 0
        self._problem: OSError | None = None
        #: Entries of the first level that cannot be removed.
        self._stuck: set[str] = set()

    def run(self) -> OSError | None:
        while self._pass():
            pass
        return self._problem

    def _pass(self) -> bool:
        """Remove the present entries of the first level. Returns whether any could be removed."""
        is_any = False
        for name, is_directory in _entries(self._root):
            if name in self._stuck:
                continue
            is_any = True
            try:
                if is_directory:
                    self._remove_directory(name)
                else:
                    os.unlink(name, dir_fd=self._root)
            except FileNotFoundError:
                continue
            except OSError as cause:
                self._problem = self._problem or cause
                self._stuck.add(name)
        return is_any

    def _remove_directory(self, name: str) -> None:
        here = _entered(self._root, name)
        try:
            if os.fstat(here).st_dev != self._device:
                raise OSError(0, f"{name} is another file system")
            for inner, is_directory in _entries(here):
                if is_directory:
                    self._move_up(here, inner)
                else:
                    os.unlink(inner, dir_fd=here)
        finally:
            os.close(here)
        os.rmdir(name, dir_fd=self._root)

    def _move_up(self, parent: int, name: str) -> None:
        os.close(_entered(parent, name))  # moving a directory requires write permission for it
        self._count += 1
        os.rename(name, f"{self._prefix}{self._count}", src_dir_fd=parent, dst_dir_fd=self._root)


def _entries(directory: int) -> list[tuple[str, bool]]:
    """The names of the entries, and whether each is a real directory."""
    with os.scandir(directory) as scan:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan]


def _entered(parent: int | None, name: str) -> int:
    """A descriptor of a real directory that may be listed and changed; its mode is changed if necessary."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        if os.fstat(descriptor).st_mode & _OWNER == _OWNER:
            return descriptor
        with suppress(PermissionError):  # it belongs to another user: remove what can be removed
            os.fchmod(descriptor, _OWNER)
        return descriptor
    except PermissionError:
        if sys.platform != "linux":
            raise
    found = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{found}", _OWNER)  # this directory itself, even if its name now refers to another
    finally:
        os.close(found)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def measure_tree(path: Path, on_entry: Callable[[os.stat_result], None]) -> bool:
    """Call `on_entry` for everything in a directory that may change meanwhile; what disappears is skipped.

    It returns to a parent by `..`. If that is no longer the directory it came from, it stops and returns False. A directory that
    its owner may not list becomes one that may be listed.
    """
    try:
        here = os.open(path, _DIRECTORY)
    except OSError:
        return True
    try:
        pending = [_measured(here, on_entry)]
        places = [_place(here)]
        while pending:
            if not pending[-1]:
                pending.pop()
                places.pop()
                if not pending:
                    return True
                here = _stepped(here, "..")
                if _place(here) != places[-1]:
                    return False
                continue
            try:
                here = _stepped(here, pending[-1].pop())
            except OSError:  # removed
                continue
            places.append(_place(here))
            pending.append(_measured(here, on_entry))
        return True
    finally:
        os.close(here)


def _stepped(here: int, name: str) -> int:
    """Open the next directory and close this one."""
    there = _entered(here, name)
    os.close(here)
    return there


def _place(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


def _measured(directory: int, on_entry: Callable[[os.stat_result], None]) -> list[str]:
    """Report all entries; return the names of those that are directories."""
    found: list[str] = []
    try:
        with os.scandir(directory) as scan:
            for entry in scan:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                on_entry(status)
                if stat.S_ISDIR(status.st_mode):
                    found.append(entry.name)
    except OSError:
        return found
    return found


logger = logging.getLogger(__name__)


def remove_scratch(scratch: Path) -> None:
    """Remove a scratch directory at any depth, including directories whose permissions the guest removed.

    Entries that cannot be removed are left for the next call.
    """
    try:
        remove_tree(scratch)
    except FileNotFoundError:
        return
    except OSError as cause:
        logger.warning("The scratch directory %s could not be removed completely: %s", scratch.name, cause)


def remove_if_unused(scratch: Path) -> bool:
    """Remove a scratch directory unless a running worker has locked it. Returns whether it was removed."""
    try:
        lock = open_directory(scratch)
    except OSError:  # removed at this moment, or not a directory
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_scratch(scratch)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
