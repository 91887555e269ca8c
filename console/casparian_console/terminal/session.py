"""One run of the console: what is wanted of it, and the loop that it runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from casparian_console.canvas import ASCII, UNICODE, Line
from casparian_console.shell import Shell
from casparian_console.terminal.application import TerminalDisplay
from casparian_console.terminal.frames import write_frame
from casparian_console.terminal.performer import Surroundings
from casparian_console.terminal.recording import Recorder, read_recording
from casparian_console.terminal.replaying import Replay
from casparian_console.terminal.runner import Runner
from casparian_console.terminal.script import NeverHappened, Page, Step, play
from casparian_console.theme import Theme


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the console is to look, and what is to be kept of it."""

    theme: Theme = "dark"
    is_ascii: bool = False
    escape_timeout_seconds: float = 0.05
    record: Path | None = None


@dataclass(frozen=True, slots=True)
class Headless:
    """Without a terminal: at this size, with this script, into this picture."""

    width: int
    height: int
    steps: Sequence[Step]
    screenshot: Path | None = None


def run_on_terminal(around: Surroundings, wanted: Wanted) -> int:
    """Until the person quits; how often something went wrong inside."""
    recorder = Recorder(wanted.record, str(around.home.root)) if wanted.record is not None else None

    async def session() -> int:
        display = TerminalDisplay(wanted.theme, wanted.escape_timeout_seconds)
        listen = recorder.hear if recorder is not None else None
        runner = Runner(_shell(around, wanted), display, around, listen=listen)
        display.press, display.frame = runner.press, runner.frame
        runner.start()
        try:
            await display.run()
        finally:
            await runner.close()
        return runner.problems

    try:
        return uvloop.run(session())
    finally:
        if recorder is not None:
            recorder.close()


def run_headless(around: Surroundings, wanted: Wanted, headless: Headless) -> list[Line]:
    """Play the script; the last frame, which is written too. Raises what the console raises, and `NeverHappened`."""
    recorder = Recorder(wanted.record, str(around.home.root)) if wanted.record is not None else None

    async def session() -> list[Line]:
        faults = _noted_faults()
        page = Page(headless.width, headless.height)
        listen = recorder.hear if recorder is not None else None
        shell = _shell(around, wanted)
        runner = Runner(shell, page, around, listen=listen, is_strict=True)
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

    try:
        return uvloop.run(session())
    finally:
        if recorder is not None:
            recorder.close()


def replay_on_terminal(around: Surroundings, wanted: Wanted, path: Path) -> None:
    """At its own pace, until the person ends it."""
    recording = list(read_recording(path))

    async def session() -> None:
        display = TerminalDisplay(wanted.theme, wanted.escape_timeout_seconds)
        runner = Runner(_shell(around, wanted), display, None)
        replay = Replay(runner, recording)
        display.press, display.frame = replay.press, runner.frame
        runner.start()

        async def play_then_quit() -> None:
            try:
                await replay.play()
            finally:
                display.quit()

        playing = asyncio.get_running_loop().create_task(play_then_quit())
        waiting = asyncio.get_running_loop().create_task(_quit_when(replay.ended, display))
        try:
            await display.run()
        finally:
            for task in (playing, waiting):
                task.cancel()
            await asyncio.gather(playing, waiting, return_exceptions=True)
            await runner.close()

    uvloop.run(session())


def replay_headless(around: Surroundings, wanted: Wanted, headless: Headless, path: Path) -> list[Line]:
    """At once; the last frame, which is written too."""
    recording = list(read_recording(path))

    async def session() -> list[Line]:
        page = Page(headless.width, headless.height)
        runner = Runner(_shell(around, wanted), page, None)
        Replay(runner, recording).play_at_once()
        lines = await play(runner, page, headless.steps)
        await runner.close()
        _write(headless, lines, wanted)
        return lines

    return uvloop.run(session())


async def _quit_when(ended: asyncio.Event, display: TerminalDisplay) -> None:
    await ended.wait()
    display.quit()


def _write(headless: Headless, lines: Sequence[Line], wanted: Wanted) -> None:
    if headless.screenshot is not None:
        write_frame(headless.screenshot, lines, wanted.theme)


def _shell(around: Surroundings, wanted: Wanted) -> Shell:
    return Shell(
        home=str(around.home.root),
        glyphs=ASCII if wanted.is_ascii else UNICODE,
        has_assistant=around.assistant is not None,
    )


def _noted_faults() -> list[BaseException]:
    """What goes wrong in callbacks of the loop from now on."""
    faults: list[BaseException] = []

    def noted(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        found = context.get("exception")
        faults.append(found if isinstance(found, BaseException) else RuntimeError(str(context.get("message"))))

    asyncio.get_running_loop().set_exception_handler(noted)
    return faults
