"""Text that fits a terminal: display widths, clipping, numbers and times for people.

Everything that came from a file, a parser or a peer passes `clean` before it is drawn. Pure; knows no styles and no
terminal.
"""

from __future__ import annotations

from datetime import UTC, datetime

from wcwidth import wcwidth

from casparian_shim.text import scrub

#: Longer texts are never shown on one line: cut before anything that costs by the character is done with them.
_LONGEST = 4000


def clean(value: object) -> str:
    """Any value as one harmless line of bounded length."""
    text = "" if value is None else str(value)
    return scrub(text[:_LONGEST])


def width_of(text: str) -> int:
    """Columns that `text` takes on a terminal, character by character, as prompt_toolkit counts them."""
    return len(text) if text.isascii() else sum(max(0, wcwidth(character)) for character in text)


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in at most `width` columns; what was cut is marked."""
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
    """The end of `text` in at most `width` columns: for paths, whose end says more than their beginning."""
    if width <= 0:
        return ""
    if width_of(text) <= width:
        return text
    return clip(text[::-1], width, ellipsis)[::-1]


def shared_folder(first: str, second: str) -> str:
    """The directory that both paths lie below, with its slash; empty when there is none."""
    shortest = min(len(first), len(second))
    end = next((at for at in range(shortest) if first[at] != second[at]), shortest)
    return first[: first.rfind("/", 0, end) + 1]


def pad(text: str, width: int) -> str:
    """Clipped or filled with blanks to exactly `width` columns."""
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
    """How long `at_us` (µs UTC) lies back: `now`, `12s ago`, `2m ago`, `3h ago`, `4d ago`; empty for no time."""
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
