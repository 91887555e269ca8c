"""A whole question, from text to Arrow: what comes back intact, what is bounded, and what nothing gets past."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa
import pytest

from casparian_protocol.home import Home
from casparian_sentinel import output_views
from casparian_sentinel.output_parts import Dataset
from casparian_sentinel.projection.database import INTERNAL
from casparian_sentinel.sql.ask import QueryFailed, ask, relations
from casparian_sentinel.sql.guard import QueryRefused, check
from tests.ending import await_end, words_of
from tests.sentinel.sql.homes import KNOWN, TRADES, published_home, state_table
from tests.sentinel.sql.queries import LEGAL


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return published_home(tmp_path_factory.mktemp("sql"))


def test_what_can_be_asked_is_what_is_published(home: Home) -> None:
    known = relations(home)
    assert sorted(known.outputs) == sorted(KNOWN.outputs)
    assert sorted(known.quarantines) == sorted(KNOWN.quarantines)
    assert {"cf_jobs", "scout_files"} < {*known.state}
    assert not INTERNAL.intersection(known.state)
    assert [path.name for path in home.run.iterdir()] == ["keys"]


def test_before_anything_is_published_only_state_tables_are_known(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    known = relations(Home(tmp_path))
    assert (known.outputs, known.quarantines, "cf_jobs" in known.state) == ([], [], True)


def test_a_long_lived_process_sees_the_new_catalogue_though_it_still_holds_the_old(tmp_path: Path) -> None:
    home = published_home(tmp_path)
    with duckdb.connect(str(home.catalog_db), read_only=True):
        output_views.publish(home, [Dataset("fresh", 1, [str(_any_part(home))], is_live=True)])
        assert sorted(relations(home).outputs) == ["fresh", "fresh@v1"]


def test_a_commit_while_a_query_begins_changes_nothing_under_it(tmp_path: Path) -> None:
    home = published_home(tmp_path)

    def state_table_after_a_commit(name: str, columns: frozenset[str] | None) -> pa.Table:
        output_views.publish(home, [Dataset("fresh", 1, [str(_any_part(home))], is_live=True)])
        return state_table(name)

    answer = ask(home, "select count(*) from trades, cf_jobs", KNOWN, state_table_after_a_commit)

    assert answer.num_rows == 1
    assert list(home.run.glob("sql-*")) == []


def test_analysts_queries_run(home: Home) -> None:
    """Together in few processes: each legal query is asked for its rows by a subquery where that is possible."""
    simple = [sql for sql in LEGAL if sql.lower().startswith("select") and ";" not in sql and "--" not in sql]
    for start in range(0, len(simple), 12):
        counts = ", ".join(f"(select count(*) from ({sql}))" for sql in simple[start : start + 12])
        assert ask(home, f"select {counts}", KNOWN, state_table).num_rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "from trades",
        "values (1)",
        "describe trades",
        "summarize quotes",
        "pivot trades on symbol in ('AAPL') using sum(quantity) group by day",
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 10) select * from n",
        "select /* a comment; with; semicolons */ 1 -- and another\n",
        "select 1 ; ",
    ],
)
def test_questions_of_every_shape_are_answered(home: Home, sql: str) -> None:
    assert ask(home, sql, KNOWN, state_table).num_rows > 0


def test_values_come_back_as_they_were_published(home: Home) -> None:
    answer = ask(home, "select * from trades", KNOWN, state_table)
    assert answer.cast(TRADES.schema).equals(TRADES)
    assert answer.schema.field("price").type == pa.decimal128(18, 4)
    assert answer.schema.field("ts").type == pa.timestamp("us", tz="UTC")


def test_what_arrow_would_not_carry_whole_comes_as_text(home: Home) -> None:
    answer = ask(
        home,
        "select 340282366920938463463374607431768211455::uhugeint as a, 1 as a, '101'::bit as b, "
        '\'03:04:05+02\'::timetz as "t""t" order by 2',
        KNOWN,
        state_table,
    )
    assert answer.column_names == ["a", "a", "b", 't"t']
    assert [column.to_pylist() for column in answer.columns] == [[str(2**128 - 1)], [1], ["101"], ["03:04:05+02"]]


def test_columns_of_one_name_all_come_back(home: Home) -> None:
    answer = ask(home, "select 1 as x, 'two' as x, 3.5 as x", KNOWN, state_table)
    assert answer.column_names == ["x", "x", "x"]
    assert [column.to_pylist() for column in answer.columns] == [[1], ["two"], [Decimal("3.5")]]


def test_an_answer_without_rows_keeps_its_columns(home: Home) -> None:
    answer = ask(home, "select symbol, price from trades where false", KNOWN, state_table)
    assert answer.num_rows == 0
    assert answer.column_names == ["symbol", "price"]


def test_state_tables_are_handed_over_by_need(home: Home) -> None:
    asked: list[str] = []

    def supply(name: str, columns: frozenset[str] | None) -> pa.Table:
        asked.append(name)
        return state_table(name)

    answer = ask(home, "select id from cf_jobs where status = 'FAILED'", KNOWN, supply)
    assert answer.to_pydict() == {"id": ["b2"]}
    assert asked == ["cf_jobs"]


def test_a_large_answer_comes_back_whole(home: Home) -> None:
    answer = ask(home, "select i, i::varchar as t from range(1000000) r(i)", KNOWN, state_table)
    assert answer.num_rows == 1_000_000
    assert answer.column("i")[999_999].as_py() == 999_999


def test_a_limited_answer_has_the_first_rows_and_costs_no_more(home: Home) -> None:
    endless = "select i from range(1000000000000) r(i)"
    answer = ask(home, endless, KNOWN, state_table, limit_rows=70_000, timeout_seconds=60)
    assert answer.column("i").to_pylist() == list(range(70_000))


def test_an_answer_beyond_the_limit_is_refused_and_leaves_nothing(home: Home) -> None:
    with pytest.raises(QueryFailed, match="larger than"):
        ask(home, "select i from range(100000000) r(i)", KNOWN, state_table, answer_bytes=1024 * 1024)


def test_a_wrong_query_is_told_in_duckdb_s_words(home: Home) -> None:
    with pytest.raises(QueryFailed, match="no_such_column"):
        ask(home, "select no_such_column from trades", KNOWN, state_table)


def test_an_error_with_control_characters_or_without_end_is_shown_safely(home: Home) -> None:
    with pytest.raises(QueryFailed) as failed:
        ask(home, "select error(chr(27) || '[31m' || repeat('x', 1000000))", KNOWN, state_table)
    assert "\x1b" not in failed.value.problem
    assert len(failed.value.problem) < 5_000


def test_a_query_that_takes_too_long_is_stopped(home: Home) -> None:
    began = time.monotonic()
    with pytest.raises(QueryFailed, match="longer than"):
        ask(home, "select count(*) from range(10000000000) a, range(1000) b", KNOWN, state_table, timeout_seconds=1.5)
    assert time.monotonic() - began < 10
    assert not [child for child in psutil.Process().children() if "confined" in " ".join(words_of(child))]


def test_a_query_that_wants_too_much_memory_fails_alone(home: Home) -> None:
    with pytest.raises(QueryFailed, match=r"(?i)memory|size"):
        ask(
            home,
            "select list(i order by hash(i)) from range(100000000) r(i)",
            KNOWN,
            state_table,
            memory_bytes=64 * 1024 * 1024,
        )


def test_nothing_published_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(QueryRefused, match="Nothing is published"):
        ask(Home(tmp_path), "select 1", KNOWN, state_table)


def test_the_query_dies_with_the_one_who_asked(home: Home) -> None:
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from casparian_protocol.home import Home
        from casparian_sentinel.sql.ask import ask
        from casparian_sentinel.sql.guard import Relations
        ask(Home(Path(sys.argv[1])), "select count(*) from range(10000000000) a, range(1000) b", Relations([], [], []), None)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script, str(home.root)]) as asker:
        try:
            child = _first_child(asker.pid)
        finally:
            asker.send_signal(signal.SIGKILL)
    await_end([child.pid], seconds=10)


def _first_child(pid: int) -> psutil.Process:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children():
            if "casparian_sentinel.sql.confined" in words_of(child) and child.cpu_times().user > 0.2:
                return child
        time.sleep(0.01)
    raise AssertionError("the query's process never started")


def _any_part(home: Home) -> Path:
    return next(home.output_version("trades", 1).glob("part-*.parquet"))


def test_what_killed_askers_left_is_removed_and_what_living_ones_use_is_not(home: Home) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    temporary = Path(tempfile.gettempdir())
    left = [
        temporary / f"casparian-sql-{dead.pid}-x",
        home.run / f"sql-{dead.pid}-x",
        home.run / f"catalog-{dead.pid}-x",
    ]
    mine = temporary / f"casparian-sql-{os.getpid()}-x"
    for path in (*left, mine):
        path.mkdir(parents=True)
    try:
        assert ask(home, "select 1 as one", KNOWN, state_table).to_pylist() == [{"one": 1}]
        assert [path for path in left if path.exists()] == []
        assert mine.exists()
        assert list(temporary.glob(f"casparian-sql-{os.getpid()}-*")) == [mine]
    finally:
        mine.rmdir()


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("select count(*) from cf_jobs", {"cf_jobs"}),
        ("select status, count(*) n from cf_jobs where kind = 'a' group by 1", {"status", "kind", "n", "a", "cf_jobs"}),
        ("select j.status from cf_jobs j", {"status", "j", "cf_jobs"}),
        *[
            (sql, None)
            for sql in (
                "select * from cf_jobs", "from cf_jobs", "select j.* from cf_jobs j", "select j from cf_jobs j",
                "select columns('s.*') from cf_jobs", "select #1 from cf_jobs", "summarize cf_jobs",
                "select a from cf_jobs t(a)", "select count(*) from cf_jobs natural join cf_jobs",
                "select row(cf_jobs) from cf_jobs", "select * exclude (a) from cf_jobs", "select (j).status from cf_jobs j",
                "pivot cf_jobs on status using count(*)",
            )
        ],
    ],
)  # fmt: skip
def test_only_columns_that_a_query_can_need_are_asked_for(sql: str, columns: set[str] | None) -> None:
    assert check(sql, KNOWN).columns == (None if columns is None else frozenset(columns))
