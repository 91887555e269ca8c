"""Staged files, and the file operations of a commit: none follows a link, and none replaces a file.

The files of all attempts are in `.staging/`, each named by its job, epoch and own name, so that no attempt can touch those of
another. This module removes them, keeps them as evidence, and sweeps them when neither a lease nor a commit refers to their
attempt; the caller says which attempts are alive.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from blake3 import blake3

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, attempt_of
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


def remove_attempts(fs: Fs, home: Home, attempts: Collection[tuple[str, int]]) -> None:
    """Remove everything that these attempts have staged. Most of them staged nothing: one listing tells for all."""
    for name in _staged_by(fs, home, attempts):
        _remove(fs, home.staging / name)


def set_aside(fs: Fs, home: Home, job_id: str, epoch: int) -> None:
    """Keep an attempt's staged files as evidence in `quarantine/_damaged/`, durably and where no sweep removes them."""
    names = _staged_by(fs, home, [(job_id, epoch)])
    if not names:
        return
    parts = (home.quarantine.name, DAMAGED, f"{job_id}-{epoch}")
    aside = make_directories_durably(fs, home.root, parts, set())
    for name in names:
        fs.rename(home.staging / name, unused_name(fs, aside, _own_name(name)))
    fs.fsync_directory(aside)
    fs.fsync_directory(home.staging)


def set_unknown_aside(fs: Fs, home: Home, last_seq: int) -> list[str]:
    """Move files of attempts whose leases are not in this log (it ends at `last_seq`) to `quarantine/_orphans/`; returns the
    attempts.

    An epoch is the sequence number of its lease, so files with higher epochs come from a longer log than this one. The same
    epochs will be given again, to attempts that must not find these files.
    """
    moved: dict[str, None] = {}
    for name in fs.names(home.staging):
        attempt = attempt_of(name)
        if attempt is None or attempt[1] <= last_seq:
            continue
        job_id, epoch = attempt
        aside = home.orphans / home.staging.name / f"{job_id}-{epoch}"
        fs.make_directory(aside)
        fs.rename(home.staging / name, unused_name(fs, aside, _own_name(name)))
        moved[f"{job_id}/{epoch}"] = None
    return list(moved)


def take_over(fs: Fs, home: Home) -> None:
    """Rename what a version staged that had a directory for each attempt, `.staging/<job>/<epoch>/`: commits may refer to it."""
    for job_id in fs.names(home.staging):
        if not fs.is_directory(home.staging / job_id):
            continue
        for epoch in fs.names(home.staging / job_id):
            folder = home.staging / job_id / epoch
            if epoch.isascii() and epoch.isdecimal() and fs.is_directory(folder):
                for name in fs.names(folder):
                    fs.rename(folder / name, home.staged(job_id, int(epoch), name))


def _staged_by(fs: Fs, home: Home, attempts: Collection[tuple[str, int]]) -> list[str]:
    return [name for name in fs.names(home.staging) if attempt_of(name) in attempts]


def _own_name(staged: str) -> str:
    """The name of a staged file among those of its attempt."""
    return staged.split(".", 2)[2]


def unused_name(fs: Fs, folder: Path, stem: str) -> Path:
    path, number = folder / stem, 1
    while fs.exists(path):
        number += 1
        path = folder / f"{stem}.{number}"
    return path


def sweep(fs: Fs, home: Home, alive: Collection[tuple[str, int]], upto_epoch: int) -> list[str]:
    """Remove files of attempts that are not `alive`, and return their names. Epochs after `upto_epoch` are newer than that list.

    Names that belong to no attempt are removed too, because only the sentinel and its workers write here.
    """
    removed: list[str] = []
    for name in fs.names(home.staging):
        attempt = attempt_of(name)
        if attempt is not None and (attempt[1] > upto_epoch or attempt in alive):
            continue
        _remove(fs, home.staging / name)
        removed.append(name)
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
