"""`source add/list/remove/rescan`: directories that are scanned for files."""

from __future__ import annotations

import json
import os
from typing import Any

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.options import POLL_SECONDS, named_values
from casparian.render import as_json, cell, shown_values, table
from casparian_app.gateway import Gateway
from casparian_app.names import need
from casparian_app.problems import UsageProblem
from casparian_app.texts import count, when
from casparian_protocol.queries.registry import SourceListed, SourcesListed

#: `--on-change` as people read it.
WHAT_CHANGE_DOES = {
    "replace": "its new rows replace its earlier ones (--on-change replace)",
    "append": "its new rows are added and the earlier ones stay (--on-change append)",
}


@click.group(cls=Group)
def source() -> None:
    """Manage the directories that are scanned for files."""


@source.command("add", examples="casparian source add /data/fix_logs --name fix_archive --tag fix --poll 300")
@click.argument("path", type=click.Path(file_okay=False))
@click.option("--name", help="Name the source (default: the name of the directory).")
@click.option("--tag", "tags", multiple=True, help="Put this tag on every file found there. Repeatable.")
@click.option(
    "--exclude", "excludes", multiple=True, metavar="GLOB", help="Leave out files that match this pattern. Repeatable."
)
@click.option(
    "--pattern", "patterns", multiple=True, metavar="GLOB", help="Take only files that match this pattern. Repeatable."
)
@click.option(
    "--poll",
    "poll_seconds",
    type=POLL_SECONDS,
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="Let the daemon rescan every SECONDS seconds; 0: only when asked.",
)
@click.option(
    "--on-change",
    type=click.Choice(["replace", "append"]),
    default="replace",
    show_default=True,
    help="When a file has changed, replace its earlier rows, or append to them.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Pass this parameter to the parser with the source's files; overrides `parser set`. Repeatable.",
)
@pass_app
def add(
    app: App,
    path: str,
    name: str | None,
    tags: tuple[str, ...],
    excludes: tuple[str, ...],
    patterns: tuple[str, ...],
    poll_seconds: int,
    on_change: str,
    params: tuple[str, ...],
) -> ExitCode:
    """Add a directory as a source, which you can rescan by name and the daemon can watch."""
    given = named_values(params)
    root = os.path.abspath(path)
    if not os.path.isdir(root):
        raise UsageProblem(f"{path} is not a directory.", remedy="Name the directory that holds the files.")
    options = {"tags": list(tags), "excludes": list(excludes), "patterns": list(patterns), "on_change": on_change}
    with app.gateway(creates_home=True) as gateway:
        result = gateway.request(
            "add_source",
            name=name or os.path.basename(root) or root,
            path=root,
            poll_seconds=poll_seconds,
            options=options,
            **({"params": given} if given else {}),
        )
    if app.is_json:
        as_json(app, {**result, "on_change": on_change})
    else:
        app.say(
            f"source {result['name']} ({result['source_id'][:8]}): `casparian source rescan {result['name']}` scans it now"
        )
        app.say(f"when a file changes, {WHAT_CHANGE_DOES[on_change]}")
    return ExitCode.OK


@source.command("list", examples="casparian source list")
@pass_app
def list_sources(app: App) -> ExitCode:
    """List the sources with their number of files, the last scan, and the daemon's last look at a polled source."""
    with app.gateway() as gateway:
        found = gateway.query(SourcesListed())
        polled = gateway.request("status").get("polled", {}) if app.as_of is None else {}
    sources = [_document(one, polled.get(one["id"])) for one in found]
    if app.is_json:
        as_json(app, sources)
    else:
        rows = [
            (
                s["name"],
                s["path"],
                s["poll_seconds"] or "",
                s["on_change"],
                shown_values(s["params"]),
                s["files"],
                when(s["last_scan"]),
                when(s["last_look"]) if s["poll_seconds"] else "",
            )
            for s in sources
        ]
        table(
            app,
            ("source", "path", "poll (s)", "on change", "parameters", "files", "last scan", "last look"),
            rows,
            empty="No sources.",
            right=("poll (s)", "files"),
        )
    return ExitCode.OK


def _document(source: SourceListed, looked_at: int | None) -> dict[str, Any]:
    """A source as `--json` prints it; `last_look`: the daemon's last look that found nothing new, or the last scan."""
    last_look = max(filter(None, (source["last_scan"], looked_at)), default=None)
    document = {name: value for name, value in source.items() if name != "params_json"}
    return {**document, "last_look": last_look, "params": json.loads(source["params_json"] or "{}")}


@source.command("remove", examples="casparian source remove fix_archive")
@click.argument("named", metavar="NAME|ID")
@pass_app
def remove(app: App, named: str) -> ExitCode:
    """Remove a source: it is no longer scanned, and its files stay in the catalogue."""
    with app.gateway() as gateway:
        need(gateway, "source", named)
        result = gateway.request("remove_source", source=named)
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"source {cell(result.get('name') or named)} removed; its files stay known")
    return ExitCode.OK


@source.command("rescan", examples="casparian source rescan fix_archive")
@click.argument("named", metavar="NAME|ID")
@pass_app
def rescan(app: App, named: str) -> ExitCode:
    """Scan a source now: as a job of the daemon, or in this process when no daemon runs."""
    with app.gateway() as gateway:
        if gateway.is_daemon:
            need(gateway, "source", named)
            result = gateway.request("rescan", source=named)
            if app.is_json:
                as_json(app, result)
            else:
                app.say(f"job {result['job_id'][:8]} scans it")
            return ExitCode.OK
        return _rescan_here(app, gateway, named)


def _rescan_here(app: App, gateway: Gateway, named: str) -> ExitCode:
    from casparian.commands.scan import scan_here
    from casparian_app.files import find_source, options_of_source

    found = find_source(gateway, named)
    options = options_of_source(gateway, found["id"])
    totals = scan_here(app, gateway, [found["path"]], options, source_id=found["id"])
    if app.is_json:
        as_json(app, {"files": totals.files, "new": totals.new, "changed": totals.changed, "vanished": totals.vanished})
    else:
        print(
            f"{count(totals.files, 'file')}: {totals.new:,} new, {totals.changed:,} changed, {totals.vanished:,} vanished",
            file=app.out,
        )
        if totals.changed:
            app.say(f"when a file changes, {WHAT_CHANGE_DOES[found['on_change'] or 'replace']}")
    return ExitCode.OK if totals.is_complete else ExitCode.INTERRUPTED


COMMANDS: dict[str, click.Command] = {"source": source}
