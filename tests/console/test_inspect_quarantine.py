"""Quarantine: violations by output, code and column; their rows; of one job."""

from __future__ import annotations

import json

import pytest

from casparian_console.messages import Ended, Output, RunCommand, RunQuery
from casparian_protocol.queries.outputs import RowOrigin, ViolationsOfJobs
from tests.console.driving import complete, job_id, matches_snapshot, run_job
from tests.console.inspecting import BAD_COLUMNS, InspectDriver, bad, command_of, sql_of

COLUMNS = ("output", "code", "column", "is_committed", "rows", "files", "jobs", "job_id")
VIOLATIONS = [
    ("fix_orders", "null_not_allowed", "cl_ord_id", True, 13, 12, 12, job_id(1)),
    ("fix_orders", "parser_rejected", "", True, 39, 12, 12, job_id(1)),
    ("fix_orders", "type_mismatch", "price", True, 14, 12, 12, job_id(1)),
    ("fix_session", "type_mismatch", "seq", False, 900, 1, 1, job_id(2)),
]
ROWS = [
    bad(44, [("type_mismatch", "price", "decimal(38,10)", "12O.50")], price="12O.50"),
    bad(159, [("type_mismatch", "price", "decimal(38,10)", "NULL"), ("value_not_allowed", "side", "1, 2 or 5", "9")],
        price="NULL", side="9"),
    bad(233, [("type_mismatch", "price", "decimal(38,10)", "")], price=""),
]  # fmt: skip


def listed(*, is_ascii: bool = False) -> InspectDriver:
    driver = InspectDriver(is_ascii=is_ascii)
    (asked,) = driver.press("Q")
    assert isinstance(asked, RunQuery) and asked.query == ViolationsOfJobs()
    driver.answer(asked.tag, COLUMNS, VIOLATIONS)
    return driver


def opened(*, is_ascii: bool = False) -> InspectDriver:
    """The rows whose price is no number."""
    driver = listed(is_ascii=is_ascii)
    driver.press("j", "j")
    asked = driver.tell(driver.press("enter"), BAD_COLUMNS, ROWS)
    (origin,) = asked
    assert isinstance(origin, RunQuery)
    row = dict.fromkeys(RowOrigin.__annotations__) | {"file": "/data/nyse_20240104.fix", "status": "PARTIAL_SUCCESS"}
    driver.answer(origin.tag, list(row), [list(row.values())])
    return driver


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_violations_look_as_kept(width: int, height: int) -> None:
    matches_snapshot(listed().text(width, height), f"inspect_quarantine_{width}x{height}")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_quarantined_rows_look_as_kept(width: int, height: int) -> None:
    matches_snapshot(opened().text(width, height), f"inspect_bad_rows_{width}x{height}")


def test_the_quarantined_rows_look_as_kept_in_ascii() -> None:
    text = opened(is_ascii=True).text()
    assert text.isascii()
    matches_snapshot(text, "inspect_bad_rows_ascii")


def test_the_selection_stays_on_its_violation_when_others_appear() -> None:
    driver = listed()
    driver.press("j", "j")
    complete(driver, run_job(driver, 3), rows=5, bad=3)
    (asked,) = driver.settled()
    assert isinstance(asked, RunQuery)
    driver.answer(asked.tag, COLUMNS, [("a_first", "type_mismatch", "x", True, 3, 1, 1, job_id(3)), *VIOLATIONS])
    (chosen,) = [line for line in driver.lines() if line.startswith("▸")]
    assert "price" in chosen


def test_violations_can_be_ordered_by_rows() -> None:
    driver = listed()
    driver.press("s", "g")
    (chosen,) = [line for line in driver.lines() if line.startswith("▸")]
    assert "900" in chosen


def test_rows_are_asked_for_by_code_and_column() -> None:
    driver = listed()
    driver.press("j", "j")
    sql = sql_of(driver.press("enter"))
    assert 'from quarantine."fix_orders"' in sql
    assert "v.code = 'type_mismatch' and v.column = 'price'" in sql


def test_a_violation_without_a_column_asks_for_rows_without_one() -> None:
    driver = listed()
    driver.press("j")
    assert "v.column is null" in sql_of(driver.press("enter"))


def test_the_value_at_fault_is_marked_by_a_sign_and_explained_below() -> None:
    driver = opened()
    text = driver.text(120, 40)
    assert "!12O.50" in text
    assert "type_mismatch in price  got 12O.50" in text and "expected decimal(38,10)" in text
    assert "/data/nyse_20240104.fix  line 44" in text
    assert "raw  8=FIX.4.4|35=8|44=12O.50|line 44" in text


def test_every_violation_of_a_row_is_marked_and_told() -> None:
    driver = opened()
    driver.press("j")
    text = driver.text(120, 40)
    assert '!"NULL"' in text and "!9" in text
    assert "value_not_allowed in side  got 9" in text and "expected 1, 2 or 5" in text


