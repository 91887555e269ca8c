"""Performs the shell's effects and answers with messages. Requests to the daemon wait on threads of their own."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from casparian_console.facts import is_load
from casparian_console.messages import (
    Answer,
    Chat,
    Copy,
    Done,
    Effect,
    Failed,
    FollowLog,
    ListDirectory,
    LoadPast,
    Message,
    OpenFolder,
    Quit,
    RunCommand,
    RunOperation,
    RunQuery,
    StopCommand,
    Suspend,
    Tag,
    WarmUp,
    Watch,
)
from casparian_console.terminal.chat import Assistant, Chats
from casparian_console.terminal.commands import Commands, Past
from casparian_console.terminal.files import Files
from casparian_protocol.client import Client, NoSentinel
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home

#: The daemon counts as lost if it does not answer a ping within this time.
CONNECT_SECONDS = 5.0

Question = Callable[[Client], Message]


@dataclass(eq=False)
class _Line:
    """A thread that sends requests and passes on answers, until it is given up."""

    questions: SimpleQueue[tuple[Tag, Question] | None] = field(default_factory=SimpleQueue)
    waiting: deque[Tag] = field(default_factory=deque)
    is_given_up: bool = False


class Asker:
    """Sends requests to the daemon. Everything but the thread's own work is called on the loop."""

    def __init__(self, name: str, home: Home, actor: str, on_answer: Callable[[Message], None]) -> None:
        self._name = name
        self._home = home
        self._actor = actor
        self._on_answer = on_answer
        self._loop = asyncio.get_running_loop()
        self._line: _Line | None = None

    @property
    def waiting(self) -> int:
        return len(self._line.waiting) if self._line is not None else 0

    def ask(self, tag: Tag, question: Question) -> None:
        """Queue a request: `question` is called with the client, and its result is the answer."""
        if self._line is None:
            self._line = _Line()
            threading.Thread(target=self._work, args=(self._line,), name=f"console-{self._name}", daemon=True).start()
        self._line.waiting.append(tag)
        self._line.questions.put((tag, question))

    def give_up(self) -> list[Tag]:
        """Give up all requests after the connection was lost; late answers are dropped. Returns the unanswered tags."""
        line, self._line = self._line, None
        if line is None:
            return []
        line.is_given_up = True
        line.questions.put(None)
        return list(line.waiting)

    # --- on the thread ------------------------------------------------------------------------------------------------

    def _work(self, line: _Line) -> None:
        client: Client | None = None
        try:
            while (asked := line.questions.get()) is not None and not line.is_given_up:
                tag, question = asked
                try:
                    client = client or Client.connect(self._home, CONNECT_SECONDS, actor=self._actor)
                    answer = question(client)
                except CasparianError as error:
                    answer = Failed(tag, error.problem, error.remedy or "")
                    if isinstance(error, NoSentinel) and client is not None:
                        client.close()  # its socket may still receive the late answer
                        client = None
                except Exception as error:  # noqa: BLE001 -- reported to the user: nothing else would show it
                    answer = Failed(tag, f"The console could not do this: {type(error).__name__}: {error}.")
                if not self._send(line, answer):
                    return
        finally:
            if client is not None:
                client.close()

    def _send(self, line: _Line, answer: Message) -> bool:
        """Pass an answer to the loop. False: the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self._answered, line, answer)
        except RuntimeError:
            return False
        return True

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _answered(self, line: _Line, answer: Message) -> None:
        if not line.is_given_up:
            line.waiting.popleft()
            self._on_answer(answer)


#: Terminals silently drop longer OSC 52 sequences.
CLIPBOARD_BYTES = 74_000


class Terminal(Protocol):
    """The part of the terminal that effects use."""

    def write_raw(self, sequence: str) -> None: ...

    def suspend(self) -> None: ...

    def quit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ConsoleContext:
    """The environment of the console."""

    home: Home
    #: `user:<name>@console`, for the log.
    actor: str
    #: The command line of `casparian --home …` as a list; the console does not know where the program is.
    command: Sequence[str]
    assistant: Assistant | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Performer:
    """Performs effects. `seq` returns the sequence that the shown facts have reached."""

    def __init__(
        self, around: ConsoleContext, terminal: Terminal, on_answer: Callable[[Message], None], seq: Callable[[], int]
    ) -> None:
        self._around = around
        self._terminal = terminal
        self._on_answer = on_answer
        self._seq = seq
        self._queries = Asker("queries", around.home, around.actor, on_answer)
        self._requests = Asker("requests", around.home, around.actor, on_answer)
        self._commands = Commands(around.command, on_answer)
        self._files = Files(around.home, on_answer)
        self._past = Past(around.command, on_answer)
        self._chats = Chats(around.assistant, on_answer)

    @property
    def pending(self) -> int:
        """The number of answers still awaited. Followed logs and watched files never end and do not count."""
        asked = self._queries.waiting + self._requests.waiting
        return asked + self._commands.running + self._files.listing + self._past.running + self._chats.running

    def perform(self, effect: Effect) -> None:
        match effect:
            case RunQuery():
                self._queries.ask(effect.tag, _query(effect, self._seq()))
            case RunOperation():
                self._requests.ask(effect.tag, _request(effect))
            case RunCommand():
                self._commands.run(effect)
            case WarmUp():
                self._commands.warm_up()
            case StopCommand(tag):
                self._stop(tag)
            case FollowLog():
                self._files.follow_log(effect)
            case Watch():
                self._files.watch(effect)
            case ListDirectory():
                self._files.list_directory(effect)
            case LoadPast():
                self._past.load(effect)
            case Chat():
                self._chats.start(effect)
            case Copy(text):
                self._copy(text)
            case OpenFolder(path):
                self._open_folder(path)
            case Suspend():
                self._terminal.suspend()
            case Quit():
                self._terminal.quit()

    def sentinel_went_away(self) -> None:
        """Report unanswered requests as failed, except loads: `Gone` ends them, and the next snapshot repeats them."""
        for tag in self._queries.give_up():
            if not is_load(tag):
                self._on_answer(Failed(tag, "The daemon stopped before it answered.", "Try again when it is back."))
        for tag in self._requests.give_up():
            self._on_answer(
                Failed(
                    tag,
                    "The daemon stopped before it answered; the change may be done or not.",
                    "Check when it is back.",
                )
            )

    async def close(self) -> None:
        self._queries.give_up()
        self._requests.give_up()
        self._files.close()
        self._past.close()
        self._chats.close()
        await self._commands.close()

    def _stop(self, tag: tuple[str, ...]) -> None:
        """Stop everything in progress with this tag."""
        self._commands.stop(tag)
        self._files.stop(tag)
        self._past.stop(tag)
        self._chats.stop(tag)

    def _copy(self, text: str) -> None:
        encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
        if len(encoded) > CLIPBOARD_BYTES:
            size = f"{len(text):,} characters"
            self._on_answer(
                Failed(("terminal", "copy"), f"{size} are more than a terminal's clipboard takes.", "Copy less.")
            )
            return
        self._terminal.write_raw(f"\x1b]52;c;{encoded}\x07")

    def _open_folder(self, path: str) -> None:
        opener = shutil.which("xdg-open")
        has_desktop = self._around.environment.get("DISPLAY") or self._around.environment.get("WAYLAND_DISPLAY")
        if opener is None or not has_desktop:
            self._on_answer(Failed(("terminal", "open"), "No desktop to open a folder on.", f"It is {path}"))
            return
        try:
            subprocess.Popen(
                [opener, path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._on_answer(Failed(("terminal", "open"), f"{opener} did not start: {error.strerror}.", f"It is {path}"))


def _query(effect: RunQuery, seq: int) -> Question:
    def ask(client: Client) -> Message:
        at_least_seq = seq if effect.at_least_seq is None else effect.at_least_seq
        found = client.ask(effect.query, at_least_seq=at_least_seq)
        return Answer(effect.tag, found.seq, found.rows)

    return ask


def _request(effect: RunOperation) -> Question:
    def ask(client: Client) -> Message:
        return Done(effect.tag, effect.op, client.perform(effect.call))

    return ask
