"""`casparian support-bundle`: one file for whoever is to help, without data, paths or keys."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.exits import ExitCode, UsageProblem
from casparian.gateway import NoHome
from casparian.render import as_json, count, size
from casparian.support.parts import gather
from casparian.support.reduce import PACKAGES, Reducer, vocabulary

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


@click.command(
    "support-bundle",
    cls=Command,
    examples="casparian support-bundle casparian-support.tar.gz\ntar -xzOf casparian-support.tar.gz casparian-support/README.txt",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--events",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Put in so many of the last events.",
)
@pass_app
def support_bundle(app: App, file: Path, events: int) -> ExitCode:
    """Write a .tar.gz that tells what is wrong, without data or secrets. Works with a stuck daemon and a damaged log.

    Texts and names are replaced by tokens; README.txt in the bundle says how. Look into it before you send it.
    """
    if not app.home.root.is_dir():
        raise NoHome(app.home)
    reducer = Reducer(vocabulary(_folders()), secrets.token_bytes(32))
    parts = {"README.txt": _README, **dict(gather(app.home, events, reducer))}
    _write(file, parts)
    if app.is_json:
        as_json(app, {"file": str(file), "bytes": file.stat().st_size, "parts": sorted(parts)})
    else:
        app.say(
            f"wrote {file} ({size(file.stat().st_size)}, {count(len(parts), 'part')}); look into it before you send it"
        )
    return ExitCode.OK


def _folders() -> list[Path]:
    """Where the program's own sources lie."""
    specs = [find_spec(name) for name in PACKAGES]
    return [Path(each) for spec in specs if spec is not None for each in spec.submodule_search_locations or ()]


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


COMMANDS: dict[str, click.Command] = {"support-bundle": support_bundle}
