"""The page on the tables says what the schema says."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from casparian_sentinel.projection.database import INTERNAL, SCHEMA_SQL, STATE_TABLES

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "tables.md"
_LARGEST = {
    "BIGINT": "9223372036854775807",
    "UBIGINT": "9007199254740991",
    "INTEGER": "2147483647",
    "BOOLEAN": "true",
    "DOUBLE": "1.0",
    "TIMESTAMP": "timestamp '2026-01-01'",
}


def test_every_table_and_view_is_on_the_page_with_its_columns() -> None:
    with duckdb.connect() as db:
        db.execute(SCHEMA_SQL)
        columns = db.execute(
            "select table_name, string_agg('`' || column_name || '` ' || lower(data_type), ', ' order by column_index)"
            " from duckdb_columns() where not internal group by 1 order by 1"
        ).fetchall()
    columns = [(name, listed) for name, listed in columns if name not in INTERNAL]
    page = _PAGE.read_text(encoding="utf-8")
    assert [name for name, listed in columns if f"### `{name}`\n\n{listed}\n" not in page] == []
    assert page.count("\n### ") == len(columns)
    assert [name for name, _ in columns] == [*STATE_TABLES]


def test_no_sum_over_what_strangers_count_is_too_large_for_its_column() -> None:
    with duckdb.connect() as db:
        db.execute(SCHEMA_SQL)
        tables = db.execute("select table_name from duckdb_tables() where not internal order by 1").fetchall()
        for (table,) in tables:
            columns = db.execute(
                "select column_name, data_type from duckdb_columns() where table_name = ? order by column_index",
                [table],
            ).fetchall()
            values = ", ".join(_LARGEST.get(kind, "'x'") for _, kind in columns)
            db.execute(f"insert into {table} select {values} from range(3)")
        for (view,) in db.execute("select view_name from duckdb_views() where not internal").fetchall():
            db.execute(f"from {view}").fetchall()


def test_every_sum_that_becomes_a_bigint_is_bounded_first() -> None:
    top = Path(__file__).parents[3]
    # least() passes over NULL: a sum over nothing must be 0 first, or it is the bound itself.
    unbounded = re.compile(
        r"(?<!least\(coalesce\()\bsum\([\w.]+\)(?: filter \([^()]*\))?(?:, 0\))?(?:, 9223372036854775807\))?::bigint"
    )
    found = [
        f"{file.relative_to(top)}: {match[0]}"
        for folder in ("sentinel", "console", "cli", "protocol", "worker")
        for file in sorted((top / folder).rglob("*"))
        if file.suffix in (".py", ".sql")
        for match in unbounded.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []
