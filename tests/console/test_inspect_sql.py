"""The SQL editor: typing, completing, running, stopping, recalling."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casparian_console.messages import Ended, Paste, RunCommand, RunQuery, StopCommand
from casparian_console.screens.inspect.sql_text import candidates
from tests.console.driving import matches_snapshot
from tests.console.inspecting import InspectDriver, command_of, lineage, sql_of

ANSWER = (("side", "string"), ("n", "int64"), ("mean", "double"))
ROWS: list[list[Any]] = [["buy", 1200, 101.5], ["sell", 34, 99.25], [None, 1, None]]


def editing() -> InspectDriver:
    """The editor, with the names of what can be asked known."""
    driver = InspectDriver()
    (names,) = driver.press("q")
    assert isinstance(names, RunQuery)
    contract = json.dumps({"columns": [{"name": "price"}, {"name": "symbol"}, {"name": "Odd name"}]})
    columns = ("kind", "name", "columns")
    driver.answer(names.tag, columns, [("state", "cf_jobs", '["id", "status"]'), ("output", "fix_orders", contract)])
    return driver


def answered(text: str = "select side, count(*) as n, avg(price) as mean from fix_orders group by 1") -> InspectDriver:
    driver = editing()
    driver.send(Paste(text))
    driver.tell(driver.press("f5"), ANSWER, ROWS)
    return driver


def typed(driver: InspectDriver) -> str:
    return driver.inspect.sql.editor.text


def test_letters_are_text_and_enter_is_a_new_line() -> None:
    driver = editing()
    driver.write("select q")
    driver.press("enter")
    driver.write("?:/Q")
    assert typed(driver) == "select q\n?:/Q"
    assert driver.shell.overlay is None


@pytest.mark.parametrize("key", ["f5", "ctrl-r", "alt-enter"])
def test_a_query_runs_as_a_command_that_is_noted_in_the_log(key: str) -> None:
    driver = editing()
    driver.write("select 1; ")
    command = command_of(driver.press(key))
    assert command.args == ("sql", "--format", "arrays", "--limit", "2001", "--", "select 1")
    assert driver.shell.commands[-1].cli.startswith("casparian sql")


def test_an_empty_query_is_not_run() -> None:
    driver = editing()
    driver.write("  ")
    assert driver.press("f5") == []


def test_numbers_are_at_the_right_and_null_is_told() -> None:
    lines = [line.rstrip() for line in answered().lines()]
    assert "  buy   1,200" not in lines, "values are shown as they are"
    assert any(line.split() == ["▸", "buy", "1200", "101.5"] for line in lines)
    assert any(line.split() == ["NULL", "1", "NULL"] for line in lines)
    (buy,) = [line for line in lines if "buy" in line and "1200" in line]
    (sell,) = [line for line in lines if "sell" in line and "34" in line]
    assert buy.index("1200") + 4 == sell.index("34") + 2


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_an_answered_query_looks_as_kept(width: int, height: int) -> None:
    matches_snapshot(answered().text(width, height), f"inspect_sql_{width}x{height}")


def test_an_error_is_shown_below_the_editor_and_the_text_stays() -> None:
    driver = answered()
    driver.press("i", "enter")
    driver.write("oops")
    said = (
        'casparian: Binder Error: Referenced column "oops" not found\n\nLINE 2: oops\n        ^\n  Correct the query.\n'
    )
    driver.refuse(driver.press("f5"), said)
    text = driver.text()
    assert (
        'Referenced column "oops" not found' in text
        and " LINE 2: oops\n         ^\n" in text
        and "Correct the query." in text
    )
    assert typed(driver).endswith("\noops")
    assert "3 rows of an earlier query" in text


def test_a_running_query_tells_its_time_and_can_be_stopped() -> None:
    driver = editing()
    driver.write("select 1")
    command = command_of(driver.press("f5"))
    driver.tick(3)
    assert "running 3 s, Ctrl-X stops it" in driver.text()
    assert driver.press("ctrl-x") == [StopCommand(command.tag)]
    assert "Stopped after 3.0 s." in driver.text()
    driver.send(Ended(command.tag, 130, "casparian: interrupted\n"))
    assert "interrupted" not in driver.text(), "what was stopped is silent"


def test_leaving_the_view_lets_the_query_run_and_keeps_the_text() -> None:
    driver = editing()
    driver.write("select 1")
    asked = driver.press("f5")
    driver.press("esc")
    assert "2 tables" in driver.text() and driver.settled() == []
    driver.tell(asked, [("n", "int64")], [[1]])
    driver.press("q")
    assert typed(driver) == "select 1" and "1 row" in driver.text()


def test_a_query_that_was_never_run_is_unsaved() -> None:
    driver = editing()
    assert not driver.inspect.is_unsaved
    driver.write("select 1")
    assert driver.inspect.is_unsaved
    driver.press("ctrl-c")
    assert "What you typed in Inspect is not saved" in driver.text()
    driver.press("esc", "f5")
    assert not driver.inspect.is_unsaved


def test_older_queries_come_back_and_the_one_being_written_is_not_lost() -> None:
    driver = editing()
    for query in ("select 1", "select 2"):
        driver.press("ctrl-u")
        driver.write(query)
        driver.press("f5")
    driver.press("ctrl-u")
    driver.write("select never_run")
    seen = []
    for key in ("up", "up", "up", "down", "down"):
        driver.press(key)
        seen.append(typed(driver))
    assert seen == ["select 2", "select 1", "select 1", "select 2", "select never_run"]


def test_tab_completes_a_table_and_goes_through_candidates() -> None:
    driver = editing()
    driver.write("select * from fix_")
    driver.press("tab")
    assert typed(driver) == "select * from fix_orders" and "1/2" in driver.text()
    driver.press("tab")
    assert typed(driver) == "select * from fix_session"
    driver.press("s-tab")
    assert typed(driver) == "select * from fix_orders"
    driver.press("esc")
    assert typed(driver) == "select * from fix_", "Esc takes the completion back"
    assert driver.inspect.view is driver.inspect.sql


def test_tab_completes_behind_and_before_other_text() -> None:
    driver = editing()
    driver.write("select pri from fix_orders")
    driver.press(*["left"] * len(" from fix_orders"), "tab")
    driver.write("x")
    assert typed(driver) == "select pricex from fix_orders"


def test_nothing_to_complete_says_so() -> None:
    driver = editing()
    driver.write("zzz")
    driver.press("tab")
    assert typed(driver) == "zzz" and "No known name begins with that." in driver.text()


def test_esc_goes_to_the_answer_then_out_and_i_goes_back() -> None:
    driver = answered()
    driver.press("j")
    grid = driver.inspect.view.grid
    assert grid is not None and grid.selected == 1
    driver.press("i")
    assert driver.inspect.is_typing()
    driver.press("esc", "esc")
    assert "2 tables" in driver.text()


def test_pages_of_the_answer_turn_while_the_editor_has_the_focus() -> None:
    driver = editing()
    driver.write("select 1")
    driver.tell(driver.press("f5"), [("n", "int64")], [[number] for number in range(300)])
    driver.text()
    driver.press("i", "pgdn", "pgdn")
    assert driver.inspect.is_typing()
    assert driver.inspect.sql.answer.cursor.at == 2 * (driver.inspect.sql.answer.height - 1)


def test_rows_beyond_the_limit_are_said_to_be_left_out() -> None:
    driver = editing()
    driver.write("select 1")
    driver.tell(driver.press("f5"), [("n", "int64")], [[number] for number in range(2001)])
    assert "the first 2,000 rows" in driver.text()
    driver.press("G")
    assert "1999" in driver.text()


def test_an_answer_without_rows_shows_its_columns() -> None:
    driver = editing()
    driver.write("select 1")
    driver.tell(driver.press("f5"), ANSWER, [])
    assert "side" in driver.text() and "No rows." in driver.text()


def test_two_columns_of_one_name_are_both_there() -> None:
    driver = editing()
    driver.write("select 1 as n, 2 as n")
    driver.tell(driver.press("f5"), [("n", "int64"), ("n", "int64")], [[1, 2]])
    assert any(line.split() == ["▸", "1", "2"] for line in driver.lines())


def test_rows_with_lineage_lead_to_their_job_others_say_that_they_do_not() -> None:
    driver = editing()
    driver.write("select * from fix_orders")
    names = ("_cf_source_hash", "_cf_job_id", "_cf_processed_at", "_cf_parser_version", "_cf_source_row")
    driver.tell(driver.press("f5"), [(name, "string") for name in names], [lineage(1)])
    driver.press("J")
    assert driver.shell.mode == "jobs"

    driver = answered()
    driver.press("J")
    assert driver.shell.mode == "inspect"


def test_what_was_answered_is_what_is_exported() -> None:
    driver = answered("select 1 as side")
    driver.press("i", "enter")
    driver.write("never run")
    driver.press("esc")
    assert driver.inspect.view.export_sql == "select 1 as side"


def test_pasted_text_is_harmless_and_never_runs() -> None:
    driver = editing()
    assert driver.send(Paste("select 1;\nselect '\x1b[2J\u202e'\r\n")) == []
    assert "\x1b" not in driver.text() and "\u202e" not in driver.text()
    assert typed(driver).count("\n") == 2


def test_the_footer_names_keys_that_work_while_typing() -> None:
    driver = editing()
    footer = driver.lines(120)[-1]
    assert "F5 run" in footer and "Tab complete" in footer and "Ctrl-P commands" in footer
    assert " q SQL" not in footer and " e export" not in footer


# --- completion -------------------------------------------------------------------------------------------------------

TABLES = {
    "fix_orders": ["price", "symbol", "Odd name"],
    "quarantine.fix_orders": ["price", "_cf_raw"],
    '"fix_orders@v1"': ["price"],
    "cf_jobs": ["id", "status", "parser"],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select * from fi", ["fix_orders", '"fix_orders@v1"']),
        ("select * from quar", ["quarantine.fix_orders"]),
        ("select * from quarantine.", ["quarantine.fix_orders"]),
        ("select sta", ["status"]),
        ("select * from cf_jobs where pa", ["parser", "partition"]),
        ("select o.pr", []),
        ("summarize cf", ["cf_jobs"]),
        ("selec", ["select"]),
    ],
)
def test_completion_offers_what_fits_the_place(text: str, expected: list[str]) -> None:
    _, found = candidates(text, TABLES)
    assert found[: len(expected)] == expected and (expected or not found)


def test_only_columns_of_the_tables_that_the_query_names_are_offered() -> None:
    assert candidates("select * from cf_jobs where pr", TABLES)[1] == []
    assert candidates("select * from fix_orders where pr", TABLES)[1] == ["price"]


def test_an_alias_leads_to_the_columns_of_its_table() -> None:
    start, found = candidates("select * from fix_orders as o join cf_jobs j on o.", TABLES)
    assert found == ["o.price", "o.symbol", 'o."Odd name"']
    assert start == len("select * from fix_orders as o join cf_jobs j on ")
    assert candidates("select * from fix_orders as o join cf_jobs j on j.s", TABLES)[1] == ["j.status"]


def test_the_question_is_the_text_as_typed() -> None:
    driver = editing()
    driver.write("-- a comment first")
    driver.press("enter")
    driver.write("select 'a;b' ;")
    asked = driver.press("f5")
    assert isinstance(asked[0], RunCommand)
    assert sql_of(asked) == "-- a comment first\nselect 'a;b'"


def test_an_answer_with_a_row_of_no_columns_can_be_opened() -> None:
    driver = editing()
    driver.write("select 1")
    driver.tell(driver.press("f5"), [], [[]])
    driver.press("enter")
    assert "No columns." in driver.text() or "A row of the answer" in driver.text()


def test_a_statement_begins_with_a_keyword_not_with_any_column_of_the_home() -> None:
    tables = {"cf_jobs": ["selection_snapshot_hash", "status"]}

    assert candidates("selec", tables)[1][0] == "select"
    assert candidates("select * from cf_jobs where selec", tables)[1][0] == "selection_snapshot_hash"


# --- colours, errors, names -------------------------------------------------------------------------------------------


def styles(driver: InspectDriver, word: str, width: int = 100) -> set[str]:
    """How a word of the editor is drawn."""
    driver.lines(width, 30)
    drawn = driver.shell.view(width, 30)
    return {style for line in drawn for style, text in line if text.strip() == word}


def test_keywords_texts_and_comments_have_colours_and_names_have_none() -> None:
    driver = editing()
    driver.write("select 'MSFT' from trades -- all")
    driver.press("home")
    driver.write(" ")

    assert styles(driver, "from") == {"keyword"}
    assert styles(driver, "'MSFT'") == {"literal"}
    assert styles(driver, "-- all") == {"comment"}
    assert styles(driver, "trades") == {"input"}


def test_after_an_answer_the_keys_are_the_answers_and_not_text() -> None:
    driver = answered("select 1")
    driver.press("j", "y")

    assert not driver.inspect.is_typing()
    assert typed(driver) == "select 1"


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("select symbl from t", 'Binder Error: Referenced column "symbl" not found in FROM clause!', "symbl"),
        ("select 1\nfrom where", "Expected table name but got where. Line 2, Col: 6.", "where"),
        ("select a from where", "but got <Token token_type: WHERE, line: 1, col: 19, start: 14, end: 18>", "where"),
        ("select * from nobody", "Catalog Error: Table with name nobody does not exist!", "nobody"),
    ],
)
def test_a_refused_query_is_marked_where_it_is_wrong_and_the_cursor_stands_there(
    text: str, said: str, place: str
) -> None:
    driver = editing()
    driver.send(Paste(text))
    driver.refuse(driver.press("f5"), f"casparian: {said}\n  Correct the query.\n")

    assert driver.inspect.is_typing()
    assert driver.inspect.sql.editor.cursor == text.rindex(place)
    assert "wrong" in styles(driver, place[1:])
    driver.write("x")
    assert not styles(driver, place[1:]) & {"wrong"}


def test_an_error_that_names_no_place_moves_nothing() -> None:
    driver = editing()
    driver.send(Paste("select 1"))
    driver.refuse(driver.press("f5"), "casparian: The query took too long.\n")

    assert driver.inspect.sql.editor.cursor == len("select 1")


def test_from_a_table_the_editor_begins_with_its_name_and_that_is_nothing_unsaved() -> None:
    driver = InspectDriver()
    driver.open_orders()
    driver.press("q")

    assert typed(driver) == "select * from fix_orders limit 100"
    assert not driver.inspect.is_unsaved
    driver.press("esc", "esc")
    driver.inspect.sql.editor.set("select 2")
    driver.press("q")
    assert typed(driver) == "select 2"


def test_the_names_that_can_be_asked_for_stand_beside_the_editor() -> None:
    driver = editing()
    text = driver.text(140, 40)
    assert "outputs" in text and "fix_orders, fix_session" in text and "quarantine.NAME" in text
    driver.write("select * from fix_orders")
    assert "price, symbol, Odd name" in driver.text(140, 40)
    assert "outputs" not in driver.text(100, 40).splitlines()[4]
