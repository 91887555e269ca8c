"""`casparian config`: which settings are in force, where each came from, and whether the file is right."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from typing import Any

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.render import as_json, table
from casparian.shipped import Documented, bundled, read_documented
from casparian_app.problems import UsageProblem
from casparian_app.texts import count
from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.settings import READ_BY_COMMANDS, RELOADABLE, by_key, known_keys, load


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

    -v also shows what is allowed and why. Beside a running daemon, settings that it does not have yet are named."""
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
        told = {key: _document(values[key], loaded.origins[key], documented[key]) for key in chosen}
        as_json(app, {key: {**told[key], **({"daemon": stale[key]} if key in stale else {})} for key in chosen})
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
    """What must happen before a changed value is in force."""
    if key in READ_BY_COMMANDS:
        return "nothing"
    return "config reload" if key in RELOADABLE else "restart"


def _differs(key: str, values: dict[str, Any], running: dict[str, Any]) -> bool:
    return key not in READ_BY_COMMANDS and values[key] != running[key]


def _of_daemon(app: App) -> dict[str, Any] | None:
    """What the running daemon has; None when none answers, or one that cannot say it."""
    if not app.home.log.is_dir():
        return None
    try:
        with Client.connect(app.home, 2.0) as client:
            found: dict[str, Any] = client.request("settings")["settings"]
            return found
    except (NoSentinel, RequestRefused):
        return None


def _what_to_do(keys: Collection[str]) -> str:
    fixed = [key for key in keys if key not in RELOADABLE]
    if not fixed:
        return "`casparian config reload` makes it take the new values over"
    return f"`casparian stop`, then `casparian start`, for {', '.join(fixed)}; `casparian config reload` for any other"


@config.command(examples="casparian config reload")
@pass_app
def reload(app: App) -> ExitCode:
    """Let the running daemon take over changed settings that need no restart. Exit 1 when a change needs one."""
    with app.daemon_client() as client:
        result = client.request("reload")
    if app.is_json:
        as_json(app, {"changed": result["changed"], "needs_restart": result["needs_restart"]})
    else:
        for key, change in result["changed"].items():
            print(f"{key}: {_shown(change['before'])} → {_shown(change['now'])}", file=app.out)
        if not result["changed"] and not result["needs_restart"]:
            app.say("Nothing was changed since the daemon took its settings.")
        if result["needs_restart"]:
            app.say(f"not taken over: {', '.join(result['needs_restart'])}")
            app.say("these are fixed when the daemon and its workers start: `casparian stop`, then `casparian start`")
        if any(key.startswith("quarantine.") for key in result["changed"]):
            app.say("jobs that are queued keep the policy they were queued with; new ones get this")
    return ExitCode.FAILED if result["needs_restart"] else ExitCode.OK


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
    """Check config.toml and the environment. Exit 1 and name the first mistake when they are wrong."""
    loaded = load(app.home, dict(os.environ))
    changed = {key: origin for key, origin in loaded.origins.items() if origin != "built-in"}
    if app.is_json:
        as_json(app, {"ok": True, "settings": len(loaded.origins), "changed": changed, "ignored": list(loaded.ignored)})
        return
    for sentence in loaded.ignored:
        app.say(sentence)
    app.say(f"The settings are right: {count(len(loaded.origins), 'setting')}, {len(changed)} of them not built-in.")


def _document(value: Any, origin: str, documented: Documented) -> dict[str, Any]:
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


COMMANDS: dict[str, click.Command] = {"config": config}
