"""Drilling down into a column: its numbers, its histogram, its values, and the rows that have one of them."""

from __future__ import annotations

from typing import Any

from casparian_console.screens.inspect.profile import OneColumn
from tests.console.inspecting import COLUMNS, InspectDriver, command_of, order, sql_of

VALUES = [("value", "string"), ("rows", "int64"), ("total", "int64")]


def column(at: int, *, is_ascii: bool = False) -> tuple[InspectDriver, Any]:
    """`fix_orders` with its profile, and its column number `at` opened; what was asked then."""
    driver = InspectDriver(is_ascii=is_ascii)
    driver.profile(driver.open_orders())
    return driver, driver.press(*"j" * at, "enter")


def test_enter_on_a_column_asks_for_its_values_by_frequency() -> None:
    driver, asked = column(1)

    assert sql_of(asked) == (
        "select *, (sum(rows) over ())::bigint as total from ("
        'select "symbol"::varchar as value, count(*) as rows from (\nselect * from "fix_orders"\n) group by 1'
        ") order by 2 desc, 1 nulls first limit 201"
    )
    assert isinstance(driver.inspect.view, OneColumn)


def test_values_are_listed_with_their_share_nulls_among_them() -> None:
    driver, asked = column(1)
    driver.tell(asked, VALUES, [["MSFT", 2000, 5000], ["IBM", 1990, 5000], [None, 1000, 5000], ["", 10, 5000]])
    text = driver.text(100, 40)

    assert "fix_orders.symbol" in text and "10 NULL" in text and "3 different values" in text
    lines = [line for line in text.splitlines() if "%" in line]
    assert [line.split()[:3] for line in lines] == [
        ["▸", "MSFT", "2,000"],
        ["IBM", "1,990", "39.8%"],
        ["NULL", "1,000", "20.0%"],
        ['""', "10", "0.2%"],
    ]


def test_a_number_has_a_large_histogram_between_its_bounds() -> None:
    driver, asked = column(2)
    driver.tell(asked, VALUES, [["100.2500000000", 7, 5000]])
    lines = driver.lines(100, 40)

    assert sum("█" in line for line in lines[:14]) >= 6
    assert any(line.strip().startswith("100.25") and line.rstrip().endswith("149.25") for line in lines)


def test_enter_on_a_value_shows_the_rows_that_have_it() -> None:
    for at, values, condition in (
        (1, [["IBM", 5, 5000]], "symbol = 'IBM'"),
        (1, [["it's", 5, 5000]], "symbol = 'it''s'"),
        (1, [[None, 5, 5000]], "symbol is null"),
        (2, [["100.25", 5, 5000]], "price = 100.25"),
        (2, [["NaN", 5, 5000]], "price::varchar = 'NaN'"),
        (4, [["2024-01-04 09:00:01+00", 5, 5000]], "sent::varchar = '2024-01-04 09:00:01+00'"),
    ):
        driver, asked = column(at)
        driver.tell(asked, VALUES, values)
        rows = driver.press("enter")

        assert sql_of(rows) == f'select * from "fix_orders"\nwhere (\n{condition}\n)', condition
        driver.tell(rows, COLUMNS, [order(1)])
        assert f"where {condition}"[:30] in driver.text(120, 40)


def test_a_second_column_narrows_the_rows_further() -> None:
    driver, asked = column(1)
    driver.tell(asked, VALUES, [["IBM", 5, 5000]])
    driver.tell(driver.press("enter"), COLUMNS, [order(1)])
    again = driver.press("tab", "g", "enter")
    assert "where (\nsymbol = 'IBM'\n)" in sql_of(again)
    driver.tell(again, VALUES, [["ack", 2, 5000]])

    assert sql_of(driver.press("enter")).endswith("where (\n(symbol = 'IBM') and event = 'ack'\n)")


def test_escape_leads_back_to_the_columns_and_stops_the_question() -> None:
    driver, asked = column(1)
    driver.press("esc")
    left = driver.settled()

    assert [getattr(effect, "tag", None) for effect in left][:1] == [command_of(asked).tag]
    assert driver.inspect.view.title == "fix_orders"


def test_a_refused_question_says_why() -> None:
    driver, asked = column(1)
    driver.refuse(asked, "casparian: The query was refused: out of memory.\n")
    assert "out of memory" in driver.text(100, 40)


def test_shares_are_of_all_rows_and_not_of_those_of_the_listed_values() -> None:
    driver, asked = column(1)
    driver.tell(asked, VALUES, [[f"v{number}", 10, 100_000] for number in range(201)])
    text = driver.text(120, 40)

    assert "0.0%" in text and "0.5%" not in text
    assert "the 200 most frequent" in text


def test_keys_that_mean_nothing_to_a_column_are_not_offered() -> None:
    driver, asked = column(1)
    driver.tell(asked, VALUES, [["MSFT", 2000, 5000]])
    labels = {action.label for action in driver.shell.working()}

    assert "sort" not in labels and {"open", "export", "SQL", "refresh"} <= labels
    driver.press("e")
    driver.press("enter", "enter")
    assert driver.inspect.export._sql.endswith("group by 1 order by 2 desc, 1 nulls first")
