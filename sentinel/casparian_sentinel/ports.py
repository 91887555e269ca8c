"""The sentinel's ports to the machine: files and clocks, with only the methods that are used.

This module owns the protocols `Fs` and `Clock` and their production implementations. The event log, the blobs and the commit
access the disk only through `Fs`, so that a simulated disk can replace it. Files that a worker wrote are opened without following
links, one directory descriptor at a time, and renamed without replacing. Errors are not handled here: an `OSError` passes through
unchanged.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import stat
import sys
import time
from pathlib import Path
from typing import Protocol

from casparian_protocol import trees

_RENAME_NOREPLACE = 1
_OPEN_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_DIRECTORY = _OPEN_ROOT | os.O_NOFOLLOW
#: O_NONBLOCK: opening must not hang if there is a FIFO in place of the file.
_NO_SURPRISES = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | _NO_SURPRISES
#: Errors of opening a directory, a link or a FIFO in place of a file.
NOT_A_FILE = frozenset({errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO})
#: The file system or the kernel does not support RENAME_NOREPLACE.
_NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def open_directory_at(root: Path, parts: tuple[str, ...]) -> int:
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


def open_regular_file(directory: int, name: str) -> int:
    """The file `name` in an open directory. Raises `OSError(EINVAL)` unless it is regular with one link."""
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
    """Rename between two open directories. Raises `FileExistsError` if the new name is taken."""
    if _libc is not None and hasattr(_libc, "renameat2"):
        if _libc.renameat2(source, os.fsencode(name), target, os.fsencode(new_name), _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code), name, None, new_name)
    os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    os.unlink(name, dir_fd=source)


def complete_rename(source: int, name: str, target: int, new_name: str) -> bool:
    """Remove the old name if both names are the same file, which `rename_without_replacing` leaves where it has to link and
    unlink, and dies in between. Returns whether they were."""
    try:
        old = os.stat(name, dir_fd=source, follow_symlinks=False)
        new = os.stat(new_name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not os.path.samestat(old, new):
        return False
    os.unlink(name, dir_fd=source)
    return True


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file that this program wrote. Raises `OSError(EINVAL)` if there is something else in its place."""
    descriptor = os.open(path, flags | _NO_SURPRISES, _PRIVATE_FILE)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "Not a regular file", str(path))


_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700


class Clock(Protocol):
    """Wall time is only recorded; decisions use monotonic time."""

    def wall_microseconds(self) -> int: ...

    def monotonic_seconds(self) -> float: ...


