"""Answers as files: the form by the name, nothing overwritten unasked, never half a file, every value whole."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casparian_app.sql import (
    FILE_FORMS,
    TSV_NULL,
    TargetExists,
    TargetUnwritable,
    UnknownForm,
    cell_rows,
    check_free,
    form_of,
    write_answer,
    write_text,
    written_aside,
)

TEXTS = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def table(**columns: Sequence[Any]) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def as_text(answer: pa.Table, form: str) -> str:
    out = io.StringIO()
    write_text(answer, form, out)
    return out.getvalue()


# --- forms ---


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv", "csv"),
        ("a.TSV", "tsv"),
        ("a.json", "json"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.b.parquet", "parquet"),
    ],
)
def test_the_ending_of_a_name_says_the_form(name: str, form: str) -> None:
    assert form_of(Path(name), None, FILE_FORMS) == form
    assert form_of(Path(name), form, FILE_FORMS) == form


def test_a_name_that_says_nothing_takes_the_form_that_is_given() -> None:
    assert form_of(Path("answer"), "csv", FILE_FORMS) == "csv"


@pytest.mark.parametrize(("name", "given_form"), [("answer", None), ("a.xlsx", None), ("a.csv", "parquet")])
def test_a_form_that_is_not_clear_is_refused(name: str, given_form: str | None) -> None:
    with pytest.raises(UnknownForm):
        form_of(Path(name), given_form, FILE_FORMS)


def test_an_ending_with_a_slip_gets_a_hint() -> None:
    with pytest.raises(UnknownForm) as refused:
        form_of(Path("a.parqet"), None, FILE_FORMS)
    assert refused.value.remedy is not None and "Did you mean .parquet?" in refused.value.remedy


def test_a_form_that_is_not_allowed_is_no_form() -> None:
    with pytest.raises(UnknownForm):
        form_of(Path("events.csv"), None, ("jsonl", "parquet"))


# --- whole or not at all ---


def test_a_file_takes_its_place_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with written_aside(target, force=False) as aside:
        aside.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole" and list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(RuntimeError), written_aside(target, force=True) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(TargetExists), written_aside(target, force=False):
        pytest.fail("the work began")
    check_free(target, force=True)


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(TargetExists), written_aside(target, force=False) as aside:
        aside.write_text("mine")
        target.write_text("another's")
    assert target.read_text() == "another's" and list(tmp_path.iterdir()) == [target]


def test_a_dangling_link_is_something_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TargetExists):
        check_free(tmp_path / "link", force=False)


@pytest.mark.parametrize("name", ["folder", "missing/a.txt"])
def test_a_place_that_can_hold_no_file_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TargetUnwritable):
        check_free(tmp_path / name, force=True)


def test_a_disk_that_does_not_take_it_is_told_with_the_path(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(TargetUnwritable, match=r"a\.txt cannot be written: No space left on device"):  # noqa: SIM117
        with written_aside(target, force=False):
            raise OSError(28, os.strerror(28))


# --- values ---


@QUICK
@given(st.lists(st.tuples(TEXTS, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=8))
def test_json_lines_hold_every_row_as_it_was(rows: list[tuple[str | None, int | None]]) -> None:
    answer = pa.table(
        {
            "text": pa.array([text for text, _ in rows], pa.string()),
            "number": pa.array([number for _, number in rows], pa.int64()),
        }
    )
    expected = [{"text": text, "number": number} for text, number in rows]
    lines = as_text(answer, "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert json.loads(as_text(answer, "json")) == expected


@QUICK
@given(st.lists(TEXTS, max_size=8, unique=True))
def test_tab_separated_values_stay_apart_and_in_their_line(values: list[str | None]) -> None:
    answer = pa.table({"text": pa.array(values, pa.string())})
    head, *lines = as_text(answer, "tsv").split("\n")[:-1]
    assert head == "text" and len(lines) == len(values) == len(set(lines))
    assert not any(each in line for line in lines for each in ("\t", "\r", "\x1b"))
    assert [line == TSV_NULL for line in lines] == [value is None for value in values]


def test_a_tab_a_line_break_and_a_backslash_are_escaped() -> None:
    assert as_text(table(a=["x\ty", "x\ny", "x\\y", ""]), "tsv") == "a\nx\\ty\nx\\ny\nx\\\\y\n\n"


@QUICK
@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_csv_tells_an_empty_text_from_no_value(values: list[str | None]) -> None:
    answer = pa.table({"text": pa.array(values, pa.string()), "n": pa.array(range(len(values)))})
    text = as_text(answer, "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["n"] for row in rows] == [str(number) for number in range(len(values))]
    if not any(value and ("\r" in value or "\x00" in value) for value in values):
        assert [row["text"] for row in rows] == [value or "" for value in values]


def test_arrays_name_columns_and_types_and_keep_equal_names_apart() -> None:
    answer = pa.Table.from_arrays([pa.array([1, None]), pa.array(["a", "b"])], names=["x", "x"])
    head, *rows = [json.loads(line) for line in as_text(answer, "arrays").splitlines()]
    assert head == {"columns": [{"name": "x", "type": "int64"}, {"name": "x", "type": "string"}]}
    assert rows == [[1, "a"], [None, "b"]]


@pytest.mark.parametrize("form", FILE_FORMS)
def test_every_form_of_file_holds_the_same_rows(tmp_path: Path, form: str) -> None:
    answer = pa.table(
        {
            "id": ["a", "b", None],
            "amount": pa.array([Decimal("1.50"), None, Decimal("-3.25")], pa.decimal128(12, 2)),
            "at": pa.array([datetime(2026, 5, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
        }
    )
    target = tmp_path / f"answer.{form}"
    write_answer(answer, form, target, force=False)
    with pytest.raises(TargetExists):
        write_answer(answer, form, target, force=False)
    write_answer(answer, form, target, force=True)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    if form == "parquet":
        assert pq.read_table(target).num_rows == 3
    else:
        text = target.read_text()
        assert all(value in text for value in ("1.50", "-3.25", "2026-05-01"))
        lines = {"csv": 4, "tsv": 4, "jsonl": 3, "json": 1}[form]
        assert len(text.splitlines()) == lines


def test_rows_come_as_the_texts_of_their_cells_by_place() -> None:
    answer = table(a=[1, None], b=["x", "y"])
    assert list(cell_rows(answer)) == [("1", "x"), (None, "y")]


def test_an_answer_without_rows_is_a_head_alone() -> None:
    answer = pa.table({"a": pa.array([], pa.int64())})
    assert as_text(answer, "tsv") == "a\n"
    assert as_text(answer, "jsonl") == ""
    assert as_text(answer, "json") == "[]\n"
