"""Copies of homes for tests: what is zeros in a file (the log's reserve of 64 MiB above all) is a hole in its copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PIECE = bytes(64 * 1024)


def copy_home(original: Path, root: Path) -> Path:
    """The home at `original` once more at `root`, private as a home is, without its sockets."""
    shutil.copytree(
        original, root, symlinks=True, ignore=shutil.ignore_patterns("*.sock"), copy_function=_copy_with_holes
    )
    os.chmod(root, 0o700)
    return root


def _copy_with_holes(source: str, target: str) -> None:
    with open(source, "rb") as read, open(target, "wb") as written:
        while piece := read.read(len(_PIECE)):
            if piece == _PIECE:
                written.seek(len(piece), os.SEEK_CUR)
            else:
                written.write(piece)
        written.truncate()
    shutil.copystat(source, target)
