"""Frames outside a terminal: as plain text, as text with ANSI colours, as an SVG picture.

Owns how a frame is written into a file. Colours are `theme`'s rules, resolved by the same code as on the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from prompt_toolkit.styles import Attrs, Style

from casparian_console.canvas import Line, plain
from casparian_console.text import width_of
from casparian_console.theme import GROUNDS, STYLES, THEMES, Theme
from casparian_protocol.errors import CasparianError

SUFFIXES = (".txt", ".ans", ".svg")
_CELL_WIDTH, _CELL_HEIGHT, _FONT_SIZE, _BASELINE = 8.4, 16, 14, 12.5


class FrameNotWritten(CasparianError):
    """A picture could not be written."""


#: Our style words in front of prompt_toolkit's own: its default style, which is always merged in, knows some of them too.
_PREFIX = "casparian-"


@lru_cache(maxsize=8)
def rules(theme: Theme) -> Style:
    """The theme as prompt_toolkit has it; later rules win."""
    return Style([(_PREFIX + word, rule) for word, rule in THEMES[theme].items()])


@lru_cache(maxsize=4096)
def classes(words: str) -> str:
    """`bar bad` as prompt_toolkit wants it; words that no theme knows are a fault that a test finds."""
    return " ".join(f"class:{_PREFIX}{word}" for word in words.split() if word in STYLES)


def write_frame(path: Path, lines: Sequence[Line], theme: Theme) -> None:
    """In the form that the name asks for: `.txt`, `.ans` or `.svg`."""
    writers: dict[str, Callable[[Sequence[Line], Theme], str]] = {".txt": as_text, ".ans": as_ansi, ".svg": as_svg}
    writer = writers.get(path.suffix)
    if writer is None:
        raise FrameNotWritten(f"{path.name} is no kind of picture.", remedy=f"End it with {', '.join(SUFFIXES)}.")
    try:
        path.write_text(writer(lines, theme), encoding="utf-8", errors="backslashreplace")
    except OSError as cause:
        raise FrameNotWritten(
            f"{path} cannot be written: {cause.strerror}.", remedy="Check the directory and its rights."
        ) from cause


def as_text(lines: Sequence[Line], _theme: Theme = "mono") -> str:
    return "".join(plain(line).rstrip() + "\n" for line in lines)


# --- ANSI -------------------------------------------------------------------------------------------------------------


def as_ansi(lines: Sequence[Line], theme: Theme) -> str:
    """For `cat` on a terminal of 24-bit colours."""
    return "".join(
        "".join(f"\x1b[0{_sgr(attributes(style, theme))}m{text}" for style, text in line) + "\x1b[0m\n"
        for line in lines
    )


@lru_cache(maxsize=4096)
def attributes(words: str, theme: Theme) -> Attrs:
    """What a fragment's words come to."""
    return rules(theme).get_attrs_for_style_str(classes(words))


def _sgr(found: Attrs) -> str:
    codes = [number for is_on, number in ((found.bold, "1"), (found.underline, "4"), (found.reverse, "7")) if is_on]
    for first, color in (("38", found.color), ("48", found.bgcolor)):
        if color:
            red, green, blue = (int(color[at : at + 2], 16) for at in (0, 2, 4))
            codes.append(f"{first};2;{red};{green};{blue}")
    return "".join(f";{code}" for code in codes)


# --- SVG --------------------------------------------------------------------------------------------------------------


def as_svg(lines: Sequence[Line], theme: Theme) -> str:
    """A picture with one cell as wide as the other, whatever the font."""
    columns = max((sum(width_of(text) for _, text in line) for line in lines), default=0)
    ground, ink = GROUNDS[theme]
    width, height = columns * _CELL_WIDTH + 16, len(lines) * _CELL_HEIGHT + 16
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.1f} {height}" shape-rendering="crispEdges" '
        f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
        f'font-size="{_FONT_SIZE}" xml:space="preserve">',
        f'<rect width="100%" height="100%" fill="{ground}"/>',
    ]
    for row, line in enumerate(lines):
        top, column = 8 + row * _CELL_HEIGHT, 0
        for style, text in line:
            cells = width_of(text)
            drawn += _svg_fragment(text, cells, 8 + column * _CELL_WIDTH, top, attributes(style, theme), ground, ink)
            column += cells
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _svg_fragment(text: str, cells: int, left: float, top: int, found: Attrs, ground: str, ink: str) -> list[str]:
    front = f"#{found.color}" if found.color else ink
    back = f"#{found.bgcolor}" if found.bgcolor else ground
    if found.reverse:
        front, back = back, front
    drawn = []
    width = cells * _CELL_WIDTH
    if back != ground and cells:
        drawn.append(f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_CELL_HEIGHT}" fill="{back}"/>')
    stripped = text.rstrip(" ")
    if stripped.strip(" "):
        marks = (' font-weight="bold"' if found.bold else "") + (
            ' text-decoration="underline"' if found.underline else ""
        )
        length = width_of(stripped) * _CELL_WIDTH
        drawn.append(
            f'<text x="{left:.1f}" y="{top + _BASELINE}" fill="{front}"{marks} textLength="{length:.1f}" '
            f'lengthAdjust="spacingAndGlyphs">{_svg_text(stripped)}</text>'
        )
    return drawn


def _svg_text(text: str) -> str:
    """Escaped, with every blank kept."""
    printable = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return escape(printable, quote=False).replace(" ", "\u00a0")
