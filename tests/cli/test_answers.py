"""Answers of SQL: whole on a screen or said what is missing, whole in a pipe, and files that nobody loses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from casparian.app import App
from casparian.commands.outputs import await_query
from casparian.render import only_columns, print_answer
from casparian_app.names import UnknownName
from casparian_app.sql import TSV_NULL, TargetExists, TargetUnwritable, UnknownForm, form_of, write_answer
from casparian_app.texts import UsageProblem
from tests.cli.calls import Caller

WIDE = pa.table({f"column_number_{number}": [f"value {number}", "x" * number] for number in range(46)})


class Screen(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


def shown(
    answer: pa.Table, form: str | None, monkeypatch: pytest.MonkeyPatch, *, out: io.StringIO | None = None
) -> tuple[str, str]:
    monkeypatch.setenv("COLUMNS", "80")
    app = App(out=out if out is not None else Screen(), err=io.StringIO())
    print_answer(app, answer, form)
    return app.out.getvalue(), app.err.getvalue()  # type: ignore[attr-defined]


def test_rows_that_do_not_fit_the_screen_are_records_with_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = shown(WIDE, None, monkeypatch)

    assert out.count("─── row ") == 2
    assert all(f"column_number_{number}" in out and f"value {number}" in out for number in range(46))
    assert out == shown(WIDE, "record", monkeypatch)[0]


def test_a_table_with_too_little_room_names_the_columns_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    out, said = shown(WIDE, "table", monkeypatch)
    left_out = [name for name in WIDE.column_names if name not in out]

    assert max(map(cell_len, out.splitlines())) <= 80
    assert f"{len(left_out)} columns left out: " in said
    assert left_out[0] in said and "--columns" in said and "--record" in said


def test_many_wide_rows_stay_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    out, said = shown(pa.concat_tables([WIDE] * 20), None, monkeypatch)

    assert len(out.splitlines()) == 40 + 3
    assert "columns left out" in said


def test_what_fits_is_a_table_and_uses_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    out, said = shown(pa.table({"n": [1], "text": ["y" * 100]}), None, monkeypatch)

    assert "y" * 60 in out
    assert said == ""


def test_no_row_still_says_which_columns_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(WIDE.slice(0, 0).select(["column_number_1"]), None, monkeypatch) == (
        "",
        "No rows.\nColumns: column_number_1\n",
    )


def test_a_pipe_gets_every_value_whole_as_tab_separated_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = pa.table({"a": ["x\ty", None, "", "back\\slash"], "b": [True, False, None, True], "c": ["z" * 500] * 4})

    out, said = shown(odd, None, monkeypatch, out=io.StringIO())

    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["a", "b", "c"]
    assert [row[0] for row in rows[1:]] == ["x\\ty", TSV_NULL, "", "back\\\\slash"]
    assert [row[1] for row in rows[1:]] == ["true", "false", TSV_NULL, "true"]
    assert {row[2] for row in rows[1:]} == {"z" * 500}
    assert said == ""


@given(st.lists(st.tuples(st.text(max_size=20), st.one_of(st.none(), st.text(max_size=20))), min_size=1, max_size=6))
def test_tab_separated_lines_keep_their_shape_whatever_the_text(rows: list[tuple[str, str | None]]) -> None:
    out = io.StringIO()
    table = pa.table({"a": pa.array([row[0] for row in rows]), "b": pa.array([row[1] for row in rows], pa.string())})
    print_answer(App(out=out), table, "tsv")

    lines = out.getvalue().split("\n")
    assert len(lines) == len(rows) + 2
    assert all(line.count("\t") == 1 for line in lines[:-1])
    assert [line.split("\t")[1] == TSV_NULL for line in lines[1:-1]] == [row[1] is None for row in rows]
    assert not any(ord(character) < 32 and character not in "\t\n" for character in out.getvalue())


def test_columns_are_picked_in_their_order_and_a_wrong_one_is_met_with_the_one_meant() -> None:
    assert only_columns(WIDE, "column_number_7, column_number_3").column_names == ["column_number_7", "column_number_3"]
    with pytest.raises(UnknownName, match="There is no column column_number_99") as refused:
        only_columns(WIDE, "column_number_99")
    assert "Did you mean column_number_" in (refused.value.remedy or "")


ROWS = pa.table({"id": [1, 2], "name": ["a", None], "price": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2))})


def test_the_ending_of_the_name_says_the_form(tmp_path: Path) -> None:
    for ending in ("csv", "tsv", "json", "jsonl", "ndjson", "parquet"):
        target = tmp_path / f"x.{ending}"
        write_answer(ROWS, form_of(target, None, ("csv", "tsv", "json", "jsonl", "parquet")), target, force=False)

    assert pq.read_table(tmp_path / "x.parquet").equals(ROWS)
    assert json.loads((tmp_path / "x.json").read_text())[0] == {"id": 1, "name": "a", "price": "1.50"}
    assert (tmp_path / "x.jsonl").read_text() == (tmp_path / "x.ndjson").read_text()
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 2
    assert next(csv.reader((tmp_path / "x.csv").read_text().splitlines())) == ["id", "name", "price"]
    assert (tmp_path / "x.tsv").read_text() == "id\tname\tprice\n1\ta\t1.50\n2\t\\N\t\\N\n"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_an_unknown_or_contrary_ending_is_refused() -> None:
    with pytest.raises(UnknownForm, match="is not a valid target: its extension belongs to no format") as refused:
        form_of(Path("x.parqet"), None, ("csv", "parquet"))
    assert (refused.value.remedy or "").startswith("Did you mean .parquet?")
    with pytest.raises(UnknownForm, match="has the extension of parquet"):
        form_of(Path("x.parquet"), "csv", ("csv", "parquet"))
    assert form_of(Path("x.dat"), "csv", ("csv", "parquet")) == "csv"


def test_a_file_is_overwritten_only_when_that_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "x.csv"
    target.write_text("precious\n")
    with pytest.raises(TargetExists):
        write_answer(ROWS, "csv", target, force=False)
    assert target.read_text() == "precious\n"
    write_answer(ROWS, "csv", target, force=True)
    assert target.read_text().startswith('"id"')
    with pytest.raises(TargetUnwritable):
        write_answer(ROWS, "csv", tmp_path, force=True)
    with pytest.raises(TargetUnwritable):
        write_answer(ROWS, "csv", tmp_path / "no" / "x.csv", force=False)


@pytest.mark.parametrize(
    "line",
    [
        ("sql", "select 1 as a", "--out"),
        ("quarantine", "export", "advices"),
        ("log", "export"),
    ],
)
def test_every_command_that_writes_a_file_keeps_what_is_there(
    lived: Caller, tmp_path: Path, line: tuple[str, ...]
) -> None:
    target = tmp_path / "x.jsonl"
    target.write_text("precious\n")

    refused = lived(*line, str(target))
    unknown = lived(*line, str(tmp_path / "x.exe"))
    forced = lived(*line, str(target), "--force")

    assert (refused.code, unknown.code, forced.code) == (2, 2, 0)
    assert "already exists" in refused.err
    assert "is not a valid target: its extension belongs to no format" in unknown.err
    assert "precious" not in target.read_text()


def test_the_command_picks_columns_and_shows_records(lived: Caller) -> None:
    told = lived("sql", "select * from advices order by id limit 1", "--columns", "amount,id")
    assert told.out.splitlines()[0] == "amount\tid"
    record = lived("sql", "select * from advices order by id limit 1", "--columns", "amount", "--record")
    assert record.out.splitlines()[1].startswith("amount  ")


#: Names the modules that were loaded between the query and the end.
_LOADED = """
import sys
import casparian.commands.outputs as outputs
from casparian.main import casparian, run