def test_the_column_at_fault_stands_in_front() -> None:
    driver = opened()
    assert driver.lines()[2].split()[:3] == ["line", "price", "event"]


def test_lineage_of_a_quarantined_row_takes_the_place_of_what_is_wrong() -> None:
    driver = opened()
    driver.press("L")
    assert "source hash" in driver.text() and "expected" not in driver.text()
    driver.press("esc")
    assert "expected" in driver.text()


def test_jobs_can_show_the_quarantine_of_one_job() -> None:
    driver = InspectDriver()
    driver.press("alt-j")
    assert driver.inspect.show_quarantine([job_id(1)]) == []
    _, asked = driver.press("alt-i")  # a process for queries is made ready, too
    assert isinstance(asked, RunQuery) and asked.query == ViolationsOfJobs((job_id(1),))
    driver.answer(asked.tag, COLUMNS, VIOLATIONS[:1])
    assert f"of job {job_id(1)}" in driver.text()
    assert f"starts_with(_cf_job_id, '{job_id(1)}')" in sql_of(driver.press("enter"))


def test_the_filter_names_another_job_or_all() -> None:
    driver = listed()
    driver.press("f")
    driver.write("0001")
    (asked,) = driver.press("enter")
    assert isinstance(asked, RunQuery) and asked.query == ViolationsOfJobs(("0001",))
    driver.answer(asked.tag, COLUMNS, [])
    assert "This job left nothing in quarantine" in driver.text()


def test_what_failed_jobs_left_is_shown_like_the_rest_and_said_to_be_unpublished() -> None:
    driver = listed()
    driver.press("G")
    assert "not published" in driver.text()
    asked = driver.press("enter")
    assert 'from uncommitted."fix_session"' in sql_of(asked)
    driver.tell(asked, BAD_COLUMNS, ROWS)
    assert "type_mismatch in seq of fix_session, of jobs that failed" in driver.text()


def test_the_quarantine_of_a_group_is_that_of_all_its_jobs() -> None:
    driver = InspectDriver()
    driver.press("alt-j")
    driver.inspect.show_quarantine([job_id(1), job_id(2)])
    _, asked = driver.press("alt-i")  # a process for queries is made ready, too
    assert isinstance(asked, RunQuery) and asked.query == ViolationsOfJobs((job_id(1), job_id(2)))
    driver.answer(asked.tag, COLUMNS, VIOLATIONS[:1])
    assert "of 2 jobs" in driver.text()
    assert f"_cf_job_id in ('{job_id(1)}', '{job_id(2)}')" in sql_of(driver.press("enter"))


def test_in_the_past_the_counts_come_from_the_command() -> None:
    driver = InspectDriver()
    driver.shell.travel.seq = 9  # as when standing there
    (asked,) = driver.press("Q")
    assert isinstance(asked, RunCommand) and asked.args == ("quarantine", "summary", "--json", "--as-of", "9")
    rows = [{"output": "fix_orders", "code": "type_mismatch", "column": None, "rows": 4, "files": 2}]
    driver.send(Output(asked.tag, json.dumps(rows) + "\n"), Ended(asked.tag, 0, "as of event 9\n"))
    assert "type_mismatch" in driver.text()
    assert "--as-of" in command_of(driver.press("enter")).args


def test_a_failure_is_told_in_the_command_s_words() -> None:
    driver = InspectDriver()
    driver.shell.travel.seq = 9  # as when standing there
    (asked,) = driver.press("Q")
    assert isinstance(asked, RunCommand)
    driver.send(Ended(asked.tag, 2, "casparian: There is no event 9 yet.\n"))
    assert "There is no event 9 yet." in driver.text()


def test_hostile_text_in_quarantine_does_no_harm() -> None:
    driver = listed()
    evil = "\x1b[2J\u202e" + "界" * 5000
    driver.press("j", "j")
    row = bad(1, [("type_mismatch", "price", evil, evil)], price=evil)
    driver.tell(driver.press("enter"), BAD_COLUMNS, [row])
    for keys in ((), ("enter",), ("esc", "L")):
        driver.press(*keys)
        for width, height in ((80, 24), (200, 60)):
            assert not set(driver.text(width, height)) & set("\x1b\u202e")


def test_the_export_of_quarantined_rows_is_what_is_shown() -> None:
    driver = opened()
    driver.press("f")
    driver.write("side = '9'")
    asked = driver.press("enter")
    driver.tell(asked, BAD_COLUMNS, ROWS[1:2])
    assert sql_of(asked) == driver.inspect.view.export_sql
    assert sql_of(asked).endswith("\n)\nwhere (\nside = '9'\n)")
