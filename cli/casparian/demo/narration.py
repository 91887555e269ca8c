"""What the demo says: headings, copyable command lines, aligned lines of at most 80 columns. Writes to one stream.

Text that came out of files is scrubbed here, whoever brings it. Colour only on a terminal.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

from casparian_shim.text import scrub

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
