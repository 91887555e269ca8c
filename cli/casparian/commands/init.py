"""`casparian init`: makes a home, with a commented `config.toml` and the home's signing key. Never overwrites."""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.bundled import bundled
from casparian.render import as_json
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, make_home

#: One of these in a directory makes it a home.
_MARKS = ("config.toml", "log", "run")


class NotAHome(CasparianError):
    """A directory of somebody else's files is not made a home."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"{root} holds files, and none of them belongs to a Casparian home.",
            remedy="Name a new or empty directory with --home.",
        )


class HomeUnusable(CasparianError):
    """The home cannot be made where it was asked for."""

    def __init__(self, root: Path, cause: OSError) -> None:
        place = f" ({cause.filename})" if cause.filename and str(cause.filename) != str(root) else ""
        super().__init__(
            f"The home {root} cannot be made: {cause.strerror or cause}{place}.",
            remedy="Name another place with --home, or correct the rights of this one.",
        )


@click.command(
    cls=Command,
    short_help="Make a home with a commented config.toml.",
    examples="casparian init\ncasparian --home /srv/casparian init",
)
@pass_app
def init(app: App) -> None:
    """Make a home: its directories, config.toml with every setting explained, and the key that signs its parsers.

    What is already there is left as it is, so calling it again is safe.
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


COMMANDS: dict[str, click.Command] = {"init": init}
