"""Frames as files (plain text, ANSI colours, SVG), and the themes that give style words their colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Literal

from prompt_toolkit.styles import Attrs, Style

from casparian_console.canvas import Line, plain, width_of
from casparian_protocol.errors import CasparianError

Theme = Literal["dark", "light", "mono"]

#: word → rule in prompt_toolkit's form. If two words of a fragment conflict, the later line wins.
_DARK = {
    "title": "#d7dde5 bold",
    "border": "#66707d",
    "bar": "bg:#262c35 #c5ccd6",
    "footer": "bg:#1c2129 #aab3bf",
    "dim": "#a3acb8",
    "accent": "#79b8ff",
    "ok": "#7ec98f",
    "warn": "#e3b860",
    "bad": "#ff8f86",
    "key": "#9ecbff bold",
    "tab": "bg:#2f5d8f #ffffff bold",
    "overlay": "#9ecbff",
    "input": "bg:#2f3640 #f2f5f8",
    "past": "bg:#422b5e #ffffff",
    "bold": "bold",
    "alarm": "bg:#6b2420 #ffffff",
    "old": "#7d8794",
    "selected": "bg:#26394f",
    "keyword": "bg:#2f3640 #8ec1ff",
    "literal": "bg:#2f3640 #8fd3a0",
    "comment": "bg:#2f3640 #b4bcc7",
    "wrong": "bg:#6b2420 #ffffff",
    "cursor": "reverse",
}
_LIGHT = {
    "title": "#1c2430 bold",
    "border": "#76808d",
    "bar": "bg:#e3e7ec #2b333e",
    "footer": "bg:#eef0f3 #48525f",
    "dim": "#566070",
    "accent": "#0a56a8",
    "ok": "#1a6e33",
    "warn": "#7a5200",
    "bad": "#b3211c",
    "key": "#0a4a92 bold",
    "tab": "bg:#0a56a8 #ffffff bold",
    "overlay": "#0a4a92",
    "input": "bg:#dde3ea #10161e",
    "past": "bg:#e9e0f6 #2b1450",
    "bold": "bold",
    "alarm": "bg:#b3211c #ffffff",
    "old": "#76808d",
    "selected": "bg:#d3e3f5",
    "keyword": "bg:#dde3ea #0a4a92",
    "literal": "bg:#dde3ea #14592a",
    "comment": "bg:#dde3ea #48525f",
    "wrong": "bg:#b3211c #ffffff",
    "cursor": "reverse",
}
_MONO = {
    "title": "bold",
    "border": "",
    "bar": "reverse",
    "footer": "",
    "dim": "",
    "accent": "",
    "ok": "",
    "warn": "bold",
    "bad": "bold",
    "key": "bold underline",
    "tab": "noreverse bold underline",
    "overlay": "bold",
    "input": "underline",
    "past": "reverse bold",
    "bold": "bold",
    "alarm": "reverse bold",
    "old": "",
    "selected": "reverse",
    "keyword": "underline bold",
    "literal": "underline",
    "comment": "underline",
    "wrong": "reverse",
    "cursor": "reverse",
}
THEMES: dict[Theme, dict[str, str]] = {"dark": _DARK, "light": _LIGHT, "mono": _MONO}
#: All style words that a screen may use.
STYLES = frozenset(_DARK)
#: Default colours for pictures; a terminal has its own.
GROUNDS: dict[Theme, tuple[str, str]] = {
    "dark": ("#0f1318", "#d7dde5"),
    "light": ("#ffffff", "#1c2430"),
    "mono": ("#ffffff", "#000000"),
}


def choose_theme(wanted: str, environment: Mapping[str, str]) -> Theme:
    """The theme for `wanted` (`auto` or a name). A non-empty NO_COLOR is obeyed unless a theme is named."""
    if wanted in THEMES:
        return wanted
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return "mono"
    ground = environment.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if ground in ("7", "15") else "dark"


def needs_ascii(encoding: str | None, environment: Mapping[str, str]) -> bool:
    """Whether the locale or the terminal shows ASCII only. Python's encoding is not enough, because it is UTF-8 in the C locale
    too."""
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    codesets = [encoding or "ascii"]
    if locale:
        codesets.append(locale.partition("@")[0].partition(".")[2])
    is_utf8 = all(codeset.lower().replace("-", "").replace("_", "") == "utf8" for codeset in codesets)
    return not is_utf8 or environment.get("TERM", "") in ("dumb", "vt100", "vt102", "vt220")


SUFFIXES = (".txt", ".ans", ".svg")
_CELL_WIDTH, _CELL_HEIGHT, _FONT_SIZE, _BASELINE = 8.4, 16, 14, 12.5


class FrameNotWritten(CasparianError):
    """The picture could not be written."""


#: A prefix for our style words, because prompt_toolkit's default style, which is always merged in, has some of the same names.
_PREFIX = "casparian-"


@lru_cache(maxsize=8)
def rules(theme: Theme) -> Style:
    """The theme as rules of prompt_toolkit; later rules win."""
    return Style([(_PREFIX + word, rule) for word, rule in THEMES[theme].items()])


@lru_cache(maxsize=4096)
def classes(words: str) -> str:
    """Style words such as `bar bad` as classes of prompt_toolkit. A test checks that every theme knows all words."""
    return " ".join(f"class:{_PREFIX}{word}" for word in words.split() if word in STYLES)


def write_frame(path: Path, lines: Sequence[Line], theme: Theme) -> None:
    """Write the frame in the format of the file's suffix: `.txt`, `.ans` or `.svg`."""
    writers: dict[str, Callable[[Sequence[Line], Theme], str]] = {".txt": as_text, ".ans": as_ansi, ".svg": as_svg}
    writer = writers.get(path.suffix)
    if writer is None:
        raise FrameNotWritten(f"{path.name} is not a kind of picture.", remedy=f"End it with {', '.join(SUFFIXES)}.")
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
    """The frame with 24-bit ANSI colours, for `cat` on a terminal."""
    return "".join(
        "".join(f"\x1b[0{_sgr(attributes(style, theme))}m{text}" for style, text in line) + "\x1b[0m\n"
        for line in lines
    )


@lru_cache(maxsize=4096)
def attributes(words: str, theme: Theme) -> Attrs:
    """The colours and attributes of a fragment's words."""
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
    """The frame as SVG, with cells of equal width for any font."""
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
    """The text escaped for SVG, with all blanks preserved."""
    printable = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return escape(printable, quote=False).replace(" ", "\u00a0")
