"""The first lock: what may be asked, by sqlglot's tree."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_sentinel.sql.guard import QueryRefused, check
from tests.sentinel.sql.homes import KNOWN
from tests.sentinel.sql.queries import HOSTILE, LEFT_TO_DUCKDB, LEGAL

_WORDS = [
    "select", "from", "with", "a", "as", "(", ")", "*", ",", "trades", "read_text", "'/etc/passwd'", "union", "all",
    "join", "on", "true", ";", "--", "/*", "*/", '"', "$$", "copy", "to", "x", "1", "[", "]", "{", "}", "lateral", "values",
    "recursive", "pivot", "describe", "attach", "\n", "::", "lambda", ":", "\u202e", "é",
]  # fmt: skip


@pytest.mark.parametrize("sql", LEGAL)
def test_what_analysts_ask_is_let_through(sql: str) -> None:
    assert check(sql, KNOWN).sql.strip()


@pytest.mark.parametrize("sql", [sql for sql in HOSTILE if sql not in LEFT_TO_DUCKDB], ids=lambda sql: sql[:60])
def test_what_is_no_plain_question_is_refused_with_help(sql: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        check(sql, KNOWN)
    assert refused.value.problem
    assert refused.value.remedy
    assert len(refused.value.problem) < 600


def test_the_state_tables_that_a_query_reads_are_named() -> None:
    sql = "with j as (from CF_JOBS) select * from j join trades on true where exists (from scout_files)"
    assert check(sql, KNOWN).state_tables == {"cf_jobs", "scout_files"}


def test_a_cte_hides_a_state_table_of_its_name() -> None:
    assert check("with cf_jobs as (select 1) from cf_jobs", KNOWN).state_tables == frozenset()


def test_a_name_mistyped_is_answered_with_the_one_meant() -> None:
    with pytest.raises(QueryRefused, match="no table trade") as refused:
        check("select * from trade", KNOWN)
    assert "Did you mean trades?" in refused.value.remedy


@pytest.mark.parametrize("sql", ["select * from state.jobs", "from cf_job", "from jobs", "show tables"])
def test_whoever_looks_for_a_state_table_is_told_their_names_and_how_columns_are_listed(sql: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        check(sql, KNOWN)
    assert "The state tables are cf_jobs, scout_files." in refused.value.remedy
    assert "`casparian sql 'describe NAME'`" in refused.value.remedy
    assert ("Did you mean cf_jobs?" in refused.value.remedy) is (sql != "show tables")


def test_the_refusal_shows_no_control_characters() -> None:
    with pytest.raises(QueryRefused) as refused:
        check('select * from "\x1b[31m\u202eevil"', KNOWN)
    assert "\x1b" not in str(refused.value)
    assert "\u202e" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "+".join(["1"] * 20_000),
        " union all ".join(["select 1"] * 5_000),
        "select " + ",".join(["t.symbol"] * 9_000) + " from trades t",
        "select 1 from trades t " + "join trades on true " * 4_000,
        "with " + ",".join(f"c{n} as (select 1)" for n in range(2_000)) + " select * from c1999",
    ],
    ids=["sum", "unions", "columns", "joins", "ctes"],
)
def test_a_long_query_is_judged_in_little_time(sql: str) -> None:
    began = time.process_time()
    check(sql, KNOWN)
    assert time.process_time() - began < 20


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=14).map(" ".join) | st.text(max_size=40))
def test_any_text_is_either_refused_or_free_of_files(sql: str) -> None:
    try:
        guarded = check(sql, KNOWN)
    except QueryRefused:
        return
    assert guarded.state_tables <= set(KNOWN.state)


def test_what_cannot_be_read_is_told_without_the_names_of_classes() -> None:
    with pytest.raises(QueryRefused) as refused:
        check("elect * from nope", KNOWN)

    assert "class" not in str(refused.value)
