"""The kernel's calls for files that a stranger wrote: opened without following links, renamed without replacing.

What `ports.RealFs` is made of where a path alone would not do. Names are resolved one directory descriptor at a time, so
that nobody can swap a directory while we look. Nothing here decides; an `OSError` passes through as the kernel raised it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from pathlib import Path

_RENAME_NOREPLACE = 1
_OPEN_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_DIRECTORY = _OPEN_ROOT | os.O_NOFOLLOW
#: O_NONBLOCK: opening a FIFO that lies where a file should be must not hang.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: The file system or kernel does not know RENAME_NOREPLACE.
_NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def open_directory_below(root: Path, parts: tuple[str, ...]) -> int:
    """A descriptor of the directory `root/parts…`; no part may be a symbolic link."""
    descriptor = os.open(root, _OPEN_ROOT)
    try:
        for part in parts:
            deeper = os.open(part, _OPEN_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_regular(directory: int, name: str) -> int:
    """The file `name` in an open directory; `OSError(EINVAL)` unless regular and with one link."""
    descriptor = os.open(name, _OPEN_FILE, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        if status.st_nlink != 1:
            raise OSError(errno.EINVAL, f"has {status.st_nlink} links", name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def rename_without_replacing(source: int, name: str, target: int, new_name: str) -> None:
    """Rename between two open directories; `FileExistsError` when the new name is taken."""
    if _libc is not None and hasattr(_libc, "renameat2"):
        if _libc.renameat2(source, os.fsencode(name), target, os.fsencode(new_name), _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code), name, None, new_name)
    os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    os.unlink(name, dir_fd=source)
