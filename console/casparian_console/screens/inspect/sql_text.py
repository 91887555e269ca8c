"""The text of a query: what may be written next, how it is coloured, and where an error points.

Nothing here parses SQL: a wrong guess colours a word or offers a name too many, and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from casparian_console.canvas import Line, plain
from casparian_console.screens.inspect.queries import typed_name

KEYWORDS = (
    "select", "from", "where", "group", "by", "order", "having", "limit", "offset", "join", "left", "inner", "cross",
    "on", "using", "union", "all", "distinct", "as", "and", "or", "not", "in", "is", "null", "like", "ilike",
    "between", "case", "when", "then", "else", "end", "cast", "with", "describe", "summarize", "desc", "asc",
    "filter", "over", "partition", "exists", "values", "try_cast", "count", "sum", "avg", "min", "max", "median",
)  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<comment>--.*)|(?P<literal>'(?:[^']|'')*'?|\b\d+(?:\.\d+)?\b)|(?P<name>"(?:[^"]|"")*"?)|(?P<keyword>[A-Za-z_]\w*)"""
)
_KEYWORDS = frozenset(KEYWORDS)
#: Where the error is, as the guard, its parser and DuckDB say it.
_START = re.compile(r"\bstart: (\d+)")
_LINE = re.compile(r"\bline (\d+), col(?:umn)?:? (\d+)", re.IGNORECASE)
_NAMED_WRONG = re.compile(r"""(?:column|name|function|type|near)\s+"?([\w.]+)"?""", re.IGNORECASE)
_WORD = re.compile(r'[\w@."]*\Z')
_SOURCE_BEFORE = re.compile(r"\b(?:from|join|describe|summarize)\s+\Z", re.IGNORECASE)
_NAMED = re.compile(r'\b(?:from|join)\s+((?:\w+\.)?(?:"[^"]+"|\w+))(?:\s+(?:as\s+)?(\w+))?', re.IGNORECASE)


def candidates(text: str, tables: Mapping[str, Sequence[str]]) -> tuple[int, list[str]]:
    """Where the word before the cursor begins, and what could stand in its place; `text` ends at the cursor.

    `tables` are names as they are written in SQL, each with its columns.
    """
    word = _WORD.search(text)
    start = word.start() if word is not None else len(text)
    typed = text[start:]
    named = _named_tables(text)
    if _SOURCE_BEFORE.search(text[:start]):
        return start, _beginning_with(typed, tables)
    prefix, dot, _ = typed.rpartition(".")
    if dot and prefix not in ("quarantine",):
        columns = tables.get(named.get(prefix.lower(), prefix), ())
        return start, _beginning_with(typed, [f"{prefix}.{typed_name(column)}" for column in columns])
    columns = [typed_name(column) for table in dict.fromkeys(named.values()) for column in tables.get(table, ())]
    if columns:
        return start, _beginning_with(typed, [*columns, *tables, *KEYWORDS])
    columns = [typed_name(column) for found in tables.values() for column in found]
    return start, _beginning_with(
        typed, [*KEYWORDS, *tables, *columns]
    )  # no table is named yet: any column may be meant


def _named_tables(text: str) -> dict[str, str]:
    """Alias or name, in lower case, to the table as it is written."""
    named: dict[str, str] = {}
    for match in _NAMED.finditer(text):
        table, alias = match.group(1), match.group(2)
        named[table.lower()] = table
        if alias and alias.lower() not in KEYWORDS:
            named[alias.lower()] = table
    return named


def _beginning_with(typed: str, words: Iterable[str]) -> list[str]:
    """Those that begin so, each once, the typed word itself left out; nothing typed offers nothing of a long list."""
    wanted = typed.lower().lstrip('"')
    found = dict.fromkeys(word for word in words if word.lower().lstrip('"').startswith(wanted) and word != typed)
    return list(found)[:200]


def coloured(line: Line, wrong: range | None = None) -> Line:
    """A drawn row of the editor with the colours of SQL; the cursor keeps its own. `wrong`: columns that an error is about."""
    text = plain(line)
    styles: list[str] = []
    for style, part in line:
        styles += [style] * len(part)
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup or ""
        if kind == "name" or (kind == "keyword" and token.group().lower() not in _KEYWORDS):
            continue
        for at in range(token.start(), token.end()):
            styles[at] = kind if styles[at] == "input" else styles[at]
    for at in wrong or ():
        if at < len(styles) and styles[at] != "cursor":
            styles[at] = "wrong"
    painted: Line = []
    for at, character in enumerate(text):
        if painted and painted[-1][0] == styles[at]:
            painted[-1] = (styles[at], painted[-1][1] + character)
        else:
            painted.append((styles[at], character))
    return painted


def error_place(problem: Sequence[str], text: str) -> range | None:
    """The characters of the query that an error is about; None when it does not say."""
    told = " ".join(problem)
    if found := _START.search(told):
        return _word_at(text, int(found.group(1)))
    if found := _LINE.search(told):
        row, column = int(found.group(1)), int(found.group(2))
        lines = text.split("\n")
        if row <= len(lines):
            return _word_at(text, sum(len(line) + 1 for line in lines[: row - 1]) + max(0, column - 1))
    for found in _NAMED_WRONG.finditer(told):
        wanted = re.search(rf"(?<!\w){re.escape(found.group(1))}(?!\w)", text, re.IGNORECASE)
        if wanted is not None:
            return range(wanted.start(), wanted.end())
    return None


def _word_at(text: str, at: int) -> range | None:
    if not 0 <= at < len(text):
        return range(len(text) - 1, len(text)) if text else None
    end = at + 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return range(at, end)
