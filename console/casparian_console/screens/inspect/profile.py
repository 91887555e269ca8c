"""Column profiles of an output, and one column in full: its histogram and its most frequent values.

Enter on a value filters the table's rows by that value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from casparian_console.canvas import (
    Glyphs,
    Line,
    bar,
    block,
    clean,
    clip,
    count,
    duration,
    fit,
    pad,
    pad_left,
    restyle,
    short,
)
from casparian_console.listing import Cursor, Match
from casparian_console.messages import Effects, Tagged
from casparian_console.screen import Context
from casparian_console.screens.inspect import sql_text
from casparian_console.screens.inspect.answers import NULL, Column, Question, Table, cell_text, is_moment, is_number
from casparian_console.screens.inspect.grid import Placed
from casparian_console.screens.inspect.sql_text import BUCKETS, EXACT_ROWS
from casparian_console.screens.inspect.view import Origins, View, divider, headline
from casparian_console.screens.jobs.monitoring import chart

_PER_COLUMN = 5
#: The orders of the list, in turn.
ORDERS = ("", "name", "nulls", "distinct")


@dataclass(slots=True)
class Profile:
    """The profile of one column, as far as known."""

    column: Column
    nulls: int = 0
    distinct: int = 0
    is_estimated: bool = False
    low: Any = None
    high: Any = None
    #: The number of rows in each bucket from `low` to `high`; empty for texts.
    buckets: list[int] = field(default_factory=list)
    #: The values of a text column with few distinct values, the most frequent first.
    values: list[tuple[str, int]] = field(default_factory=list)
    is_known: bool = False


def read(columns: Sequence[Column], answer: Table | None) -> list[Profile]:
    """Read the answer to `sql_text.profile`; without an answer, only the columns."""
    if answer is None or not answer.rows or len(answer.rows[0]) != 1 + _PER_COLUMN * len(columns):
        return [Profile(column) for column in columns]
    total, *values = answer.rows[0]
    profiles = []
    for at, column in enumerate(columns):
        filled, distinct, low, high, histogram = values[at * _PER_COLUMN : (at + 1) * _PER_COLUMN]
        profile = Profile(column, total - filled, distinct, total > EXACT_ROWS, low, high, is_known=True)
        pairs = [(key, int(count)) for key, count in histogram or []]
        if is_number(column.kind) or is_moment(column.kind) or column.kind == "time":
            counts = {int(key): count for key, count in pairs}
            profile.buckets = [counts.get(bucket, 0) for bucket in range(BUCKETS)] if counts else []
        else:
            profile.values = sorted(((str(key), count) for key, count in pairs), key=lambda pair: (-pair[1], pair[0]))
        profiles.append(profile)
    return profiles


def blocks(counts: Sequence[int], width: int, glyphs: Glyphs) -> str:
    """One bar for each bucket; a bucket with rows is never drawn as empty."""
    if not counts or width <= 0:
        return ""
    merged = list(counts)
    while len(merged) > width:
        pairs = zip(merged[::2], [*merged[1::2], 0], strict=False)
        merged = [a + b for a, b in pairs]
    most, top = max(merged), len(glyphs.sparks) - 1
    return "".join(glyphs.sparks[0 if not count else max(1, round(count / most * top))] for count in merged)


class ProfileList:
    """The list of columns, with its own order and selection."""

    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.order = ""
        self.cursor = Cursor()
        self.height = 8
        self._rows = Placed([])

    def show(self, profiles: list[Profile]) -> None:
        if self.order == "name":
            profiles = sorted(profiles, key=lambda each: each.column.name.casefold())
        elif self.order == "nulls":
            profiles = sorted(profiles, key=lambda each: -each.nulls)
        elif self.order == "distinct":
            profiles = sorted(profiles, key=lambda each: -each.distinct)
        self.profiles = profiles
        self._rows = Placed([each.column.name for each in profiles])
        self.cursor.settle(self._rows, self.height)

    @property
    def selected(self) -> Profile | None:
        return self.profiles[self.cursor.at] if self.cursor.at < len(self.profiles) else None

    def move(self, key: str) -> bool:
        return self.cursor.move(key, self._rows, self.height)

    def scroll(self, lines: int) -> None:
        self.cursor.scroll(lines, self._rows, self.height)

    def click(self, line: int) -> bool:
        at = self.cursor.top + line
        if 0 <= at < len(self.profiles):
            self.cursor.select(self._rows, at, self.height)
            return True
        return False

    def search(self, pattern: str, step: int) -> Match | None:
        if not self.profiles:
            return None
        texts = [f"{each.column.name} {each.column.kind}" for each in self.profiles]
        return self.cursor.find(pattern, step, self._rows, texts.__getitem__, self.height)

    def draw(self, width: int, height: int, glyphs: Glyphs, *, is_focused: bool) -> list[Line]:
        self.height = max(1, height - 1)
        self.cursor.settle(self._rows, self.height)
        wide = _Widths.of(width)
        lines: list[Line] = [fit([("title", "  " + wide.head())], width)]
        for at, each in enumerate(self.profiles[self.cursor.top : self.cursor.top + self.height], self.cursor.top):
            is_chosen = at == self.cursor.at
            mark = pad(glyphs.cursor if is_chosen and is_focused else "", 2)
            line = fit([("", mark), *wide.row(each, glyphs)], width, ellipsis=glyphs.ellipsis)
            lines.append(restyle(line, "selected") if is_chosen else line)
        return lines


@dataclass(frozen=True, slots=True)
class _Widths:
    """The widths of the list's columns."""

    name: int
    kind: int
    bars: int
    bound: int
    common: int

    @classmethod
    def of(cls, width: int) -> _Widths:
        is_wide = width >= 110
        name, kind, bars = (28, 16, 24) if is_wide else (16, 12, 12)
        left = width - 2 - name - kind - bars - 2 * 8 - 5 - (1 if is_wide else 0)
        common = min(40, left // 3) if width >= 150 else 0
        return cls(name, kind, bars, max(4, (left - common - 1) // 2), common)

    def head(self) -> str:
        cells = [pad("column", self.name), pad("type", self.kind), f"{'nulls':>7}", f"{'distinct':>8}"]
        cells += [pad("histogram", self.bars), pad("min", self.bound), pad("max", self.bound)]
        return " ".join([*cells, "most frequent"] if self.common else cells)

    def row(self, each: Profile, glyphs: Glyphs) -> Line:
        kind = each.column.kind
        line: Line = [
            ("", _cell(each.column.name, self.name, glyphs)),
            ("dim", " " + _cell(kind, self.kind, glyphs)),
        ]
        if not each.is_known:
            return [*line, ("dim", f" {glyphs.waiting:>7} {glyphs.waiting:>8}")]
        estimated = "~" if each.is_estimated else ""
        line += [
            ("" if each.nulls else "dim", f" {_number(each.nulls, 7)}"),
            ("", " " + pad_left(estimated + _number(each.distinct, 8 - len(estimated)).strip(), 8)),
            ("accent", " " + pad(self._bars(each, glyphs), self.bars)),
        ]
        for bound in (each.low, each.high):
            text = "" if bound is None else cell_text(bound, kind)
            line.append(("", " " + _cell(text, self.bound, glyphs)))
        if self.common and each.values:
            value, count = each.values[0]
            line.append(("dim", clip(f" {count:,} {glyphs.dot} {cell_text(value)}", self.common, glyphs.ellipsis)))
        return line

    def _bars(self, each: Profile, glyphs: Glyphs) -> str:
        if each.buckets:
            return blocks(each.buckets, self.bars, glyphs)
        return blocks([count for _, count in each.values][: self.bars], self.bars, glyphs)


def _cell(text: str, width: int, glyphs: Glyphs) -> str:
    return pad(clip(clean(text), width, glyphs.ellipsis), width)


def _number(number: int, width: int) -> str:
    exact = f"{number:,}"
    return pad_left(exact if len(exact) <= width else short(number), width)


#: How many values are listed; the rest is shown as one number.
TOP_VALUES = 200
_CHART_ROWS = 8
_NAME_MOST = 48


class OneColumn(View):
    """One column in full. `filter_rows` shows the table's rows that satisfy a condition."""

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

    # --- queries ------------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        return [] if self.question.is_asked else self.refresh(context)

    def leave(self) -> Effects:
        return self.question.stop()

    def refresh(self, context: Context) -> Effects:
        sql = sql_text.top_values(sql_text.name(self.output), self.profile.column, self.condition)
        return self.question.ask(sql, context, limit_rows=TOP_VALUES)

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        if self.question.on_answer(message, context):
            self._rows = Placed([row[0] for row in self.values])
            self.cursor.settle(self._rows, self.height)
        return []

    @property
    def values(self) -> list[list[Any]]:
        """(value as text or None for NULL, its rows, all rows), the most frequent value first."""
        return self.question.table.rows if self.question.table is not None else []

    # --- keys ---------------------------------------------------------------------------------------------------------

    def open(self, context: Context) -> Effects:
        """Show the rows with the selected value."""
        if not self.values:
            return []
        value = self.values[self.cursor.at][0]
        column = sql_text.typed_name(self.profile.column.name)
        if value is None:
            condition = f"{column} is null"
        elif is_number(self.profile.column.kind) and value.lower() not in ("nan", "inf", "-inf"):
            condition = f"{column} = {value}"
        elif self.profile.column.kind == "string":
            condition = f"{column} = {sql_text.literal(value)}"
        else:
            condition = f"{column}::varchar = {sql_text.literal(value)}"
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
        return sql_text.top_values(sql_text.name(self.output), self.profile.column, self.condition, limit=0)

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
        """A histogram with its bounds below; every bucket has the same width."""
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
        parts = [f"{known.nulls:,} NULL", f"{estimated}{count(known.distinct, 'different value')}"]
        parts += [f"{name} {cell_text(bound, known.column.kind)}" for name, bound in (("min", known.low), ("max", known.high))
                 if bound is not None]  # fmt: skip
        return fit([("warn" if known.nulls else "", f" {parts[0]}"), ("", f"  {'  '.join(parts[1:])}")], width)

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
