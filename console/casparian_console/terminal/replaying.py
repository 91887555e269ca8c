"""A recorded session played back: on a terminal at its own pace, without one at once. Nothing is asked or performed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from casparian_console.messages import Key, Message
from casparian_console.terminal.runner import Runner

#: Whoever was away for longer need not be waited for.
_LONGEST_PAUSE_SECONDS = 3.0

Timed = Sequence[tuple[float, Message]]


class Replay:
    """Plays on a loop. `Space` pauses and goes on, `Esc`, `q` and `Ctrl-C` end; other keys do nothing."""

    def __init__(self, runner: Runner, recording: Timed) -> None:
        self._runner = runner
        self._recording = recording
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self.ended = asyncio.Event()

    def press(self, message: Message) -> None:
        """What the person who looks on does; the recorded keys go to the shell."""
        if not isinstance(message, Key):
            return
        if message.name == " ":
            if self._goes_on.is_set():
                self._goes_on.clear()
                self._say("Paused: Space goes on, Esc ends.")
            else:
                self._goes_on.set()
        elif message.name in ("esc", "q", "ctrl-c"):
            self.ended.set()

    async def play(self) -> None:
        """At the pace of the recording, then wait for the end to be seen."""
        last = 0.0
        for at, message in self._recording:
            await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, max(0.0, at - last)))
            last = at
            await self._goes_on.wait()
            if self.ended.is_set():
                return
            self._hand_on(message)
        self._say("The recording is over. Esc ends.")
        await self.ended.wait()

    def play_at_once(self) -> None:
        for _, message in self._recording:
            self._hand_on(message)

    def _hand_on(self, message: Message) -> None:
        if isinstance(message, Key):
            self._runner.press(message)
        else:
            self._runner.deliver([message])

    def _say(self, text: str) -> None:
        self._runner.shell.say(text, "warn")
        self._runner.draw()
