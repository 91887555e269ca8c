"""The window that shows the runner's frame on the terminal, its mouse events, and the names of keys."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, ItemsView
from typing import Any

from prompt_toolkit.application import get_app
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import UIContent, UIControl, Window
from prompt_toolkit.layout.mouse_handlers import MouseHandlers
from prompt_toolkit.layout.screen import Char, Screen, WritePosition
from prompt_toolkit.mouse_events import MouseButton, MouseEvent, MouseEventType

from casparian_console.canvas import Line
from casparian_console.messages import Click, Message, Scroll
from casparian_console.terminal.frames import classes

_NAMES: dict[str, str] = {
    Keys.Escape.value: "esc",
    Keys.ShiftEscape.value: "esc",
    Keys.Enter.value: "enter",
    Keys.Tab.value: "tab",
    Keys.BackTab.value: "s-tab",
    Keys.Backspace.value: "backspace",
    Keys.PageUp.value: "pgup",
    Keys.PageDown.value: "pgdn",
    Keys.ControlAt.value: "ctrl-space",
    Keys.SIGINT.value: "ctrl-c",
}
_NO_KEYS = frozenset(
    key.value
    for key in (
        Keys.Any,
        Keys.CPRResponse,
        Keys.Vt100MouseEvent,
        Keys.WindowsMouseEvent,
        Keys.BracketedPaste,
        Keys.Ignore,
        Keys.ScrollUp,
        Keys.ScrollDown,
    )
)
#: Names that a user may write in `--script`, with or without `ctrl-`, `alt-` or `s-` before them.
_WRITTEN = re.compile(
    r"(?:ctrl-|alt-|s-)*(?:\S|space|enter|esc|tab|up|down|left|right|home|end|pgup|pgdn|insert|delete|backspace|f\d{1,2})\Z"
)


def name_of(key: str, *, with_alt: bool = False) -> str | None:
    """The name of a prompt_toolkit key; None if it is not a key."""
    value = key.value if isinstance(key, Keys) else key
    if value in _NO_KEYS:
        return None
    name = _NAMES.get(value)
    if name is None:
        name = value
        if len(value) > 1 and value.startswith("c-"):
            name = "ctrl-" + value.removeprefix("c-")
        name = name.replace("pageup", "pgup").replace("pagedown", "pgdn")
    return f"alt-{name}" if with_alt else name


def is_key_name(text: str) -> bool:
    """Whether `text` is a valid key in a script."""
    return bool(_WRITTEN.match(text))


def written(text: str) -> str:
    """A key of a script in the form of `messages.Key`."""
    return " " if text == "space" else text


ALL_NAMES = frozenset(name for key in Keys if (name := name_of(key)) is not None)


_DOUBLE_CLICK_SECONDS = 0.4
#: How far a hand may move between the clicks of a double click.
_DOUBLE_CLICK_COLUMNS = 2
_WHEEL_LINES = 3
_BLANK = Char(" ", "")
#: Fills the cell after a wide character.
_COVERED = Char("", "")
#: The cells cached for one style; a screen uses few of all characters.
_CELLS_MAX = 20_000

MakeFrame = Callable[[int, int], list[Line]]


class _Table(dict[str, Char]):
    """character → its cell in one style, built on first use."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._style = classes(words)

    def __missing__(self, character: str) -> Char:
        if len(self) > _CELLS_MAX:
            self.clear()
        cell = self[character] = Char(character, self._style)
        return cell


class _Tables(dict[str, _Table]):
    """style words → their table of cells."""

    def __missing__(self, words: str) -> _Table:
        table = self[words] = _Table(words)
        return table


