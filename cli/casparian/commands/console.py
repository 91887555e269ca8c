"""`console` (also `tui`): the full screen on which an operator watches; without a terminal it draws pictures of it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.exits import ExitCode, UsageProblem
from casparian_protocol.client import default_actor
from casparian_protocol.settings import load

_SIZE = re.compile(r"(\d{2,3})x(\d{2,3})\Z")


@click.command(
    cls=Command,
    examples="""casparian console
casparian console --theme light --ascii
casparian console --screenshot jobs.svg --script "wait:live alt-j wait:idle"
casparian console --size 80x24 --screenshot home.txt""",
)
@click.option("--theme", type=click.Choice(["auto", "dark", "light", "mono"]), help="Colours (setting console.theme).")
@click.option("--ascii", "is_ascii", is_flag=True, help="Only ASCII characters (setting console.ascii).")
@click.option("--size", default="120x40", metavar="WxH", show_default=True, help="Of a screen without a terminal.")
@click.option(
    "--screenshot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Without a terminal: write the screen to this .txt, .ans or .svg file.",
)
@click.option(
    "--script",
    metavar="WORDS",
    help="Without a terminal: keys, text:…, wait:live, wait:idle, wait:text:WORD, wait:SECONDS; then end.",
)
@pass_app
def console(
    app: App, theme: str | None, is_ascii: bool, size: str, screenshot: Path | None, script: str | None
) -> ExitCode:
    """Watch and steer everything on a full screen: jobs, failures, files, parsers, tables.

    Keyboard first: `?` shows every key, `:` every command. It needs a running daemon to show more than that there is none.
    """
    from casparian_console.terminal.chat import Assistant
    from casparian_console.terminal.performer import Surroundings
    from casparian_console.terminal.script import DEFAULT_SCRIPT, read_script
    from casparian_console.terminal.session import Headless, Wanted, run_headless, run_on_terminal
    from casparian_console.theme import choose_theme, needs_ascii

    environment = dict(os.environ)
    settings = load(app.home, environment).settings
    configured = settings.assistant
    around = Surroundings(
        home=app.home,
        actor=default_actor("console"),
        command=(sys.executable, "-m", "casparian", "--home", str(app.home.root)),
        assistant=Assistant(configured.endpoint, configured.model) if configured.endpoint else None,
        environment=environment,
    )
    is_headless = screenshot is not None or script is not None
    lacks = not is_headless and needs_ascii(app.out.encoding, environment)
    wanted = Wanted(
        choose_theme(theme or settings.console.theme, environment),
        is_ascii or settings.console.ascii or lacks,
        settings.console.escape_timeout_milliseconds / 1000,
    )
    if is_headless:
        width, height = _cells(size)
        steps = read_script(DEFAULT_SCRIPT if script is None else script)
        run_headless(around, wanted, Headless(width, height, steps, screenshot))
        return ExitCode.OK
    if not (app.out.isatty() and sys.stdin.isatty()):
        raise UsageProblem(
            "The console needs a terminal.",
            remedy="`casparian console --screenshot FILE` draws it without one; `casparian status` tells the essence.",
        )
    problems = run_on_terminal(around, wanted)
    if problems:
        app.say(f"{problems} faults of the console were noted in {app.home.logs / 'console.log'}; please report them")
    return ExitCode.OK


def _cells(size: str) -> tuple[int, int]:
    match = _SIZE.match(size)
    if match is None:
        raise UsageProblem(f"{size!r} is no size of a screen.", remedy="Give columns and rows, as in 120x40.")
    return int(match[1]), int(match[2])


COMMANDS: dict[str, click.Command] = {"console": console, "tui": console}
