"""The frame around the screens: top bar, the past's bar, message line, footer, and the overlay above them.

The module reads a `Shell` and changes nothing. It also finds the action under a click in the bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from casparian_console.assistant import Sidebar
from casparian_console.canvas import (
    ASCII,
    Line,
    as_ascii,
    block,
    clean,
    fit,
    line_width,
    overlaid,
    restyle,
    short,
    spread,
)
from casparian_console.editor import Editor
from casparian_console.facts import Facts
from casparian_console.overlays import Overlay
from casparian_console.screen import Action, Context, Screen, footer_rows
from casparian_console.travel import Travel

#: The smallest supported terminal.
_TOO_SMALL = (60, 12)
#: The projection may lag by this many events before the top bar says so.
_LAG = 1000
_WIDE = 120
_ROOMY = 100
_TALL, _VERY_WIDE = 36, 160


class Shell(Context, Protocol):
    """The part of the shell that is drawn."""

    screens: dict[str, Screen]
    mode: str
    overlay: Overlay | None
    searching: Editor | None
    travel: Travel
    sidebar: Sidebar
    message: tuple[str, str]
    present: Facts

    @property
    def current(self) -> Screen: ...

    @property
    def width(self) -> int: ...

    @property
    def footer_height(self) -> int: ...

    @property
    def is_cut_off(self) -> bool: ...

    def working(self) -> list[Action]: ...


def draw(shell: Shell, width: int, height: int) -> list[Line]:
    """Exactly `height` lines of exactly `width` columns."""
    if width < _TOO_SMALL[0] or height < _TOO_SMALL[1]:
        return block([[("warn", "Too small: 80×24 at least.")]], width, height)
    main_width, main_height = shell.size
    main = shell.current.draw(shell, main_width, main_height)
    if shell.sidebar.is_open:
        side = shell.sidebar.draw(shell, width - main_width, main_height)
        main = [[*line, *extra] for line, extra in zip(main, side, strict=True)]
    if shell.is_cut_off:
        main = [restyle(line, "old") for line in main]
    lines = [
        fit(_top(shell, width), width, "bar"),
        *(fit(bar, width, style) for bar, style in bars(shell, width)),
        *main,
    ]
    lines += [fit(_message(shell, width), width), *(fit(row, width, "footer") for row in _footer(shell, width))]
    if shell.overlay is not None:
        lines = overlaid(lines, shell.overlay.draw(width - 4, height - 4, shell.glyphs), width)
    return [as_ascii(line) for line in lines] if shell.glyphs is ASCII else lines


def footer_height(width: int, height: int) -> int:
    """Two rows if one does not hold all keys and the terminal is tall enough."""
    return 2 if height >= _TALL and width < _VERY_WIDE else 1


def _footer(shell: Shell, width: int) -> list[Line]:
    """The keys that work now; while an overlay is open, the overlay's keys."""
    rows = shell.footer_height
    if shell.overlay is not None:
        return [[("footer", f" {shell.overlay.title}: {shell.overlay.hint()}")], *([[]] * (rows - 1))]
    listed = footer_rows(shell.working(), width, rows)
    return [[fragment for _, entry in row for fragment in entry] for row in listed]


def bars(shell: Shell, width: int) -> list[tuple[Line, str]]:
    """The lines between the top bar and the screen, each with the style that fills the rest of the line."""
    found: list[tuple[Line, str]] = []
    if shell.travel.is_on:
        found.append((shell.travel.bar(shell, width), "past"))
    if shell.is_cut_off:
        found.append((_cut_off(shell, width), "alarm"))
    return found


