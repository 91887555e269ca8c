"""What lies above the screens, one at a time: help, palette, questions, choices, texts.

An overlay takes every key while it is open; `Esc` closes it. It draws itself as a box that the shell puts into the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from casparian_console.actions import Action, fuzzy, keys_of
from casparian_console.canvas import Glyphs, Line, block, box, fit, restyle
from casparian_console.editor import Editor
from casparian_console.effects import Effects
from casparian_console.listing import Cursor, Fixed
from casparian_console.text import clean, clip, width_of


class Overlay:
    """`handle` returns effects; `is_closed` says that it is done."""

    title: str
    is_closed = False
    #: Columns and rows it would like to have.
    wish: tuple[int, int] = (72, 16)

    def handle(self, key: str) -> Effects:
        raise NotImplementedError

    def paste(self, text: str) -> None:
        """Pasted text; ignored where nothing is typed."""

    def scroll(self, lines: int) -> None:
        """The wheel; ignored where nothing scrolls."""

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        raise NotImplementedError

    def hint(self) -> str:
        return "Esc closes"

    def rows(self, width: int) -> int:
        """How high the box would like to be when `width` columns are inside."""
        return self.wish[1]

    def draw(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        """A box of at most `width`×`height`."""
        columns = min(width, self.wish[0])
        rows = min(height, self.rows(columns - 4))
        inner = block(self.body(columns - 4, rows - 3, glyphs), columns - 4, rows - 3)
        lines: list[Line] = [[("", " "), *line, ("", " ")] for line in inner]
        return box([*lines, [("dim", f" {self.hint()}")]], columns, rows, glyphs, title=self.title, style="overlay")


@dataclass
class TextView(Overlay):
    """Lines to read: a diff, a command log, help."""

    title: str
    lines: Sequence[Line]
    top: int = 0
    wish: tuple[int, int] = (100, 40)
    #: key → effects, for what may be done from here (approve, copy), with a word each for the hint.
    keys: dict[str, tuple[str, Callable[[], Effects]]] = field(default_factory=dict)
    _height: int = 10

    def handle(self, key: str) -> Effects:
        if key in self.keys:
            self.is_closed = True
            return self.keys[key][1]()
        cursor = Cursor(at=self.top, top=self.top)
        if key in ("j", "down"):
            self.scroll(1)
        elif key in ("k", "up"):
            self.scroll(-1)
        elif cursor.move(key, Fixed(range(len(self.lines))), self._height):
            self.top = cursor.at
            self.scroll(0)
        elif key in ("q", "?", "enter"):
            self.is_closed = True
        return []

    def rows(self, width: int) -> int:
        """No higher than the text; the border, and the line of keys, take three."""
        return min(self.wish[1], max(8, len(self.lines) + 3))

    def scroll(self, lines: int) -> None:
        self.top = max(0, min(self.top + lines, len(self.lines) - self._height))

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        self._height = height
        self.scroll(0)
        return [fit(line, width, ellipsis=glyphs.ellipsis) for line in self.lines[self.top : self.top + height]]

    def hint(self) -> str:
        own = "  ".join(f"{key} {word}" for key, (word, _) in self.keys.items())
        more = f"  {self.top + 1}-{min(len(self.lines), self.top + self._height)} of {len(self.lines)}"
        return f"{own}  j/k scroll  Esc closes{more}".strip()


@dataclass
class Confirm(Overlay):
    """A question before something that hits data or work; names what it hits."""

    question: str
    then: Effects
    details: Sequence[str] = ()
    title: str = "Sure?"

    def __post_init__(self) -> None:
        self.wish = (72, min(20, 7 + len(self.details) + len(self.question) // 60))

    def handle(self, key: str) -> Effects:
        if key in ("y", "enter", "n", "q"):
            self.is_closed = True
        return self.then if key in ("y", "enter") else []

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        return [
            *wrapped(self.question, width, "bold"),
            [],
            *([("", clip(clean(each), width))] for each in self.details),
        ]

    def hint(self) -> str:
        return "y or Enter: yes   n or Esc: no"


@dataclass
class Prompt(Overlay):
    """One line of text."""

    title: str
    then: Callable[[str], Effects]
    text: str = ""
    note: str = ""
    may_be_empty: bool = False
    wish: tuple[int, int] = (72, 7)

    def __post_init__(self) -> None:
        self.editor = Editor(self.text)

    def handle(self, key: str) -> Effects:
        if key == "enter":
            if not self.editor.text.strip() and not self.may_be_empty:
                return []
            self.is_closed = True
            return self.then(self.editor.text.strip())
        self.editor.handle(key)
        return []

    def paste(self, text: str) -> None:
        self.editor.insert(text)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        return [self.editor.line(width, style="input"), [], [("dim", clip(self.note, width))]]

    def hint(self) -> str:
        return "Enter: go on   Esc: leave it"


@dataclass
class Choose(Overlay):
    """One of many; letters filter."""

    title: str
    options: Sequence[tuple[str, str]]
    then: Callable[[str], Effects]

    def __post_init__(self) -> None:
        self.wish = (80, min(24, 7 + max(4, len(self.options))))
        self.editor = Editor()
        self.cursor = Cursor()
        self._height = 8

    def _matching(self) -> list[tuple[str, str]]:
        return ranked(self.editor.text, self.options, lambda option: option[1])

    def handle(self, key: str) -> Effects:
        found = self._matching()
        rows = Fixed([value for value, _ in found])
        if key == "enter":
            if not found:
                return []
            self.is_closed = True
            return self.then(found[min(self.cursor.at, len(found) - 1)][0])
        if key in ("up", "down", "pgup", "pgdn"):
            self.cursor.move(key, rows, self._height)
        elif self.editor.handle(key):
            self.cursor = Cursor()
        return []

    def paste(self, text: str) -> None:
        self.editor.insert(text)

    def scroll(self, lines: int) -> None:
        self.cursor.scroll(lines, Fixed([value for value, _ in self._matching()]), self._height)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        self._height = max(1, height - 2)
        found = self._matching()
        self.cursor.settle(Fixed([value for value, _ in found]), self._height)
        lines: list[Line] = [self.editor.line(width, style="input", placeholder="type to filter"), []]
        for at, (_, text) in enumerate(found[self.cursor.top : self.cursor.top + self._height], self.cursor.top):
            line: Line = [("", clip(clean(text), width, glyphs.ellipsis))]
            lines.append(restyle(fit(line, width), "selected") if at == self.cursor.at else line)
        return lines if found else [*lines, [("dim", "nothing matches")]]

    def hint(self) -> str:
        return "letters filter   Enter: take it   Esc: leave it"


@dataclass
class Palette(Overlay):
    """Every action that there is here, with its key; the ones that do not work right now are dim and say so."""

    actions: Sequence[tuple[Action, bool]]
    perform: Callable[[Action], Effects]
    refuse: Callable[[Action], None]
    title: str = "Commands"
    wish: tuple[int, int] = (76, 22)

    def __post_init__(self) -> None:
        self.editor = Editor()
        self.cursor = Cursor()
        self._height = 8

    def _matching(self) -> list[tuple[Action, bool]]:
        return ranked(self.editor.text, self.actions, lambda entry: entry[0].label, lambda entry: entry[0].help)

    def handle(self, key: str) -> Effects:
        found = self._matching()
        if key == "enter" and found:
            action, works = found[min(self.cursor.at, len(found) - 1)]
            self.is_closed = True
            if works:
                return self.perform(action)
            self.refuse(action)
        elif key in ("up", "down", "pgup", "pgdn"):
            self.cursor.move(key, Fixed([action.id for action, _ in found]), self._height)
        elif key != "enter" and self.editor.handle(key):
            self.cursor = Cursor()
        return []

    def paste(self, text: str) -> None:
        self.editor.insert(text)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        self._height = max(1, height - 2)
        found = self._matching()
        self.cursor.settle(Fixed([action.id for action, _ in found]), self._height)
        lines: list[Line] = [self.editor.line(width, style="input", placeholder="type a command"), []]
        for at, (action, works) in enumerate(found[self.cursor.top : self.cursor.top + self._height], self.cursor.top):
            keys = keys_of(action)
            line: Line = [("" if works else "dim", clip(action.help, width - 16)), ("", "  ")]
            line = [*fit(line, width - 14), ("key" if works else "dim", clip(keys, 14))]
            lines.append(restyle(fit(line, width), "selected") if at == self.cursor.at else line)
        return lines if found else [*lines, [("dim", "nothing matches")]]

    def hint(self) -> str:
        return "letters filter   Enter: do it   Esc: leave it"


#: Of the help; the names of more keys take another line.
_KEY_COLUMNS = 13


class HelpView(TextView):
    """Every key of the groups, in the order of the tables; what does not work right now is dim."""

    def __init__(
        self, title: str, groups: Sequence[tuple[str, Sequence[Action]]], works: Callable[[Action], bool]
    ) -> None:
        super().__init__(title, [], wish=(96, 60))
        self._groups = [(name, [(each, works(each)) for each in actions if each.keys]) for name, actions in groups]

    def rows(self, width: int) -> int:
        self.lines = [line for name, actions in self._groups for line in self._group(name, actions, width)][:-1]
        return super().rows(width)

    def _group(self, name: str, actions: Sequence[tuple[Action, bool]], width: int) -> list[Line]:
        lines: list[Line] = [[("title", name)]]
        for action, works in actions:
            keys = wrapped(keys_of(action), _KEY_COLUMNS, "key" if works else "dim")
            told = wrapped(action.help, width - _KEY_COLUMNS - 3, "" if works else "dim")
            for left, right in zip_longest(keys, told):
                lines.append([*fit([("", "  "), *(left or [])], _KEY_COLUMNS + 3), *(right or [])])
        return [*lines, []]


def ranked(query: str, entries: Sequence[Any], *texts_of: Callable[[Any], str]) -> list[Any]:
    """Those of which a text matches, the best first; all in their order without a query."""
    if not query.strip():
        return list(entries)
    scored = []
    for at, entry in enumerate(entries):
        scores = [score for text_of in texts_of if (score := fuzzy(query, text_of(entry))) is not None]
        if scores:
            scored.append((min(scores), at))
    return [entries[at] for _, at in sorted(scored)]


def wrapped(text: str, width: int, style: str = "") -> list[Line]:
    """`text` broken at blanks into lines of at most `width` columns."""
    lines: list[str] = [""]
    for word in clean(text).split(" "):
        if lines[-1] and width_of(lines[-1]) + 1 + width_of(word) > width:
            lines.append("")
        while width_of(word) > width:
            head = clip(word, width, "") or word[0]
            lines[-1], word = head, word[len(head) :]
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return [[(style, line)] for line in lines]
