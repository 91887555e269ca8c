"""The support bundle: what helps somebody far away to see what is wrong, without a row, a path or a key of the user's.

`parts` gathers what goes in, `reduce` replaces what may not leave the house.
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from casparian_app.problems import NoHome, UsageProblem
from casparian_app.support.parts import gather
from casparian_app.support.reduce import Reducer, own_folders, vocabulary
from casparian_protocol.home import Home

__all__ = ["SupportBundle", "write_support_bundle"]

_README = """Casparian support bundle.

versions.json      the program and what it runs on
doctor.json        what `casparian doctor` measured
settings.json      the effective settings and where each came from
status.json        the daemon's status, when one answered
files.json         how many files lie in each folder of the home, and their sizes
event-counts.json  how many events of which type the log has
events.jsonl       the last events: types, ids, counts
daemon.log         the end of the daemon's log

There are no rows, file contents, keys, environment variables or configuration files in it. Paths, names of files,
parsers, outputs, users and hosts, messages of parsers, and every word or number that the program does not use itself
stand as ~ and eight hex digits of a keyed hash. The key was made for this bundle and thrown away: the same thing has the
same token within the bundle, and nobody can find out what it was. A word that the program uses itself passes.
"""


@dataclass(frozen=True, slots=True)
class SupportBundle:
    """The file that was written."""

    file: Path
    bytes: int
    parts: tuple[str, ...]


def write_support_bundle(home: Home, file: Path, events: int) -> SupportBundle:
    """Write a .tar.gz with the last `events` events and all other parts. Raises `UsageProblem` when the name is taken."""
    if not home.root.is_dir():
        raise NoHome(home)
    reducer = Reducer(vocabulary(own_folders()), secrets.token_bytes(32))
    parts = {"README.txt": _README, **dict(gather(home, events, reducer))}
    _write(file, parts)
    return SupportBundle(file, file.stat().st_size, tuple(sorted(parts)))


def _write(file: Path, parts: dict[str, str]) -> None:
    """Private, and whole or not at all. Raises `UsageProblem` when the name is taken."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as cause:
        raise UsageProblem(f"{file} is there already.", remedy="Name another file, or remove that one.") from cause
    except OSError as cause:
        raise UsageProblem(f"{file} cannot be written: {cause.strerror}.", remedy="Name another file.") from cause
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as bundle:
            for name, text in parts.items():
                content = text.encode("utf-8", "backslashreplace")
                member = tarfile.TarInfo(f"casparian-support/{name}")
                member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
                bundle.addfile(member, io.BytesIO(content))
    except BaseException:
        file.unlink(missing_ok=True)
        raise
