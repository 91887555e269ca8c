"""Every command line that a message, a help text or a page names can be typed: it exists, with these options.

The strings of all packages are read from their syntax trees, f-strings included, the pages from their Markdown. What stands
in for a value (`{name}`, `ID`, `…`) is taken as one word. A message, unlike prose, names every argument that is needed.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import rich_click as click
from click.exceptions import UsageError

from casparian.app import Group
from casparian.main import casparian

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "cli", "console", "parsers", "protocol", "sentinel", "shim", "worker")
_QUOTED = re.compile(r"`([^`\n]+)`")
_OPTIONAL = re.compile(r"\[[^\]]*\]")
_ENDS = re.compile(r"\s(?:\||>|>>|&&|;|#|2>)(?:\s|$)")
#: Commands of the plan that are not built: no message may send anybody there.
_NOT_BUILT = frozenset(
    {
        *("approvals", "backfill", "backtest", "completion", "evidence", "export", "lineage", "map", "mcp", "metrics"),
        *("pipeline", "schema", "shrink", "trust", "vendor", "why", "workers"),
    }
)
_VALUE = "x1"


def leaf(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """The command that these words name, and the words that are left for it."""
    command: click.Command = casparian
    context = click.Context(casparian, info_name="casparian")
    rest = words
    while isinstance(command, Group):
        options, rest, _ = command.make_parser(context).parse_args(list(rest))
        del options
        if not rest:
            break
        if command.invoke_without_command and rest[0] not in command.list_commands(context):
            break
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    return command, context, rest


@cache
def fault(line: str) -> str:
    """Why this command line cannot be typed; empty when it can. A value may be missing: a sentence names the command."""
    line = _ENDS.split(_OPTIONAL.sub(" ", line.strip()))[0]
    try:
        words = shlex.split(line)
    except ValueError as error:
        return str(error)
    words = [word for word in words[1:] if word.strip("…")]
    if not words or not re.match(r"[a-z-]", words[0]):
        return ""  # `casparian COMMAND`, a drawing: no line to be typed
    try:
        command, context, rest = leaf(words)
        if isinstance(command, Group):
            return f"no command {rest[0]}" if rest else ""
        options, left, _ = command.make_parser(context).parse_args(list(rest))
        for option in command.params:
            value = options.get(option.name or "")
            if isinstance(option.type, click.Choice) and isinstance(value, str) and value.lower() == value:
                option.type.convert(value, option, context)
    except UsageError as error:
        if "requires an argument" in error.format_message():
            return ""
        return error.format_message()
    return f"{' '.join(left)} is too much" if left else ""


def missing(line: str) -> list[str]:
    """The arguments that this command line needs and does not name."""
    words = shlex.split(_ENDS.split(_OPTIONAL.sub(" ", line.strip()))[0])[1:]
    command, context, rest = leaf(words)
    if isinstance(command, Group):
        return []
    given, _, _ = command.make_parser(context).parse_args(list(rest))
    return [
        str(each.name)
        for each in command.params
        if isinstance(each, click.Argument) and each.required
        if not isinstance(given.get(each.name or ""), str | tuple | list)
    ]


def prose_of(tree: ast.AST) -> set[int]:
    """The docstrings and help texts of a module, by identity."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("help", "examples", "epilog", "short_help"):
            prose |= {id(each) for each in ast.walk(node.value)}
    return prose


def texts_of(tree: ast.AST, prose: Collection[int] = ()) -> Iterator[tuple[int, str, bool]]:
    """Every string of a module with its line, and whether it is prose; values of an f-string as one word."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [str(part.value) if isinstance(part, ast.Constant) else _VALUE for part in node.values]
            yield node.lineno, "".join(pieces), id(node) in prose
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value, id(node) in prose


@cache
def _roots() -> frozenset[str]:
    return frozenset(casparian.list_commands(click.Context(casparian)))


def lines_in_prose(text: str) -> Iterator[str]:
    """Command lines in backticks, with and without the program's name."""
    roots = _roots()
    for quoted in _QUOTED.findall(text):
        words = quoted.split()
        if not words:
            continue
        if words[0] == "casparian" and len(words) > 1:
            yield quoted
        elif len(words) > 1 and words[0] in roots | _NOT_BUILT and re.fullmatch(r"[a-z-]+", words[1]):
            yield f"casparian {quoted}"


def lines_in_fences(page: str) -> Iterator[str]:
    """Command lines in code blocks; a line that ends with a backslash goes on."""
    inside = False
    for line in page.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside:
            text = line.strip().removeprefix("$ ")
            if text.startswith("casparian "):
                yield text


class Text(NamedTuple):
    """A string of the code."""

    module: str
    line: int
    text: str
    #: It is a docstring or a help text.
    is_prose: bool


@cache
def texts() -> list[Text]:
    """Every string of all packages."""
    found: list[Text] = []
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        tree, name = ast.parse(path.read_text("utf-8")), str(path.relative_to(ROOT))
        prose = prose_of(tree)
        found += [Text(name, node_line, text, is_prose) for node_line, text, is_prose in texts_of(tree, prose)]
    return found


def named_in_code() -> list[tuple[str, str]]:
    found = []
    for name, number, text, _is_prose in texts():
        place = f"{name}:{number}"
        found += [(place, line) for line in lines_in_prose(text)]
        examples = [line for line in text.splitlines() if line.startswith("casparian ") and "\n" in text]
        found += [(place, line) for line in examples if "`" not in line]
    return found


def named_in_pages() -> list[tuple[str, str]]:
    found = []
    pages = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    for path in pages:
        page = path.read_text("utf-8")
        place = str(path.relative_to(ROOT))
        found += [(place, line) for line in (*lines_in_prose(page), *lines_in_fences(page))]
    config = ROOT / "config" / "casparian.toml"
    found += [(config.name, line) for line in lines_in_prose(config.read_text("utf-8"))]
    return found


@pytest.mark.parametrize("named", [named_in_code, named_in_pages])
def test_every_command_line_that_is_named_can_be_typed(named: object) -> None:
    assert callable(named)
    lines = named()
    assert len(lines) > 100
    wrong = [f"{place}: `{line}`: {why}" for place, line in lines if (why := fault(line))]
    assert wrong == []


def test_a_message_names_every_argument_that_its_command_needs() -> None:
    named = [
        (f"{name}:{number}", line)
        for name, number, text, is_prose in texts()
        if not is_prose
        for line in lines_in_prose(text)
        if not fault(line) and "/events" not in name  # the catalogue of events documents, it tells nobody what to do
    ]
    assert len(named) > 100
    assert [f"{place}: `{line}` lacks {lacks}" for place, line in named if (lacks := missing(line))] == []


@pytest.mark.parametrize(
    "line",
    [
        "casparian trust add",
        "casparian jobs --stauts failed",
        "casparian job show a b",
        "casparian proces",
        "casparian parser frobnicate",
        "casparian sql --format tabel",
    ],
)
def test_a_line_that_cannot_be_typed_is_found(line: str) -> None:
    assert fault(line)


def test_texts_are_found_in_every_kind_of_string() -> None:
    tree = ast.parse("a = '`casparian jobs`'\nb = f'`casparian job show {a}`'\nc = '`log verify`' '`trust add`'")
    found = [line for _, text, _is_prose in texts_of(tree) for line in lines_in_prose(text)]
    assert found == ["casparian jobs", f"casparian job show {_VALUE}", "casparian log verify", "casparian trust add"]
