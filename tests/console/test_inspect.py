"""Outputs, their columns in numbers, their rows and where those come from."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_console.messages import (
    Click,
    Copy,
    Ended,
    ListDirectory,
    Listing,
    Output,
    RunCommand,
    RunQuery,
    StopCommand,
)
from casparian_protocol.queries.outputs import OriginOfRow
from tests.console.driving import complete, job_id, matches_snapshot, run_job
from tests.console.inspecting import COLUMNS, InspectDriver, command_of, order, sql_of


def opened(rows: Any = None, *, is_ascii: bool = False) -> InspectDriver:
    driver = InspectDriver(is_ascii=is_ascii)
    driver.profile(driver.open_orders(rows))
    return driver


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_the_outputs_are_listed_with_their_live_numbers() -> None:
    driver = InspectDriver()
    complete(driver, run_job(driver, 3), rows=7, output="fix_orders")

    assert "fix_orders" in driver.text() and "5,007" in driver.text()
    assert "2 tables · 15K rows · 42 quarantined" in driver.text()


def test_without_outputs_it_is_said_how_there_will_be_some() -> None:
    driver = InspectDriver(outputs=())
    assert "Nothing is published yet" in driver.text()
    assert driver.press("enter") == []


def test_the_selection_stays_on_its_output_when_others_appear() -> None:
    driver = InspectDriver()
    driver.press("j")
    complete(driver, run_job(driver, 3), output="a_new_one")

    assert "▸ fix_session" in driver.text()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_list_of_outputs_looks_as_kept(width: int, height: int) -> None:
    matches_snapshot(InspectDriver().text(width, height), f"inspect_outputs_{width}x{height}")


# --- columns and rows -------------------------------------------------------------------------------------------------


def test_opening_an_output_asks_for_rows_and_then_for_its_columns_in_numbers() -> None:
    driver = InspectDriver()
    asked = driver.press("enter")
    assert command_of(asked).args[:5] == ("sql", "--format", "arrays", "--limit", "501")
    assert sql_of(asked) == 'select * from "fix_orders"'
    assert not command_of(asked).is_logged

    profile = sql_of(driver.tell(asked, COLUMNS, [order(1)]))
    assert 'count(distinct "price")' in profile and 'min("price")' in profile
    assert "_cf_" not in profile, "lineage columns are no data"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_an_opened_output_looks_as_kept(width: int, height: int) -> None:
    matches_snapshot(opened().text(width, height), f"inspect_table_{width}x{height}")


def test_an_opened_output_looks_as_kept_in_ascii() -> None:
    text = opened(is_ascii=True).text(80, 24)
    assert text.isascii()
    matches_snapshot(text, "inspect_table_ascii")


def test_in_the_past_the_question_is_asked_as_of_then() -> None:
    driver = InspectDriver()
    driver.shell.travel.seq = 7  # as when standing there

    asked = driver.press("enter")
    assert command_of(asked).args[5:] == ("--as-of", "7", "--", 'select * from "fix_orders"')


def test_a_commit_asks_again_after_a_rest_and_nothing_jumps() -> None:
    driver = opened()
    driver.press("tab", *"jjjj")
    before = driver.text()
    complete(driver, run_job(driver, 3), rows=10, output="fix_orders")
    assert driver.settled() == [], "not at once"

    driver.tick(20)
    asked = driver.settled()
    assert sql_of(asked) == 'select * from "fix_orders"'
    asked = driver.tell(asked, COLUMNS, [order(77), *(order(number) for number in range(1, 61))])
    driver.profile(asked)

    def rows(text: str) -> list[str]:
        return text.splitlines()[10:20]

    assert rows(driver.text()) == rows(before)
    assert "5,010 rows" in driver.text()


def test_what_was_asked_before_is_not_taken_for_the_answer_to_the_newer_question() -> None:
    driver = InspectDriver()
    old = driver.press("enter")
    new = driver.press("r")
    assert StopCommand(command_of(old).tag) in new

    driver.tell(old, COLUMNS, [order(1)])
    assert driver.inspect.view.grid is None and "asking" in driver.text()


def test_leaving_an_output_stops_what_is_asked_for_it() -> None:
    driver = InspectDriver()
    asked = driver.press("enter")
    driver.press("esc")
    assert driver.settled() == [StopCommand(command_of(asked).tag)]
    assert "2 tables" in driver.text()


def test_a_failure_is_shown_where_the_rows_would_be() -> None:
    driver = InspectDriver()
    driver.refuse(driver.press("enter"), "as of event 7\ncasparian: There is no table fix_orders.\n  Did you mean x?\n")
    assert "There is no table fix_orders." in driver.text() and "Did you mean x?" in driver.text()
    assert "as of event" not in driver.text()


def test_a_filter_is_a_condition_that_the_command_judges() -> None:
    driver = opened()
    driver.press("f")
    driver.write("price > 120 -- dear")
    asked = driver.press("enter")
    assert sql_of(asked) == 'select * from "fix_orders"\nwhere (\nprice > 120 -- dear\n)'

    driver.tell(asked, COLUMNS, [order(number) for number in (1, 2, 3)])
    assert "all 3, where price > 120" in driver.text()
    assert driver.inspect.view.export_sql == sql_of(asked)


def test_a_refused_filter_leaves_the_rows_and_what_is_said_of_them() -> None:
    driver = opened()
    driver.press("f")
    driver.write("nope")
    driver.refuse(driver.press("enter"), "casparian: Binder Error: no such column\n")
    text = driver.text()
    assert "Binder Error" in text and "new_order" in text and "where nope" not in text
    assert driver.inspect.view.export_sql == 'select * from "fix_orders"'
    driver.press("f")
    assert "nope" in driver.text(), "what was typed can be corrected"
    assert sql_of(driver.press("ctrl-u", "enter")) == 'select * from "fix_orders"', "an empty condition shows all rows"


def test_rows_are_sorted_by_the_column_under_the_column_cursor() -> None:
    driver = opened([order(1, price="9.5"), order(2, price=None), order(3, price="100.25")])
    driver.press("tab", "right", "right")
    prices = []
    for _ in range(3):
        driver.press("s", "g")
        grid = driver.inspect.view.grid
        assert grid is not None and grid.column_name == "price"
        shown = [line for line in driver.lines(120, 40) if "2024-01-04" in line and ":0" in line]
        prices.append([line.split()[-5] for line in shown[-3:]])
    assert prices == [["9.5", "100.25", "NULL"], ["100.25", "9.5", "NULL"], ["9.5", "NULL", "100.25"]]


def test_a_table_of_which_only_the_first_rows_are_here_is_sorted_where_it_lies() -> None:
    driver = opened([order(number) for number in range(1, 502)])
    driver.press("tab", "right", "right", "G")
    asked = driver.press("s")
    assert sql_of(asked) == 'select * from (\nselect * from "fix_orders"\n) order by "price" nulls last'
    driver.tell(asked, COLUMNS, [order(1, price="-1"), *(order(number) for number in range(2, 502))])
    grid = driver.inspect.view.grid
    assert grid is not None and grid.selected == 0, "the least of all rows is selected"
    assert "-1" in driver.text()

    assert 'order by "price" desc nulls last' in sql_of(driver.press("s"))
    assert sql_of(driver.press("s")) == 'select * from "fix_orders"'
    assert driver.inspect.view.export_sql == 'select * from "fix_orders"'


def test_behind_the_last_row_that_is_here_more_are_loaded_and_the_cursor_stays() -> None:
    driver = opened([order(number) for number in range(1, 502)])
    assert "the first 500 (G at the end loads more)" in driver.text(120, 40)
    driver.press("tab", "G")
    asked = driver.press("j")
    assert command_of(asked).args[3:5] == ("--limit", "2001")
    driver.tell(asked, COLUMNS, [order(number) for number in range(1, 1201)])

    grid = driver.inspect.view.grid
    assert grid is not None and grid.selected == 499
    assert "all 1.2K" in driver.text(120, 40)
    assert driver.press("G", "G") == [], "there are no more"


def test_a_search_goes_to_the_row_that_contains_it() -> None:
    driver = opened()
    driver.press("tab", "/")
    driver.write("09:00:17")
    driver.press("enter")
    grid = driver.inspect.view.grid
    assert grid is not None and grid.selected == 16


def test_wide_tables_scroll_sideways_and_say_so() -> None:
    driver = opened([order(1, note="n" * 60)])
    assert "columns 1-6 of 6" not in driver.text(120, 40)
    assert "new_order" not in driver.text() and "ack" in driver.text()
    driver.press("tab", *["right"] * 5)
    assert "columns 4-6 of 6" in driver.text() and "nnnn…" in driver.text()


def test_columns_can_be_ordered_by_their_nulls() -> None:
    driver = opened()
    driver.press("s", "s")
    assert driver.lines()[3].startswith("  note") or driver.lines()[3].startswith("▸ note")


# --- lineage ----------------------------------------------------------------------------------------------------------


def with_lineage() -> InspectDriver:
    driver = opened()
    (query,) = driver.press("tab", "j", "L")
    assert isinstance(query, RunQuery) and query.query == OriginOfRow(job_id(1), "fix_orders")
    known = {
        "status": "COMPLETED", "parser": "fix_parser", "version": "1.0.0", "file": "/data/nyse_20240104.fix",
        "source_hash": "c0ca" * 16, "attempt": 2, "worker_id": "w1", "artifact_hash": "2dcd" * 16, "ended_at": 0,
        "logical_date": None, "snapshot": None, "contract": "715b" * 16, "written": "outputs/fix_orders/v1/part-1.parquet",
    }  # fmt: skip
    driver.answer(query.tag, tuple(known), [tuple(known.values())])
    return driver


def test_lineage_tells_the_file_the_line_the_job_and_the_contract_of_the_selected_row() -> None:
    text = with_lineage().text()
    for fact in (
        "/data/nyse_20240104.fix",
        "line         2",
        "c0ca" * 16,
        job_id(1),
        "attempt 2 on w1",
        "fix_parser 1.0.0",
    ):
        assert fact in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_lineage_looks_as_kept(width: int, height: int) -> None:
    matches_snapshot(with_lineage().text(width, height), f"inspect_lineage_{width}x{height}")


def test_lineage_follows_the_selection_and_asks_once_a_job() -> None:
    driver = with_lineage()
    assert driver.press("j") == []
    assert "line         3" in driver.text()
    driver.press("esc")
    assert "source file" not in driver.text()


def test_the_job_of_a_row_is_handed_to_jobs() -> None:
    driver = opened()
    driver.press("tab", "J")
    assert driver.shell.mode == "jobs"


def test_a_row_is_shown_whole_and_copied_as_json() -> None:
    driver = opened([order(1, note="NULL"), order(2)])
    driver.press("tab", "enter")
    text = driver.text(120, 40)
    assert '"NULL"' in text and "_cf_source_hash" in text
    (copied,) = driver.press("y")
    assert isinstance(copied, Copy) and '"note": "NULL"' in copied.text


# --- hostile values ---------------------------------------------------------------------------------------------------

HOSTILE = [
    "evil\x1b[2J\x07",
    "\u202egnp.exe",
    "界" * 30,
    "e\u0301" * 50,
    "x" * 1_000_000,
    "\u200b",
    "",
    " ",
    "NULL",
    '"',
]


@pytest.mark.parametrize("is_ascii", [False, True])
def test_hostile_values_do_no_harm_anywhere(is_ascii: bool) -> None:
    rows = [order(number, note=text, symbol=text) for number, text in enumerate(HOSTILE, 1)]
    driver = opened(rows, is_ascii=is_ascii)
    driver.press("tab")
    for _ in rows:
        for keys in ((), ("enter",), ("esc", "L")):
            driver.press(*keys)
            for width, height in ((80, 24), (200, 60)):
                text = driver.text(width, height)
                assert not set(text) & set("\x1b\x07\u202e\u200b")
        driver.press("esc", "j", *["right"] * 4)


def test_null_and_the_text_null_differ() -> None:
    driver = opened([order(1, symbol=None), order(2, symbol="NULL"), order(3, symbol="")])
    rows = [
        line.split()[1]
        for line in driver.lines()
        if line.startswith(("  ack", "  fill", "▸ ack", "  cancel", "▸ fill"))
    ]
    assert rows[-3:] == ["NULL", '"NULL"', '""']


def test_a_huge_cell_is_not_kept_whole() -> None:
    driver = opened([order(1, note="x" * 1_000_000)])
    kept = driver.inspect.view.draw(driver.shell, 80, 21)
    assert len(kept) == 21
    table = driver.inspect.stack[-1].sample.table  # type: ignore[attr-defined]
    assert max(len(str(value)) for value in table.rows[0]) <= 4000


# --- export -----------------------------------------------------------------------------------------------------------


def choose_path(driver: InspectDriver, path: str) -> Any:
    driver.press("e", "down", "enter", "ctrl-u")
    driver.write(path)
    return driver.press("enter")


def test_export_looks_for_the_file_and_then_writes() -> None:
    driver = InspectDriver()
    (look,) = choose_path(driver, "out/orders.csv")
    assert look == ListDirectory(("inspect", "export", "directory"), "out")
    (write,) = driver.send(Listing(look.tag, "out", (("other.csv", False, False, 3, 0),)))
    assert isinstance(write, RunCommand) and write.is_logged
    assert write.args == ("sql", "--format", "csv", "--out", "out/orders.csv", "--", 'select * from "fix_orders"')

    driver.send(Ended(write.tag, 0, "5,000 rows written to out/orders.csv\n"))
    assert "5,000 rows written to out/orders.csv" in driver.text()


def test_an_existing_file_is_replaced_only_after_a_yes() -> None:
    driver = InspectDriver()
    (look,) = choose_path(driver, "orders.csv")
    assert driver.send(Listing(look.tag, ".", (("orders.csv", False, False, 1234, 0),))) == []
    assert "Replace orders.csv? It exists, with 1,234 bytes." in driver.text()
    assert driver.press("n") == []
    assert not driver.inspect.export.is_running

    (look,) = choose_path(driver, "orders.csv")
    driver.send(Listing(look.tag, ".", (("orders.csv", False, False, 1234, 0),)))
    (write,) = driver.press("y")
    assert isinstance(write, RunCommand)
    assert driver.inspect.export.is_running
    assert driver.press("ctrl-x") == [StopCommand(write.tag)]


def test_an_export_that_fails_says_why() -> None:
    driver = InspectDriver()
    (look,) = choose_path(driver, "orders.csv")
    (write,) = driver.send(Listing(look.tag, ".", ()))
    assert isinstance(write, RunCommand)
    driver.send(Ended(write.tag, 2, "casparian: orders.csv cannot be written: No space left on device.\n"))
    assert "Nothing was written: orders.csv cannot be written: No space" in driver.text()


# --- mouse ------------------------------------------------------------------------------------------------------------


def test_clicks_select_and_a_double_click_opens() -> None:
    driver = InspectDriver()
    driver.text()
    (command,) = driver.send(Click(4, 10), Click(4, 10, 2))
    assert isinstance(command, RunCommand) and command.args[-1] == 'select * from "fix_session"'


def test_broken_output_of_the_command_is_told_not_shown() -> None:
    driver = InspectDriver()
    command = command_of(driver.press("enter"))
    driver.send(Output(command.tag, "this is no json\n"), Ended(command.tag, 0))
    assert "could not be read" in driver.text()


def test_an_answer_that_was_cut_shows_the_rows_that_came() -> None:
    driver = InspectDriver()
    command = command_of(driver.press("enter"))
    text = '{"columns": [{"name": "a", "type": "string"}]}\n["one"]\n["tw'
    driver.send(Output(command.tag, text), Ended(command.tag, 0, is_cut=True))
    assert "one" in driver.text() and "the first 1" in driver.text()


def test_walking_in_the_past_asks_again_only_where_there_was_a_commit() -> None:
    driver = opened()
    driver.shell.travel.seq = driver.seq - 1  # as when standing there; the facts are those of now
    assert driver.settled() == []
    driver.shell.present.registry.outputs["fix_orders"].last_commit -= 1_000_000
    assert "--as-of" in command_of(driver.settled()).args
