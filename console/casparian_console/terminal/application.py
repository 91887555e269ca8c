"""The console on a terminal: one full-screen window of prompt_toolkit, and a whole session, from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from prompt_toolkit.application import Application
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Layout
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.output.color_depth import ColorDepth

from casparian_console.canvas import ASCII, UNICODE, Line
from casparian_console.messages import Key, Message, Paste
from casparian_console.shell import Shell
from casparian_console.terminal.frames import Theme, rules, write_frame
from casparian_console.terminal.performer import ConsoleContext
from casparian_console.terminal.recording import Recorder, read_recording
from casparian_console.terminal.runner import Runner
from casparian_console.terminal.script import NeverHappened, Page, Replay, Step, play
from casparian_console.terminal.window import FrameWindow, MakeFrame, name_of

#: Mouse movements without a button; they are frequent and nothing uses them, so they are switched off.
_NO_MOVEMENTS = "\x1b[?1003l\x1b[?1000h"

#: Signals that end the console in order, so that the terminal is restored.
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

Press = Callable[[Message], None]


class TerminalDisplay:
    """The display on a terminal. `press` gets keys and clicks, `frame` returns the frame to show; both are set before `run`."""

    def __init__(self, theme: Theme, escape_timeout_seconds: float) -> None:
        self.press: Press = lambda message: None
        self.frame: MakeFrame = lambda width, height: []
        #: Called after a frame was written to the terminal.
        self.drawn: Callable[[], None] = lambda: None
        self._output: Output = create_output()
        self._application: Application[None] = Application(
            layout=Layout(
                FrameWindow(lambda width, height: self.frame(width, height), lambda message: self.press(message))
            ),
            style=rules(theme),
            include_default_pygments_style=False,
            key_bindings=_bindings(self),
            full_screen=True,
            mouse_support=True,
            enable_page_navigation_bindings=False,
            color_depth=_color_depth(theme),
            max_render_postpone_time=None,
            terminal_size_polling_interval=None,
            input=create_input(),
            output=self._output,
            after_render=self._after_render,
        )
        # `ttimeoutlen` lets the parser tell a lone Esc from an Alt key; no binding waits longer.
        self._application.ttimeoutlen = escape_timeout_seconds
        self._application.timeoutlen = 0
        self._is_mouse_quiet = False

    def size(self) -> tuple[int, int]:
        size = self._output.get_size()
        return size.columns, size.rows

    def show(self) -> None:
        self._application.invalidate()

    def write_raw(self, sequence: str) -> None:
        self._output.write_raw(sequence)
        self._output.flush()

    def suspend(self) -> None:
        """Stop the process as Ctrl-Z does in any program. `fg` resumes it and redraws everything."""
        self._is_mouse_quiet = False
        self._application.suspend_to_background()

    def quit(self) -> None:
        if self._application.is_running and not self._application.is_done:
            self._application.exit()

    async def run(self) -> None:
        """Run until `quit`. The terminal is restored even after an exception."""
        loop = asyncio.get_running_loop()
        faults = _noted_faults(then=self.quit)
        for number in _ENDING_SIGNALS:
            loop.add_signal_handler(number, self.quit)
        blocking = {descriptor: os.get_blocking(descriptor) for descriptor in _open_standard_streams()}
        try:
            await self._application.run_async(set_exception_handler=False)
        except EOFError:
            return  # the terminal was closed
        finally:
            for descriptor, is_blocking in blocking.items():  # uvloop changes it, and the shell shares the descriptor
                os.set_blocking(descriptor, is_blocking)
            for number in _ENDING_SIGNALS:
                loop.remove_signal_handler(number)
        if faults:
            raise faults[0]

    def _after_render(self, _application: Application[None]) -> None:
        if not self._is_mouse_quiet:
            self._is_mouse_quiet = True
            self.write_raw(_NO_MOVEMENTS)
        self.drawn()


def _open_standard_streams() -> Iterator[int]:
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            yield descriptor


def _color_depth(theme: Theme) -> ColorDepth | None:
    """The colour depth; None lets prompt_toolkit choose, usually 256 colours."""
    if theme == "mono":
        return ColorDepth.DEPTH_1_BIT
    return ColorDepth.DEPTH_24_BIT if os.environ.get("COLORTERM") in ("truecolor", "24bit") else None


def _bindings(display: TerminalDisplay) -> KeyBindings:
    """One binding for all keys, which names them and passes them on."""
    bindings = KeyBindings()

    def pressed(event: KeyPressEvent) -> Any:
        _hand_on(display, event.key_sequence[0], with_alt=False)
        return NotImplemented

    def pressed_behind_escape(event: KeyPressEvent) -> Any:
        """Join Esc and a key to an Alt key. Esc twice, and Esc before a click or a paste, stay separate."""
        second = event.key_sequence[1]
        if second.key in (Keys.Escape, Keys.BracketedPaste) or name_of(second.key) is None:
            display.press(Key("esc"))
            event.key_processor.feed(second, first=True)
        else:
            _hand_on(display, second, with_alt=True)
        return NotImplemented

    bindings.add(Keys.Any)(pressed)
    for key in (Keys.BracketedPaste, Keys.SIGINT):
        bindings.add(key)(pressed)
    bindings.add(Keys.Escape, Keys.Any)(pressed_behind_escape)
    return bindings


def _hand_on(display: TerminalDisplay, pressed: KeyPress, *, with_alt: bool) -> None:
    if pressed.key == Keys.BracketedPaste:
        display.press(Paste(pressed.data))
    elif (name := name_of(pressed.key, with_alt=with_alt)) is not None:
        display.press(Key(name))


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """The options of a session: its looks, and the recording."""

    theme: Theme = "dark"
    is_ascii: bool = False
    escape_timeout_seconds: float = 0.05
    record: Path | None = None


@dataclass(frozen=True, slots=True)
class Headless:
    """The options of a run without a terminal: the size, the script and the picture file."""

    width: int
    height: int
    steps: Sequence[Step]
    screenshot: Path | None = None


def run_on_terminal(around: ConsoleContext, wanted: ConsoleOptions) -> int:
    """Run until the user quits. Returns the number of internal errors."""
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


def run_headless(around: ConsoleContext, wanted: ConsoleOptions, headless: Headless) -> list[Line]:
    """Play the script and write the last frame, which is returned. Raises the console's own errors and `NeverHappened`."""
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


def replay_on_terminal(around: ConsoleContext, wanted: ConsoleOptions, path: Path) -> None:
    """Play a recording at its own pace, until the user ends it."""
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


def replay_headless(around: ConsoleContext, wanted: ConsoleOptions, headless: Headless, path: Path) -> list[Line]:
    """Play a recording at once and write the last frame, which is returned."""
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


def _write(headless: Headless, lines: Sequence[Line], wanted: ConsoleOptions) -> None:
    if headless.screenshot is not None:
        write_frame(headless.screenshot, lines, wanted.theme)


def _shell(around: ConsoleContext, wanted: ConsoleOptions) -> Shell:
    return Shell(
        home=str(around.home.root),
        glyphs=ASCII if wanted.is_ascii else UNICODE,
        has_assistant=around.assistant is not None,
    )


def _noted_faults(then: Callable[[], None] = lambda: None) -> list[BaseException]:
    """Collect the errors in callbacks of the loop from now on; `then` is called after each."""
    faults: list[BaseException] = []

    def noted(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        found = context.get("exception")
        faults.append(found if isinstance(found, BaseException) else RuntimeError(str(context.get("message"))))
        then()

    asyncio.get_running_loop().set_exception_handler(noted)
    return faults