known, wait = set(), outputs.await_query

def noted():
    found = wait()
    known.update(sys.modules)
    return found

outputs.await_query = noted
code = run(casparian, sys.argv[1:])
print(*{name.partition(".")[0] for name in set(sys.modules) - known}, file=sys.stderr)
sys.exit(code)
"""


def test_a_process_in_reserve_has_loaded_all_that_its_query_needs(lived: Caller) -> None:
    """A console's query waits for its rows alone: however busy the machine, no library is loaded after it was asked."""
    line = ("--home", str(lived.home), "sql", "--format", "arrays", "--warm", "-")
    query = json.dumps({"sql": "select * from advices", "limit": 501})
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *line], input=query, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1
    heavy = {"duckdb", "pyarrow", "sqlglot"}  # the rest opens a home without a daemon
    assert heavy.isdisjoint(done.stderr.split()), done.stderr


@pytest.mark.parametrize("line", ["7", "[]", "{}", "{", '{"sql": 7}', '{"sql": "select 1", "limit": "many"}'])
def test_a_process_in_reserve_refuses_a_line_that_is_not_a_query(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    with pytest.raises(UsageProblem, match=r"^The line is not a valid query: "):
        await_query()


def test_a_process_in_reserve_reads_a_query_with_or_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"sql": "select 1", "limit": 5}\n{"sql": "select 2"}\n'))
    assert [await_query(), await_query(), await_query()] == [("select 1", 5), ("select 2", None), None]
