"""SQL as text: what the views ask is SQL whatever the names are, and what is typed is coloured and marked at an error."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_console.canvas import Line, plain
from casparian_console.screens.inspect import sql_text
from casparian_console.screens.inspect.answers import Column

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
DB = duckdb.connect()


@settings(deadline=None)
@given(TEXTS)
def test_any_name_and_any_text_are_themselves_in_a_query(text: str) -> None:
    found = DB.execute(f"select {sql_text.literal(text)} as {sql_text.name(text)}")

    assert ([each[0] for each in found.description], found.fetchall()) == ([text], [(text,)])


@given(TEXTS)
def test_a_name_is_quoted_only_where_it_must_be(text: str) -> None:
    typed = sql_text.typed_name(text)

    assert typed in (text, sql_text.name(text))
    assert (typed == text) is (text.isascii() and text == text.lower() and text.isidentifier())


def test_rows_are_ordered_by_a_column_and_null_comes_last() -> None:
    rows = "select * from (values (2, 'b'), (null, 'c'), (1, 'a')) as t(\"at \"\"x\", y)"

    def found(sorting: tuple[str, bool] | None) -> list[object]:
        return [row[1] for row in DB.execute(sql_text.ordered(rows, sorting)).fetchall()]

    assert found(None) == ["b", "c", "a"]
    assert found(('at "x', False)) == ["a", "b", "c"]
    assert found(('at "x', True)) == ["b", "a", "c"]


def test_the_values_of_a_column_come_with_their_rows_and_the_number_of_all_rows() -> None:
    table = "(select unnest(['a', 'b', 'a', null, 'c']) as v)"
    column = Column("v", "string")

    top = DB.execute(sql_text.top_values(table, column, "", limit=2)).fetchall()
    everything = DB.execute(sql_text.top_values(table, column, "v <> 'a' or v is null", limit=0)).fetchall()

    assert top == [("a", 2, 5), (None, 1, 5)]
    assert everything == [(None, 1), ("b", 1), ("c", 1)]


def styles(text: str, wrong: range | None = None) -> list[tuple[str, str]]:
    return [(style, part.strip()) for style, part in sql_text.coloured([("input", text)], wrong) if part.strip()]


def test_a_query_is_coloured_by_what_its_words_are() -> None:
    assert styles("select price, 'it''s' from \"from\" -- all of it") == [
        ("keyword", "select"),
        ("input", "price,"),
        ("literal", "'it''s'"),
        ("keyword", "from"),
        ("input", '"from"'),
        ("comment", "-- all of it"),
    ]


def test_an_error_is_marked_where_it_is_and_the_cursor_is_not_painted_over() -> None:
    assert styles("select prise", range(7, 12)) == [("keyword", "select"), ("wrong", "prise")]
    line: Line = [("input", "select prise"), ("cursor", " ")]

    assert sql_text.coloured(line, range(7, 13))[-1] == ("cursor", " ")


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40), st.integers(0, 50), st.integers(0, 9)
)
def test_colours_change_no_character(text: str, start: int, length: int) -> None:
    assert plain(sql_text.coloured([("input", text)], range(start, start + length))) == text


@pytest.mark.parametrize(
    ("problem", "query", "marked"),
    [
        (["Something is wrong; start: 7"], "select prise from t", "prise"),
        (["syntax error at line 2, col: 3"], "select\n  frm t", "frm"),
        (['Binder Error: column "prise" is not there'], "select 1, prise from t", "prise"),
        (['column "price" is not there'], "select pricey, price from t", "price"),
        (["start: 99"], "select", "t"),
    ],
)
def test_the_place_of_an_error_is_found_however_it_is_told(problem: list[str], query: str, marked: str) -> None:
    place = sql_text.error_place(problem, query)

    assert place is not None
    assert query[place.start : place.stop] == marked


def test_an_error_that_names_no_place_marks_none() -> None:
    assert sql_text.error_place(["The query was stopped."], "select 1") is None
    assert sql_text.error_place(["line 9, column 1"], "select 1") is None
    assert sql_text.error_place(["start: 3"], "") is None
