"""`init`, `config`, `doctor`, `support-bundle`, `demo`: create and check a home, and get started.

No command here overwrites anything.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import rich_click as click

from casparian.app import App, Command, ExitCode, Group, pass_app
from casparian.render import as_json, cell, screen_width, table
from casparian.shipped import Documented, bundled, read_documented
from casparian_app.doctor import Check, Verdict, examine
from casparian_app.support import write_support_bundle
from casparian_app.texts import UsageProblem, count, size
from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, make_home
from casparian_protocol.settings import READ_BY_COMMANDS, RELOADABLE, by_key, known_keys, load
from casparian_protocol.wire.operations.daemon import RELOAD, SETTINGS

#: One of these in a directory makes it a home.
_MARKS = ("config.toml", "log", "run")


class NotAHome(CasparianError):
    """The directory has other files, so no home is created there."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"{root} is not empty and is not a Casparian home.",
            remedy="Name a new or empty directory with --home.",
        )


class HomeUnusable(CasparianError):
    """The home cannot be created at this place."""

    def __init__(self, root: Path, cause: OSError) -> None:
        place = f" ({cause.filename})" if cause.filename and str(cause.filename) != str(root) else ""
        super().__init__(
            f"The home {root} cannot be created: {cause.strerror or cause}{place}.",
            remedy="Name another directory with --home, or correct the permissions of this one.",
        )


@click.command(
    cls=Command,
    short_help="Create a home with a commented config.toml.",
    examples="casparian init\ncasparian --home /srv/casparian init",
)
@pass_app
def init(app: App) -> None:
    """Create a home: its directories, config.toml with every setting explained, and the key that signs its parsers.

    Existing files are left as they are, so it is safe to run this again.
    """
    from casparian_app.parsers import home_key

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
    app.say(f"{home.root}: {'created ' + ', '.join(made) if made else 'complete already, nothing to create'}.")
    app.say(f"Settings: {home.config_file}   Signing key: {public_key[:16]}…")
    if others_may_enter(home):
        app.say(f"Warning: other users can enter this home. Run `chmod 700 {home.root}`.")


def others_may_enter(home: Home) -> bool:
    """Whether the group or other users have any permission on the home's directory."""
    return bool(home.root.stat().st_mode & 0o077)


def _make(home: Home) -> list[str]:
    """Create what is missing. Returns the names of what was created."""
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
    """Write the commented settings unless config.toml exists. Returns whether they were written."""
    text = bundled("config/casparian.toml").read_bytes()
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


@click.command(
    cls=Command,
    examples="casparian demo\ncasparian demo ./demo        # in a directory of its own\ncasparian demo --json",
)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@pass_app
def demo(app: App, directory: Path | None) -> ExitCode:
    """Run the whole workflow on generated FIX logs, explain every step, and check the result.

    Everything happens below DIRECTORY (default: a new temporary directory); your own home is not touched. The directory is
    kept, so that you can continue with the commands shown. Exit 1 when a number differs from what was generated.
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


class UnknownSetting(UsageProblem):
    """The command line names a setting or group that does not exist."""

    def __init__(self, name: str) -> None:
        known = [*known_keys(), *{key.partition(".")[0] for key in known_keys()}]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        super().__init__(
            f"There is no setting or group {name[:80]!r}.",
            remedy=f"Did you mean {near[0]}?" if near else "`casparian config show` lists every setting.",
        )


@click.group(cls=Group, short_help="Show, check and reload the settings.")
def config() -> None:
    """Show, check and reload the settings. Change them by editing config.toml in the home."""


@config.command(examples="casparian config show\ncasparian config show limits\ncasparian config show retry.max_retries")
@click.argument("name", required=False)
@pass_app
def show(app: App, name: str | None) -> None:
    """Show every setting, those of a group, or one: its value, where it comes from, and what a change needs.

    -v also shows the allowed values and why the setting exists. If a daemon runs, settings that it has not applied are named."""
    loaded = load(app.home, dict(os.environ))
    for sentence in loaded.ignored:
        app.say(sentence)
    values = by_key(loaded.settings)
    chosen = [key for key in values if name is None or name in (key, key.partition(".")[0])]
    if not chosen:
        raise UnknownSetting(str(name))
    documented = {each.name: each for each in read_documented(bundled("config/casparian.toml").read_text("utf-8"))}
    running = _of_daemon(app)
    stale = {
        key: running[key] for key in chosen if running is not None and key in running and _differs(key, values, running)
    }
    if app.is_json:
        documents = {key: _setting_document(values[key], loaded.origins[key], documented[key]) for key in chosen}
        as_json(app, {key: {**documents[key], **({"daemon": stale[key]} if key in stale else {})} for key in chosen})
        return
    rows = [
        (key, _shown(values[key]), loaded.origins[key], takes_effect(key), documented[key].allowed) for key in chosen
    ]
    heads = ["setting", "value", "from", "a change needs", "allowed"]
    width = len(heads) if app.is_verbose else len(heads) - 1
    table(app, heads[:width], [row[:width] for row in rows], empty="")
    if app.is_verbose:
        for key in chosen:
            app.say(f"{key}: {documented[key].why}")
    for key, value in stale.items():
        print(f"the running daemon still has {key} = {_shown(value)}", file=app.out)
    if stale:
        app.say(_what_to_do(stale))


def takes_effect(key: str) -> str:
    """What is needed before a changed value takes effect."""
    if key in READ_BY_COMMANDS:
        return "nothing"
    return "config reload" if key in RELOADABLE else "restart"


def _differs(key: str, values: Mapping[str, object], running: Mapping[str, object]) -> bool:
    return key not in READ_BY_COMMANDS and values[key] != running[key]


def _of_daemon(app: App) -> Mapping[str, object] | None:
    """The settings of the running daemon; None when there is none, or its version cannot report them."""
    if not app.home.log.is_dir():
        return None
    try:
        with Client.connect(app.home, 2.0) as client:
            return client.perform(SETTINGS()).settings
    except (NoSentinel, RequestRefused):
        return None


def _what_to_do(keys: Collection[str]) -> str:
    fixed = [key for key in keys if key not in RELOADABLE]
    if not fixed:
        return "`casparian config reload` applies the new values"
    return f"`casparian stop`, then `casparian start`, for {', '.join(fixed)}; `casparian config reload` for any other"


@config.command(examples="casparian config reload")
@pass_app
def reload(app: App) -> ExitCode:
    """Let the running daemon apply changed settings that need no restart. Exit 1 when a change needs one."""
    with app.daemon_client() as client:
        result = client.perform(RELOAD())
    if app.is_json:
        as_json(app, {"changed": result.changed, "needs_restart": result.needs_restart})
    else:
        for key, change in result.changed.items():
            print(f"{key}: {_shown(change.before)} → {_shown(change.now)}", file=app.out)
        if not result.changed and not result.needs_restart:
            app.say("No setting has changed since the daemon last loaded them.")
        if result.needs_restart:
            app.say(f"not applied: {', '.join(result.needs_restart)}")
            app.say("these need a restart: `casparian stop`, then `casparian start`")
        if any(key.startswith("quarantine.") for key in result.changed):
            app.say("jobs that are already queued keep their policy; new jobs get this one")
    return ExitCode.FAILED if result.needs_restart else ExitCode.OK


@config.command(examples="$EDITOR $(casparian config path)")
@pass_app
def path(app: App) -> None:
    """Print the path of the home's config.toml."""
    file = app.home.config_file
    if app.is_json:
        as_json(app, {"path": file, "exists": file.exists()})
        return
    print(file, file=app.out)
    if not file.exists():
        app.say("It does not exist: every setting has its built-in value. `casparian init` writes a commented one.")


