"""The list of outputs, live: rows, quarantined rows, size and last commit. Enter opens one."""

from __future__ import annotations

from collections.abc import Callable

from casparian_console.canvas import (
    Glyphs,
    Line,
    ago,
    block,
    clean,
    clip,
    count,
    fit,
    pad,
    pad_left,
    restyle,
    short,
    short_count,
    size,
)
from casparian_console.facts import Output
from casparian_console.messages import Effects
from casparian_console.screen import Context
from casparian_console.screens.inspect.grid import Placed
from casparian_console.screens.inspect.sql_text import name, sample
from casparian_console.screens.inspect.view import ListView, Origins, headline

#: The orders of the list, in turn; equal entries are ordered by name.
ORDERS = ("name", "rows", "quarantined", "last commit")


class Outputs(ListView):
    """The first view of the stack; it is never closed."""

    title = "Outputs"

    def __init__(self, origins: Origins, open_output: Callable[[str, Context], Effects]) -> None:
        super().__init__(origins)
        self.order = ORDERS[0]
        self._open_output = open_output
        self._listed: list[Output] = []

    def enter(self, context: Context) -> Effects:
        self._list(context)
        return []

    def changed(self, context: Context) -> Effects:
        self._list(context)
        return []

    def _list(self, context: Context) -> None:
        keys: dict[str, Callable[[Output], tuple[int, str]]] = {
            "name": lambda each: (0, each.name),
            "rows": lambda each: (-each.rows, each.name),
            "quarantined": lambda each: (-each.quarantined, each.name),
            "last commit": lambda each: (-each.last_commit, each.name),
        }
        self._listed = sorted(context.facts.registry.outputs.values(), key=keys[self.order])
        self.rows = Placed([each.name for each in self._listed])
        self.cursor.settle(self.rows, self.height)

    def selected(self, context: Context) -> Output | None:
        self._list(context)
        return self._listed[self.cursor.at] if self._listed else None

    def open(self, context: Context) -> Effects:
        found = self.selected(context)
        if found is None:
            context.say("Nothing is published yet.", "dim")
            return []
        return self._open_output(found.name, context)

    def move(self, key: str, context: Context) -> Effects:
        self._list(context)
        return super().move(key, context)

    def sort(self, context: Context) -> Effects:
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        return []

    def texts(self) -> list[str]:
        return [f"{each.name} {each.parser}" for each in self._listed]

    @property
    def export_sql(self) -> str:
        return sample(name(self._listed[self.cursor.at].name), "") if self._listed else ""

    @property
    def export_name(self) -> str:
        return self._listed[self.cursor.at].name if self._listed else "answer"

    def summary(self, context: Context) -> str:
        found = self.selected(context)
        return f"Outputs, {found.name} selected ({count(found.rows, 'row')})" if found else "Outputs: none"

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        self.height = max(1, height - 2)
        self._list(context)
        rows, bad = sum(each.rows for each in self._listed), sum(each.quarantined for each in self._listed)
        summary = f"  {count(len(self._listed), 'table')} {context.glyphs.dot} {short_count(rows, 'row')}"
        left: Line = [("title", "Outputs"), ("", summary)]
        if bad:
            left.append(("warn", f" {context.glyphs.dot} {short(bad)} quarantined"))
        if context.past_seq is not None:  # only the tables know which rows were superseded by then
            left.append(("dim", "  committed by then, superseded rows included"))
        lines = [headline(left, f"by {self.order}", width)]
        if not self._listed:
            nothing = (
                "Nothing is published yet. Register and approve a parser, tag files, and `casparian process` runs it."
            )
            return block([*lines, [], [("dim", f" {nothing}")]], width, height)
        lines.append(_head(width))
        for at, each in enumerate(self._listed[self.cursor.top : self.cursor.top + self.height], self.cursor.top):
            line = _row(each, context, width, is_chosen=at == self.cursor.at)
            lines.append(restyle(line, "selected") if at == self.cursor.at else line)
        return block(lines, width, height)


#: The widest column for names, so that the columns stay close together on a wide screen.
_NAME_MOST, _PARSER_MOST = 40, 32


def _widths(width: int) -> tuple[int, int, int]:
    """The widths of the output's name, the parser's name and the number of files (0 if there is little room)."""
    files = 8 if width >= 100 else 0
    left = width - 2 - 4 - 11 - 12 - 10 - 9 - 1 - files
    parser = min(_PARSER_MOST, left * 2 // 5)
    return min(_NAME_MOST, left - parser), parser, files


def _head(width: int) -> Line:
    wide, parser, files = _widths(width)
    text = f"  {pad('output', wide)}{pad('parser', parser)}{'v':>4}{'rows':>11}{'quarantined':>12}{'size':>10}"
    return fit([("title", f"{text}{'files'.rjust(files) if files else ''}{'commit':>9}")], width)


def _row(each: Output, context: Context, width: int, *, is_chosen: bool) -> Line:
    glyphs = context.glyphs
    wide, parser, files = _widths(width)
    line: Line = [
        ("", pad(glyphs.cursor if is_chosen else "", 2)),
        ("bold", _cell(each.name, wide, glyphs)),
        ("dim", _cell(each.parser, parser, glyphs)),
        ("dim", pad_left(str(each.version), 4)),
        ("", pad_left(f"{each.rows:,}", 11)),
        ("warn" if each.quarantined else "dim", pad_left(f"{each.quarantined:,}", 12)),
        ("", pad_left(size(each.bytes), 10)),
        ("dim", pad_left(f"{each.files:,}", files)),
        ("dim", pad_left(ago(each.last_commit, context.facts.now_us), 9)),
    ]
    return fit(line, width, ellipsis=glyphs.ellipsis)


def _cell(text: str, width: int, glyphs: Glyphs) -> str:
    return pad(clip(clean(text), width - 1, glyphs.ellipsis), width)
