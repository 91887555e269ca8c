"""The sidebar's picture: a conversation wrapped into a narrow column. Pure.

What a model writes is the text of a stranger: every line is cleaned, nothing of it is a style. Only the entries that
changed are wrapped again.
"""

from __future__ import annotations

from collections.abc import Iterator

from casparian_console.assistant.conversation import Conversation, Entry
from casparian_console.canvas import Glyphs, Line
from casparian_console.text import clean, width_of

_PIECE_CHARACTERS = 2_000
_WHO = {"you": ("accent bold", "you"), "model": ("title", "assistant"), "request": ("warn bold", "it asks you")}
_STYLES = {"you": "", "model": "", "tool": "dim", "note": "dim", "problem": "bad", "request": "warn"}
_TAB = "    "

WELCOME = (
    "Ask about what you see. The assistant looks things up with commands, which it shows here; it changes nothing"
    " without you."
)
SETUP = (
    "No assistant is set up.",
    "",
    "Name its server in the home's config.toml:",
    "[assistant]",
    'endpoint = "http://127.0.0.1:11434/v1"',
    'model = "llama3.1:8b"',
    "",
    "Any that speaks the OpenAI protocol will do, one on this machine, too. What you type, what is selected and what is"
    " looked up goes there and nowhere else. Then start the console again.",
)


class Wrapped:
    """The rows of a conversation at a width, kept between frames."""

    def __init__(self) -> None:
        self._width = 0
        self._rows: dict[int, tuple[tuple[str, str], list[Line]]] = {}

    def rows(self, talk: Conversation, width: int) -> list[Line]:
        """Every row; entries that did not change since the last frame are not wrapped again."""
        if width != self._width:
            self._width, self._rows = width, {}
        kept: dict[int, tuple[tuple[str, str], list[Line]]] = {}
        rows: list[Line] = []
        for entry in talk.entries:
            known = self._rows.get(id(entry))
            if known is None or known[0] != (entry.role, entry.text):
                known = ((entry.role, entry.text), list(entry_rows(entry, width)))
            kept[id(entry)] = known
            rows += known[1]
        self._rows = kept
        return rows


def entry_rows(entry: Entry, width: int) -> Iterator[Line]:
    if entry.role in _WHO:
        yield []
        style, who = _WHO[entry.role]
        yield [(style, who)]
    style = _STYLES[entry.role]
    for text in wrapped(entry.text, width):
        yield [(style, text)]


def wrapped(text: str, width: int) -> Iterator[str]:
    """Cleaned lines of at most `width` columns, broken at blanks where possible; long words are cut."""
    for line in text.replace("\r\n", "\n").replace("\t", _TAB).split("\n"):
        pieces = [line[at : at + _PIECE_CHARACTERS] for at in range(0, len(line), _PIECE_CHARACTERS)] or [""]
        for piece in pieces:
            yield from _broken(clean(piece).rstrip(), width)


def _broken(line: str, width: int) -> Iterator[str]:
    if width_of(line) <= width:
        yield line
        return
    row, used = "", 0
    for word in line.split(" "):
        columns = width_of(word)
        if row and used + 1 + columns <= width:
            row, used = f"{row} {word}", used + 1 + columns
            continue
        if row:
            yield row
        row, used = word, columns
        while used > width:
            cut = _cut(row, width)
            yield row[:cut]
            row = row[cut:]
            used = width_of(row)
    yield row


def _cut(text: str, width: int) -> int:
    """How many characters fit; at least one, so that it ends."""
    used = 0
    for at, character in enumerate(text):
        used += width_of(character)
        if used > width:
            return max(1, at)
    return len(text)


def setup_rows(width: int) -> list[Line]:
    rows: list[Line] = []
    for text in SETUP:
        style = "accent" if text.startswith(("[", "endpoint", "model")) else ""
        rows += [[(style, line)] for line in wrapped(text, width)]
    return rows


def title(state: str, width: int, glyphs: Glyphs, *, is_focused: bool) -> Line:
    """The first row: the name, and what is going on."""
    style = "title" if is_focused else "dim"
    right = f" {state} " if state else ""
    rest = max(0, width - len("ASSISTANT ") - width_of(right))
    return [(style, "ASSISTANT "), ("border", glyphs.corners[4] * rest), ("warn" if state else "", right)]
