"""Drawing of the Parser Bench: the list at the left, the detail of a parser at the right.

It also records the layout of the last frame, for clicks and scrolling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from casparian_console.canvas import Glyphs, Line, ago, bar, box, clean, clock, count, fit, pad, restyle, size
from casparian_console.facts import Contract, Parser, Registry
from casparian_console.listing import Cursor
from casparian_console.overlays import wrapped
from casparian_console.screen import Context
from casparian_console.screens.bench.entries import (
    CANNOT_RUN,
    HEADINGS,
    Entries,
    Entry,
    entry_lines,
    state_of,
    success_rate,
)
from casparian_console.screens.bench.trials import Runner, Trial, result_lines
from casparian_protocol.wording import command_line

_STATES = {"approved": ("done", "ok"), "rejected": ("failed", "bad"), "proposed": ("warning", "accent")}


def detail_lines(entry: Entry, registry: Registry, now_us: int, width: int, glyphs: Glyphs) -> list[Line]:
    if entry.parser is not None:
        return _registered(entry.parser, registry, now_us, width, glyphs)
    lines: list[Line] = [[("bold", clean(entry.name.rpartition("/")[2]))], *wrapped(entry.target, width, "dim")]
    file = entry.file
    if file is not None and file.is_broken:
        return [
            *lines,
            [],
            [("bad", f"{glyphs.failed} The link is broken.")],
            [("", "Repair or remove it; it cannot be run.")],
        ]
    if file is not None:
        what = "a directory with a parser in it" if file.is_directory else size(file.size_bytes)
        lines += [[("dim", f"{what}, changed {ago(file.modified_us, now_us)}")]]
    stem = entry.name.rpartition("/")[2].removesuffix(".py")
    namesakes = [parser for parser in registry.current() if parser.name == stem]
    lines.append([])
    for parser in namesakes:
        lines.append([("", f"Registered under this name: {clean(parser.name)} {clean(parser.version)}")])
    if not namesakes:
        lines += [
            [("", "Not registered under its file's name.")],
            *wrapped(command_line("parser", "register", entry.target), width, "dim"),
        ]
    return [*lines, [], *_key("t", "tests it on a file"), *_key("w", "tests it again whenever it is saved")]


def _registered(parser: Parser, registry: Registry, now_us: int, width: int, glyphs: Glyphs) -> list[Line]:
    contracts = [each for each in registry.contracts.values() if each.parser == parser.name]
    own = [each for each in contracts if each.version == parser.version]
    waiting = [each for each in own if each.state == "proposed"]
    glyph, style, words = state_of(parser, registry)
    lines: list[Line] = [
        [
            ("bold", f"{clean(parser.name)} {clean(parser.version)}"),
            ("", "  "),
            (style, f"{getattr(glyphs, glyph)} {words}"),
        ]
    ]
    if words == CANNOT_RUN:
        lines += wrapped(f"{parser.name} {parser.version} {registry.candidate(parser).obstacle}.", width, style)
    elif parser.paused:
        lines += wrapped(f"Why: {registry.pause_of(parser.name, parser.version)}", width, style)
    lines += _standing(parser, registry, width)
    for files in registry.waiting_files:
        if files.parser == parser.name:
            tagged = f"{count(files.files, 'file')} tagged {files.tag}"
            lines += wrapped(f"{tagged} {'waits' if files.files == 1 else 'wait'} for it.", width, "warn")
    lines += [[], *_runs(parser, now_us, width, glyphs), []]
    lines.append(_fact("topics", ", ".join(clean(topic) for topic in parser.topics) or "none: no file becomes its job"))
    versions = [each for each in registry.parsers.values() if each.name == parser.name and each is not parser]
    if versions:
        lines.append(_fact("others", ", ".join(clean(each.version) for each in reversed(versions[-8:]))))
    lines.append(_fact("registered", clock(parser.registered_at)))
    lines.append(_fact("artifact", _short_hash(parser.artifact, registry)))
    lines += [[], [("title", "Outputs")]]
    lines += [_output(name, own, registry, glyphs) for name in parser.outputs] or [[("dim", "  none declared")]]
    if waiting:
        lines += [
            [],
            *_key("a", f"shows what {'each' if len(waiting) > 1 else 'it'} changes and approves"),
            *_key("x", "rejects"),
        ]
    return [*lines, [], *_key("t", "tests it on a file, the failing ones first")]


def _standing(parser: Parser, registry: Registry, width: int) -> list[Line]:
    """Describe which version takes new and changed files, and which versions wait and why."""
    current = registry.current_of(parser.name)
    lines: list[Line] = []
    if current is parser:
        lines += wrapped("Current: new and changed files go to it.", width, "ok")
    elif current is not None:
        lines += wrapped(f"{current.version} is current: new and changed files go to that.", width, "dim")
    for each in registry.parsers.values():
        if each.name == parser.name and each.waits and each.state != "retired":
            lines += wrapped(f"{each.version} waits: {each.waits}.", width, "warn")
            lines += wrapped(each.waits_remedy, width, "dim")
    return lines


def _runs(parser: Parser, now_us: int, width: int, glyphs: Glyphs) -> list[Line]:
    rate = success_rate(parser)
    if not rate:
        return [_fact("runs", "none yet")]
    share = parser.successes / parser.runs
    style = "ok" if share == 1 else "warn" if share >= 0.9 else "bad"
    line = _fact("runs", f"{parser.runs:,}, {rate} ok ")
    lines: list[Line] = [[*line, *bar(share, 12, glyphs, style)] if width > 44 else line]
    lines.append(_fact("last run", ago(parser.last_run_at, now_us)))
    if parser.last_failure and parser.successes < parser.runs:
        lines += wrapped(f"last failure: {parser.last_failure}", width, "dim")
    return lines


def _output(name: str, contracts: Sequence[Contract], registry: Registry, glyphs: Glyphs) -> Line:
    contract = next((each for each in contracts if each.output == name), None)
    glyph, style = _STATES.get(contract.state if contract else "", ("dot", "dim"))
    state = f"{contract.state}, {count(contract.columns, 'column')}" if contract else "no contract"
    table = registry.outputs.get(name)
    rows = f" · {count(table.rows, 'row')}" if table is not None else ""
    return [
        (style, f"  {getattr(glyphs, glyph)} "),
        ("", pad(clean(name), max(16, len(clean(name)) + 1))),
        ("dim", f"{state}{rows}"),
    ]


def _short_hash(artifact: str, registry: Registry) -> str:
    """The shortest prefix of at least 8 digits that no other artifact shares."""
    others = {each.artifact for each in registry.parsers.values()} - {artifact}
    length = 8
    while length < len(artifact) and any(other.startswith(artifact[:length]) for other in others):
        length += 1
    return artifact[:length]


def _fact(name: str, value: str) -> Line:
    return [("dim", f"{name:<12}"), ("", value)]


def _key(key: str, what: str) -> list[Line]:
    return [[("key", f"{key} "), ("dim", what)]]


@dataclass
class Layout:
    """The layout of the last frame."""

    left_width: int = 34
    #: The height of the right box, and the number of lines to scroll through.
    height: int = 1
    lines: int = 0
    entries_shown: int = 1
    #: The place of the entry on each row of the screen; None where there is none.
    places: list[int | None] = field(default_factory=list)
    #: The lines of the result, built once for each (test, state, width).
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


class Bench(Protocol):
    """The part of the screen that is drawn."""

    cursor: Cursor
    entries: Entries
    is_right: bool
    listed: list[Entry]
    layout: Layout
    runner: Runner
    top: int

    def entry(self) -> Entry | None: ...

    def trial(self) -> Trial | None: ...

    def is_result(self) -> bool: ...


def draw(bench: Bench, context: Context, width: int, height: int) -> list[Line]:
    layout = bench.layout
    layout.left_width = 34 if width < 100 else min(60, width * 3 // 10)
    layout.height = height - 2
    left = _left(bench, context, layout.left_width, height)
    right = _right(bench, context, width - layout.left_width, height)
    return [[*a, *b] for a, b in zip(left, right, strict=True)]


def _left(bench: Bench, context: Context, width: int, height: int) -> list[Line]:
    """The headings and two lines for each parser; the window keeps the selected parser visible."""
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
    bench.layout.entries_shown = max(1, room // 2)
    top = max(0, min(chosen_line - room // 2, len(lines) - room))
    bench.layout.places = [None, *places[top : top + room]]
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
    entry, layout = bench.entry(), bench.layout
    style = "accent" if bench.is_right else "border"
    if entry is None:
        layout.lines = 0
        return box([], width, height, context.glyphs, style=style)
    if bench.is_result():
        lines, title = layout.result(bench, context, width - 4), f"Test of {clean(entry.name)}"
    else:
        registry, now_us = context.facts.registry, context.facts.now_us
        lines = detail_lines(entry, registry, now_us, width - 4, context.glyphs)
        title = clean(entry.name.rpartition("/")[2])
    layout.lines = len(lines)
    bench.top = max(0, min(bench.top, len(lines) - layout.height))
    shown = lines[bench.top : bench.top + layout.height]
    if len(lines) > layout.height:
        title += f"  {bench.top + 1}-{bench.top + len(shown)} of {len(lines)}"
    ellipsis = context.glyphs.ellipsis
    padded: list[Line] = [[("", " "), *fit(line, width - 4, ellipsis=ellipsis)] for line in shown]
    return box(padded, width, height, context.glyphs, title=title, style=style)
