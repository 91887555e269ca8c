"""A text field: its text, its cursor, and the usual editing keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from casparian_console.canvas import Line, clean, width_of

#: More than anyone types; longer pasted text is cut.
LIMIT_CHARACTERS = 20_000
_WORD_BEHIND = re.compile(r"\S+\s*\Z")
_NAMED = {"space": " "}


@dataclass(slots=True)
class Editor:
    """One text field. With `is_multiline` it takes new lines (by `alt-enter` or `ctrl-j`, see `handle`)."""

    text: str = ""
    cursor: int = 0
    is_multiline: bool = False
    history: list[str] = field(default_factory=list)
    _recalled: int | None = None
    #: The text that was being typed when the history was opened; it comes back after the latest entry.
    _draft: str = ""

    def __post_init__(self) -> None:
        self.cursor = len(self.text)

    def set(self, text: str) -> None:
        self.text, self.cursor, self._recalled = text, len(text), None

    def insert(self, text: str) -> None:
        """Type or paste. Control characters become visible and line ends become `\n`."""
        clean_text = text.replace("\r\n", "\n").replace("\r", "\n")
        if not self.is_multiline:
            clean_text = clean_text.replace("\n", " ")
        clean_text = "\n".join(clean(line.replace("\t", "    ")) for line in clean_text.split("\n"))
        clean_text = clean_text[: max(0, LIMIT_CHARACTERS - len(self.text))]
        self.text = self.text[: self.cursor] + clean_text + self.text[self.cursor :]
        self.cursor += len(clean_text)

    def remember(self) -> None:
        """Add the text to the history; repeated text is added once."""
        if self.text.strip() and (not self.history or self.history[-1] != self.text):
            self.history.append(self.text)
            del self.history[:-200]
        self._recalled = None

    def handle(self, key: str) -> bool:
        """Apply an editing key. False: the field has no use for it (the owner handles Enter, Esc and Tab)."""
        if len(key) == 1 or key in _NAMED:
            self.insert(_NAMED.get(key, key))
        elif key in ("alt-enter", "ctrl-j") and self.is_multiline:
            self.insert("\n")
        elif key == "backspace":
            self._cut(self.cursor - 1)
        elif key == "delete":
            self.text = self.text[: self.cursor] + self.text[self.cursor + 1 :]
        elif key == "ctrl-w":
            behind = _WORD_BEHIND.search(self.text[: self.cursor])
            self._cut(behind.start() if behind else 0)
        elif key == "ctrl-u":
            self._cut(self.text.rfind("\n", 0, self.cursor) + 1)
        elif key == "ctrl-k":
            self.text = self.text[: self.cursor] + self.text[self._line_end() :]
        elif key in ("left", "ctrl-b"):
            self.cursor = max(0, self.cursor - 1)
        elif key in ("right", "ctrl-f"):
            self.cursor = min(len(self.text), self.cursor + 1)
        elif key in ("home", "ctrl-a"):
            self.cursor = self.text.rfind("\n", 0, self.cursor) + 1
        elif key in ("end", "ctrl-e"):
            self.cursor = self._line_end()
        elif key in ("up", "down"):
            return self._vertical(-1 if key == "up" else 1)
        else:
            return False
        return True

    def _cut(self, start: int) -> None:
        start = max(0, start)
        self.text = self.text[:start] + self.text[self.cursor :]
        self.cursor = start

    def _line_end(self) -> int:
        end = self.text.find("\n", self.cursor)
        return len(self.text) if end < 0 else end

    def _vertical(self, step: int) -> bool:
        start = self.text.rfind("\n", 0, self.cursor) + 1
        column = self.cursor - start
        if step < 0 and start:
            previous = self.text.rfind("\n", 0, start - 1) + 1
            self.cursor = min(previous + column, start - 1)
            return True
        if step > 0 and (end := self._line_end()) < len(self.text):
            self.cursor = min(end + 1 + column, self._end_of_line_at(end + 1))
            return True
        return self._recall(step)

    def _end_of_line_at(self, start: int) -> int:
        end = self.text.find("\n", start)
        return len(self.text) if end < 0 else end

    def _recall(self, step: int) -> bool:
        """Walk through the history with up and down, as shells do."""
        if not self.history:
            return False
        if self._recalled is None:
            self._draft = self.text
        at = len(self.history) if self._recalled is None else self._recalled
        at += step
        if at < 0:
            return True
        if at >= len(self.history):
            self.set(self._draft if self._recalled is not None else self.text)
            return True
        self.set(self.history[at])
        self._recalled = at
        return True

    def line(self, width: int, *, style: str = "", is_focused: bool = True, placeholder: str = "") -> Line:
        """The field as one row; long text scrolls so that the cursor stays visible."""
        if not self.text and placeholder:
            shown = placeholder[: max(0, width - 1)]
            return [("cursor" if is_focused else "dim", shown[:1] or " "), ("dim", shown[1:])]
        before, after = self.text[: self.cursor], self.text[self.cursor :]
        while width_of(before) >= width and before:
            before = before[1 + max(0, len(before) - 2 * width) :]
        under, rest = (after[:1] or " "), after[1:]
        if not is_focused:
            return [(style, (before + after)[:width])]
        return [(style, before), ("cursor", under), (style, rest[: max(0, width - width_of(before) - width_of(under))])]

    def lines(self, width: int, height: int, *, style: str = "", is_focused: bool = True) -> list[Line]:
        """The field as a block of rows around the cursor; long rows scroll sideways."""
        rows = self.text.split("\n")
        row = self.text.count("\n", 0, self.cursor)
        column = self.cursor - (self.text.rfind("\n", 0, self.cursor) + 1)
        top = max(0, min(row - height + 1, len(rows) - height)) if row >= height else 0
        drawn: list[Line] = []
        for at, text in enumerate(rows[top : top + height], top):
            part = Editor(text)
            part.cursor = column if at == row else 0
            drawn.append(part.line(width, style=style, is_focused=is_focused and at == row))
        return drawn
