"""`console` (also `tui`): the full screen on which an operator watches; without a terminal it draws pictures of it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian_app.texts import UsageProblem
from casparian_protocol.client import default_actor
from casparian_protocol.settings import load

if TYPE_CHECKING:
    from casparian_console.terminal.application import ConsoleOptions, Headless
    from casparian_console.terminal.performer import ConsoleContext
    from casparian_console.terminal.script import Step

_SIZE = re.compile(r"(\d{2,3})x(\d{2,3})\Z")
_File = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    examples="""casparian console
casparian console --theme light --ascii
casparian console --screenshot jobs.svg --script "wait:live alt-j wait:idle"
casparian console --size 80x24 --screenshot home.txt
casparian console --record session.jsonl        # names replaced, values left out
casparian console --replay session.jsonl""",
)
@click.option(
    "--theme", type=click.Choice(["auto", "dark", "light", "mono"]), help="Use these colours (default: console.theme)."
)
@click.option("--ascii", "is_ascii", is_flag=True, help="Draw with ASCII characters only (default: console.ascii).")
@click.option(
    "--size",
    default="120x40",
    metavar="WxH",
    show_default=True,
    help="Draw a screen of W columns and H rows when there is no terminal.",
)
@click.option("--screenshot", type=_File, help="Write the screen to this .txt, .ans or .svg file; needs no terminal.")
@click.option(
    "--script",
    metavar="WORDS",
    help="Press these keys (also text:…, wait:live, wait:idle, wait:text:WORD, wait:SECONDS), then end; needs no terminal.",
)
@click.option("--record", type=_File, help="Record the session to this file, without paths, rows and messages.")
@click.option(
    "--replay", type=_File, help="Play a recording (Space pauses, Esc ends); the home is neither read nor changed."
)
@pass_app
def console(
    app: App,
    theme: str | None,
    is_ascii: bool,
    size: str,
    screenshot: Path | None,
    script: str | None,
    record: Path | None,
    replay: Path | None,
) -> ExitCode:
    """Watch and control jobs, failures, files, parsers and tables on a full screen.

    Press `?` for the keys and `:` for the commands. Without a daemon the console says so, and connects when one starts.
    """
    from casparian_console.terminal.application import ConsoleOptions, Headless
    from casparian_console.terminal.frames import choose_theme, needs_ascii

    if record is not None and replay is not None:
        raise UsageProblem("A replay cannot be recorded.", remedy="Leave out --record or --replay.")
    environment = dict(os.environ)
    settings = load(app.home, environment).settings.console
    has_terminal = app.out.isatty() and sys.stdin.isatty()
    is_headless = screenshot is not None or script is not None or (replay is not None and not has_terminal)
    is_ascii = is_ascii or settings.ascii or (not is_headless and needs_ascii(app.out.encoding, environment))
    wanted = ConsoleOptions(
        choose_theme(theme or settings.theme, environment),
        is_ascii,
        settings.escape_timeout_milliseconds / 1000,
        record,
    )
    around = _console_context(app, environment)
    if is_headless:
        _run_headless(around, wanted, Headless(*_cells(size), _steps(script, replay), screenshot), replay)
        return ExitCode.OK
    if not has_terminal:
        raise UsageProblem(
            "The console needs a terminal.",
            remedy="`casparian console --screenshot FILE` draws it without one; `casparian status` prints the main numbers.",
        )
    return _run_on_terminal(app, around, wanted, replay)


def _console_context(app: App, environment: dict[str, str]) -> ConsoleContext:
    from casparian_console.terminal.chat import Assistant
    from casparian_console.terminal.performer import ConsoleContext

    configured = load(app.home, environment).settings.assistant
    return ConsoleContext(
        home=app.home,
        actor=default_actor("console"),
        command=(sys.executable, "-m", "casparian", "--home", str(app.home.root)),
        assistant=Assistant(configured.endpoint, configured.model) if configured.endpoint else None,
        environment=environment,
    )


def _steps(script: str | None, replay: Path | None) -> list[Step]:
    from casparian_console.terminal.script import DEFAULT_SCRIPT, read_script

    if script is None:
        return read_script("" if replay is not None else DEFAULT_SCRIPT)
    return read_script(script)


def _run_headless(around: ConsoleContext, wanted: ConsoleOptions, headless: Headless, replay: Path | None) -> None:
    from casparian_console.terminal.application import replay_headless, run_headless

    if replay is not None:
        replay_headless(around, wanted, headless, replay)
    else:
        run_headless(around, wanted, headless)


def _run_on_terminal(app: App, around: ConsoleContext, wanted: ConsoleOptions, replay: Path | None) -> ExitCode:
    from casparian_console.terminal.application import replay_on_terminal, run_on_terminal

    if replay is not None:
        replay_on_terminal(around, wanted, replay)
    elif problems := run_on_terminal(around, wanted):
        app.say(f"{problems} console errors were written to {app.home.logs / 'console.log'}; please report them")
    return ExitCode.OK


def _cells(size: str) -> tuple[int, int]:
    match = _SIZE.match(size)
    if match is None:
        raise UsageProblem(
            f"{size!r} is not a valid screen size.",
            remedy="Give columns and rows, such as `casparian console --size 120x40`.",
        )
    return int(match[1]), int(match[2])


COMMANDS: dict[str, click.Command] = {"console": console, "tui": console}
