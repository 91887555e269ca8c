"""Answers on the screen and in a pipe: tables that fit and cut no id, records, documents; nothing commands a terminal."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from casparian import reports
from casparian.app import App
from casparian.render import (
    PIPE_CELLS,
    as_json,
    as_ndjson,
    cell,
    counting,
    draw_records,
    fields,
    fits,
    only_columns,
    print_answer,
    screen_width,
    section,
    shares,
    shown_values,
    table,
)
from casparian_app.jobs import Changed
from casparian_app.names import UnknownName
from casparian_protocol.queries.jobs import JobRow


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def app(out: io.StringIO | None = None) -> App:
    made = App()
    made.out, made.err = out or io.StringIO(), io.StringIO()
    return made


def said(made: App) -> str:
    assert isinstance(made.out, io.StringIO)
    return made.out.getvalue()


def test_documents_go_to_standard_output_one_a_line_or_indented_for_people() -> None:
    piped, shown = app(), app(Terminal())
    as_ndjson(piped, [{"a": 1}, {"a": 2}])
    as_json(shown, {"a": 1})

    assert said(piped) == '{"a": 1}\n{"a": 2}\n'
    assert said(shown) == '{\n  "a": 1\n}\n'
    assert piped.has_answered and shown.has_answered


def test_ctrl_c_in_a_change_of_many_jobs_says_how_far_it_came() -> None:
    made = app()
    with pytest.raises(KeyboardInterrupt), counting(made, 300_000) as on_changed:
        on_changed(Changed(11_000))
        on_changed(Changed(12_000))
        raise KeyboardInterrupt

    assert isinstance(made.err, io.StringIO)
    assert made.err.getvalue() == "12,000 jobs done; the last request may still be carried out\n"


# --- values and tables


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (1, "1"),
        (1.5, "1.5"),
        (Decimal("1E+2"), "100"),
        ("a\x1b[31mb\n", "a\\x1b[31mb\\n"),
        ({"a": Decimal("1.50")}, '{"a": "1.50"}'),
        (["é", None], '["é", null]'),
        ((1, 2), "[1, 2]"),
    ],
)
def test_a_value_reads_plainly_and_commands_no_terminal(value: Any, text: str) -> None:
    assert cell(value) == text


def test_parameters_are_told_in_one_line() -> None:
    assert shown_values({"depth": 5, "tz": "UTC", "on": True, "none": None}) == "depth=5, tz=UTC, on=true, none=null"
    assert shown_values({}) == ""


def test_fields_are_aligned_and_what_has_no_value_is_left_out() -> None:
    made = app()
    fields(made, [("job", "ab12"), ("status", "FAILED"), ("ended", None), ("is_live", False)])

    assert said(made) == "job      ab12\nstatus   FAILED\nis_live  no\n"


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(1, 200), st.data())
def test_columns_give_way_from_the_widest_and_whole_ones_last(
    wanted: list[int], room: int, data: st.DataObject
) -> None:
    whole = data.draw(st.lists(st.booleans(), min_size=len(wanted), max_size=len(wanted)))
    found = shares(wanted, room, whole)

    assert all(1 <= width <= most for width, most in zip(found, wanted, strict=True))
    if sum(wanted) <= room:
        assert found == wanted
    else:
        assert sum(found) == max(room, len(wanted))
    gave = [width < most for width, most in zip(found, wanted, strict=True)]
    if any(has_given and is_whole for has_given, is_whole in zip(gave, whole, strict=True)):
        assert all(width == 1 for width, is_whole in zip(found, whole, strict=True) if not is_whole)


def drawn(monkeypatch: pytest.MonkeyPatch, columns: list[str], rows: list[list[Any]], width: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    made = app()
    table(made, columns, rows, empty="Nothing.")
    return said(made).splitlines()


def test_the_first_rows_decide_how_wide_columns_are_and_later_ones_cut_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[Any]] = [["a1", "x.csv"]] * 1000 + [["b22222", "longer.csv"], ["c", "y"]]

    lines = drawn(monkeypatch, ["job", "file"], rows, 80)

    assert len(lines) == 2 + len(rows)
    assert lines[:3] == ["job   file ", "───────────", "a1    x.csv"]
    assert lines[-2:] == ["b22222   long…", "c     y    "]


def test_a_piped_table_cuts_no_value_of_a_later_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    made = app()
    table(made, ["job", "file"], [["a1", "x"]] * 1000 + [["b2", "longer.csv"]], empty="Nothing.")

    assert said(made).splitlines()[-1] == "b2    longer.csv"


def test_a_row_of_a_table_is_printed_before_the_next_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    made = app()

    class Late:
        def __str__(self) -> str:
            return f"after {len(said(made).splitlines())} lines"

    table(made, ["when"], [["a"]] * 1000 + [[Late()], [Late()]], empty="Nothing.")

    assert said(made).splitlines()[-2:] == ["after 1002 lines", "after 1003 lines"]


def test_a_table_fits_the_terminal_and_never_cuts_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[Any]] = [["0123456789abcdef", "FAILED", "/data/" + "very" * 30 + ".csv", "x" * 60]]
    for width in (60, 80, 120):
        lines = drawn(monkeypatch, ["job", "status", "input", "message"], rows, width)
        assert max(map(cell_len, lines)) <= width
        assert "0123456789abcdef" in lines[2]
        assert "FAILED" in lines[2]
        assert "…" in lines[2]


def test_a_table_in_a_pipe_is_as_wide_as_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    made = app()
    long = "x" * (2 * PIPE_CELLS)
    table(made, ["a", "b"], [[long, 1]], empty="", right=["b"])

    assert long in said(made)
    assert screen_width(made.out) == PIPE_CELLS


def test_an_empty_table_is_a_sentence_on_the_other_stream() -> None:
    made = app()
    table(made, ["a"], [], empty="No jobs.")
    section(made, ["a"], [])

    assert said(made) == ""
    assert isinstance(made.err, io.StringIO)
    assert "No jobs." in made.err.getvalue()


def test_a_section_stands_below_a_blank_line() -> None:
    made = app()
    section(made, ["a"], [["1"]])
    assert said(made).startswith("\n")


def test_hostile_cells_and_names_reach_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(drawn(monkeypatch, ["a"], [["\x1b]0;title\x07[bold]x[/bold]"]], 80))

    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text  # markup of nobody's is shown


# --- rows of data


def test_records_show_every_value_whole() -> None:
    out = io.StringIO()
    draw_records(out, ["id", "名前", "note"], [[1, "é", None], [2, "x" * 300, ""]])

    assert out.getvalue().splitlines() == [
        "─── row 1 ───",
        "id    1",
        "名前  é",
        "note  NULL",
        "─── row 2 ───",
        "id    2",
        f"名前  {'x' * 300}",
        "note",
    ]


@pytest.mark.parametrize(("width", "whole"), [(20, True), (10, True), (4, False)])
def test_whether_a_grid_has_room_for_every_column(width: int, whole: bool) -> None:
    assert fits(["a", "b"], [["xxx", "yyyyy"]], width=width) is whole


def answer() -> pa.Table:
    return pa.table({"id": [1, 2], "name": ["a", None], "tags": [["x"], []]})


def test_columns_are_picked_in_the_order_asked_for() -> None:
    assert only_columns(answer(), "tags, id").column_names == ["tags", "id"]
    with pytest.raises(UnknownName) as refused:
        only_columns(answer(), "id,nam")
    assert refused.value.problem == "There is no column nam."
    assert "Did you mean name?" in refused.value.remedy


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (None, 'id\tname\ttags\n1\ta\t["x"]\n2\t\\N\t[]\n'),
        ("csv", '"id","name","tags"\n1,"a","[""x""]"\n2,,"[]"\n'),
        ("jsonl", '{"id": 1, "name": "a", "tags": ["x"]}\n{"id": 2, "name": null, "tags": []}\n'),
    ],
)
def test_an_answer_in_a_pipe_is_data(form: str | None, text: str) -> None:
    made = app()
    print_answer(made, answer(), form)

    assert said(made) == text


def test_an_answer_on_a_terminal_is_a_grid_with_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    made = app(Terminal())
    print_answer(made, answer(), None)

    lines = said(made).splitlines()
    assert [line.split() for line in lines[:2]] == [["id", "name", "tags"], ["int64", "string", "list"]]
    assert lines[-1].split() == ["2", "NULL", "[]"]


def test_an_answer_wider_than_the_terminal_is_shown_as_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    wide = pa.table({f"column_{number}": ["x" * 30] for number in range(8)})
    made = app(Terminal())
    print_answer(made, wide, None)
    assert said(made).startswith("─── row 1 ───\ncolumn_0  xxxx")

    made = app(Terminal())
    print_answer(made, wide, "table")
    assert isinstance(made.err, io.StringIO)
    assert "7 columns left out: column_1" in made.err.getvalue()
    assert "--record shows rows as records" in made.err.getvalue()


def test_an_empty_answer_names_its_columns() -> None:
    made = app(Terminal())
    print_answer(made, answer().slice(0, 0), None)

    assert said(made) == ""
    assert isinstance(made.err, io.StringIO)
    assert made.err.getvalue() == "No rows.\nColumns: id, name, tags\n"


@pytest.mark.parametrize(("status", "label"), [("COMPLETED", "earlier error"), ("RETRY_WAIT", "error")])
def test_an_error_of_a_job_that_succeeded_is_an_earlier_one(status: str, label: str) -> None:
    row: Any = {
        **dict.fromkeys(JobRow.__annotations__),
        "id": "3f2a91c0", "status": status, "retry_count": 1, "losses": 0, "attempt": 2, "error_code": "OOM_RISK",
    }  # fmt: skip
    told = dict(reports._job_fields(row))
    assert told[label] == "OOM_RISK"
    assert told["attempt"] == "2 (1 retry, 0 lost)"
