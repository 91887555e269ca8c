"""One run of the console: what is wanted of it, and the loop that it runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from casparian_console.canvas import ASCII, UNICODE, Line
from casparian_console.shell import Shell
from casparian_console.terminal.application import TerminalDisplay
from casparian_console.terminal.frames import write_frame
from casparian_console.terminal.performer import Surroundings
from casparian_console.terminal.runner import Runner
from casparian_console.terminal.script import NeverHappened, Page, Step, play
from casparian_console.theme import Theme


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the console is to look."""

    theme: Theme = "dark"
    is_ascii: bool = False
    escape_timeout_seconds: float = 0.05


@dataclass(frozen=True, slots=True)
class Headless:
    """Without a terminal: at this size, with this script, into this picture."""

    width: int
    height: int
    steps: Sequence[Step]
    screenshot: Path | None = None


def run_on_terminal(around: Surroundings, wanted: Wanted) -> int:
    """Until the person quits; how often something went wrong inside."""

    async def session() -> int:
        display = TerminalDisplay(wanted.theme, wanted.escape_timeout_seconds)
        runner = Runner(_shell(around, wanted), display, around, is_ascii=wanted.is_ascii)
        display.press, display.frame = runner.press, runner.frame
        runner.start()
        try:
            await display.run()
        finally:
            await runner.close()
        return runner.problems

    return uvloop.run(session())


def run_headless(around: Surroundings, wanted: Wanted, headless: Headless) -> list[Line]:
    """Play the script; the last frame, which is written too. Raises what the console raises, and `NeverHappened`."""

    async def session() -> list[Line]:
        page = Page(headless.width, headless.height)
        runner = Runner(_shell(around, wanted), page, around, is_ascii=wanted.is_ascii, is_strict=True)
        faults: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(_fault(context)))
        runner.start()
        try:
            lines = await play(runner, page, headless.steps)
        except NeverHappened:
            _write(headless, runner.frame(*page.size()), wanted)
            raise
        finally:
            await runner.close()
        if faults:
            raise faults[0]
        _write(headless, lines, wanted)
        return lines

    return uvloop.run(session())


def _write(headless: Headless, lines: Sequence[Line], wanted: Wanted) -> None:
    if headless.screenshot is not None:
        write_frame(headless.screenshot, lines, wanted.theme)


def _shell(around: Surroundings, wanted: Wanted) -> Shell:
    return Shell(
        home=str(around.home.root),
        glyphs=ASCII if wanted.is_ascii else UNICODE,
        has_assistant=around.assistant is not None,
    )


def _fault(context: dict[str, object]) -> BaseException:
    found = context.get("exception")
    return found if isinstance(found, BaseException) else RuntimeError(str(context.get("message")))
