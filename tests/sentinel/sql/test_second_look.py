"""The same rules on DuckDB's own tree: neither lock needs the other."""

from __future__ import annotations

import json

import duckdb
import pytest

from casparian_sentinel.sql.second_look import TABLE_FUNCTIONS, is_refused_function, objection
from tests.sentinel.sql.homes import KNOWN
from tests.sentinel.sql.queries import HOSTILE, LEGAL

_TABLES = [*KNOWN.outputs, *(f"quarantine.{name}" for name in KNOWN.quarantines), *KNOWN.state]
#: Refused when it runs (no values for parameters), or harmless and only long.
_HARMLESS_TO_DUCKDB = frozenset({"select ?", "select $1", "select '" + "x" * 200_000 + "'"})


def _objection(sql: str) -> str | None:
    with duckdb.connect() as db:
        found = db.execute("select json_serialize_sql(?)", [sql]).fetchall()[0][0]
    return objection(json.loads(found), _TABLES)


@pytest.mark.parametrize("sql", LEGAL)
def test_duckdb_reads_analysts_queries_as_harmless_too(sql: str) -> None:
    assert _objection(sql) is None


@pytest.mark.parametrize("sql", [sql for sql in HOSTILE if sql not in _HARMLESS_TO_DUCKDB], ids=lambda sql: sql[:60])
def test_what_the_guard_refuses_duckdb_s_own_tree_gives_away_too(sql: str) -> None:
    try:
        assert _objection(sql)
    except duckdb.Error:
        return  # it is no SQL to DuckDB


def test_of_all_that_duckdb_offers_as_a_table_only_what_computes_is_allowed() -> None:
    with duckdb.connect() as db:
        rows = db.execute(
            "select distinct function_name from duckdb_functions() where function_type in ('table', 'table_macro')"
        ).fetchall()
    offered = {name for (name,) in rows}
    assert offered & TABLE_FUNCTIONS == {"unnest", "range", "generate_series", "json_each", "json_tree", "repeat"}


def test_every_function_that_takes_a_path_a_setting_or_a_query_is_refused_as_a_value_too() -> None:
    with duckdb.connect() as db:
        rows = db.execute(
            "select distinct function_name from duckdb_functions() where function_type = 'table'"
            " and not regexp_matches(function_name, '^(pragma|duckdb)_')"
            " or function_name in ('getenv', 'current_setting', 'getvariable', 'query', 'query_table', 'write_log')"
        ).fetchall()
    harmless = TABLE_FUNCTIONS | {
        "histogram",
        "summary",
        "glob",
        "repeat_row",
        "icu_calendar_names",
        "pg_timezone_names",
    }
    harmless |= {"parquet_bloom_probe", "truncate_duckdb_logs", "unnest", "repeat"}
    assert sorted(name for (name,) in rows if not is_refused_function(name) and name not in harmless) == []
