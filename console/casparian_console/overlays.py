"""Dialogs above the screens, one at a time: texts, questions, choices, and fields for a line or a path.

An overlay takes every key while it is open; `Esc` closes it. It draws itself as a box, which the shell centres. Help and the
palette are built from the tables of actions and are in `shell_actions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os.path import expanduser
from typing import Any

from casparian_console.canvas import Glyphs, Line, block, box, clean, clip, fit, fuzzy, restyle, width_of
from casparian_console.editor import Editor
from casparian_console.listing import Cursor, Fixed
from casparian_console.messages import Effects, ListDirectory, Listing, Tag


class Overlay:
    """A dialog. `handle` returns effects; `is_closed` means that it is done."""

    title: str
    is_closed = False
    #: The preferred number of columns and rows.
    wish: tuple[int, int] = (72, 16)

    def handle(self, key: str) -> Effects:
        raise NotImplementedError

    def paste(self, text: str) -> None:
        """Take pasted text; ignored by an overlay without a field."""

    def scroll(self, lines: int) -> None:
        """Scroll with the wheel; ignored by an overlay that does not scroll."""

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        raise NotImplementedError

    def hint(self) -> str:
        """The keys that work in the overlay."""
        return "Esc closes"

    def escape(self) -> bool:
        """Leave a sub-state. False: there is none, so the overlay itself closes."""
        return False

    def rows(self, width: int) -> int:
        """The preferred height of the box when it is `width` columns wide inside."""
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
    """Lines of text: a diff, the command log, help."""

    title: str
    lines: Sequence[Line]
    top: int = 0
    wish: tuple[int, int] = (100, 40)
    #: key → effects, for the actions of this view (approve, copy), each with a word for the hint.
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
        """As high as the text, plus three lines for the border and the keys."""
        return min(self.wish[1], max(8, len(self.lines) + 3))

    def scroll(self, lines: int) -> None:
        self.top = max(0, min(self.top + lines, len(self.lines) - self._height))

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        self._height = height
        self.scroll(0)
        return [fit(line, width, ellipsis=glyphs.ellipsis) for line in self.lines[self.top : self.top + height]]

    def hint(self) -> str:
        own = [f"{key} {word}" for key, (word, _) in self.keys.items()]
        if len(self.lines) <= self._height:
            return "  ".join([*own, "Esc closes"])
        part = f"{self.top + 1}-{min(len(self.lines), self.top + self._height)} of {len(self.lines)}"
        return "  ".join([*own, "j/k scroll", "Esc closes", part])


@dataclass
class Confirm(Overlay):
    """A question before a change of data or work: the title says what is done, the details name what it affects.

    `then` holds the effects for yes, or a function that is called only on yes.
    """

    title: str
    question: str
    then: Effects | Callable[[], Effects]
    details: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.wish = (72, min(20, 7 + len(self.details) + len(self.question) // 60))

    def handle(self, key: str) -> Effects:
        if key in ("y", "enter", "n", "q"):
            self.is_closed = True
        if key not in ("y", "enter"):
            return []
        return self.then() if callable(self.then) else self.then

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
        return "Enter: continue   Esc: cancel"


@dataclass
class Choose(Overlay):
    """A choice of one from many; letters filter the list."""

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
        return "letters filter   Enter: choose   Esc: cancel"


@dataclass
class PathPrompt(Overlay):
    """A field for a path; `then` gets the path on Enter. Directories are listed by effects tagged `tag`; the answers go to
    `on_answer`."""

    title: str
    then: Callable[[str], Effects]
    tag: Tag
    text: str = ""
    #: The suffixes of the files that are offered besides directories; empty: directories only.
    endings: Sequence[str] = ("",)
    wish: tuple[int, int] = (84, 16)

    def __post_init__(self) -> None:
        self.editor = Editor(self.text)
        self._asked = ""
        self._names: list[str] = []

    def opened(self) -> Effects:
        """The effects to perform when the overlay opens."""
        return self._ask()

    def _folder(self) -> str:
        return expanduser(self.editor.text.rpartition("/")[0] + "/") if "/" in self.editor.text else "."

    def _ask(self) -> Effects:
        folder = self._folder()
        if folder == self._asked:
            return []
        self._asked, self._names = folder, []
        return [ListDirectory(self.tag, folder)]

    def on_answer(self, listing: Listing) -> None:
        if listing.path != self._asked:
            return
        shown = [name + "/" for name, is_directory, *_ in listing.entries if is_directory]
        for name, is_directory, is_broken, *_ in listing.entries:
            if not is_directory and not is_broken and any(name.endswith(ending) for ending in self.endings):
                shown.append(name)
        self._names = sorted(shown)

    def matching(self) -> list[str]:
        begun = self.editor.text.rpartition("/")[2]
        return [name for name in self._names if name.startswith(begun) and (begun.startswith(".") or name[:1] != ".")]

    def handle(self, key: str) -> Effects:
        if key == "enter":
            text = self.editor.text.strip()
            if not text:
                return []
            self.is_closed = True
            return self.then(expanduser(text))  # no shell expands it for the command
        if key == "tab":
            self._complete()
        else:
            self.editor.handle(key)
        return self._ask()

    def _complete(self) -> None:
        """Complete the path as far as all candidates agree."""
        found = self.matching()
        if not found:
            return
        shared = found[0]
        for name in found[1:]:
            while not name.startswith(shared):
                shared = shared[:-1]
        folder, slash, _ = self.editor.text.rpartition("/")
        self.editor.set(folder + slash + shared)

    def paste(self, text: str) -> None:
        self.editor.insert(text)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        lines: list[Line] = [self.editor.line(width, style="input", placeholder="/path/…"), []]
        found = self.matching()
        room = height - 3
        lines += [[("dim", clip(clean(name), width, glyphs.ellipsis))] for name in found[:room]]
        return [*lines, [("dim", f"{len(found) - room:,} more")]] if len(found) > room else lines

    def hint(self) -> str:
        return "Tab completes   Enter: choose   Esc: cancel"


def ranked(query: str, entries: Sequence[Any], *texts_of: Callable[[Any], str]) -> list[Any]:
    """The items that match the query, the best match first; without a query all, in their order."""
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