class Fs(Protocol):
    """Files by descriptor, at given offsets. Nothing is durable before `fdatasync` and `fsync_directory` return."""

    def open_read(self, path: Path) -> int:
        """Open an existing file. Raises `OSError` if it is not a regular file; a FIFO must not block."""
        ...

    def open_write(self, path: Path) -> int:
        """Open an existing file for reading and writing in place."""
        ...

    def create(self, path: Path) -> int:
        """Create a private file for reading and writing. Raises `FileExistsError` if the name is taken."""
        ...

    def close(self, descriptor: int) -> None: ...

    def pread(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        """Up to `size_bytes` bytes; fewer only at the end of the file."""
        ...

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write once; returns how many bytes were written, which may be fewer than given."""
        ...

    def fdatasync(self, descriptor: int) -> None: ...

    def truncate(self, descriptor: int, size_bytes: int) -> None: ...

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        """Make the file `size_bytes` long, with allocated blocks."""
        ...

    def size(self, descriptor: int) -> int: ...

    def exists(self, path: Path) -> bool: ...

    def names(self, directory: Path) -> list[str]:
        """The names in the directory, sorted."""
        ...

    def rename(self, source: Path, target: Path) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def make_directory(self, path: Path) -> None:
        """Create a private directory and its parents, as far as they do not exist."""
        ...

    def fsync_directory(self, directory: Path) -> None: ...

    def free_bytes(self, directory: Path) -> int:
        """The bytes that this user may still write on the directory's file system."""
        ...

    def free_files(self, directory: Path) -> int | None:
        """How many more files (inodes) fit; None if the file system does not count them."""
        ...

    # --- for trees in which others write: by directory descriptors, never through a symbolic link

    def open_directory(self, root: Path, *below: str) -> int:
        """Open the directory `root/below…`; no part of `below` may be a symbolic link."""
        ...

    def open_regular(self, directory: int, name: str) -> int:
        """Open for reading. Raises `OSError(EINVAL)` unless it is a regular file with one link."""
        ...

    def rename_new(self, source: int, name: str, target: int, new_name: str) -> None:
        """Rename between two open directories. Raises `FileExistsError` if the new name is taken."""
        ...

    def complete_rename(self, source: int, name: str, target: int, new_name: str) -> bool:
        """Complete a `rename_new` that may have been interrupted. Returns whether both names were still there."""
        ...

    def make_new_directory(self, path: Path) -> None:
        """Create one private directory. Raises `FileExistsError` if the name is taken."""
        ...

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        ...

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with its content; links inside are removed, never followed."""
        ...

    def is_directory(self, path: Path) -> bool:
        """Whether it is a directory and not a symbolic link to one."""
        ...

    def read_link(self, path: Path) -> str: ...

    def make_link(self, path: Path, target: str) -> None:
        """Create a symbolic link."""
        ...

    def device(self, path: Path) -> int:
        """The id of the file system that the path is on."""
        ...


class RealClock:
    def wall_microseconds(self) -> int:
        return time.time_ns() // 1000

    def monotonic_seconds(self) -> float:
        return time.monotonic()


class RealFs:
    """The kernel's files."""

    def open_read(self, path: Path) -> int:
        return open_file(path)

    def open_write(self, path: Path) -> int:
        return open_file(path, os.O_RDWR)

    def create(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, _PRIVATE_FILE)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def pread(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        first = os.pread(descriptor, size_bytes, offset)
        if len(first) in (0, size_bytes):
            return first
        pieces, got = [first], len(first)  # one read returns at most 2 GiB, on some file systems less
        while got < size_bytes and (piece := os.pread(descriptor, size_bytes - got, offset + got)):
            pieces.append(piece)
            got += len(piece)
        return b"".join(pieces)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def fdatasync(self, descriptor: int) -> None:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # on this system plain fsync does not flush the drive's cache
        else:
            os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        if sys.platform == "darwin":
            for offset in range(0, size_bytes, 1 << 20):
                os.pwrite(descriptor, bytes(min(1 << 20, size_bytes - offset)), offset)
        else:
            os.posix_fallocate(descriptor, 0, size_bytes)

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)

    def names(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory))

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)

    def fsync_directory(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, directory: Path) -> int:
        status = os.statvfs(directory)
        return status.f_bavail * status.f_frsize

    def free_files(self, directory: Path) -> int | None:
        status = os.statvfs(directory)
        return status.f_favail if status.f_files else None

    def open_directory(self, root: Path, *below: str) -> int:
        return open_directory_at(root, below)

    def open_regular(self, directory: int, name: str) -> int:
        return open_regular_file(directory, name)

    def rename_new(self, source: int, name: str, target: int, new_name: str) -> None:
        rename_without_replacing(source, name, target, new_name)

    def complete_rename(self, source: int, name: str, target: int, new_name: str) -> bool:
        return complete_rename(source, name, target, new_name)

    def make_new_directory(self, path: Path) -> None:
        path.mkdir(mode=_PRIVATE_DIRECTORY)

    def remove_directory(self, path: Path) -> None:
        path.rmdir()

    def remove_tree(self, path: Path) -> None:
        trees.remove_tree(path)

    def is_directory(self, path: Path) -> bool:
        return path.is_dir() and not path.is_symlink()

    def read_link(self, path: Path) -> str:
        return os.readlink(path)

    def make_link(self, path: Path, target: str) -> None:
        path.symlink_to(target)

    def device(self, path: Path) -> int:
        return path.stat().st_dev


def read_file(fs: Fs, path: Path, limit_bytes: int) -> bytes | None:
    """The first bytes of a file; None if nothing has this name. Raises `OSError`."""
    if not fs.exists(path):
        return None
    descriptor = fs.open_read(path)
    try:
        return fs.pread(descriptor, min(limit_bytes, fs.size(descriptor)), 0)
    finally:
        fs.close(descriptor)


def write_all(fs: Fs, descriptor: int, data: bytes, offset: int) -> None:
    """Write every byte, with one write unless the kernel takes fewer; the offset makes a repetition harmless."""
    done = 0
    while done < len(data):
        try:
            taken = fs.pwrite(descriptor, data[done:] if done else data, offset + done)
        except InterruptedError:
            continue
        if taken <= 0:
            raise OSError(f"the file system wrote no byte at offset {offset + done}")
        done += taken


def write_file_durably(fs: Fs, path: Path, data: bytes) -> None:
    """Write a file that appears under its name complete and durable, or not at all; an older one is replaced.

    A directory with that name is not this program's, and is kept as `.<name>.aside-<n>`.
    """
    aside = path.with_name(path.name + ".new")
    if fs.exists(aside):
        fs.unlink(aside)
    descriptor = fs.create(aside)
    try:
        try:
            write_all(fs, descriptor, data, 0)
            fs.fdatasync(descriptor)
        finally:
            fs.close(descriptor)
    except OSError:
        fs.unlink(aside)
        raise
    try:
        fs.rename(aside, path)
    except IsADirectoryError:
        keep_aside(fs, path)
        fs.rename(aside, path)
    fs.fsync_directory(path.parent)


def keep_aside(fs: Fs, path: Path) -> Path:
    """Rename what stands in place of one of this program's files to `.<name>.aside-<n>`; returns the new path."""
    numbered = (path.with_name(f".{path.name}.aside-{number}") for number in itertools.count(1))
    kept = next(name for name in numbered if not fs.exists(name))
    fs.rename(path, kept)
    return kept
