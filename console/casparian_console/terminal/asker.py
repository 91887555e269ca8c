"""A thread that asks the sentinel, so that the loop never waits: one question after another, with a client of its own.

Owns the client, the order of the answers, and what becomes of questions when the sentinel goes away. What is asked is
the caller's. Whatever goes wrong becomes `Failed`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

from casparian_console.effects import Tag
from casparian_console.messages import Failed, Message
from casparian_protocol.client import Client, NoSentinel
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home

#: A sentinel that is there answers a ping within this time, or counts as gone.
CONNECT_SECONDS = 5.0

Question = Callable[[Client], Message]


@dataclass(eq=False)
class _Line:
    """One thread's life: questions in, answers out, until it is given up."""

    questions: SimpleQueue[tuple[Tag, Question] | None] = field(default_factory=SimpleQueue)
    waiting: deque[Tag] = field(default_factory=deque)
    is_given_up: bool = False


class Asker:
    """See the module. Everything but the thread's own work is called on the loop."""

    def __init__(self, name: str, home: Home, actor: str, took: Callable[[Message], None]) -> None:
        self._name = name
        self._home = home
        self._actor = actor
        self._took = took
        self._loop = asyncio.get_running_loop()
        self._line: _Line | None = None

    @property
    def waiting(self) -> int:
        return len(self._line.waiting) if self._line is not None else 0

    def ask(self, tag: Tag, question: Question) -> None:
        """Answered in turn, with what `question` makes of a client."""
        if self._line is None:
            self._line = _Line()
            threading.Thread(target=self._work, args=(self._line,), name=f"console-{self._name}", daemon=True).start()
        self._line.waiting.append(tag)
        self._line.questions.put((tag, question))

    def give_up(self) -> list[Tag]:
        """The sentinel went away: nobody waits any longer. The tags that were not answered; a late answer is dropped."""
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
                        client.close()  # its socket may hold a late answer to what was asked
                        client = None
                except Exception as error:  # noqa: BLE001 -- a thread's last word: told, never silent
                    answer = Failed(tag, f"The console could not do this: {type(error).__name__}: {error}.")
                if not self._tell(line, answer):
                    return
        finally:
            if client is not None:
                client.close()

    def _tell(self, line: _Line, answer: Message) -> bool:
        """Hand an answer to the loop; False when there is none any more."""
        try:
            self._loop.call_soon_threadsafe(self._answered, line, answer)
        except RuntimeError:
            return False
        return True

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _answered(self, line: _Line, answer: Message) -> None:
        if not line.is_given_up:
            line.waiting.popleft()
            self._took(answer)