class _Row(defaultdict[int, Char]):
    """The cells of a line. The renderer calls `items` to find the last column that is not blank."""

    def __init__(self) -> None:
        super().__init__(lambda: _BLANK)
        self.is_as_it_was = False
        self._last: dict[int, Char] = {}

    def fill(self, line: Line, tables: _Tables, width: int) -> None:
        column = 0
        for words, text in line:
            table = tables[words]
            if text.isascii():
                self.update(zip(range(column, column + len(text)), map(table.__getitem__, text), strict=True))
                column += len(text)
                continue
            for character in text:
                cell = table[character]
                if cell.width == 0 and column:  # joins the character before it
                    column -= 1
                    while column and not self[column].char:
                        column -= 1
                    cell = table[self[column].char + character]
                self[column] = cell
                for covered in range(column + 1, column + cell.width):
                    self[covered] = _COVERED
                column += cell.width or 1
        self._last = {width - 1: Char("|", "")}  # any character will do: every line fills its row

    def items(self) -> ItemsView[int, Char]:  # type: ignore[override]
        return {}.items() if self.is_as_it_was else self._last.items()


class FrameWindow(Window):
    """The window of the console. `frame` returns the frame to show, `press` gets clicks and the wheel."""

    def __init__(self, frame: MakeFrame, press: Callable[[Message], None]) -> None:
        super().__init__(_Frame(frame), always_hide_cursor=True, wrap_lines=False)
        self._frame = frame
        self._press = press
        self._tables = _Tables()
        self._lines: list[Line] = []
        self._rows: list[_Row] = []
        self._width = 0
        self._written: Screen | None = None
        self._clicked = (0.0, -1, -1)

    def write_to_screen(
        self,
        screen: Screen,
        mouse_handlers: MouseHandlers,
        write_position: WritePosition,
        parent_style: str,
        erase_bg: bool,
        z_index: int | None,
    ) -> None:
        width, height = write_position.width, write_position.height
        lines = self._frame(width, height)
        is_known = self._width == width and self._written is get_app().renderer.last_rendered_screen
        old_lines, old_rows = (self._lines, self._rows) if is_known and self._written is not None else ([], [])
        rows: list[_Row] = []
        for number, line in enumerate(lines):
            if number < len(old_lines) and line == old_lines[number]:
                row = old_rows[number]
                row.is_as_it_was = True
            else:
                row = _Row()
                row.fill(line, self._tables, width)
            rows.append(row)
            screen.data_buffer[number] = row
        screen.width, screen.height = width, len(lines)
        screen.visible_windows_to_write_positions[self] = write_position
        everywhere: defaultdict[int, Any] = defaultdict(lambda: self._hear)
        for number in range(height):
            mouse_handlers.mouse_handlers[number] = everywhere
        self._lines, self._rows, self._width, self._written = list(lines), rows, width, screen

    def _hear(self, event: MouseEvent) -> Any:
        """Pass on clicks and the wheel. Returning `None` would draw a frame, but the runner draws itself."""
        row, column = event.position.y, event.position.x
        if event.event_type == MouseEventType.SCROLL_UP:
            self._press(Scroll(row, column, -_WHEEL_LINES))
        elif event.event_type == MouseEventType.SCROLL_DOWN:
            self._press(Scroll(row, column, _WHEEL_LINES))
        elif event.event_type == MouseEventType.MOUSE_DOWN and event.button == MouseButton.LEFT:
            now = time.monotonic()
            before, last_row, last_column = self._clicked
            is_near = row == last_row and abs(column - last_column) <= _DOUBLE_CLICK_COLUMNS
            is_double = is_near and now - before < _DOUBLE_CLICK_SECONDS
            self._clicked = (0.0 if is_double else now, row, column)
            self._press(Click(row, column, 2 if is_double else 1))
        return NotImplemented


class _Frame(UIControl):
    """The content of the window in the form that prompt_toolkit needs."""

    def __init__(self, frame: MakeFrame) -> None:
        self._frame = frame

    def create_content(self, width: int, height: int) -> UIContent:
        lines = self._frame(width, height)

        def get_line(number: int) -> StyleAndTextTuples:
            return [(classes(style), text) for style, text in lines[number]]

        return UIContent(get_line=get_line, line_count=len(lines), show_cursor=False)

    def is_focusable(self) -> bool:
        return True
