"""SQL as text: the queries of the views, and completion, colouring and error marks for a typed query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from casparian_console.canvas import Line, plain
from casparian_console.screens.inspect.answers import Column, is_moment, is_number

#: Lineage columns (docs/reference/rows.md): shown with `L`, not as data.
LINEAGE_PREFIX = "_cf_"
BUCKETS = 24
#: A text column with at most this many distinct values gets a histogram.
FEW_VALUES = 64
#: Up to this many rows, distinct values are counted; above, they are estimated.
EXACT_ROWS = 500_000
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
_SHOWN_CHARACTERS = 60


def name(text: str) -> str:
    """A name quoted for SQL."""
    return '"' + text.replace('"', '""') + '"'


def typed_name(text: str) -> str:
    """A name as a user would write it: quoted only if necessary."""
    return text if _PLAIN_NAME.match(text) else name(text)


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quarantine_of(output: str, *, is_committed: bool = True) -> str:
    """The quarantine table of an output: of committed jobs, or of failed jobs."""
    return f"{'quarantine' if is_committed else 'uncommitted'}.{name(output)}"


def sample(table: str, condition: str) -> str:
    """The query for the rows of a table (already quoted) that satisfy the condition."""
    where = f"\nwhere (\n{condition}\n)" if condition.strip() else ""
    return f"select * from {table}{where}"


def top_values(table: str, column: Column, condition: str, *, limit: int = 201) -> str:
    """The query for a column's values as text with their number of rows, the most frequent first, and the number of all rows.
    Without a limit it returns all values."""
    rows = sample(table, condition)
    counted = f"select {name(column.name)}::varchar as value, count(*) as rows from (\n{rows}\n) group by 1"
    if not limit:
        return f"{counted} order by 2 desc, 1 nulls first"
    return (
        f"select *, (sum(rows) over ())::bigint as total from ({counted}) order by 2 desc, 1 nulls first limit {limit}"
    )


def ordered(sql: str, sorting: tuple[str, bool] | None) -> str:
    """The query sorted by a column, NULL last. `sorting` is (column, descending); None leaves the query as it is."""
    if sorting is None:
        return sql
    column, is_descending = sorting
    return f"select * from (\n{sql}\n) order by {name(column)}{' desc' if is_descending else ''} nulls last"


def quarantined(output: str, code: str, column: str, jobs: Sequence[str], *, is_committed: bool = True) -> str:
    """The query for quarantined rows with this violation (any, for an empty `code`) of jobs with these id prefixes (none: all
    jobs)."""
    conditions = []
    if code:
        at = f"v.column = {literal(column)}" if column else "v.column is null"
        conditions.append(f"len(list_filter(_cf_violations, lambda v: v.code = {literal(code)} and {at})) > 0")
    if len(jobs) == 1:
        conditions.append(f"starts_with(_cf_job_id, {literal(jobs[0])})")
    elif jobs:
        conditions.append(f"_cf_job_id in ({', '.join(map(literal, jobs))})")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return f"select * from {quarantine_of(output, is_committed=is_committed)}{where} order by _cf_job_id, _cf_output_row_index"


def _as_number(column: Column) -> str | None:
    """The expression whose value a histogram divides into buckets; None for types without a distance."""
    quoted = name(column.name)
    if is_number(column.kind):
        return f"{quoted}::double"
    if is_moment(column.kind):
        return f"epoch({quoted}::timestamp)"
    return f"epoch({quoted})" if column.kind == "time" else None


def _is_comparable(kind: str) -> bool:
    return is_number(kind) or is_moment(kind) or kind in ("string", "boolean", "time")


def profile(table: str, columns: Sequence[Column], rows: int) -> str:
    """The query for one row: the count, then for each column its non-NULL values, distinct values, minimum, maximum and
    histogram."""
    bounds, columns_sql = ["1 as one"], ["count(*)"]
    for at, column in enumerate(columns):
        quoted, number = name(column.name), _as_number(column)
        distinct = "count(distinct {})" if rows <= EXACT_ROWS else "approx_count_distinct({})"
        columns_sql += [f"count({quoted})", distinct.format(quoted)]
        if _is_comparable(column.kind):
            columns_sql += [f"left({side}({quoted})::varchar, {_SHOWN_CHARACTERS})" for side in ("min", "max")]
        else:
            columns_sql += ["null", "null"]
        if number is not None:
            finite = f"case when isfinite({number}) then {number} end"
            bounds += [f"min({finite}) as low{at}", f"max({finite}) as high{at}"]
            share = f"({finite} - low{at}) / nullif(high{at} - low{at}, 0)"
            columns_sql.append(f"histogram(case when {finite} is not null then "
                        f"least({BUCKETS - 1}, coalesce(floor({share} * {BUCKETS}), 0))::integer end)")  # fmt: skip
        elif column.kind in ("string", "boolean"):
            bounds.append(f"approx_count_distinct({quoted}) as few{at}")
            columns_sql.append(
                f"histogram(case when few{at} <= {FEW_VALUES} then left({quoted}::varchar, {_SHOWN_CHARACTERS}) end)"
            )
        else:
            columns_sql.append("null")
    return f"with bounds as (select {', '.join(bounds)} from {table})\nselect {', '.join(columns_sql)} from {table}, bounds"


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
#: How the guard, its parser and DuckDB write the place of an error.
_START = re.compile(r"\bstart: (\d+)")
_LINE = re.compile(r"\bline (\d+), col(?:umn)?:? (\d+)", re.IGNORECASE)
_NAMED_WRONG = re.compile(r"""(?:column|name|function|type|near)\s+"?([^\W\d][\w.]*)"?""", re.IGNORECASE)
_WORD = re.compile(r'[\w@."]*\Z')
_SOURCE_BEFORE = re.compile(r"\b(?:from|join|describe|summarize)\s+\Z", re.IGNORECASE)
_NAMED = re.compile(r'\b(?:from|join)\s+((?:\w+\.)?(?:"[^"]+"|\w+))(?:\s+(?:as\s+)?(\w+))?', re.IGNORECASE)


def candidates(text: str, tables: Mapping[str, Sequence[str]]) -> tuple[int, list[str]]:
    """The start of the word before the cursor, and its possible completions; `text` ends at the cursor.

    `tables` maps names as written in SQL to their columns.
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
    # No table is named yet, so any column may be meant.
    return start, _beginning_with(typed, [*KEYWORDS, *tables, *columns])


