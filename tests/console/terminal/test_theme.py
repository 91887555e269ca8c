"""Every style word that a screen uses is in every theme, can be read, and is not needed to understand the screen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import casparian_console
from casparian_console.terminal.frames import GROUNDS, STYLES, THEMES, Theme, attributes, choose_theme, needs_ascii

PACKAGE = Path(casparian_console.__file__).parent
#: Words that stand alone on a ground of their own, and those that stand on the screen's or a bar's.
ON_GROUNDS = ("bar", "footer", "selected", "input", "past")
FRONTS = ("dim", "accent", "ok", "warn", "bad", "title", "key", "")


def constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        yield " ".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))


def used_styles(tree: ast.AST) -> Iterator[set[str]]:
    """The first parts of the pairs of each list (a line's fragments are such pairs), and what is given as a style."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List):
            pairs = [each for each in node.elts if isinstance(each, ast.Tuple) and len(each.elts) == 2]
            yield {word for pair in pairs for text in constants(pair.elts[0]) for word in text.split()}
        elif isinstance(node, ast.keyword) and (node.arg or "").endswith("style"):
            yield {word for text in constants(node.value) for word in text.split()}


def test_every_style_word_of_the_package_is_one_of_the_themes() -> None:
    used: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for words in used_styles(ast.parse(path.read_text(encoding="utf-8"))):
            if words & STYLES:  # a list of other pairs has none
                used |= words
    assert used - STYLES == set()
    assert {"bad", "dim", "key", "title"} <= used


def test_every_theme_knows_every_word() -> None:
    assert {name: frozenset(rules) for name, rules in THEMES.items()} == dict.fromkeys(THEMES, STYLES)


def luminance(color: str) -> float:
    parts = (int(color[at : at + 2], 16) / 255 for at in (0, 2, 4))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("ground", ["", *ON_GROUNDS])
def test_everything_can_be_read_on_every_ground(theme: Theme, ground: str) -> None:
    screen, ink = (color.removeprefix("#") for color in GROUNDS[theme])
    weak = {}
    for front in FRONTS:
        found = attributes(f"{ground} {front}".strip(), theme)
        ratio = contrast(found.color or ink, found.bgcolor or screen)
        if ratio < 4.5:
            weak[front] = round(ratio, 2)
    assert weak == {}


def test_mono_has_no_colours_and_still_shows_what_is_selected() -> None:
    for word in STYLES:
        found = attributes(word, "mono")
        assert not found.color and not found.bgcolor, word
    assert attributes("selected", "mono").reverse
    assert not attributes("bar tab", "mono").reverse  # the bar is reversed, its open tab is not


def test_the_theme_is_what_is_wanted_else_what_the_terminal_says() -> None:
    assert choose_theme("light", {"NO_COLOR": "1"}) == "light"
    assert choose_theme("auto", {"NO_COLOR": "1"}) == "mono"
    assert choose_theme("auto", {"NO_COLOR": ""}) == "dark"
    assert choose_theme("auto", {"TERM": "dumb"}) == "mono"
    assert choose_theme("auto", {"COLORFGBG": "0;15"}) == "light"
    assert choose_theme("auto", {"COLORFGBG": "15;0"}) == "dark"


def test_ascii_is_for_locales_and_terminals_without_more() -> None:
    assert not needs_ascii("utf-8", {"TERM": "xterm-256color"})
    assert not needs_ascii("UTF8", {})
    assert needs_ascii("ANSI_X3.4-1968", {"TERM": "xterm"})
    assert needs_ascii("utf-8", {"TERM": "vt100"})
    assert needs_ascii(None, {})
    assert needs_ascii("utf-8", {"LC_ALL": "C"})  # Python's own word for the C locale is UTF-8
    assert needs_ascii("utf-8", {"LANG": "de_DE.ISO-8859-1"})
    assert not needs_ascii("utf-8", {"LC_ALL": "C.UTF-8", "LANG": "C"})
    assert not needs_ascii("utf-8", {"LANG": "en_US.utf8"})
