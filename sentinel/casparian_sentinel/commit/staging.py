"""Staged files, and the file operations of a commit: none follows a link, and none replaces a file.

A staged attempt is in `.staging/<job>/<epoch>/`. This module opens it, removes it, keeps it as evidence, and sweeps it when
neither a lease nor a commit refers to it; the caller says which attempts are alive.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from blake3 import blake3

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_sentinel.ports import Fs, keep_aside

READ_BYTES = 1 << 20


class _Opened:
    """A descriptor that is closed when its `with` block ends."""

    __slots__ = ("_descriptor", "_fs")

    def __init__(self, fs: Fs, descriptor: int) -> None:
        self._fs = fs
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        self._fs.close(self._descriptor)


def directory_below(fs: Fs, root: Path, *parts: str) -> _Opened:
    """For a `with` block: a descriptor of the directory `root/parts…`; no part may be a symbolic link."""
    return _Opened(fs, fs.open_directory(root, *parts))


def staged_by(home: Home, job_id: str, epoch: int) -> tuple[str, str]:
    """The directory of an attempt's files, relative to `.staging`; each attempt has one, so that outputs do not mix."""
    path = home.staging_of(job_id, epoch)
    return path.parent.name, path.name


def opened_regular(fs: Fs, directory: int, name: str) -> _Opened:
    """For a `with` block: the file `name` in an open directory. Raises `OSError(EINVAL)` unless it is regular with one link."""
    return _Opened(fs, fs.open_regular(directory, name))


def pieces_of(fs: Fs, descriptor: int) -> Iterator[bytes]:
    offset = 0
    while piece := fs.pread(descriptor, READ_BYTES, offset):
        yield piece
        offset += len(piece)


def digest_of(fs: Fs, directory: int, name: str) -> str:
    """BLAKE3 of a regular file in hex, in constant memory."""
    with opened_regular(fs, directory, name) as descriptor:
        hasher = blake3()
        for piece in pieces_of(fs, descriptor):
            hasher.update(piece)
        return hasher.hexdigest()


def make_directories_durably(fs: Fs, root: Path, parts: Sequence[str], synced: set[Path]) -> Path:
    """Create `root/parts…` as private directories, and make every name on the way durable.

    An existing directory may have been created by a process that died before its sync, so its parent is synced too; once is
    enough for all callers that share `synced`.
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
    """Point `link` to `target` atomically; returns False if it already pointed there.

    Anything else with that name, such as the directory that a copy made from the link, is kept as `.<name>.aside-<n>`.
    """
    try:
        if fs.read_link(link) == target:
            return False
    except FileNotFoundError:
        pass
    except OSError as cause:
        if cause.errno != errno.EINVAL:  # EINVAL: it is not a link
            raise
        keep_aside(fs, link)
    aside = link.with_name(f".{link.name}.new")
    if fs.exists(aside):
        fs.unlink(aside)
    fs.make_link(aside, target)
    fs.rename(aside, link)
    return True


#: The folder for damaged files. No output can have this name.
DAMAGED = "_damaged"


class StagingElsewhere(CasparianError):
    """Staging and outputs are on different file systems."""

    def __init__(self, home: Home, tree: Path) -> None:
        super().__init__(
            f"{home.staging} and {tree} are on different file systems.",
            remedy="Put both on one file system: a commit is a rename, and a copy would not be one.",
        )


def check_one_file_system(fs: Fs, home: Home) -> None:
    """Raise `StagingElsewhere` unless files can be renamed from staging to outputs and quarantine."""
    device = fs.device(home.staging)
    for tree in (home.outputs, home.quarantine):
        if fs.device(tree) != device:
            raise StagingElsewhere(home, tree)


def remove_attempt(fs: Fs, home: Home, job_id: str, epoch: int) -> None:
    """Remove an attempt's directory with its content, and the job's directory if this was the last attempt."""
    _remove(fs, home.staging_of(job_id, epoch))
    _remove_if_empty(fs, home.staging / job_id)


def remove_attempts(fs: Fs, home: Home, attempts: Collection[tuple[str, int]]) -> None:
    """Remove the directories of attempts, most of which have none: listing the names once is cheaper than looking for each."""
    present = set(fs.names(home.staging))
    for job_id, epoch in attempts:
        if staged_by(home, job_id, epoch)[0] in present:
            remove_attempt(fs, home, job_id, epoch)


def set_aside(fs: Fs, home: Home, job_id: str, epoch: int) -> None:
    """Keep an attempt's staged files as evidence in `quarantine/_damaged/`, durably and where no sweep removes them."""
    staged = home.staging_of(job_id, epoch)
    if not fs.is_directory(staged):
        return
    aside = make_directories_durably(fs, home.root, (home.quarantine.name, DAMAGED), set())
    fs.rename(staged, unused_name(fs, aside, f"{job_id}-{epoch}"))
    fs.fsync_directory(aside)
    fs.fsync_directory(staged.parent)
    _remove_if_empty(fs, home.staging / job_id)


def set_unknown_aside(fs: Fs, home: Home, last_seq: int) -> list[str]:
    """Move attempts whose leases are not in this log (it ends at `last_seq`) to `quarantine/_orphans/`; returns their names.

    An epoch is the sequence number of its lease, so directories with higher epochs come from a longer log than this one. The same
    epochs will be given again, to attempts that must not find these files.
    """
    moved: list[str] = []
    for job in fs.names(home.staging):
        if not fs.is_directory(home.staging / job):
            continue
        for name in fs.names(home.staging / job):
            if name.isascii() and name.isdecimal() and int(name) > last_seq:
                aside = home.orphans / home.staging.name
                fs.make_directory(aside)
                fs.rename(home.staging / job / name, unused_name(fs, aside, f"{job}-{name}"))
                moved.append(f"{job}/{name}")
        _remove_if_empty(fs, home.staging / job)
    return moved


def unused_name(fs: Fs, folder: Path, stem: str) -> Path:
    path, number = folder / stem, 1
    while fs.exists(path):
        number += 1
        path = folder / f"{stem}.{number}"
    return path


def sweep(fs: Fs, home: Home, alive: Collection[tuple[str, int]], upto_epoch: int) -> list[str]:
    """Remove directories of attempts that are not `alive`; epochs after `upto_epoch` are newer than that list.

    Names that belong to no attempt are removed too, because only the sentinel and its workers write here.
    """
    removed: list[str] = []
    for job in fs.names(home.staging):
        directory = home.staging / job
        if not fs.is_directory(directory):
            fs.unlink(directory)
            removed.append(job)
            continue
        for name in fs.names(directory):
            is_epoch = name.isascii() and name.isdecimal()
            if is_epoch and (int(name) > upto_epoch or (job, int(name)) in alive):
                continue
            _remove(fs, directory / name)
            removed.append(f"{job}/{name}")
        _remove_if_empty(fs, directory)
    return removed


def _remove(fs: Fs, path: Path) -> None:
    """Remove a tree, a file or a link, if it exists; links inside are removed, never followed."""
    try:
        if fs.is_directory(path):
            fs.remove_tree(path)
        else:
            fs.unlink(path)
    except FileNotFoundError:
        pass  # its worker removed it at the same moment


def _remove_if_empty(fs: Fs, directory: Path) -> None:
    try:
        fs.remove_directory(directory)
    except OSError as cause:
        if cause.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
