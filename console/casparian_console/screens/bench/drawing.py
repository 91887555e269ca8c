"""How the Parser Bench looks: two boxes side by side. Writes down where things lie, for clicks and scrolling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from casparian_console.canvas import Line, box, fit, restyle
from casparian_console.screen import Context
from casparian_console.screens.bench.detail_view import detail_lines
from casparian_console.screens.bench.entries import HEADINGS, entry_lines
from casparian_console.screens.bench.result_view import result_lines
from casparian_console.text import clean

if TYPE_CHECKING:
    from casparian_console.screens.bench.screen import Bench


@dataclass
class Look:
    """What the last frame was like."""

    left_width: int = 34
    #: Lines of the right box, and how many there are to scroll through.
    height: int = 1
    lines: int = 0
    entries_shown: int = 1
    #: Entry's place by row of the screen; None where there is none.
    places: list[int | None] = field(default_factory=list)
    #: The result's lines, made once for each (test, its state, width).
    _result_key: tuple[object, ...] = ()
    _result: list[Line] = field(default_factory=list)

    def result(self, bench: Bench, context: Context, width: int) -> list[Line]:
        trial = bench.trial()
        assert trial is not None
        key = (trial.number, trial.state, width, context.glyphs, context.facts.now_us if trial.is_running else 0)
        if key != self._result_key:
            self._result = result_lines(trial, width, context.glyphs, context.facts.now_us)
            self._result_key = key
        return self._result


def draw(bench: Bench, context: Context, width: int, height: int) -> list[Line]:
    look = bench.look
    look.left_width = 34 if width < 100 else min(60, width * 3 // 10)
    look.height = height - 2
    left = _left(bench, context, look.left_width, height)
    right = _right(bench, context, width - look.left_width, height)
    return [[*a, *b] for a, b in zip(left, right, strict=True)]


def _left(bench: Bench, context: Context, width: int, height: int) -> list[Line]:
    """Headings and two lines for each parser; the window keeps the selected one visible."""
    room = height - 2
    lines: list[Line] = []
    places: list[int | None] = []
    chosen_line = 0
    before = ""
    for at, entry in enumerate(bench.listed):
        if entry.kind != before:
            lines += [[], [("dim", f" {HEADINGS[entry.kind]}")]] if lines else [[("dim", f" {HEADINGS[entry.kind]}")]]
            places += [None] * (len(lines) - len(places))
            before = entry.kind
        is_chosen = at == bench.cursor.at
        chosen_line = len(lines) if is_chosen else chosen_line
        is_watched = bench.runner.watched is not None and bench.runner.watched.identity == entry.identity
        for part in _entry(bench, at, context, width - 2, is_watched=is_watched):
            lines.append(restyle(part, "selected") if is_chosen and not bench.is_right else part)
            places.append(at)
    bench.look.entries_shown = max(1, room // 2)
    top = max(0, min(chosen_line - room // 2, len(lines) - room))
    bench.look.places = [None, *places[top : top + room]]
    if not bench.listed:
        lines = [[("dim", " No parsers yet.")], [], [("", " casparian new parser NAME")], [("dim", " writes one, and")]]
        lines += [[("", " casparian parser register PATH")], [("dim", " registers it.")]]
    style = "border" if bench.is_right else "accent"
    return box(lines[top : top + room], width, height, context.glyphs, title="Parsers", style=style)


def _entry(bench: Bench, at: int, context: Context, width: int, *, is_watched: bool) -> tuple[Line, Line]:
    mark = context.glyphs.cursor if at == bench.cursor.at else " "
    name, health = entry_lines(bench.listed[at], context.facts.registry, context.facts.now_us, context.glyphs)
    trial = bench.runner.latest(bench.listed[at].identity)
    end: Line = [("accent", " watched ")] if is_watched else []
    if trial is not None and trial.is_running:
        end = [("accent", f" {context.glyphs.running} test ")]
    room = width - sum(len(text) for _, text in end)
    ellipsis = context.glyphs.ellipsis
    first = [*fit([("", mark), *name], room, ellipsis=ellipsis), *end]
    return first, fit([("", " "), *health], width, ellipsis=ellipsis)


def _right(bench: Bench, context: Context, width: int, height: int) -> list[Line]:
    entry, look = bench.entry(), bench.look
    style = "accent" if bench.is_right else "border"
    if entry is None:
        look.lines = 0
        return box([], width, height, context.glyphs, style=style)
    if bench.is_result():
        lines, title = look.result(bench, context, width - 4), f"Test of {clean(entry.name)}"
    else:
        registry, now_us = context.facts.registry, context.facts.now_us
        lines = detail_lines(entry, registry, now_us, width - 4, context.glyphs)
        title = clean(entry.name.rpartition("/")[2])
    look.lines = len(lines)
    bench.top = max(0, min(bench.top, len(lines) - look.height))
    shown = lines[bench.top : bench.top + look.height]
    if len(lines) > look.height:
        title += f"  {bench.top + 1}-{bench.top + len(shown)} of {len(lines)}"
    ellipsis = context.glyphs.ellipsis
    padded: list[Line] = [[("", " "), *fit(line, width - 4, ellipsis=ellipsis)] for line in shown]
    return box(padded, width, height, context.glyphs, title=title, style=style)
