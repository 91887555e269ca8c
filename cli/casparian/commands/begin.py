"""`init`, `new`, `demo`: the commands that make something to begin with: a home, a parser, a whole example. None overwrites."""

from __future__ import annotations

import os
import time
from pathlib import Path

import rich_click as click

from casparian.app import App, Command, ExitCode, Group, pass_app
from casparian.render import as_json, cell
from casparian.shipped import bundled
from casparian_app.problems import UsageProblem
from casparian_app.scaffold import read_sample, scaffold, write_scaffold
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, make_home

#: One of these in a directory makes it a home.
_MARKS = ("config.toml", "log", "run")


class NotAHome(CasparianError):
    """The directory holds other files, so no home is made there."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"{root} holds files, and none of them belongs to a Casparian home.",
            remedy="Name a new or empty directory with --home.",
        )


class HomeUnusable(CasparianError):
    """The home cannot be made at this place."""

    def __init__(self, root: Path, cause: OSError) -> None:
        place = f" ({cause.filename})" if cause.filename and str(cause.filename) != str(root) else ""
        super().__init__(
            f"The home {root} cannot be made: {cause.strerror or cause}{place}.",
            remedy="Name another place with --home, or correct the rights of this one.",
        )


@click.command(
    cls=Command,
    short_help="Create a home with a commented config.toml.",
    examples="casparian init\ncasparian --home /srv/casparian init",
)
@pass_app
def init(app: App) -> None:
    """Create a home: its directories, config.toml with every setting explained, and the key that signs its parsers.

    Whatever exists already is left as it is, so it is safe to run this again.
    """
    from casparian_app.registering import home_key

    home = app.home
    try:
        made = _make(home)
        public_key = home_key(home.keys).public_key
    except OSError as cause:
        raise HomeUnusable(home.root, cause) from cause
    if app.is_json:
        document = {"home": home.root, "made": made, "config": home.config_file, "public_key": public_key}
        as_json(app, document)
        return
    app.say(f"{home.root}: {'made ' + ', '.join(made) if made else 'nothing to make, all is there'}.")
    app.say(f"Settings: {home.config_file}   Signing key: {public_key[:16]}…")
    if others_may_enter(home):
        app.say(f"Warning: others can enter this home. Correct it with `chmod 700 {home.root}`.")


def others_may_enter(home: Home) -> bool:
    """Whether group or others have any right on the home's directory."""
    return bool(home.root.stat().st_mode & 0o077)


def _make(home: Home) -> list[str]:
    """Create what is missing; the names of what was created."""
    if home.root.is_dir() and any(home.root.iterdir()) and not any((home.root / mark).exists() for mark in _MARKS):
        raise NotAHome(home.root)
    had_root = home.root.exists()
    before = set(os.listdir(home.root)) if had_root else set()
    had_key = any(home.keys.glob("*")) if home.keys.exists() else False
    make_home(home)
    made = [] if had_root else ["the home"]
    if had_root and (new := sorted(set(os.listdir(home.root)) - before)):
        made.append(f"its directories ({', '.join(new)})")
    if _write_config(home.config_file):
        made.append("config.toml")
    if not had_key:
        made.append("the signing key")
    return made


def _write_config(path: Path) -> bool:
    """The commented settings, unless there are some; whether they were written."""
    text = bundled("config/casparian.toml").read_bytes()
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


@click.group(cls=Group, short_help="Write a parser skeleton.")
def new() -> None:
    """Write the skeleton of a new parser."""


@new.command(
    "parser",
    examples="casparian new parser trades --from trades_2024.csv\ncasparian new parser trades --dir parsers",
)
@click.argument("name")
@click.option(
    "--from",
    "sample",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draft the columns and the test from this sample.",
)
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Create NAME/ in this directory (default: the current one).",
)
@pass_app
def parser(app: App, name: str, sample: Path | None, parent: Path) -> None:
    """Write the directory NAME with a parser, a contract, a sample and a test, ready to run.

    With --from, columns and types are drafted from the sample: a type is chosen only when every value fits it.
    """
    try:
        files = scaffold(name, read_sample(sample) if sample else None)
        write_scaffold(parent / name, files)
    except OSError as cause:
        raise UsageProblem(
            f"{cause.filename or sample or parent}: {cause.strerror or cause}.",
            remedy="Name a readable sample with --from, and a directory that you may write with --dir.",
        ) from cause
    written = [str(parent / name / path) for path in files]
    if app.is_json:
        as_json(app, {"name": name, "directory": parent / name, "files": written})
        return
    for path in written:
        print(cell(path), file=app.out)
    module, test_input = written[0], written[1]
    app.say(f"Try it:       casparian run {cell(module)} {cell(test_input)}")
    app.say(f"Register it:  casparian parser register {cell(parent / name)}")


@click.command(
    cls=Command,
    examples="casparian demo\ncasparian demo ./demo        # in a directory of its own\ncasparian demo --json",
)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@pass_app
def demo(app: App, directory: Path | None) -> ExitCode:
    """Run the whole main job on generated FIX logs, explain every step, and check the result.

    Everything happens below DIRECTORY (default: a new temporary directory); your own home is not touched. The directory is
    kept, so that you can go on with the commands shown. Exit 1 when a number differs from what was planted.
    """
    from casparian.demo.session import Narrator, Session, choose
    from casparian.demo.steps import Story, end, sample_logs

    place, began = choose(directory), time.monotonic()
    narrator = Narrator(app.out, is_silent=app.is_json)
    session = Session(place)
    story = Story(session, narrator, is_live=not app.is_json and app.out.isatty(), make_logs=sample_logs)
    try:
        story.tell()
    except BaseException:
        app.say(f"the demo ended early; its files are in {place.root}")
        raise
    seconds = time.monotonic() - began
    if app.is_json:
        as_json(app, story.document(seconds))
    else:
        end(narrator, story, session, seconds)
    return ExitCode.OK if story.is_good else ExitCode.FAILED


COMMANDS: dict[str, click.Command] = {"init": init, "new": new, "demo": demo}
