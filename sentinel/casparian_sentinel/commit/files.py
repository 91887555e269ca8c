"""Careful file work for commits, on the `Fs` port: staged files opened and digested, directories made to last.

Names that strangers chose are resolved one directory descriptor at a time and never through a symbolic link. Decides
nothing about commits; an `OSError` passes through as the kernel raised it.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from blake3 import blake3

from casparian_protocol.home import Home
from casparian_sentinel.ports import Fs

READ_BYTES = 1 << 20


class _Opened:
    """A descriptor that is closed when its `with` ends."""

    __slots__ = ("_descriptor", "_fs")

    def __init__(self, fs: Fs, descriptor: int) -> None:
        self._fs = fs
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        self._fs.close(self._descriptor)


def directory_below(fs: Fs, root: Path, *parts: str) -> _Opened:
    """For a `with`: a descriptor of the directory `root/parts…`; no part may be a symbolic link."""
    return _Opened(fs, fs.open_directory(root, *parts))


def staged_by(home: Home, job_id: str, epoch: int) -> tuple[str, str]:
    """Where below `.staging` an attempt's files lie: a directory of its own, since shared ones would mix outputs."""
    path = home.staging_of(job_id, epoch)
    return path.parent.name, path.name


def opened_regular(fs: Fs, directory: int, name: str) -> _Opened:
    """For a `with`: the file `name` in an open directory; `OSError(EINVAL)` unless regular and with one link."""
    return _Opened(fs, fs.open_regular(directory, name))


def pieces_of(fs: Fs, descriptor: int) -> Iterator[bytes]:
    offset = 0
    while piece := fs.pread(descriptor, READ_BYTES, offset):
        yield piece
        offset += len(piece)


def digest_of(fs: Fs, directory: int, name: str) -> str:
    """BLAKE3 of a regular file, hex, in constant memory."""
    with opened_regular(fs, directory, name) as descriptor:
        hasher = blake3()
        for piece in pieces_of(fs, descriptor):
            hasher.update(piece)
        return hasher.hexdigest()


def make_directories_durably(fs: Fs, root: Path, parts: Sequence[str], synced: set[Path]) -> Path:
    """Make `root/parts…`, private, and every name on the way durable.

    A directory that is there may have been made by somebody who died before its sync, so its parent is synced even then;
    once is enough for all who share `synced`.
    """
    path = root
    for part in parts:
        parent, path = path, path / part
        try:
            fs.make_new_directory(path)
        except FileExistsError:
            if parent in synced:
                continue
        fs.fsync_directory(parent)
        synced.add(parent)
    return path


def swap_link(fs: Fs, link: Path, target: str) -> bool:
    """Let `link` point to `target`, atomically; False when it did already.

    Something else of that name, such as the directory that a copy made of the link, is kept as `.<name>.aside-<n>`.
    """
    try:
        if fs.read_link(link) == target:
            return False
    except FileNotFoundError:
        pass
    except OSError as cause:
        if cause.errno != errno.EINVAL:  # EINVAL: it is no link
            raise
        numbered = (link.with_name(f".{link.name}.aside-{number}") for number in itertools.count(1))
        fs.rename(link, next(path for path in numbered if not fs.exists(path)))
    aside = link.with_name(f".{link.name}.new")
    if fs.exists(aside):
        fs.unlink(aside)
    fs.make_link(aside, target)
    fs.rename(aside, link)
    return True