def _named_tables(text: str) -> dict[str, str]:
    """Alias or name, in lower case → the table as written."""
    named: dict[str, str] = {}
    for match in _NAMED.finditer(text):
        table, alias = match.group(1), match.group(2)
        named[table.lower()] = table
        if alias and alias.lower() not in KEYWORDS:
            named[alias.lower()] = table
    return named


def _beginning_with(typed: str, words: Iterable[str]) -> list[str]:
    """The distinct names that begin with the typed word, except the word itself. An empty word gives no candidates from a long
    list."""
    wanted = typed.lower().lstrip('"')
    found = dict.fromkeys(word for word in words if word.lower().lstrip('"').startswith(wanted) and word != typed)
    return list(found)[:200]


def coloured(line: Line, wrong: range | None = None) -> Line:
    """A drawn row of the editor with SQL colours; the cursor keeps its style. `wrong`: the columns that an error is about."""
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
    """The characters of the query that an error is about; None if the error gives no place."""
    message = " ".join(problem)
    if found := _START.search(message):
        return _word_at(text, int(found.group(1)))
    if found := _LINE.search(message):
        row, column = int(found.group(1)), int(found.group(2))
        lines = text.split("\n")
        if row <= len(lines):
            return _word_at(text, sum(len(line) + 1 for line in lines[: row - 1]) + max(0, column - 1))
    for found in _NAMED_WRONG.finditer(message):
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
