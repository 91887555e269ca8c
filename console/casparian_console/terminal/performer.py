"""Does what the shell wants done, and says what came of it. One place for every effect; each kind has its own module.

Owns who does what. Answers come on the loop, through `took`. Nothing here waits: what may take long is on a thread or in
a process of its own.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from casparian_console.effects import (
    Ask,
    Chat,
    Copy,
    Effect,
    FollowLog,
    ListDirectory,
    LoadPast,
    OpenFolder,
    Query,
    Quit,
    RunCommand,
    StopCommand,
    Suspend,
    Watch,
)
from casparian_console.facts.store import is_load
from casparian_console.messages import Answer, Done, Failed, Message
from casparian_console.terminal.asker import Asker, Question
from casparian_console.terminal.chat import Assistant, Chats
from casparian_console.terminal.commands import Commands
from casparian_console.terminal.files import Files
from casparian_console.terminal.past import Past
from casparian_protocol.client import Client
from casparian_protocol.home import Home

#: Terminals drop longer OSC 52 sequences without a word.
CLIPBOARD_BYTES = 74_000


class Terminal(Protocol):
    """What effects need of the terminal."""

    def write_raw(self, sequence: str) -> None: ...

    def suspend(self) -> None: ...

    def quit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the console is told about where it runs."""

    home: Home
    #: `user:<name>@console`, for the log.
    actor: str
    #: The command line of `casparian --home …`, as a list: the console does not know where the program is.
    command: Sequence[str]
    assistant: Assistant | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Performer:
    """See the module. `seq` tells up to where the shown facts reach."""

    def __init__(
        self, around: Surroundings, terminal: Terminal, took: Callable[[Message], None], seq: Callable[[], int]
    ) -> None:
        self._around = around
        self._terminal = terminal
        self._took = took
        self._seq = seq
        self._queries = Asker("queries", around.home, around.actor, took)
        self._requests = Asker("requests", around.home, around.actor, took)
        self._commands = Commands(around.command, took)
        self._files = Files(around.home, took)
        self._past = Past(around.command, took)
        self._chats = Chats(around.assistant, took)

    @property
    def pending(self) -> int:
        """Answers that are still to come; what is followed or watched never ends and does not count."""
        asked = self._queries.waiting + self._requests.waiting
        return asked + self._commands.running + self._files.listing + self._past.running + self._chats.running

    def perform(self, effect: Effect) -> None:
        match effect:
            case Query():
                self._queries.ask(effect.tag, _query(effect, self._seq()))
            case Ask():
                self._requests.ask(effect.tag, _request(effect))
            case RunCommand():
                self._commands.run(effect)
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
        """Nobody answers any more what was asked: say so, but for what the next snapshot asks anew."""
        for tag in self._queries.give_up():
            if not is_load(tag):
                self._took(Failed(tag, "The sentinel went away before it answered.", "Ask again when it is back."))
        for tag in self._requests.give_up():
            self._took(
                Failed(
                    tag, "The sentinel went away before it answered; this may be done or not.", "Look when it is back."
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
        """Whatever of this tag is under way."""
        self._commands.stop(tag)
        self._files.stop(tag)
        self._past.stop(tag)
        self._chats.stop(tag)

    def _copy(self, text: str) -> None:
        encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
        if len(encoded) > CLIPBOARD_BYTES:
            size = f"{len(text):,} characters"
            self._took(
                Failed(("terminal", "copy"), f"{size} are more than a terminal's clipboard takes.", "Copy less.")
            )
            return
        self._terminal.write_raw(f"\x1b]52;c;{encoded}\x07")

    def _open_folder(self, path: str) -> None:
        opener = shutil.which("xdg-open")
        has_desktop = self._around.environment.get("DISPLAY") or self._around.environment.get("WAYLAND_DISPLAY")
        if opener is None or not has_desktop:
            self._took(Failed(("terminal", "open"), "No desktop to open a folder on.", f"It is {path}"))
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
            self._took(Failed(("terminal", "open"), f"{opener} did not start: {error.strerror}.", f"It is {path}"))


def _query(effect: Query, seq: int) -> Question:
    def ask(client: Client) -> Message:
        found = client.query(effect.sql, effect.params, at_least_seq=seq, limit_rows=effect.limit_rows)
        return Answer(effect.tag, found.seq, tuple(found.columns), tuple(tuple(row) for row in found.rows))

    return ask


def _request(effect: Ask) -> Question:
    def ask(client: Client) -> Message:
        return Done(effect.tag, client.request(effect.op, effect.args))

    return ask
