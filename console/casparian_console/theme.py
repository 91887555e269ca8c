"""What the style words of the screens look like: dark, light, and without colours.

Owns the palette and the choice of a theme. Pure data but for `choose_theme`'s reading of an environment that it is given.
Nothing here draws: `terminal` hands the rules to the terminal and to the pictures that `--screenshot` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Theme = Literal["dark", "light", "mono"]

#: word → rule in prompt_toolkit's form. Where two words of one fragment speak of the same thing, the lower line wins.
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
    "cursor": "reverse",
}
THEMES: dict[Theme, dict[str, str]] = {"dark": _DARK, "light": _LIGHT, "mono": _MONO}
#: Every word that a screen may use.
STYLES = frozenset(_DARK)
#: Colours of the cells that no word speaks of, for pictures; a terminal has its own.
GROUNDS: dict[Theme, tuple[str, str]] = {
    "dark": ("#0f1318", "#d7dde5"),
    "light": ("#ffffff", "#1c2430"),
    "mono": ("#ffffff", "#000000"),
}


def choose_theme(wanted: str, environment: Mapping[str, str]) -> Theme:
    """The theme that `wanted` (`auto` or a name) means here. NO_COLOR, not empty, is obeyed unless a theme is named."""
    if wanted in THEMES:
        return wanted
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return "mono"
    ground = environment.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if ground in ("7", "15") else "dark"


def needs_ascii(encoding: str | None, environment: Mapping[str, str]) -> bool:
    """Whether locale or terminal cannot show more than ASCII. Python writes UTF-8 in the C locale too: its word is not enough."""
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    codesets = [encoding or "ascii"]
    if locale:
        codesets.append(locale.partition("@")[0].partition(".")[2])
    is_utf8 = all(codeset.lower().replace("-", "").replace("_", "") == "utf8" for codeset in codesets)
    return not is_utf8 or environment.get("TERM", "") in ("dumb", "vt100", "vt102", "vt220")
