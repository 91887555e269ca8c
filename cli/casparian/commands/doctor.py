"""`doctor` checks the machine and the home; `support-bundle` writes what it and the home say for whoever is to help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.render import as_json, cell, screen_width
from casparian_app.doctor import Check, Verdict, examine
from casparian_app.support import write_support_bundle
from casparian_app.texts import count, size


@click.command(
    cls=Command,
    short_help="Check the machine and the home.",
    examples="casparian doctor\ncasparian --home /srv/casparian doctor --json",
)
@pass_app
def doctor(app: App) -> ExitCode:
    """Check the disk, versions, clock, limits, permissions and sandbox layers. Exit 1 when a check fails.

    Nothing is changed: one small file is written into the home to time a sync, and removed.
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
    """A line each, wrapped to the terminal, with what to do below."""
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
    """Write a .tar.gz that helps somebody else to see what is wrong, without data or secrets.

    It works beside a stuck daemon and on a damaged log. Texts and names are replaced by tokens; README.txt in the bundle
    explains how. Look into it before you send it.
    """
    made = write_support_bundle(app.home, file, events)
    if app.is_json:
        as_json(app, {"file": str(file), "bytes": made.bytes, "parts": made.parts})
    else:
        app.say(f"wrote {file} ({size(made.bytes)}, {count(len(made.parts), 'part')}); look into it before you send it")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"doctor": doctor, "support-bundle": support_bundle}