@config.command(examples="casparian config check")
@pass_app
def check(app: App) -> None:
    """Check config.toml and the environment. If there is a mistake, name the first and exit 1."""
    loaded = load(app.home, dict(os.environ))
    changed = {key: origin for key, origin in loaded.origins.items() if origin != "built-in"}
    if app.is_json:
        as_json(app, {"ok": True, "settings": len(loaded.origins), "changed": changed, "ignored": list(loaded.ignored)})
        return
    for sentence in loaded.ignored:
        app.say(sentence)
    app.say(
        f"The settings are valid: {count(len(loaded.origins), 'setting')}, {len(changed)} with a value of your own."
    )


def _setting_document(value: Any, origin: str, documented: Documented) -> dict[str, object]:
    return {
        "value": value,
        "from": origin,
        "takes_effect": takes_effect(documented.name),
        "built_in": known_keys()[documented.name],
        "allowed": documented.allowed,
        "why": documented.why,
    }


def _shown(value: Any) -> str:
    return "(none)" if value is None else "true" if value is True else "false" if value is False else str(value)


@click.command(
    cls=Command,
    short_help="Check the machine and the home.",
    examples="casparian doctor\ncasparian --home /srv/casparian doctor --json",
)
@pass_app
def doctor(app: App) -> ExitCode:
    """Check the disk, versions, clock, limits, permissions and sandbox layers. Exit 1 when a check fails.

    Nothing is changed, except that one small file is written into the home to time a sync, and removed.
    """
    checks = examine(app.home)
    if app.is_json:
        as_json(app, [{"check": c.name, "verdict": c.verdict, "seen": c.seen, "remedy": c.remedy} for c in checks])
    else:
        _print(app, checks)
    failed = sum(check.verdict is Verdict.FAIL for check in checks)
    warned = sum(check.verdict is Verdict.WARN for check in checks)
    app.say(f"{count(len(checks), 'check')}: {failed} failed, {count(warned, 'warning')}.")
    return ExitCode.FAILED if failed else ExitCode.OK


def _print(app: App, checks: Sequence[Check]) -> None:
    """One line for each check, wrapped to the terminal, with the remedy below it."""
    name_width = max(len(check.name) for check in checks)
    indent = " " * (name_width + 8)
    width = screen_width(app.out)
    for check in checks:
        begin = f"{check.verdict.upper():<4}  {check.name:<{name_width}}  "
        print(fill(cell(check.seen), width, initial_indent=begin, subsequent_indent=indent), file=app.out)
        if check.remedy:
            text = fill(cell(check.remedy), width, initial_indent=f"{indent}→ ", subsequent_indent=f"{indent}  ")
            print(text, file=app.out)


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
    metavar="N",
    help="Include the last N events.",
)
@pass_app
def support_bundle(app: App, file: Path, events: int) -> ExitCode:
    """Write a .tar.gz to send with a request for help, without data and secrets.

    It works while the daemon is stuck and on a damaged log. Texts and names are replaced by tokens; README.txt in the bundle
    explains how. Check it before you send it.
    """
    made = write_support_bundle(app.home, file, events)
    if app.is_json:
        as_json(app, {"file": str(file), "bytes": made.bytes, "parts": made.parts})
    else:
        app.say(f"wrote {file} ({size(made.bytes)}, {count(len(made.parts), 'part')}); check it before you send it")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {
    "init": init,
    "demo": demo,
    "config": config,
    "doctor": doctor,
    "support-bundle": support_bundle,
}
