"""`scan`, `source`: find files, and manage the directories that are scanned regularly."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import FILE_TEXT, POLL_SECONDS, App, Command, ExitCode, Group, named_values, pass_app
from casparian.render import as_json, as_ndjson, cell, shown_values, status_line, table
from casparian_app.gateway import Gateway
from casparian_app.names import need
from casparian_app.texts import UsageProblem, count, size, when
from casparian_protocol.bounds import Scalar
from casparian_protocol.queries.files import FilesByKind
from casparian_protocol.queries.registry import SourceListed, SourcesListed
from casparian_protocol.wire.operations.daemon import STATUS
from casparian_protocol.wire.operations.registry import ADD_SOURCE, REMOVE_SOURCE, RESCAN
from casparian_protocol.wording import command_line

if TYPE_CHECKING:
    from casparian_app.files import Hashed, ScanOptions, ScanProgress, ScanTotals


@click.command(
    cls=Command,
    examples="""casparian scan /data/fix_logs --tag fix
casparian scan archive/ --pattern "*.hl7" --exclude "**/old/**"
casparian scan one_file.log --tag fix --hash --json""",
)
@click.argument("paths", type=FILE_TEXT, nargs=-1, required=True, metavar="PATH…")
@click.option(
    "--pattern", "patterns", multiple=True, metavar="GLOB", help="Take only files that match this pattern. Repeatable."
)
@click.option(
    "--exclude",
    "excludes",
    multiple=True,
    metavar="GLOB",
    help="Skip files that match this pattern, in addition to .git and the like. Repeatable.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Put this tag on every file found. Repeatable.")
@click.option("--hash", "hash_all", is_flag=True, help="Hash every file (default: only tagged ones).")
@click.option("--stats", is_flag=True, help="Also count the files by kind.")
@click.option(
    "--gitignore",
    is_flag=True,
    help="Skip files that .gitignore names (default: include them, so that no evidence is hidden).",
)
@click.option(
    "--new-disk",
    "accepts_new_disk",
    is_flag=True,
    help="Record files as vanished even if another disk is mounted there than at the last scan (default: refuse).",
)
@click.option(
    "--progress", "tells_progress", is_flag=True, help="Print progress as lines on stdout (with --json as NDJSON)."
)
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
    accepts_new_disk: bool,
    tells_progress: bool,
) -> ExitCode:
    """Find files below PATH and record what is new, changed or gone."""
    from casparian_app.files import DEFAULT_EXCLUDES, ScanOptions, WalkOptions, wanted_tags

    roots = [os.path.abspath(path) for path in paths]
    for given, root in zip(paths, roots, strict=True):
        if not os.path.exists(root):
            raise UsageProblem(f"There is no file or directory {given}.", remedy="Check the path.")
    walk = WalkOptions((*DEFAULT_EXCLUDES, *excludes), patterns, gitignore)
    with app.gateway(creates_home=True) as gateway:
        options = ScanOptions(
            walk,
            hash_all,
            wanted_tags(gateway) | set(tags),
            tags,
            kinds="all" if stats else "tagged",
            accepts_new_disk=accepts_new_disk,
        )
        totals = scan_here(app, gateway, roots, options, tells_progress=tells_progress)
        kinds = {row["kind"]: row["files"] for row in gateway.query(FilesByKind(tuple(roots)))} if stats else {}
    if app.is_json:
        as_json(app, {**asdict(totals), **({"kinds": kinds} if stats else {})})
        return ExitCode.OK if totals.is_complete else ExitCode.INTERRUPTED
    found = f"{count(totals.files, 'file')}, {size(totals.bytes)}"
    changes = ", ".join(
        f"{number:,} {name}"
        for name in ("new", "changed", "renamed", "vanished", "unchanged")
        if (number := getattr(totals, name))
    )
    print(f"{found}: {changes or 'nothing new'}", file=app.out)
    for kind, number in kinds.items():
        print(f"  {cell(kind)}: {number:,}", file=app.out)
    if totals.changed:
        app.say(
            "when a changed file is processed, its new rows replace the earlier ones, unless its source says --on-change append"
        )
    if totals.retagged:
        print(f"{count(totals.retagged, 'known file')} got another tag", file=app.out)
    if passed_by := totals.passed_by():
        app.say(f"skipped {passed_by}: only regular files are read")
    for one in totals.unreadable[:10]:
        app.say(f"unreadable: {cell(one['path'])}: {cell(one['reason'])}")
    if totals.unreadable_count > 10:
        app.say(f"… {totals.unreadable_count - 10:,} more unreadable entries (--json lists them)")
    if not totals.is_complete:
        app.say("stopped early: files found so far are kept; no file was marked as gone")
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def scan_here(
    app: App,
    gateway: Gateway,
    roots: list[str],
    options: ScanOptions,
    *,
    source_id: str | None = None,
    tells_progress: bool = False,
) -> ScanTotals:
    """Scan in this process, with progress on the screen. The first Ctrl-C ends it early."""
    from casparian_app.files import scan_roots

    with _stop_on_interrupt() as stopped, _progress(app, as_lines=tells_progress) as show:
        return scan_roots(gateway, roots, options, source_id=source_id, should_stop=stopped.is_set, on_progress=show)


def say_unread(app: App, hashed: Hashed) -> None:
    """Name the files that should have been hashed but could not be read."""
    for path, why in hashed.unread:
        app.say(f"not read: {path}: {why}")


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C asks the scan to stop; the second interrupts as usual."""
    stopped = threading.Event()

    def first(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(app: App, *, as_lines: bool) -> Iterator[Callable[[ScanProgress], None] | None]:
    """One line of progress on a terminal; lines on stdout with `--progress`; otherwise nothing."""
    if as_lines:
        yield lambda progress: _tell_progress(app, progress)
        return
    with status_line(app, "scanning…") as show:
        yield lambda progress: show(_progress_words(progress))


def _tell_progress(app: App, progress: ScanProgress) -> None:
    if app.is_json:
        as_ndjson(app, [{"progress": asdict(progress)}])
    else:
        print(_progress_words(progress), file=app.out, flush=True)


def _progress_words(progress: ScanProgress) -> str:
    return f"{progress.files:,} files · {progress.files_per_second:,.0f} files/s"


#: `--on-change` in words.
WHAT_CHANGE_DOES = {
    "replace": "its new rows replace its earlier ones (--on-change replace)",
    "append": "its new rows are added and the earlier ones stay (--on-change append)",
}


@click.group(cls=Group)
def source() -> None:
    """Manage the directories that are scanned for files."""


@source.command("add", examples="casparian source add /data/fix_logs --name fix_archive --tag fix --poll 300")
@click.argument("path")
@click.option("--name", metavar="NAME", help="Name the source (default: the name of the directory).")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Put this tag on every file found there. Repeatable.")
@click.option(
    "--exclude", "excludes", multiple=True, metavar="GLOB", help="Skip files that match this pattern. Repeatable."
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
    help="Replace the earlier rows of a changed file, or append to them.",
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
    """Add a directory as a source, which you can rescan by name and the daemon can poll."""
    given = named_values(params)
    root = os.path.abspath(path)
    if not os.path.isdir(root):
        raise UsageProblem(f"{path} is not a directory.", remedy="Name the directory that holds the files.")
    options: dict[str, Scalar | list[str]] = {
        "tags": list(tags),
        "excludes": list(excludes),
        "patterns": list(patterns),
        "on_change": on_change,
    }
    with app.gateway(creates_home=True) as gateway:
        named = name or os.path.basename(root) or root
        result = gateway.perform(
            ADD_SOURCE(name=named, path=root, poll_seconds=poll_seconds, options=options, params=given)
        )
    if app.is_json:
        as_json(app, {**result.model_dump(), "on_change": on_change})
    else:
        app.say(
            f"source {result.name} ({result.source_id[:8]}): `{command_line('source', 'rescan', result.name)}` scans it now"
        )
        app.say(f"when a file changes, {WHAT_CHANGE_DOES[on_change]}")
    return ExitCode.OK


@source.command("list", examples="casparian source list")
@pass_app
def list_sources(app: App) -> ExitCode:
    """List the sources: number of files, last scan and, if polled, the last poll."""
    with app.gateway() as gateway:
        found = gateway.query(SourcesListed())
        polled = gateway.perform(STATUS()).polled if app.as_of is None else {}
    looks = [_last_look(one, polled.get(one["id"])) for one in found]
    params = [json.loads(one["params_json"] or "{}") for one in found]
    if app.is_json:
        documents = [{name: value for name, value in one.items() if name != "params_json"} for one in found]
        sources = zip(documents, looks, params, strict=True)
        as_json(app, [{**one, "last_look": look, "params": values} for one, look, values in sources])
    else:
        rows = [
            (
                s["name"],
                s["path"],
                s["poll_seconds"] or "",
                s["on_change"],
                shown_values(values),
                s["files"],
                when(s["last_scan"]),
                when(look) if s["poll_seconds"] else "",
            )
            for s, look, values in zip(found, looks, params, strict=True)
        ]
        table(
            app,
            ("source", "path", "poll (s)", "on change", "parameters", "files", "last scan", "last look"),
            rows,
            empty="No sources.",
            right=("poll (s)", "files"),
        )
    return ExitCode.OK


def _last_look(source: SourceListed, looked_at: int | None) -> int | None:
    """When the daemon last polled and found nothing new, or the time of the last scan."""
    return max(filter(None, (source["last_scan"], looked_at)), default=None)


@source.command("remove", examples="casparian source remove fix_archive")
@click.argument("named", metavar="NAME|ID")
@pass_app
def remove(app: App, named: str) -> ExitCode:
    """Remove a source: it is no longer scanned, and its files stay in the file index."""
    with app.gateway() as gateway:
        need(gateway, "source", named)
        result = gateway.perform(REMOVE_SOURCE(source=named))
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"source {cell(result.name or named)} removed; its files stay known")
    return ExitCode.OK


@source.command("rescan", examples="casparian source rescan fix_archive")
@click.argument("named", metavar="NAME|ID")
@pass_app
def rescan(app: App, named: str) -> ExitCode:
    """Scan a source now: as a job of the daemon, or in this process when no daemon runs."""
    with app.gateway() as gateway:
        if gateway.is_daemon:
            need(gateway, "source", named)
            result = gateway.perform(RESCAN(source=named))
            if app.is_json:
                as_json(app, result)
            else:
                app.say(f"job {result.job_id[:8]} scans it")
            return ExitCode.OK
        return _rescan_here(app, gateway, named)


def _rescan_here(app: App, gateway: Gateway, named: str) -> ExitCode:
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


COMMANDS: dict[str, click.Command] = {"scan": scan, "source": source}
