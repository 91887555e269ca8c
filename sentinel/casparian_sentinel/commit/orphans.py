"""Files in `outputs/` and `quarantine/` that no commit of the log names: found, and moved aside, never removed.

They are what an earlier life of the log published, before it was cut back or restored from an older copy; their inputs are
processed again under it. They go to `quarantine/_orphans/` under the path that they had. Which parts the log knows is told
by the caller; files that are no parts of ours are left alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from casparian_protocol.home import Home
from casparian_protocol.jobs import part_at
from casparian_sentinel.commit.files import directory_below, make_directories_durably
from casparian_sentinel.ports import Fs


def published_parts(fs: Fs, home: Home) -> Iterator[list[str]]:
    """The paths of all parts, relative to the home: a list for each version of an output or quarantine."""
    for tree in (home.outputs, home.quarantine):
        for output in _directories(fs, tree):
            for version in _directories(fs, tree / output):
                parts = [f"{tree.name}/{output}/{version}/{name}" for name in fs.names(tree / output / version)]
                if found := [path for path in parts if part_at(path) is not None]:
                    yield found


def move_aside(fs: Fs, home: Home, paths: Iterable[str]) -> list[str]:
    """Move files, given by their paths relative to the home, to `quarantine/_orphans/`; where they are then."""
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
            continue  # moved by somebody else
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
            continue
        return kept_as
    raise AssertionError("counting ends nowhere")


def _directories(fs: Fs, directory: Path) -> list[str]:
    if not fs.is_directory(directory):
        return []
    return [name for name in fs.names(directory) if not name.startswith("_") and fs.is_directory(directory / name)]
