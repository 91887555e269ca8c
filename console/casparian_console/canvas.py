"""Lines of styled fragments, and the few shapes that screens are made of: columns, boxes, bars, sparklines.

A `Line` is a list of (style, text) pairs; a style is one or two words of `theme.STYLES` ("dim", "bad bold"). Pure: what a
style looks like is `theme`'s business, and putting lines on a terminal is `terminal`'s. Nothing here scrubs: texts from
outside pass `text.clean` before they get here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casparian_console.text import clip, width_of

Fragment = tuple[str, str]
Line = list[Fragment]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that are not letters; `ASCII` is for terminals and fonts without them."""

    failed: str = "✗"
    done: str = "✓"
    running: str = "↻"
    waiting: str = "·"
    paused: str = "‖"
    warning: str = "!"
    cursor: str = "▸"
    full: str = "█"
    empty: str = "░"
    ellipsis: str = "…"
    arrow: str = "→"
    up: str = "▲"
    down: str = "▼"
    dot: str = "·"
    sparks: str = " ▁▂▃▄▅▆▇"
    #: top-left, top-right, bottom-left, bottom-right, horizontal, vertical
    corners: str = "┌┐└┘─│"
    opened: str = "▾"
    closed: str = "▸"


UNICODE = Glyphs()
ASCII = Glyphs(
    failed="x",
    done="+",
    running="~",
    waiting=".",
    paused="=",
    warning="!",
    cursor=">",
    full="#",
    empty="-",
    ellipsis="~",
    arrow="->",
    up="^",
    down="v",
    dot="-",
    sparks="._-=#",
    corners="++++-|",
    opened="v",
    closed=">",
)


#: What is decoration rather than data, for terminals that know ASCII only.
_PLAIN = str.maketrans("–—·…×→←↑↓“”‘’▸▾▲▼│─┌┐└┘█░✗✓↻‖", "---~x><^v\"\"''>v^v|-++++#-x+~=")


def as_ascii(line: Line) -> Line:
    """The line for a terminal that knows ASCII only, as wide as before; what has no likeness becomes question marks."""
    return [(style, text if text.isascii() else _likeness(text.translate(_PLAIN))) for style, text in line]


def _likeness(text: str) -> str:
    return "".join(character if character.isascii() else "?" * width_of(character) for character in text)


def line_width(line: Line) -> int:
    return sum(width_of(text) for _, text in line)


def plain(line: Line) -> str:
    return "".join(text for _, text in line)


def fit(line: Line, width: int, style: str = "", ellipsis: str = "…") -> Line:
    """The line at exactly `width` columns: clipped with a mark, or filled with blanks of `style`."""
    used = line_width(line)
    if used <= width:
        return [*line, (style, " " * (width - used))] if used < width else line
    fitted: Line = []
    room = width
    for fragment_style, text in line:
        columns = width_of(text)
        if columns >= room:
            fitted.append((fragment_style, clip(text + " ", room, ellipsis)))
            break
        fitted.append((fragment_style, text))
        room -= columns
    used = line_width(fitted)
    return [*fitted, (style, " " * (width - used))] if used < width else fitted


def restyle(line: Line, style: str) -> Line:
    """Every fragment with `style` added: for the selected row."""
    return [(f"{old} {style}".strip(), text) for old, text in line]


def spread(left: Line, right: Line, width: int) -> Line:
    """`left` at the left and `right` at the right edge; the left gives way."""
    right_width = line_width(right)
    if right_width >= width:
        return fit(right, width)
    return [*fit(left, width - right_width), *right]


def beside(left: Sequence[Line], right: Sequence[Line], left_width: int, divider: Line) -> list[Line]:
    """Two blocks of equal height side by side."""
    return [[*fit(a, left_width), *divider, *b] for a, b in zip(left, right, strict=True)]


def block(lines: Sequence[Line], width: int, height: int) -> list[Line]:
    """Exactly `height` lines of exactly `width` columns."""
    shown = [fit(line, width) for line in lines[:height]]
    return [*shown, *([[("", " " * width)]] * (height - len(shown)))]


def box(
    lines: Sequence[Line], width: int, height: int, glyphs: Glyphs, *, title: str = "", style: str = "border"
) -> list[Line]:
    """A frame of `width`×`height` around the lines, its title in the upper edge."""
    top_left, top_right, bottom_left, bottom_right, across, down = list(glyphs.corners)
    named = f" {clip(title, max(0, width - 6), glyphs.ellipsis)} " if title else ""
    rest = across * (width - 3 - width_of(named))
    top: Line = [(style, top_left + across), (f"{style} title" if title else style, named), (style, rest + top_right)]
    inner = block(lines, width - 2, max(0, height - 2))
    body: list[Line] = [[(style, down), *line, (style, down)] for line in inner]
    return [top, *body, [(style, bottom_left + across * (width - 2) + bottom_right)]]


def bar(share: float, width: int, glyphs: Glyphs, style: str = "accent") -> Line:
    """A progress bar; `share` is clamped to 0…1."""
    filled = round(width * min(1.0, max(0.0, share)))
    return [(style, glyphs.full * filled), ("dim", glyphs.empty * (width - filled))]


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """The last `width` values, scaled to the window; the middle level when they are all equal."""
    shown = list(values[-width:]) if width > 0 else []
    if not shown:
        return " " * max(0, width)
    low, high = min(shown), max(shown)
    levels = glyphs.sparks
    if high == low:
        drawn = levels[len(levels) // 2] * len(shown)
    else:
        drawn = "".join(
            levels[min(len(levels) - 1, int((value - low) / (high - low) * len(levels)))] for value in shown
        )
    return drawn.rjust(width)


def columns_of(line: Line, start: int, end: int | None = None) -> Line:
    """The columns `start`…`end` of a line; a wide character that is cut in half becomes blanks."""
    cut: Line = []
    at = 0
    for style, text in line:
        for character in text if not text.isascii() else (text,):
            wide = width_of(character)
            first, last = max(start, at), at + wide if end is None else min(end, at + wide)
            if first < last:
                is_whole = last - first == wide
                piece = (
                    character
                    if is_whole
                    else character[first - at : last - at]
                    if text.isascii()
                    else " " * (last - first)
                )
                cut.append((style, piece))
            at += wide
    return cut


def overlaid(lines: list[Line], drawn: list[Line], width: int) -> list[Line]:
    """`drawn` (a box) in the middle of the frame `lines`."""
    columns = line_width(drawn[0]) if drawn else 0
    left, top = (width - columns) // 2, max(1, (len(lines) - len(drawn)) // 2)
    merged = list(lines)
    for at, line in enumerate(drawn, top):
        merged[at] = [*columns_of(merged[at], 0, left), *line, *columns_of(merged[at], left + columns)]
    return merged
