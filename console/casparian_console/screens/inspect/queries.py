"""The SQL of this screen: samples, profiles, quarantined rows.

A profile reads its table twice in one question: once for the bounds, once for everything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from casparian_console.screens.inspect.answers import Column, is_moment, is_number

#: Columns of lineage (contracts.md): shown by `L`, not as data.
LINEAGE_PREFIX = "_cf_"
BUCKETS = 24
#: Texts with at most so many different values have a histogram of them.
FEW_VALUES = 64
#: Up to so many rows, different values are counted; above, they are estimated.
EXACT_ROWS = 500_000
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
_SHOWN_CHARACTERS = 60


def name(text: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + text.replace('"', '""') + '"'


def typed_name(text: str) -> str:
    """As a person would write it: quoted only where it must be."""
    return text if _PLAIN_NAME.match(text) else name(text)


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quarantine_of(output: str, *, is_committed: bool = True) -> str:
    """The table of rows that were set aside, by jobs that published the rest or by jobs that failed."""
    return f"{'quarantine' if is_committed else 'uncommitted'}.{name(output)}"


def sample(table: str, condition: str) -> str:
    """Rows of a table (already quoted), those of the condition only."""
    where = f"\nwhere (\n{condition}\n)" if condition.strip() else ""
    return f"select * from {table}{where}"


def top_values(table: str, column: Column, condition: str, *, limit: int = 201) -> str:
    """The values of a column as texts with their rows, the most frequent first, beside all rows; all values without a limit."""
    rows = sample(table, condition)
    counted = f"select {name(column.name)}::varchar as value, count(*) as rows from (\n{rows}\n) group by 1"
    if not limit:
        return f"{counted} order by 2 desc, 1 nulls first"
    return (
        f"select *, (sum(rows) over ())::bigint as total from ({counted}) order by 2 desc, 1 nulls first limit {limit}"
    )


def ordered(sql: str, sorting: tuple[str, bool] | None) -> str:
    """The query's rows by a column, NULL behind all; as they come without `sorting` (column, descending)."""
    if sorting is None:
        return sql
    column, is_descending = sorting
    return f"select * from (\n{sql}\n) order by {name(column)}{' desc' if is_descending else ''} nulls last"


def quarantined(output: str, code: str, column: str, jobs: Sequence[str], *, is_committed: bool = True) -> str:
    """Rows with this violation (all with empty `code`) of jobs whose ids begin so (all without any)."""
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
    """What a histogram's buckets are made of; None for values without a distance."""
    quoted = name(column.name)
    if is_number(column.kind):
        return f"{quoted}::double"
    if is_moment(column.kind):
        return f"epoch({quoted}::timestamp)"
    return f"epoch({quoted})" if column.kind == "time" else None


def _is_comparable(kind: str) -> bool:
    return is_number(kind) or is_moment(kind) or kind in ("string", "boolean", "time")


def profile(table: str, columns: Sequence[Column], rows: int) -> str:
    """One row: the count, then for each column the non-NULLs, the different ones, least, greatest and a histogram."""
    bounds, told = ["1 as one"], ["count(*)"]
    for at, column in enumerate(columns):
        quoted, number = name(column.name), _as_number(column)
        distinct = "count(distinct {})" if rows <= EXACT_ROWS else "approx_count_distinct({})"
        told += [f"count({quoted})", distinct.format(quoted)]
        if _is_comparable(column.kind):
            told += [f"left({side}({quoted})::varchar, {_SHOWN_CHARACTERS})" for side in ("min", "max")]
        else:
            told += ["null", "null"]
        if number is not None:
            finite = f"case when isfinite({number}) then {number} end"
            bounds += [f"min({finite}) as low{at}", f"max({finite}) as high{at}"]
            share = f"({finite} - low{at}) / nullif(high{at} - low{at}, 0)"
            told.append(f"histogram(case when {finite} is not null then "
                        f"least({BUCKETS - 1}, coalesce(floor({share} * {BUCKETS}), 0))::integer end)")  # fmt: skip
        elif column.kind in ("string", "boolean"):
            bounds.append(f"approx_count_distinct({quoted}) as few{at}")
            told.append(
                f"histogram(case when few{at} <= {FEW_VALUES} then left({quoted}::varchar, {_SHOWN_CHARACTERS}) end)"
            )
        else:
            told.append("null")
    return f"with bounds as (select {', '.join(bounds)} from {table})\nselect {', '.join(told)} from {table}, bounds"
