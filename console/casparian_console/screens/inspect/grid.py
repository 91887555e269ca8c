"""A table on the screen: rows by identity, a column cursor, horizontal scrolling and sorting.

Only visible cells are drawn. Widths are measured once per answer, so that columns do not move while scrolling. `answers`
supplies the table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from casparian_console.canvas import Glyphs, Line, clean, clip, fit, pad, pad_left, restyle, width_of
from casparian_console.listing import Cursor, Match
from casparian_console.screens.inspect.answers import Table, cell_text, is_number, sort_key

_MEASURED_ROWS = 200
_WIDEST = 40
_NARROWEST = 4
#: How many characters of a value are used to draw a cell: enough for the widest cell.
_LOOKED_AT = 3 * _WIDEST
_GAP = 2
_MARK = 2


class Placed:
    """Rows with an index from identity to place."""

    def __init__(self, identities: Sequence[Hashable]) -> None:
        self._identities = identities
        self._places = {identity: at for at, identity in enumerate(identities)}

    def __len__(self) -> int:
        return len(self._identities)

    def identity(self, at: int) -> Hashable:
        return self._identities[at]

    def place(self, identity: Hashable) -> int | None:
        return self._places.get(identity)


def _no_marks(_row: int) -> frozenset[int]:
    return frozenset()


class Grid:
    """The grid. `hidden` columns are in the table but not on the screen. `marks` names the invalid columns of a row."""

    def __init__(self, titles: Mapping[str, str] | None = None) -> None:
        #: Headings of columns that differ from the column's name.
        self.titles = titles or {}
        self.table = Table()
        self.columns: list[int] = []
        self.cursor = Cursor()
        #: The places among `columns` of the column cursor and of the first visible column.
        self.column = 0
        self.left = 0
        #: (name of the column, descending); None for the order of the query. If rows were left out, the query sorts, because the
        #: first rows in the new order may not be loaded.
        self.sorting: tuple[str, bool] | None = None
        self._goes_to_top = False
        self.marks: Callable[[int], frozenset[int]] = _no_marks
        self.height = 10
        self._widths: dict[int, int] = {}
        self._order: list[int] = []
        self._rows = Placed([])
        self._identities: Sequence[Hashable] = ()
        self._last_shown = 0

    def show(
        self,
        table: Table,
        identities: Sequence[Hashable] | None = None,
        *,
        columns: Sequence[int] | None = None,
        marks: Callable[[int], frozenset[int]] = _no_marks,
    ) -> None:
        """Show another answer. The selected row stays selected if it is still there, and the column cursor stays on its
        column."""
        name = self.column_name
        self.table = table
        self.columns = list(range(len(table.columns))) if columns is None else list(columns)
        self._identities = distinct(identities if identities is not None else range(len(table.rows)))
        self.marks = marks
        self._widths = {at: self._measure(at) for at in self.columns}
        names = [table.columns[at].name for at in self.columns]
        self.column = names.index(name) if name in names else min(self.column, max(0, len(names) - 1))
        self.left = min(self.left, self.column)
        self._sort()

    def _title(self, at: int) -> str:
        name = self.table.columns[at].name
        return clean(self.titles.get(name, name))

    def _measure(self, at: int) -> int:
        column = self.table.columns[at]
        measured = range(min(len(self.table.rows), _MEASURED_ROWS))
        cells = (
            width_of(cell_text(self.table.rows[row][at], column.kind, _LOOKED_AT)) + (at in self.marks(row))
            for row in measured
        )
        return max(_NARROWEST, min(_WIDEST, max(width_of(self._title(at)) + 1, max(cells, default=0))))

    # --- order --------------------------------------------------------------------------------------------------------

    @property
    def column_name(self) -> str:
        """The name of the column under the cursor; empty without columns."""
        return self.table.columns[self.columns[self.column]].name if self.column < len(self.columns) else ""

    def cycle_sorting(self) -> None:
        """Sort by the column under the cursor: ascending, descending, unsorted. The first row is selected then."""
        name = self.column_name
        if self.sorting is None or self.sorting[0] != name:
            self.sorting = (name, False) if name else None
        else:
            self.sorting = None if self.sorting[1] else (name, True)
        self._goes_to_top = True
        if not self.table.is_cut:
            self._sort()

    def _sort(self) -> None:
        self._order = list(range(len(self.table.rows)))
        at = self.table.place(self.sorting[0]) if self.sorting and not self.table.is_cut else None
        if at is not None and self.sorting is not None:
            kind, rows = self.table.columns[at].kind, self.table.rows
            known = [row for row in self._order if rows[row][at] is not None]
            known.sort(key=lambda row: sort_key(rows[row][at], kind), reverse=self.sorting[1])
            self._order = [*known, *(row for row in self._order if rows[row][at] is None)]
        self._rows = Placed([self._identities[row] for row in self._order])
        if self._goes_to_top:
            self._goes_to_top = False
            self.cursor = Cursor(pattern=self.cursor.pattern)
        self.cursor.settle(self._rows, self.height)

    @property
    def is_at_end(self) -> bool:
        return self.cursor.at >= len(self._order) - 1

    # --- moving -------------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> int | None:
        """The selected row's number in the table."""
        return self._order[self.cursor.at] if self.cursor.at < len(self._order) else None

    def move(self, key: str) -> bool:
        return self.cursor.move(key, self._rows, self.height)

    def sideways(self, step: int) -> None:
        self.column = max(0, min(self.column + step, len(self.columns) - 1))

    def scroll(self, lines: int) -> None:
        self.cursor.scroll(lines, self._rows, self.height)

    def click(self, line: int) -> bool:
        """Select the row on a line of the body, counted from 0."""
        at = self.cursor.top + line
        if not 0 <= at < len(self._rows):
            return False
        self.cursor.select(self._rows, at, self.height)
        return True

    def search(self, pattern: str, step: int) -> Match | None:
        if not len(self._rows):
            return None
        return self.cursor.find(pattern, step, self._rows, self._row_text, self.height)

    def _row_text(self, at: int) -> str:
        return "\t".join(self.texts(self._order[at]))

    def texts(self, row: int) -> list[str]:
        """The full text of a row's cells."""
        values = self.table.rows[row]
        return [cell_text(values[at], self.table.columns[at].kind) for at in self.columns]

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _shown(self, width: int) -> list[tuple[int, int]]:
        """(place among `columns`, width) of the visible columns, which include the cursor's."""
        self.column = max(0, min(self.column, len(self.columns) - 1))
        self.left = max(0, min(self.left, self.column))
        while True:
            shown, used = [], _MARK
            for place in range(self.left, len(self.columns)):
                wide = min(self._widths[self.columns[place]], width - used)
                if wide < min(_NARROWEST, self._widths[self.columns[place]]):
                    break
                shown.append((place, wide))
                used += wide + _GAP
            is_whole = any(place == self.column and wide == self._widths[self.columns[place]] for place, wide in shown)
            if is_whole or self.left >= self.column:
                self._last_shown = shown[-1][0] if shown else 0
                return shown
            self.left += 1

    def window(self) -> str:
        """The visible columns in words: `columns 3-9 of 41`; empty when all are visible."""
        if not self.columns or (self.left == 0 and self._last_shown >= len(self.columns) - 1):
            return ""
        return f"columns {self.left + 1}-{self._last_shown + 1} of {len(self.columns)}"

    def draw(self, width: int, height: int, glyphs: Glyphs, *, is_focused: bool = True) -> list[Line]:
        """Draw the headings and the visible rows."""
        self.height = max(1, height - 1)
        self.cursor.settle(self._rows, self.height)
        shown = self._shown(width)
        lines = [self._head(shown, glyphs, is_focused)]
        end = min(len(self._order), self.cursor.top + self.height)
        for at in range(self.cursor.top, end):
            line = self._row(self._order[at], shown, glyphs, is_chosen=at == self.cursor.at, is_focused=is_focused)
            lines.append(fit(line, width, ellipsis=glyphs.ellipsis))
        return lines

    def _head(self, shown: list[tuple[int, int]], glyphs: Glyphs, is_focused: bool) -> Line:
        line: Line = [("", " " * _MARK)]
        for place, wide in shown:
            column = self.table.columns[self.columns[place]]
            arrow = ""
            if self.sorting and self.sorting[0] == column.name:
                arrow = glyphs.down if self.sorting[1] else glyphs.up
            name = clip(self._title(self.columns[place]), wide - len(arrow), glyphs.ellipsis) + arrow
            style = "title cursor" if place == self.column and is_focused else "title"
            text = pad_left(name, wide) if is_number(column.kind) else pad(name, wide)
            line += [("", " " * (_GAP if len(line) > 1 else 0)), (style, text)]
        return line

    def _row(
        self, row: int, shown: list[tuple[int, int]], glyphs: Glyphs, *, is_chosen: bool, is_focused: bool
    ) -> Line:
        line: Line = [("", pad(glyphs.cursor if is_chosen and is_focused else "", _MARK))]
        marked = self.marks(row)
        for place, wide in shown:
            at = self.columns[place]
            column, value = self.table.columns[at], self.table.rows[row][at]
            text = cell_text(value, column.kind, _LOOKED_AT)
            style = "dim" if value is None else ""
            if at in marked:
                style, text = "bad bold", glyphs.warning + text
            text = clip(text, wide, glyphs.ellipsis)
            padded = pad_left(text, wide) if is_number(column.kind) else pad(text, wide)
            line += [("", " " * (_GAP if len(line) > 1 else 0)), (style, padded)]
        return restyle(line, "selected") if is_chosen else line


def distinct(identities: Sequence[Hashable]) -> list[Hashable]:
    """Number repeated identities, so that each identifies one row."""
    seen: dict[Hashable, int] = {}
    unique: list[Hashable] = []
    for identity in identities:
        count = seen[identity] = seen.get(identity, 0) + 1
        unique.append(identity if count == 1 else (identity, count))
    return unique
