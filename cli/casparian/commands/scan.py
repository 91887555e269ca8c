"""`scan`: find files and take them into the catalogue. Works with and without a daemon."""

from __future__ import annotations

import os
from dataclasses import asdict

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.exits import ExitCode, UsageProblem
from casparian.gateway import Gateway, open_gateway
from casparian.render import as_json, cell, count, size


@click.command(
    cls=Command,
    examples="""casparian scan /data/fix_logs --tag fix
casparian scan archive/ --pattern "*.hl7" --exclude "**/old/**"
casparian scan one_file.log --tag fix --hash --json""",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option("--pattern", "patterns", multiple=True, metavar="GLOB", help="Only files that match one of these.")
@click.option("--exclude", "excludes", multiple=True, metavar="GLOB", help="Leave these out, besides .git and its kin.")
@click.option("--tag", "tags", multiple=True, help="Put this tag on everything found.")
@click.option("--hash", "hash_all", is_flag=True, help="Digest every file, not only tagged ones.")
@click.option("--stats", is_flag=True, help="Also count files by kind.")
@click.option(
    "--gitignore", is_flag=True, help="Leave out what .gitignore files name (evidence is not hidden by default)."
)
@click.option("--progress", "tells_progress", is_flag=True, help="Lines of progress on stdout (--json: NDJSON).")
@pass_app
def scan(
    app: App,
    paths: tuple[str, ...],
    patterns: tuple[str, ...],
    excludes: tuple[str, ...],
    tags: tuple[str, ...],
    hash_all: bool,
    stats: bool,
    gitignore: bool,
    tells_progress: bool,
) -> ExitCode:
    """Find files below PATH and remember what is new, changed or gone."""
    from casparian.scanning import scan_roots
    from casparian_worker.discovery.scan import ScanOptions
    from casparian_worker.discovery.walk import DEFAULT_EXCLUDES, WalkOptions

    roots = [os.path.abspath(path) for path in paths]
    for given, root in zip(paths, roots, strict=True):
        if not os.path.exists(root):
            raise UsageProblem(f"There is nothing at {given}.", remedy="Check the path.")
    walk = WalkOptions((*DEFAULT_EXCLUDES, *excludes), patterns, gitignore)
    with open_gateway(app, creates_home=True) as gateway:
        wanted = {row["topic"] for row in gateway.rows("select distinct topic from cf_parser_topics")} | set(tags)
        wanted |= {row["tag"] for row in gateway.rows("select distinct tag from scout_tagging_rules where enabled")}
        options = ScanOptions(walk, hash_all, wanted, tags, kinds="all" if stats else "tagged")
        totals = scan_roots(app, gateway, roots, lambda _root: options, tells_progress=tells_progress)
        kinds = _kinds(gateway, roots) if stats else {}
    if app.is_json:
        as_json(app, {**asdict(totals), **({"kinds": kinds} if stats else {})})
        return ExitCode.OK if totals.is_complete else ExitCode.INTERRUPTED
    found = f"{count(totals.files, 'file')}, {size(totals.bytes)}"
    changes = ", ".join(
        f"{number:,} {name}"
        for name in ("new", "changed", "renamed", "vanished", "unchanged")
        if (number := getattr(totals, name))
    )
    print(f"{found}: {changes or 'nothing'}", file=app.out)
    for kind, number in kinds.items():
        print(f"  {cell(kind)}: {number:,}", file=app.out)
    if totals.changed:
        app.say("a changed file's new rows replace its earlier ones, unless its source says --on-change append")
    if totals.retagged:
        print(f"{count(totals.retagged, 'known file')} got another tag", file=app.out)
    if passed_by := totals.passed_by():
        app.say(f"passed by: {passed_by}; only regular files are read")
    for one in totals.unreadable[:10]:
        app.say(f"unreadable: {cell(one['path'])}: {cell(one['reason'])}")
    if totals.unreadable_count > 10:
        app.say(f"… {totals.unreadable_count - 10:,} more unreadable entries (--json lists them)")
    if not totals.is_complete:
        app.say("cut short: what was found is kept, nothing was taken as vanished")
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _kinds(gateway: Gateway, roots: list[str]) -> dict[str, int]:
    conditions = " or ".join("path = ? or starts_with(path, ? || '/')" for _ in roots)
    params = [text for root in roots for text in (root, root)]
    found = gateway.rows(
        "select coalesce(kind, 'not looked at') as kind, count(*) as files from scout_files"
        f" where status <> 'vanished' and ({conditions})"
        " group by 1 order by 2 desc",
        params,
    )
    return {row["kind"]: row["files"] for row in found}


COMMANDS: dict[str, click.Command] = {"scan": scan}
