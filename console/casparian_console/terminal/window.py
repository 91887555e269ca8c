"""The window that puts the runner's frame on the terminal, and hears the mouse above it.

Owns the cells of the frame. prompt_toolkit copies and compares every cell of a frame (7 of 8 ms at 200×60); here a line that
is as it was keeps its cells and is not looked at again. Writing to the terminal stays prompt_toolkit's.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, ItemsView
from typing import Any

from prompt_toolkit.application import get_app
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import UIContent, UIControl, Window
from prompt_toolkit.layout.mouse_handlers import MouseHandlers
from prompt_toolkit.layout.screen import Char, Screen, WritePosition
from prompt_toolkit.mouse_events import MouseButton, MouseEvent, MouseEventType

from casparian_console.canvas import Line
from casparian_console.messages import Click, Message, Scroll
from casparian_console.terminal.frames import classes

_DOUBLE_CLICK_SECONDS = 0.4
_WHEEL_LINES = 3
_BLANK = Char(" ", "")
#: Stands in the cell behind a wide character.
_COVERED = Char("", "")
#: Of one style; characters are many, those of a screen few.
_CELLS_MAX = 20_000

MakeFrame = Callable[[int, int], list[Line]]


class _Table(dict[str, Char]):
    """character → its cell in one style; made once."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._style = classes(words)

    def __missing__(self, character: str) -> Char:
        if len(self) > _CELLS_MAX:
            self.clear()
        cell = self[character] = Char(character, self._style)
        return cell


class _Tables(dict[str, _Table]):
    """words of a style → its table."""

    def __missing__(self, words: str) -> _Table:
        table = self[words] = _Table(words)
        return table


class _Row(defaultdict[int, Char]):
    """The cells of a line. The renderer asks `items` for the last column that is not blank: none, when nothing changed."""

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
                if cell.width == 0 and column:  # joins what stands before it
                    column -= 1
                    while column and not self[column].char:
                        column -= 1
                    cell = table[self[column].char + character]
                self[column] = cell
                for covered in range(column + 1, column + cell.width):
                    self[covered] = _COVERED
                column += cell.width or 1
        self._last = {width - 1: Char("|", "")}  # whatever it is: every line fills its row

    def items(self) -> ItemsView[int, Char]:  # type: ignore[override]
        return {}.items() if self.is_as_it_was else self._last.items()


class FrameWindow(Window):
    """`frame` is asked for what is shown, `press` hears clicks and the wheel."""

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
        """Presses and the wheel; `None` would draw a frame, and the runner draws its own."""
        row, column = event.position.y, event.position.x
        if event.event_type == MouseEventType.SCROLL_UP:
            self._press(Scroll(row, column, -_WHEEL_LINES))
        elif event.event_type == MouseEventType.SCROLL_DOWN:
            self._press(Scroll(row, column, _WHEEL_LINES))
        elif event.event_type == MouseEventType.MOUSE_DOWN and event.button == MouseButton.LEFT:
            now = time.monotonic()
            before, last_row, last_column = self._clicked
            is_double = now - before < _DOUBLE_CLICK_SECONDS and (row, column) == (last_row, last_column)
            self._clicked = (0.0 if is_double else now, row, column)
            self._press(Click(row, column, 2 if is_double else 1))
        return NotImplemented


class _Frame(UIControl):
    """What prompt_toolkit wants to know of a window's content."""

    def __init__(self, frame: MakeFrame) -> None:
        self._frame = frame

    def create_content(self, width: int, height: int) -> UIContent:
        lines = self._frame(width, height)

        def get_line(number: int) -> StyleAndTextTuples:
            return [(classes(style), text) for style, text in lines[number]]

        return UIContent(get_line=get_line, line_count=len(lines), show_cursor=False)

    def is_focusable(self) -> bool:
        return True
