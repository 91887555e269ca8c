"""One column of an output: NULLs, bounds, a large histogram, and its most frequent values. Enter filters the rows by one.

The numbers come from the table's profile; the values are asked for when the column is opened, for the rows of the table's
condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casparian_console.canvas import Line, bar, block, fit, restyle
from casparian_console.effects import Effects
from casparian_console.listing import Cursor, Match
from casparian_console.messages import Tagged
from casparian_console.screen import Context
from casparian_console.screens.inspect import queries
from casparian_console.screens.inspect.answers import NULL, Question, cell_text, is_number
from casparian_console.screens.inspect.grid import Placed
from casparian_console.screens.inspect.profile import Profile
from casparian_console.screens.inspect.rows import Origins
from casparian_console.screens.inspect.view import View, divider, headline
from casparian_console.screens.jobs.monitoring import chart
from casparian_console.text import clean, clip, count, duration, pad, pad_left

#: Values that are listed; the rest is told as one number.
TOP_VALUES = 200
_CHART_ROWS = 8
_NAME_MOST = 48


class OneColumn(View):
    """`filter_rows` shows the table's rows of a condition."""

    has_lineage = False

    def __init__(
        self,
        origins: Origins,
        output: str,
        profile: Profile,
        condition: str,
        filter_rows: Callable[[str, Context], Effects],
    ) -> None:
        super().__init__(origins)
        self.output, self.profile, self.condition = output, profile, condition
        self.title = f"{output}.{profile.column.name}"
        self.question = Question("column")
        self.cursor = Cursor()
        self.height = 10
        self._filter_rows = filter_rows
        self._rows = Placed([])
        self._list_at = 4

    # --- asking -------------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        return [] if self.question.is_asked else self.refresh(context)

    def leave(self) -> Effects:
        return self.question.stop()

    def refresh(self, context: Context) -> Effects:
        sql = queries.top_values(queries.name(self.output), self.profile.column, self.condition)
        return self.question.ask(sql, context, limit_rows=TOP_VALUES)

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        if self.question.on_answer(message, context):
            self._rows = Placed([row[0] for row in self.values])
            self.cursor.settle(self._rows, self.height)
        return []

    @property
    def values(self) -> list[list[Any]]:
        """Value as text (None: NULL), its rows, and all rows; the most frequent first."""
        return self.question.table.rows if self.question.table is not None else []

    # --- keys ---------------------------------------------------------------------------------------------------------

    def open(self, context: Context) -> Effects:
        """The rows that have the selected value."""
        if not self.values:
            return []
        value = self.values[self.cursor.at][0]
        column = queries.typed_name(self.profile.column.name)
        if value is None:
            condition = f"{column} is null"
        elif is_number(self.profile.column.kind) and value.lower() not in ("nan", "inf", "-inf"):
            condition = f"{column} = {value}"
        elif self.profile.column.kind == "string":
            condition = f"{column} = {queries.literal(value)}"
        else:
            condition = f"{column}::varchar = {queries.literal(value)}"
        before = f"({self.condition}) and " if self.condition else ""
        return self._filter_rows(before + condition, context)

    def move(self, key: str, context: Context) -> Effects:
        self.cursor.move(key, self._rows, self.height)
        return []

    def search(self, pattern: str, step: int) -> Match | None:
        if not self.values:
            return None
        return self.cursor.find(pattern, step, self._rows, lambda at: _text(self.values[at][0]), self.height)

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        at = self.cursor.top + row - self._list_at
        if row < self._list_at or at >= len(self.values):
            return []
        self.cursor.select(self._rows, at, self.height)
        return self.open(context) if clicks > 1 else []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        self.cursor.scroll(lines, self._rows, self.height)
        return []

    @property
    def export_sql(self) -> str:
        return queries.top_values(queries.name(self.output), self.profile.column, self.condition, limit=0)

    @property
    def export_name(self) -> str:
        return f"{self.output}_{self.profile.column.name}"

    def summary(self, context: Context) -> str:
        known = self.profile
        return f"Column {self.title} ({known.column.kind}): {known.nulls} NULL, {known.distinct} different values"

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        known, glyphs = self.profile, context.glyphs
        left: Line = [("title", clean(self.title)), ("dim", f"  {known.column.kind}")]
        lines = [headline(left, self._state(context), width), self._numbers(width)]
        if known.buckets and height >= 20:
            lines += [[], *self._histogram(width - 4, context)]
        lines.append(divider("values", self._listed(), width, glyphs, is_focused=True))
        lines += [[("bad", f" {line}")] for line in self.question.problem[:3]]
        self._list_at = len(lines)
        self.height = max(1, height - len(lines))
        self.cursor.settle(self._rows, self.height)
        total = self.values[0][2] if self.values else 1
        most = max((number for _, number, _ in self.values), default=1)
        name_width = min(_NAME_MOST, max(16, width // 2))
        for at, (value, number, _) in enumerate(
            self.values[self.cursor.top : self.cursor.top + self.height], self.cursor.top
        ):
            mark = glyphs.cursor if at == self.cursor.at else " "
            text = pad(clip(_text(value), name_width, glyphs.ellipsis), name_width)
            line: Line = [("", f"{mark} "), ("dim" if value is None else "", text), ("", pad_left(f"{number:,}", 13))]
            line += [
                ("dim", f" {number * 100 / total:5.1f}% "),
                *bar(number / most, max(8, width - name_width - 25), glyphs),
            ]
            line = fit(line, width)
            lines.append(restyle(line, "selected") if at == self.cursor.at else line)
        return block(lines, width, height)

    def _histogram(self, width: int, context: Context) -> list[Line]:
        """Rows by value, each bucket as many columns wide, with the bounds below."""
        known = self.profile
        wide = max(1, width // len(known.buckets))
        drawn = chart([float(each) for each in known.buckets for _ in range(wide)], wide * len(known.buckets), _CHART_ROWS,
                      context.glyphs)  # fmt: skip
        low, high = (cell_text(bound, known.column.kind) for bound in (known.low, known.high))
        bounds = f"  {low}{high.rjust(max(1, wide * len(known.buckets) - len(low)))}"
        return [*([("accent", f"  {row}")] for row in drawn), [("dim", bounds)]]

    def _numbers(self, width: int) -> Line:
        known = self.profile
        if not known.is_known:
            return [("dim", " loading…")]
        estimated = "about " if known.is_estimated else ""
        told = [f"{known.nulls:,} NULL", f"{estimated}{count(known.distinct, 'different value')}"]
        told += [f"{name} {cell_text(bound, known.column.kind)}" for name, bound in (("min", known.low), ("max", known.high))
                 if bound is not None]  # fmt: skip
        return fit([("warn" if known.nulls else "", f" {told[0]}"), ("", f"  {'  '.join(told[1:])}")], width)

    def _listed(self) -> str:
        table = self.question.table
        if table is None:
            return ""
        shown = f"the {TOP_VALUES} most frequent" if table.is_cut else f"all {len(table.rows):,}"
        where = f", where {clean(self.condition)[:40]}" if self.condition else ""
        return f"{shown}{where}, Enter shows the rows of one"

    def _state(self, context: Context) -> str:
        if self.question.is_running:
            return f"counting {self.question.seconds(context.facts.now_us):.0f} s"
        return duration(self.question.seconds(context.facts.now_us)) if self.question.table is not None else ""


def _text(value: str | None) -> str:
    return NULL if value is None else cell_text(value)
