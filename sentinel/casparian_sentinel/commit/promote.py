"""Publishing committed files: each is renamed into place, never copied and never over another file. Repeating it changes nothing.

Commits are published in groups, so that a directory is synced once for all files that moved into it. In the daemon this runs in a
separate thread. The result is a command for the core (`Promoted`, `Kept`), which names damaged and missing files by their paths
relative to the home; such files are left where they are. No commit is decided here.

Files in `outputs/` and `quarantine/` that no commit of the log names were published before the log was cut back or restored from
an older copy. They are moved to `quarantine/_orphans/`, never removed.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from casparian_protocol.home import Home, staged_name
from casparian_protocol.jobs import PART_NAMES, Manifest, StagedFile, part_at, published_path
from casparian_sentinel.commit.staging import (
    digest_of,
    directory_below,
    make_directories_durably,
    remove_attempts,
    set_aside,
    swap_link,
)
from casparian_sentinel.core import Kept, Promoted
from casparian_sentinel.ports import Fs

#: The folder in `quarantine/` for rows of attempts that failed and committed nothing. No output can have this name.
UNCOMMITTED = "_uncommitted"
#: There is a link, a directory or a file with several links where a staged file should be.
_NOT_A_FILE = frozenset({errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.ENXIO})


class PromotionStopped(Exception):
    """The file system refused (no space, no permission). Nothing is lost, and the promotion may be repeated."""

    def __init__(self, cause: OSError, path: str = "") -> None:
        self.path = path or str(cause.filename or "")
        self.cause = cause
        super().__init__(f"{cause.strerror}: {self.path}")


@dataclass(frozen=True, slots=True)
class Promotion:
    """A durable commit whose files may not be in place yet."""

    job_id: str
    epoch: int
    manifest: Manifest
    versions: dict[str, int]
    part_names: int = PART_NAMES


class _Place(NamedTuple):
    """The place where a file is published: `directory`, which is `parts…` in the home."""

    directory: Path
    parts: list[str]
    name: str


def promote_group(fs: Fs, home: Home, group: Sequence[Promotion]) -> list[Promoted]:
    """Promote commits together, then remove their staging. Raises `PromotionStopped`, after which it may be called again."""
    touched: set[Path] = set()
    synced: set[Path] = set()
    try:
        results = [_promote(fs, home, promotion, touched, synced) for promotion in group]
        for directory in sorted(touched):
            fs.fsync_directory(directory)
        for result in results:
            if result.damaged:
                set_aside(fs, home, result.job_id, result.epoch)
        remove_attempts(fs, home, {(result.job_id, result.epoch) for result in results})
    except OSError as cause:
        raise PromotionStopped(cause) from cause
    return results


def _promote(fs: Fs, home: Home, promotion: Promotion, touched: set[Path], synced: set[Path]) -> Promoted:
    damaged: list[str] = []
    for file in promotion.manifest.files:
        if not file.is_published:
            continue
        path = published_path(file, promotion.job_id, promotion.versions[file.output], promotion.part_names)
        *parts, name = path.split("/")
        with _stopped_at(path):
            directory = make_directories_durably(fs, home.root, parts, synced)
            if not _put_in_place(fs, home, promotion, file, _Place(directory, parts, name), touched):
                damaged.append(path)
    for output, version in promotion.versions.items():
        with _stopped_at(f"outputs/{output}"):
            if swap_current(fs, home, output, version, synced):
                touched.add(home.outputs / output)
    return Promoted(promotion.job_id, promotion.epoch, tuple(damaged))


@contextmanager
def _stopped_at(path: str) -> Iterator[None]:
    """Makes errors of the file system name this path, relative to the home, and not the bare name in a directory descriptor."""
    try:
        yield
    except OSError as cause:
        raise PromotionStopped(cause, path) from cause


def _put_in_place(
    fs: Fs, home: Home, promotion: Promotion, file: StagedFile, place: _Place, touched: set[Path]
) -> bool:
    """Whether the file with the committed content is in place."""
    with directory_below(fs, home.root, *place.parts) as target:
        if _moved_from_staging(fs, home, (promotion.job_id, promotion.epoch), file, place, target):
            touched.add(home.staging)
        elif _digest_or_none(fs, target, place.name) != file.digest:
            return False
        touched.add(place.directory)  # an earlier rename may not be durable yet
        return True


def _moved_from_staging(
    fs: Fs, home: Home, attempt: tuple[str, int], file: StagedFile, place: _Place, target: int
) -> bool:
    """Rename the staged file into the open directory `target`; returns False if it is not there as committed.

    If other content has the name, it belongs to no commit, because the name is unique to this file. It is moved aside.
    """
    try:
        with directory_below(fs, home.staging) as source:
            staged = staged_name(*attempt, file.name)
            fs.complete_rename(source, staged, target, place.name)
            if _digest_or_none(fs, source, staged) != file.digest:
                return False
            try:
                fs.rename_new(source, staged, target, place.name)
            except FileExistsError:
                if _digest_or_none(fs, target, place.name) == file.digest:
                    return False
                move_aside(fs, home, ["/".join((*place.parts, place.name))])
                fs.rename_new(source, staged, target, place.name)
            return True
    except FileNotFoundError:
        return False


def _digest_or_none(fs: Fs, directory: int, name: str) -> str | None:
    """The digest of a regular file; None if it does not exist or must not be published."""
    try:
        return digest_of(fs, directory, name)
    except FileNotFoundError:
        return None
    except OSError as cause:
        if cause.errno in _NOT_A_FILE:
            return None
        raise


def swap_current(fs: Fs, home: Home, output: str, version: int, synced: set[Path]) -> bool:
    """Point `outputs/<output>/current` to the live version, as a convenience; the log decides which version is live."""
    directory = home.outputs / output
    make_directories_durably(fs, home.root, ("outputs", output), synced)
    return swap_link(fs, directory / "current", f"v{version}")


def keep_uncommitted(fs: Fs, home: Home, job_id: str, epoch: int, manifest: Manifest) -> Kept:
    """Keep the quarantine of a failed attempt for inspection, and drop the rest.

    If a file is not what the manifest says, all staged files are set aside. Raises `PromotionStopped`, after which it may be
    called again.
    """
    missing: list[str] = []
    parts = ("quarantine", UNCOMMITTED, job_id)
    try:
        directory = make_directories_durably(fs, home.root, parts, set())
        for file in manifest.files:
            if file.kind != "quarantine":
                continue
            place = _Place(directory, list(parts), file.name)
            with directory_below(fs, home.root, *parts) as target:
                _moved_from_staging(fs, home, (job_id, epoch), file, place, target)
                if _digest_or_none(fs, target, file.name) != file.digest:
                    missing.append("/".join((*parts, file.name)))
        fs.fsync_directory(directory)
        if missing:
            set_aside(fs, home, job_id, epoch)
        else:
            remove_attempts(fs, home, [(job_id, epoch)])
    except OSError as cause:
        raise PromotionStopped(cause) from cause
    return Kept(job_id, epoch, tuple(missing))


def without_manifest(fs: Fs, home: Home, job_id: str, epoch: int) -> None:
    """Set staged files without a manifest aside. Raises `PromotionStopped`, after which it may be called again."""
    try:
        set_aside(fs, home, job_id, epoch)
    except OSError as cause:
        raise PromotionStopped(cause) from cause


# --- files that no commit names ---


def published_parts(fs: Fs, home: Home) -> Iterator[list[str]]:
    """The paths of all part files, relative to the home: a list for each version of an output or quarantine."""
    for tree in (home.outputs, home.quarantine):
        for output in _directories(fs, tree):
            for version in _directories(fs, tree / output):
                parts = [f"{tree.name}/{output}/{version}/{name}" for name in fs.names(tree / output / version)]
                if found := [path for path in parts if part_at(path) is not None]:
                    yield found


def move_aside(fs: Fs, home: Home, paths: Iterable[str]) -> list[str]:
    """Move files, given by their paths relative to the home, to `quarantine/_orphans/`; returns their new paths."""
    moved: list[str] = []
    touched: set[Path] = set()
    synced: set[Path] = set()
    for path in paths:
        *parts, name = path.split("/")
        aside = ("quarantine", home.orphans.name, *parts)
        directory = make_directories_durably(fs, home.root, aside, synced)
        try:
            with directory_below(fs, home.root, *parts) as source, directory_below(fs, home.root, *aside) as target:
                kept_as = _move(fs, source, name, target)
        except FileNotFoundError:
            continue  # another process has moved it
        touched |= {directory, home.root.joinpath(*parts)}
        moved.append("/".join((*aside, kept_as)))
    for directory in sorted(touched):
        fs.fsync_directory(directory)
    return moved


def _move(fs: Fs, source: int, name: str, target: int) -> str:
    for number in itertools.count(1):
        kept_as = name if number == 1 else f"{name}.{number}"
        try:
            fs.rename_new(source, name, target, kept_as)
        except FileExistsError:
            if not fs.complete_rename(source, name, target, kept_as):
                continue
        return kept_as
    raise AssertionError("unreachable: itertools.count() never ends")


def _directories(fs: Fs, directory: Path) -> list[str]:
    if not fs.is_directory(directory):
        return []
    return [name for name in fs.names(directory) if not name.startswith("_") and fs.is_directory(directory / name)]
