"""What may be written next in SQL: tables, columns of the tables that the text names, keywords."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from casparian_console.screens.inspect.queries import typed_name

KEYWORDS = (
    "select", "from", "where", "group", "by", "order", "having", "limit", "offset", "join", "left", "inner", "cross",
    "on", "using", "union", "all", "distinct", "as", "and", "or", "not", "in", "is", "null", "like", "ilike",
    "between", "case", "when", "then", "else", "end", "cast", "with", "describe", "summarize", "desc", "asc",
    "filter", "over", "partition", "exists", "values", "try_cast", "count", "sum", "avg", "min", "max", "median",
)  # fmt: skip
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
