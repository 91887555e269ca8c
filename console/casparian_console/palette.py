"""Help and the command palette: overlays made of the tables of actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from casparian_console.actions import Action, keys_of
from casparian_console.canvas import Glyphs, Line, fit, restyle
from casparian_console.editor import Editor
from casparian_console.effects import Effects
from casparian_console.listing import Cursor, Fixed
from casparian_console.overlays import Overlay, TextView, ranked, wrapped
from casparian_console.text import clip


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
        return "letters filter   Enter: do it   Esc: cancel"


#: Of the help; the names of more keys take another line.
_KEY_COLUMNS = 13
_NOW = "Works here now"


class HelpView(TextView):
    """Every key there is: what works right now first, then the others by the table they belong to, dim.

    `/` filters by a word of the key or of what it does.
    """

    def __init__(self, title: str, now: Sequence[Action], groups: Sequence[tuple[str, Sequence[Action]]]) -> None:
        super().__init__(title, [], wish=(96, 60))
        working = {action.id for action in now}
        self._groups = [(_NOW, list(now))]
        self._groups += [(name, [each for each in actions if each.id not in working]) for name, actions in groups]
        self._filter = Editor()
        self._is_filtering = False
        self._width = 80

    def handle(self, key: str) -> Effects:
        if self._is_filtering and key != "enter":
            self._filter.handle(key)
            self.top = 0
        elif key in ("/", "enter"):
            self._is_filtering = key == "/"
        else:
            return super().handle(key)
        return []

    def escape(self) -> bool:
        if not (self._is_filtering or self._filter.text):
            return False
        self._is_filtering = False
        self._filter = Editor()
        return True

    def rows(self, width: int) -> int:
        """As high as all of it, whatever is filtered: the box does not jump while one types."""
        everything = [line for name, actions in self._groups for line in self._group(name, actions, width)]
        self.lines = everything[:-1]
        return super().rows(width)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        wanted = self._filter.text.casefold()
        if not wanted and not self._is_filtering:
            return super().body(width, height, glyphs)
        found = [
            line
            for name, actions in self._groups
            for line in self._group(name, [each for each in actions if wanted in _words(each)], width)
        ]
        self.lines = found[:-1] or [[("dim", "No key does that.")]]
        field = self._filter.line(width, style="input", is_focused=self._is_filtering, placeholder="type to filter")
        return [field, [], *super().body(width, height - 2, glyphs)]

    def hint(self) -> str:
        if self._is_filtering:
            return "letters filter  Enter: scroll in it  Esc: all keys"
        return f"/ filter  {super().hint()}"

    def _group(self, name: str, actions: Sequence[Action], width: int) -> list[Line]:
        listed = [action for action in actions if action.keys]
        if not listed:
            return []
        works = name == _NOW
        lines: list[Line] = [[("title", name), ("dim", "" if works else "  not right now")]]
        for action in listed:
            keys = wrapped(keys_of(action), _KEY_COLUMNS, "key" if works else "dim")
            told = wrapped(action.help, width - _KEY_COLUMNS - 3, "" if works else "dim")
            for left, right in zip_longest(keys, told):
                lines.append([*fit([("", "  "), *(left or [])], _KEY_COLUMNS + 3), *(right or [])])
        return [*lines, []]


def _words(action: Action) -> str:
    return f"{keys_of(action)} {action.label} {action.help}".casefold()
