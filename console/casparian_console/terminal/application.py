"""The console on a terminal: one full-screen window of prompt_toolkit, drawn lazily from the runner's frame.

Owns the terminal: keys, clicks, pastes, its size, and that it is as it was when the console ends, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Layout
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.output.color_depth import ColorDepth

from casparian_console.messages import Key, Message, Paste
from casparian_console.terminal.frames import rules
from casparian_console.terminal.keys import name_of
from casparian_console.terminal.window import FrameWindow, MakeFrame
from casparian_console.theme import Theme

#: Mouse movements without a button: nothing here wants them, and they are many.
_NO_MOVEMENTS = "\x1b[?1003l\x1b[?1000h"

#: Somebody else ends the console: in order, so that the terminal is as it was.
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

Press = Callable[[Message], None]


class TerminalDisplay:
    """See the module. `press` hears keys and clicks, `frame` is asked for what is shown; both are set before `run`."""

    def __init__(self, theme: Theme, escape_timeout_seconds: float) -> None:
        self.press: Press = lambda message: None
        self.frame: MakeFrame = lambda width, height: []
        #: Called when a frame was written to the terminal.
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
        # A lone Esc is told apart from an Alt key by `ttimeoutlen` in the parser; no binding waits for more.
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
        """Stopped as by any program's Ctrl-Z: the terminal is the shell's until `fg`, which draws everything anew."""
        self._is_mouse_quiet = False
        self._application.suspend_to_background()

    def quit(self) -> None:
        if self._application.is_running and not self._application.is_done:
            self._application.exit()

    async def run(self) -> None:
        """Until `quit`. The terminal is restored also when something is raised."""
        loop = asyncio.get_running_loop()
        faults: list[BaseException] = []

        def noted(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            faults.append(context.get("exception") or RuntimeError(str(context.get("message"))))
            self.quit()

        loop.set_exception_handler(noted)
        for number in _ENDING_SIGNALS:
            loop.add_signal_handler(number, self.quit)
        blocking = {descriptor: os.get_blocking(descriptor) for descriptor in _open_standard_streams()}
        try:
            await self._application.run_async(set_exception_handler=False)
        except EOFError:
            return  # the terminal went away
        finally:
            for descriptor, is_blocking in blocking.items():  # uvloop changes it, and the shell has the same descriptor
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
    """None is what prompt_toolkit takes for the terminal: 256 colours, mostly."""
    if theme == "mono":
        return ColorDepth.DEPTH_1_BIT
    return ColorDepth.DEPTH_24_BIT if os.environ.get("COLORTERM") in ("truecolor", "24bit") else None


def _bindings(display: TerminalDisplay) -> KeyBindings:
    """Every key alike: named and handed on."""
    bindings = KeyBindings()

    def pressed(event: KeyPressEvent) -> Any:
        _hand_on(display, event.key_sequence[0], with_alt=False)
        return NotImplemented

    def pressed_behind_escape(event: KeyPressEvent) -> Any:
        """Alt and a key arrive as Esc and the key; Esc twice, and Esc before a click or a paste, are what they are."""
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
