"""The page on the tables says what the schema says."""

from __future__ import annotations

from pathlib import Path

import duckdb

from casparian_sentinel.projection.store import SCHEMA_SQL

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "tables.md"


def test_every_table_and_view_is_on_the_page_with_its_columns() -> None:
    with duckdb.connect() as db:
        db.execute(SCHEMA_SQL)
        columns = db.execute(
            "select table_name, string_agg('`' || column_name || '` ' || lower(data_type), ', ' order by column_index)"
            " from duckdb_columns() where not internal and table_name <> 'cf_position' group by 1 order by 1"
        ).fetchall()
    page = _PAGE.read_text(encoding="utf-8")
    assert [name for name, listed in columns if f"### `{name}`\n\n{listed}\n" not in page] == []
    assert page.count("\n### ") == len(columns)
