"""What the demo stands on: a directory of its own, the real command line, and the words on the screen.

`Place` never overwrites anything. Each call of `Session` is a process of its own (`python -m casparian --home …`), so what is
shown is what a shell would have got; answers are taken as JSON. `Narrator` writes to one stream and scrubs what came out of
files; colour only on a terminal.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from casparian_app.problems import UsageProblem, WorkFailed
from casparian_shim.text import scrub

_MARK = "truth.json"


class PlaceTaken(UsageProblem):
    """The directory for the demo is not empty."""


@dataclass(frozen=True, slots=True)
class Place:
    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def truth(self) -> Path:
        """What was planted, written by the generator beside the logs, never among them."""
        return self.root / _MARK


def choose(given: Path | None) -> Place:
    """A new temporary directory, or the named one when it is empty or missing. Raises `PlaceTaken`."""
    if given is None:
        return Place(Path(tempfile.mkdtemp(prefix="casparian-demo-")))
    root = given.absolute()
    try:
        holds = sorted(one.name for one in root.iterdir())
    except FileNotFoundError:
        root.mkdir(mode=0o700, parents=True)
        return Place(root)
    except NotADirectoryError as cause:
        raise PlaceTaken(f"{root} is a file.", remedy="Name a new directory for the demo.") from cause
    if _MARK in holds:
        raise PlaceTaken(
            f"{root} holds a demo from before; it is left as it is.",
            remedy=f"Go on with it: `casparian --home {root / 'home'} jobs`. Or name a new directory.",
        )
    if holds:
        raise PlaceTaken(
            f"{root} is not empty (it has {holds[0]!a}); the demo touches nothing of yours.",
            remedy="Name a new or an empty directory, or none at all.",
        )
    return Place(root)


WIDTH = 80
_INDENT = "  "


def command_lines(words: Sequence[str], width: int = WIDTH) -> list[str]:
    """A command as it can be pasted into a shell; broken behind words, and inside quotes where a text goes on."""
    lines, current = [], _INDENT + "$"
    for word in map(quoted, words):
        if len(current) + len(word) + 3 > width and current.strip() != "$":
            lines.append(f"{current} \\")
            current = _INDENT * 3 + word
        else:
            current = f"{current} {word}"
        if len(current) > width and " " in word:
            # Inside quotes a shell takes the break as it is, and to SQL it is a space.
            *full, current = textwrap.wrap(
                current, width, subsequent_indent=_INDENT * 4, break_long_words=False, break_on_hyphens=False
            )
            lines += full
    return [*lines, current]


def quoted(word: str) -> str:
    """As the shell wants it, in double quotes where single ones are inside."""
    is_plain = not any(character in word for character in '"\\$`!')
    return f'"{word}"' if is_plain and (" " in word or "'" in word) else shlex.quote(word)


def aligned(rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> list[str]:
    """Rows as columns, as wide as their widest cell; the columns named in `right` end where they end."""
    texts = [[scrub(_cell(value)) for value in row] for row in rows]
    if not texts:
        return []
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    to_right = set(right)
    return [
        "  ".join(
            text.rjust(width) if column in to_right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


def cut(text: str, width: int = WIDTH) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


class Narrator:
    """Talks to one stream; silent when the demo's document is asked for instead."""

    def __init__(self, out: TextIO, *, is_silent: bool = False) -> None:
        self._out = out
        self._is_silent = is_silent
        self._has_colour = not is_silent and out.isatty()
        self._number = 0

    def heading(self, title: str) -> None:
        self._number += 1
        self._print("")
        self._print(self._styled(f"{self._number}. {title}", "1"))

    def command(self, words: Sequence[str]) -> None:
        """A command line, exactly as it can be called."""
        for line in command_lines(words):
            self._print(self._styled(line, "36"))

    def prose(self, text: str) -> None:
        """Paragraphs, one for each line of the text."""
        for paragraph in text.strip().split("\n"):
            for line in textwrap.wrap(scrub(paragraph), WIDTH - len(_INDENT), break_on_hyphens=False):
                self._print(_INDENT + line)

    def lines(self, lines: Iterable[str]) -> None:
        """Lines as they are, cut at the width."""
        for line in lines:
            self._print(_INDENT + cut(scrub(line), WIDTH - len(_INDENT)))

    def verdict(self, text: str, *, is_good: bool) -> None:
        self._print("")
        self._print(self._styled(scrub(text), "1;32" if is_good else "1;31"))

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._has_colour else text

    def _print(self, line: str) -> None:
        if not self._is_silent:
            print(line, file=self._out, flush=True)


_WORDS_SHOWN = 600


class CommandFailed(WorkFailed):
    """A command of the demo failed."""

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
