"""Carries messages to the shell, effects to the performer, frames to the display; owns when a frame is drawn.

A key is drawn at once, what the feed and answers bring at most every 50 ms, and a frame that did not change not at all.
What goes wrong in the shell is written to `logs/console.log` and said in the message line: it never ends the console.
"""

from __future__ import annotations

import asyncio
import gc
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Protocol

from casparian_console.canvas import Line, block
from casparian_console.effects import Effects
from casparian_console.messages import Heard, Message, Tick
from casparian_console.shell import Shell
from casparian_console.terminal.feed import FeedReader
from casparian_console.terminal.performer import ConsoleContext, Performer
from casparian_protocol.feed import Snapshot
from casparian_protocol.home import Home

FRAME_SECONDS = 0.05
_TICK_SECONDS = 1.0
#: A collection of 100,000 jobs takes as long as several frames: rarely, and never of what stays.
_GC_THRESHOLD = 50_000


class Display(Protocol):
    """Where frames go."""

    def size(self) -> tuple[int, int]: ...

    def show(self) -> None:
        """`Runner.frame` has changed."""
        ...

    def write_raw(self, sequence: str) -> None: ...

    def suspend(self) -> None: ...

    def quit(self) -> None: ...


class Runner:
    """See the module. Everything is called on the loop."""

    def __init__(
        self,
        shell: Shell,
        display: Display,
        around: ConsoleContext | None,
        *,
        listen: Callable[[Message], None] | None = None,
        is_strict: bool = False,
    ) -> None:
        """`around` None: nothing is asked and nothing performed (a replay). `listen` hears every message first."""
        self.shell = shell
        self._display = display
        self._listen = listen
        self._is_strict = is_strict
        self._home = around.home if around is not None else None
        self._loop = asyncio.get_running_loop()
        self._frame: list[Line] = []
        self._frame_size = (0, 0)
        self._drawn_at = 0.0
        self._drawing: asyncio.TimerHandle | asyncio.Handle | None = None
        self._is_drawing_at_once = False
        self._has_news = False
        self._is_closed = False
        self.problems = 0
        self.performer: Performer | None = None
        self._feed: FeedReader | None = None
        if around is not None:
            self.performer = Performer(around, display, self._answer, lambda: shell.present.seq)
            self._feed = FeedReader(around.home, around.actor, self.deliver, self.performer.sentinel_went_away)

    def start(self) -> None:
        """Begin to listen to the sentinel and to the clock."""
        if self._feed is not None:
            self._feed.start()
            self._tick()
        self.draw()

    async def close(self) -> None:
        self._is_closed = True
        if self._drawing is not None:
            self._drawing.cancel()
        if self._feed is not None:
            self._feed.close()
        if self.performer is not None:
            await self.performer.close()

    @property
    def is_drawn(self) -> bool:
        """Whether the frame shows all that is known."""
        return self._drawing is None

    # --- messages -----------------------------------------------------------------------------------------------------

    def press(self, message: Message) -> None:
        """A key, a click, a paste: carried out and drawn at once."""
        self._update([message])
        if not self._is_drawing_at_once and not self._is_closed:
            self._cancel_drawing()
            self._is_drawing_at_once = True
            self._drawing = self._loop.call_soon(self.draw)

    def deliver(self, messages: Sequence[Message]) -> None:
        """The feed and answers: drawn with what else comes within a moment."""
        self._has_news = True
        self._update(messages)
        if self._drawing is None and not self._is_closed:
            wait_seconds = self._drawn_at + FRAME_SECONDS - time.monotonic()
            self._drawing = self._loop.call_later(max(0.0, wait_seconds), self.draw)
        if any(isinstance(message, Heard) and isinstance(message.item, Snapshot) for message in messages):
            _keep()

    def _answer(self, message: Message) -> None:
        self.deliver([message])

    def _tick(self) -> None:
        if not self._is_closed:
            self.deliver([])
            self._loop.call_later(self.shell.travel.tick_seconds or _TICK_SECONDS, self._tick)

    def _update(self, messages: Sequence[Message]) -> None:
        if self._is_closed:
            return
        now = [Tick(time.time_ns() // 1000)] if self.performer is not None else []
        for message in (*now, *messages):
            if self._listen is not None:
                self._listen(message)
            try:
                effects = self.shell.update(message)
            except Exception as error:  # noqa: BLE001 -- a fault of one view must not end what an operator watches
                self._failed(f"a {type(message).__name__}", error)
            else:
                self._perform(effects)

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            if self.performer is not None:
                try:
                    self.performer.perform(effect)
                except Exception as error:  # noqa: BLE001 -- as above
                    self._failed(f"a {type(effect).__name__}", error)

    # --- frames -------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Make the frame and show it, if it is another one."""
        self._cancel_drawing()
        if self._is_closed:
            return
        if self._has_news:
            self._has_news = False
            try:
                self._perform(self.shell.settle())
            except Exception as error:  # noqa: BLE001 -- as above
                self._failed("what changed", error)
        size = self._display.size()
        frame = self._made(*size)
        self._drawn_at = time.monotonic()
        if frame != self._frame or size != self._frame_size:
            self._frame, self._frame_size = frame, size
            self._display.show()

    def frame(self, width: int, height: int) -> list[Line]:
        """The frame as last made; made now when the terminal has another size."""
        if self._frame_size != (width, height):
            self._frame, self._frame_size = self._made(width, height), (width, height)
        return self._frame

    def _made(self, width: int, height: int) -> list[Line]:
        try:
            return self.shell.view(width, height)
        except Exception as error:  # noqa: BLE001 -- as above
            self._failed("a frame", error)
            said: list[Line] = [
                [("bad", f" {self.shell.message[0]}")],
                [],
                [("", " Esc leaves this view, Ctrl-C quits.")],
            ]
            return block(said, width, height)

    def _cancel_drawing(self) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
        self._drawing, self._is_drawing_at_once = None, False

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def _failed(self, what: str, error: Exception) -> None:
        """A fault of the console itself: written down and said; raised where a program looks on."""
        if self._is_strict:
            raise error
        self.problems += 1
        place = note_fault(self._home, error)
        where = f"; the traceback is in {place}" if place else ""
        self.shell.say(f"The console could not take {what}: {type(error).__name__}: {error}{where}.", "bad")


def note_fault(home: Home | None, error: BaseException) -> str:
    """Append a traceback to `logs/console.log`; where that is, or nothing when it cannot be written."""
    if home is None or not home.logs.is_dir():
        return ""
    path = home.logs / "console.log"
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime()))
            log.writelines(traceback.format_exception(error))
    except OSError:
        return ""
    return str(path)


def _keep() -> None:
    """What is there now stays: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
