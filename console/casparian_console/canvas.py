"""Lines of styled fragments, the shapes of the screens (columns, boxes, bars), and text that fits a terminal.

Text is measured in terminal columns, not in characters, and control characters are removed before it is drawn. Numbers,
sizes and times are formatted here, so that every screen formats them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from wcwidth import wcwidth

from casparian_shim.safe import scrub

#: Longer texts never fit on one line, so they are cut first: the steps after that take time for each character.
_LONGEST = 4000


def clean(value: object) -> str:
    """Any value as one line of bounded length, without control characters."""
    text = "" if value is None else str(value)
    return scrub(text[:_LONGEST])


def width_of(text: str) -> int:
    """Columns that `text` takes on a terminal, character by character, as prompt_toolkit counts them."""
    return len(text) if text.isascii() else _measured(text)


@lru_cache(maxsize=2048)  # edges and headings come again with every frame
def _measured(text: str) -> int:
    return sum(max(0, wcwidth(character)) for character in text)


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in at most `width` columns; a mark shows where it was cut."""
    if width <= 0:
        return ""
    if width_of(text) <= width:
        return text
    kept, used, room = [], 0, width - width_of(ellipsis)
    for character in text:
        columns = max(0, wcwidth(character))
        if used + columns > room:
            break
        kept.append(character)
        used += columns
    return "".join(kept) + ellipsis if room >= 0 else ellipsis[:width]


def clip_left(text: str, width: int, ellipsis: str = "…") -> str:
    """The end of `text` in at most `width` columns. Used for paths, whose end says more than their beginning."""
    if width <= 0:
        return ""
    if width_of(text) <= width:
        return text
    return clip(text[::-1], width, ellipsis)[::-1]


def shared_folder(first: str, second: str) -> str:
    """The directory that contains both paths, with its slash; empty if there is none."""
    shortest = min(len(first), len(second))
    end = next((at for at in range(shortest) if first[at] != second[at]), shortest)
    return first[: first.rfind("/", 0, end) + 1]


def pad(text: str, width: int) -> str:
    """`text` clipped or padded with blanks to exactly `width` columns."""
    clipped = clip(text, width)
    return clipped + " " * (width - width_of(clipped))


def pad_left(text: str, width: int) -> str:
    clipped = clip(text, width)
    return " " * (width - width_of(clipped)) + clipped


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 file`, `1,247 files`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def short(number: float) -> str:
    """`842`, `12.3K`, `4.1M`: for cards and bars."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= limit:
            return f"{number / limit:.1f}".rstrip("0").rstrip(".") + unit
    return f"{number:.0f}"


def short_count(number: int, noun: str) -> str:
    """`1 row`, `12.3K rows`: for cards and bars."""
    return f"{short(number)} {noun if number == 1 else noun + 's'}"


def size(number: int) -> str:
    """Bytes with a binary unit: `512 B`, `8.1 MiB`."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """`0.42 s`, `12 s`, `6m 05s`, `2h 10m`, `3d 4h`."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def ago(at_us: int, now_us: int) -> str:
    """How long ago `at_us` (µs UTC) was: `now`, `12s ago`, `2m ago`, `3h ago`, `4d ago`; empty for no time."""
    if not at_us:
        return ""
    seconds = max(0, now_us - at_us) // 1_000_000
    if seconds < 2:
        return "now"
    for limit, unit, divisor in ((60, "s", 1), (3600, "m", 60), (86_400, "h", 3600)):
        if seconds < limit:
            return f"{seconds // divisor}{unit} ago"
    return f"{seconds // 86_400}d ago"


def clock(at_us: int) -> str:
    """The time of an event to the second, in UTC like the tables and logs: `2026-05-01 16:30:00Z`."""
    if not at_us:
        return ""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


Fragment = tuple[str, str]
Line = list[Fragment]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The symbols and line-drawing characters; `ASCII` is for terminals and fonts without them."""

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


#: Replacements for decoration (not for data) on terminals that show ASCII only.
_PLAIN = str.maketrans("–—·…×→←↑↓“”‘’▸▾▲▼│─┌┐└┘█░✗✓↻‖", "---~x><^v\"\"''>v^v|-++++#-x+~=")


def as_ascii(line: Line) -> Line:
    """The line for an ASCII-only terminal, as wide as before. Characters without a replacement become question marks."""
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
    """The line with `style` added to every fragment; used for the selected row."""
    return [(f"{old} {style}".strip(), text) for old, text in line]


def spread(left: Line, right: Line, width: int) -> Line:
    """`left` at the left and `right` at the right edge. If both do not fit, `left` is cut."""
    right_width = line_width(right)
    if right_width >= width:
        return fit(right, width)
    return [*fit(left, width - right_width), *right]


def side_by_side(left: Sequence[Line], right: Sequence[Line], left_width: int, divider: Line) -> list[Line]:
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
    """The columns `start`…`end` of a line; a wide character cut in half becomes a blank."""
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


def fuzzy(query: str, text: str) -> int | None:
    """How well the letters of `query` match `text` in order: smaller is better. None: they do not match."""
    at, score, last = 0, 0, -1
    lowered = text.casefold()
    for character in query.casefold():
        if character == " ":
            continue
        found = lowered.find(character, at)
        if found < 0:
            return None
        is_start = found == 0 or not lowered[found - 1].isalnum()
        score += (found - last - 1) + (0 if is_start else 2)
        at, last = found + 1, found
    return score