def _cut_off(shell: Shell, width: int) -> Line:
    """Say that the picture is old, since when, and what to do."""
    facts = shell.present
    if facts.link == "silent":
        what, remedy = (
            f"The daemon has been silent for {facts.silent_seconds:.0f} s.",
            "`casparian status` looks at it.",
        )
    else:
        what, remedy = f"{facts.absence}.", "`casparian start` starts it; the console reconnects by itself."
    left: Line = [("alarm bold", f" {what} "), ("alarm", f" {remedy} ")]
    return spread(fit(left, max(0, width - 22), "alarm"), [("alarm", f"as of event {facts.seq:,} ".rjust(22))], width)


def action_at(actions: Sequence[Action], row: int, column: int, width: int, rows: int) -> Action | None:
    """The action under a column of a footer row."""
    at = 0
    listed = footer_rows(actions, width, rows)
    for action, fragments in listed[row] if row < len(listed) else []:
        at += line_width(fragments)
        if column < at:
            return action
    return None


def mode_at(shell: Shell, column: int) -> str | None:
    at = 0
    for name, text in _tabs(shell):
        at += line_width([("", text)])
        if column < at:
            return name
    return None


def _tabs(shell: Shell) -> list[tuple[str, str]]:
    """The modes with their labels; on a narrow terminal only the last word of a label."""
    titles = [(screen.name, screen.title) for screen in shell.screens.values()]
    if shell.width < _ROOMY:
        titles = [(name, title.rpartition(" ")[2]) for name, title in titles]
    return [(name, f" {title} ") for name, title in titles]


def _top(shell: Shell, width: int) -> Line:
    tabs: Line = [("bar tab" if name == shell.mode else "bar", text) for name, text in _tabs(shell)]
    home = clean(shell.home)
    right = _totals(shell, width)
    room = width - line_width(tabs) - line_width(right) - 4
    if home and room >= line_width([("", home)]):
        tabs.append(("bar dim", f"  {home}"))
    return spread(fit(tabs, max(0, width - line_width(right)), "bar"), right, width)


def _totals(shell: Shell, width: int) -> Line:
    facts, glyphs = shell.facts, shell.glyphs
    is_wide = width >= _WIDE
    line: Line = [("bar accent" if facts.running else "bar", f" {glyphs.running} {short(facts.running)}")]
    if is_wide:
        line.append(("bar", " running"))
    known = facts.totals.is_known
    for number, glyph, name in (
        (facts.failed, glyphs.failed, "failed"),
        (facts.totals.quarantined, "q", "quarantined"),
        (facts.dead, "d", "dead"),
    ):
        text = f"{short(number) if known else '?'}"
        line.append(("bar bad" if number and known else "bar", f"  {text} {name}" if is_wide else f"  {glyph} {text}"))
    return [*line, ("bar", "  "), *_link(shell), ("bar", " ")]


def _link(shell: Shell) -> Line:
    facts = shell.present
    old = f" @{facts.seq:,} old" if facts.seq else ""
    match facts.link:
        case "live":
            lag = max(0, facts.seq - facts.projection_seq) if facts.projection_seq else 0
            behind = f" lag {short(lag)}" if lag > _LAG else ""
            return [("bar ok", f"{shell.glyphs.dot} live"), ("bar", f" @{facts.seq:,}{behind}")]
        case "connecting":
            return [("bar warn", "connecting")]
        case "silent":
            return [("bar bad", f"silent {facts.silent_seconds:.0f} s"), ("bar", old)]
        case "stale":
            return [("bar warn", "catching up"), ("bar", old)]
        case "gone":
            return [("bar bad", "no daemon"), ("bar", old)]


def _message(shell: Shell, width: int) -> Line:
    if shell.searching is not None:
        return [("key", " /"), *shell.searching.line(width - 3, style="input")]
    text, style = shell.message
    facts = shell.present
    if text:
        return [(style, f" {text}")]
    if facts.link == "gone":
        return [("bad", f" {clean(facts.link_problem)}"), ("dim", "  Trying again.")]
    if shell.facts.intake_paused:
        return [("warn", f" No new work is taken: {clean(shell.facts.intake_paused)}")]
    return []
