"""`casparian config`: which settings are in force, where each came from, and whether the file is right."""

from __future__ import annotations

import difflib
import os
from typing import Any

import rich_click as click

from casparian.app import App, Group, pass_app
from casparian.bundled import bundled
from casparian.exits import UsageProblem
from casparian.render import as_json, count, table
from casparian.settings_text import Documented, read_documented
from casparian_protocol.settings import known_keys, load


class UnknownSetting(UsageProblem):
    """The command line names a setting or group that does not exist."""

    def __init__(self, name: str) -> None:
        known = [*known_keys(), *{key.partition(".")[0] for key in known_keys()}]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        super().__init__(
            f"There is no setting or group {name[:80]!r}.",
            remedy=f"Did you mean {near[0]}?" if near else "`casparian config show` lists every setting.",
        )


@click.group(cls=Group, short_help="Effective settings and where each came from.")
def config() -> None:
    """Show, find and check the settings. They are changed by editing config.toml in the home."""


@config.command(examples="casparian config show\ncasparian config show limits\ncasparian config show retry.max_retries")
@click.argument("name", required=False)
@pass_app
def show(app: App, name: str | None) -> None:
    """Print every setting, or those of a group, or one: its value and where the value came from (-v: and why it is)."""
    loaded = load(app.home, dict(os.environ))
    values = {
        f"{group}.{key}": value for group, keys in loaded.settings.model_dump().items() for key, value in keys.items()
    }
    chosen = [key for key in values if name is None or name in (key, key.partition(".")[0])]
    if not chosen:
        raise UnknownSetting(str(name))
    documented = {each.name: each for each in read_documented(bundled("config/casparian.toml").read_text("utf-8"))}
    if app.is_json:
        as_json(app, {key: _document(values[key], loaded.origins[key], documented[key]) for key in chosen})
    elif app.is_verbose:
        rows = [(key, _shown(values[key]), loaded.origins[key], documented[key].allowed) for key in chosen]
        table(app, ["setting", "value", "from", "allowed"], rows, empty="")
        for key in chosen:
            app.say(f"{key}: {documented[key].why}")
    else:
        table(
            app,
            ["setting", "value", "from"],
            [(key, _shown(values[key]), loaded.origins[key]) for key in chosen],
            empty="",
        )


@config.command(examples="$EDITOR $(casparian config path)")
@pass_app
def path(app: App) -> None:
    """Print where the home's config.toml lies."""
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
    """Judge config.toml and the environment; exit 1 and the first fault when they are wrong."""
    loaded = load(app.home, dict(os.environ))
    changed = {key: origin for key, origin in loaded.origins.items() if origin != "built-in"}
    if app.is_json:
        as_json(app, {"ok": True, "settings": len(loaded.origins), "changed": changed})
        return
    app.say(f"The settings are right: {count(len(loaded.origins), 'setting')}, {len(changed)} of them not built-in.")


def _document(value: Any, origin: str, documented: Documented) -> dict[str, Any]:
    return {
        "value": value,
        "from": origin,
        "built_in": known_keys()[documented.name],
        "allowed": documented.allowed,
        "why": documented.why,
    }


def _shown(value: Any) -> str:
    return "(none)" if value is None else "true" if value is True else "false" if value is False else str(value)


COMMANDS: dict[str, click.Command] = {"config": config}
