"""The columns of an output in numbers: types, NULLs, different values, bounds, a histogram in block characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from casparian_console.canvas import Glyphs, Line, fit, restyle
from casparian_console.listing import Cursor, Match
from casparian_console.screens.inspect.answers import Column, Table, cell_text, is_moment, is_number
from casparian_console.screens.inspect.grid import Placed
from casparian_console.screens.inspect.queries import BUCKETS, EXACT_ROWS
from casparian_console.text import clean, clip, pad, pad_left, short

_PER_COLUMN = 5
#: What the list may be ordered by, in turn.
ORDERS = ("", "name", "nulls", "distinct")


@dataclass(slots=True)
class Profile:
    """One column, as far as it is known."""

    column: Column
    nulls: int = 0
    distinct: int = 0
    is_estimated: bool = False
    low: Any = None
    high: Any = None
    #: Rows by bucket, from `low` to `high`; empty for texts.
    buckets: list[int] = field(default_factory=list)
    #: The values of a text with few different ones, the most frequent first.
    values: list[tuple[str, int]] = field(default_factory=list)
    is_known: bool = False


def read(columns: Sequence[Column], answer: Table | None) -> list[Profile]:
    """The answer to `queries.profile`; without one, the columns alone."""
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
    """A bar a bucket; what is not empty is never drawn as empty."""
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
    """How the room is shared."""

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
