"""The real command line, called as the reader of the demo would call it.

Each call is a process of its own (`python -m casparian --home …`), so what is shown is what a shell would have got. Answers
are taken as JSON; a command that fails ends the demo with that command's own words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from casparian.demo.place import Place
from casparian.exits import WorkFailed

_WORDS_SHOWN = 600


class CommandFailed(WorkFailed):
    """A command of the demo did not do its work."""

    def __init__(self, words: list[str], status: int, said: str) -> None:
        super().__init__(
            f"`{' '.join(words)}` ended with {status}: {said.strip()[-_WORDS_SHOWN:]}",
            remedy="This should not happen; `casparian doctor` examines the machine.",
        )


class Session:
    """Commands on the demo's home."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def shown(self, *arguments: str) -> list[str]:
        """The command as a person types it."""
        return ["casparian", "--home", str(self.place.home), *arguments]

    def call(self, *arguments: str) -> tuple[int, str]:
        """Run a command; its exit status and what it printed."""
        done = self._run(arguments)
        return done.returncode, done.stdout

    def ask(self, *arguments: str) -> Any:
        """Run a command that must succeed, and return its JSON document."""
        done = self._run(["--json", *arguments])
        if done.returncode != 0:
            raise CommandFailed(self.shown(*arguments), done.returncode, done.stderr or done.stdout)
        return json.loads(done.stdout)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The answer to one SQL query."""
        answer: list[dict[str, Any]] = self.ask("sql", query)
        return answer

    def _run(self, arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "casparian", "--home", str(self.place.home), *arguments]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
