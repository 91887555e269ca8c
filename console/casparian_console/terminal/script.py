"""A console without a terminal: keys from a script or a recording, and frames of a fixed size."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from casparian_console.canvas import Line, plain
from casparian_console.messages import Key, Message
from casparian_console.terminal.runner import Runner
from casparian_console.terminal.window import is_key_name, written
from casparian_protocol.errors import CasparianError

#: How long a picture without a script waits for the daemon before it shows the screen as it is.
DEFAULT_SCRIPT = "wait:settled"
_LIVE_SECONDS = 10.0
_TEXT_SECONDS = 20.0
_IDLE_SECONDS = 30.0
_SETTLED_SECONDS = 3.0


class BadScript(CasparianError):
    """A word of the script is not valid."""


class NeverHappened(CasparianError):
    """Something that the script waited for did not happen."""


@dataclass(frozen=True, slots=True)
class Step:
    """One word of a script: a key, a text to type, or something to wait for."""

    kind: str
    value: str


def read_script(text: str) -> list[Step]:
    """Split a script into words as on a command line, with quotes. Raises `BadScript`."""
    try:
        words = shlex.split(text)
    except ValueError as cause:
        raise BadScript(f"The script cannot be read: {cause}.", remedy="Close the quotation marks.") from cause
    return [_step(word) for word in words]


def _step(word: str) -> Step:
    kind, colon, value = word.partition(":")
    if colon and kind == "text":
        return Step("text", value)
    if colon and kind == "wait":
        if value in ("live", "idle", "settled"):
            return Step(value, "")
        if value.startswith("text:") and value != "text:":
            return Step("await", value.removeprefix("text:"))
        try:
            return Step("sleep", str(max(0.0, min(600.0, float(value)))))
        except ValueError:
            pass
    elif is_key_name(word):
        return Step("key", written(word))
    raise BadScript(
        f"{word!r} is not a word of a script.",
        remedy="Keys (j, enter, alt-j, ctrl-p), text:…, wait:live, wait:idle, wait:text:WORD or wait:SECONDS.",
    )


class Page:
    """A display that only has a size."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self.ended = asyncio.Event()
        self.copied: list[str] = []

    def size(self) -> tuple[int, int]:
        return self._size

    def show(self) -> None:
        """Do nothing: the caller reads the frame from the runner."""

    def write_raw(self, sequence: str) -> None:
        self.copied.append(sequence)

    def suspend(self) -> None:
        """Do nothing: there is no shell to go back to."""

    def quit(self) -> None:
        self.ended.set()


async def play(runner: Runner, page: Page, steps: Sequence[Step]) -> list[Line]:
    """Run the steps in order. Returns the frame after the last one. Raises `NeverHappened`."""
    for step in steps:
        if page.ended.is_set():
            break
        match step.kind:
            case "key":
                runner.press(Key(step.value))
            case "text":
                for character in step.value:
                    runner.press(Key(character))
            case "sleep":
                await asyncio.sleep(float(step.value))
            case "live":
                await _until(lambda: _is_live(runner), _LIVE_SECONDS, "the daemon to answer")
            case "idle":
                await _until(lambda: _is_idle(runner), _IDLE_SECONDS, "every answer")
            case "settled":
                await _settled(runner)
            case "await":
                shows = partial(_shows, runner, page, step.value)
                await _until(shows, _TEXT_SECONDS, f"“{step.value}” on the screen")
        await asyncio.sleep(0)  # draw the frame of a key before the next key
    runner.draw()
    return runner.frame(*page.size())


async def _settled(runner: Runner) -> None:
    """Wait until the console is live and idle, or for a short time if the daemon does not answer."""

    def is_so() -> bool:
        return runner.shell.present.link == "gone" or (_is_live(runner) and _is_idle(runner))

    try:
        await _until(is_so, _SETTLED_SECONDS, "")
    except NeverHappened:
        return


def _is_live(runner: Runner) -> bool:
    """Whether the daemon answers and the picture of the home is complete."""
    return runner.shell.present.link == "live" and runner.shell.present.is_complete


def _is_idle(runner: Runner) -> bool:
    pending = runner.performer.pending if runner.performer is not None else 0
    return runner.shell.present.link == "live" and not pending and runner.is_drawn


def _shows(runner: Runner, page: Page, wanted: str) -> bool:
    return any(wanted in plain(line) for line in runner.frame(*page.size()))


async def _until(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition, checked after everything that may change it."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not is_so():
        if asyncio.get_running_loop().time() > deadline:
            raise NeverHappened(
                f"Waited {seconds:.0f} s for {what}, which did not appear.",
                remedy="The picture shows the screen at that moment.",
            )
        await asyncio.sleep(0.01)


#: The longest pause that is replayed.
_LONGEST_PAUSE_SECONDS = 3.0

Timed = Sequence[tuple[float, Message]]


class Replay:
    """Plays a recording. `Space` pauses and continues; `Esc`, `q` and `Ctrl-C` end; other keys do nothing."""

    def __init__(self, runner: Runner, recording: Timed) -> None:
        self._runner = runner
        self._recording = recording
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self.ended = asyncio.Event()

    def press(self, message: Message) -> None:
        """Handle a key of the viewer; the recorded keys go to the shell."""
        if not isinstance(message, Key):
            return
        if message.name == " ":
            if self._goes_on.is_set():
                self._goes_on.clear()
                self._say("Paused: Space continues, Esc ends.")
            else:
                self._goes_on.set()
        elif message.name in ("esc", "q", "ctrl-c"):
            self.ended.set()

    async def play(self) -> None:
        """Play at the pace of the recording, then wait until the viewer ends it."""
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
