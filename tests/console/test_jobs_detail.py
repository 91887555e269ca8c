"""The detail of a job and its log: what is asked, what is shown, what cannot hurt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casparian_console.messages import Effect, Ended, FollowLog, Output, RunCommand, RunQuery, StopCommand, Tag
from casparian_console.screens.jobs import Jobs
from casparian_console.screens.jobs.detail import attempts
from casparian_console.screens.jobs.logs import LINES_KEPT, LogView
from casparian_protocol.queries.jobs import JobRow
from tests.console.driving import Driver, complete, job_id, matches_snapshot, queued
from tests.console.jobs_scene import progressed, work_day

_US = 1_772_719_200_000_000


@pytest.fixture
def day() -> Driver:
    driver = work_day()
    driver.tick(10)
    driver.press("alt-j")
    driver.lines(120, 40)
    return driver


def jobs_of(driver: Driver) -> Jobs:
    screen = driver.shell.screens["jobs"]
    assert isinstance(screen, Jobs)
    return screen


def answer(driver: Driver, queries: list[Any], what: str, *rows: dict[str, Any]) -> None:
    query = next(each for each in queries if each.tag[2] == what)
    columns = list(rows[0]) if rows else ["none"]
    driver.answer(query.tag, columns, [list(row.values()) for row in rows])


def asked(effects: list[Any]) -> set[str]:
    return {each.tag[2] for each in effects if isinstance(each, RunQuery) and each.tag[:2] == ("jobs", "detail")}


def tag_of(effect: Effect) -> Tag:
    assert isinstance(effect, RunQuery)
    return effect.tag


def event(kind: str, seconds: int, **data: Any) -> dict[str, Any]:
    return {
        "seq": seconds,
        "ts": _US + seconds * 1_000_000,
        "type": kind,
        "actor": "sentinel",
        "data": json.dumps(data),
    }


def open_failed(day: Driver) -> list[Any]:
    """The detail of the three files with SCHEMA_MISMATCH, answered."""
    queries = list(day.press("j", "j", "enter"))
    job: dict[str, Any] = dict.fromkeys(JobRow.__annotations__)
    job |= {
        "error_message": "column price of row 42 is “n/a”",
        "error_exception": "SchemaMismatch",
        "error_trace": 'Traceback (most recent call last):\n  File "fix.py", line 7, in parse\nSchemaMismatch: price',
        "error_context": '{"row": 42}',
        "content_hash": "c" * 64,
        "artifact_hash": "a" * 64,
        "source_hash": "5" * 16,
        "sequence": 60,
        "started_at": _US,
    }
    answer(day, queries, "job", job)
    history = [
        event("JobLeased", 1, worker_id="w1", attempt=1, sandbox="strong"),
        event("LeaseExpired", 9, worker_id="w1", reason="lost", is_loss=True),
        event("JobReplayed", 10, **queued(job_id(3))),
        event("JobLeased", 11, worker_id="w2", attempt=2, sandbox="strong"),
        event("JobStarted", 12),
        event("JobFailed", 14, error={"code": "SCHEMA_MISMATCH"}),
    ]
    answer(day, queries, "history", *history)
    answer(day, queries, "files")
    answer(day, queries, "violations")
    answer(
        day,
        queries,
        "related",
        {"job_id": job_id(77), "file": "/data/fix/older.log", "at": _US, "message": "", "total": 5},
    )
    return queries


def test_the_detail_of_a_failure_shows_cause_trace_attempts_lineage_and_related_failures(day: Driver) -> None:
    queries = open_failed(day)
    assert asked(queries) == {"job", "files", "violations", "history", "related"}
    day.press("tab")
    lines = day.lines(120, 70)
    text = "\n".join(lines)

    assert "The last of 3 jobs; Space opens them." in text
    assert "column price of row 42 is “n/a”" in text
    assert "SchemaMismatch: price" in text
    assert "given back (lost) · 8.0 s · sandbox strong" in text
    assert "failed: SCHEMA_MISMATCH · 2.0 s" in text
    assert "replayed    2026-03-05 14:00:10Z by sentinel" in text
    assert "a" * 40 in text
    assert "ALSO FAILED BY ERR-a1b2c3d4e (5 times)" in text
    assert "/data/fix/older.log" in text
    trace = next(each for each in day.shell.view(120, 70) if any("SchemaMismatch: price" in part for _, part in each))
    assert next(style for style, part in trace if "SchemaMismatch: price" in part) == "bad"


def test_the_detail_of_a_finished_job_names_files_accounting_and_violations(day: Driver) -> None:
    queries = list(day.press("G", "k", "enter"))
    accounting = {"fix_orders": {"received": 1008, "valid": 1007, "quarantined": 1, "rows_without_source_row": 2}}
    accounting["fix_execution_reports"] = {"received": 7, "valid": 7, "quarantined": 0}
    row: dict[str, Any] = dict.fromkeys(JobRow.__annotations__)
    told = {"accounting_json": json.dumps(accounting), "skipped_json": '{"comment": 3}', "sequence": 40}
    answer(day, queries, "job", row | told)
    file: dict[str, Any] = {"output": "fix_orders", "version": 1, "kind": "data", "is_damaged": False}
    file |= {
        "path": "outputs/fix_orders/v1/x.parquet",
        "rows": 1007,
        "bytes": 4096,
        "digest": "d" * 64,
        "contract_hash": "",
    }
    answer(day, queries, "files", file)
    answer(day, queries, "violations", {"output": "fix_orders", "code": "type_mismatch", "column": "price", "rows": 1})
    params = {"params": {"tz": "CET", "depth": 3}, "param_origins": {"tz": "rule tokyo"}}
    spec = queued(job_id(107))["job"] | params
    answer(day, queries, "history", event("JobQueued", 1, job=spec))
    text = day.text(120, 50)

    assert 'tz          "CET"  (rule tokyo)' in text
    assert "depth       3  (default)" in text
    assert "1,008 rows = 1,007 valid + 1 quarantined" in text
    assert "2 without a source row" in text
    assert "fix_execution_reports" in text  # longer than the labels' column
    assert "outputs/fix_orders/v1" in text
    assert "1 × type_mismatch in fix_orders.price" in text
    assert "3 comment" in text


def test_the_detail_follows_the_selection_with_one_question_at_a_time(day: Driver) -> None:
    first = list(day.press("enter"))
    assert asked(first)
    assert not asked(list(day.press("j", "j")))  # the first answers are on their way
    for query in first:
        last = day.answer(tag_of(query), ["none"], [])
    assert {query.tag[3] for query in last if isinstance(query, RunQuery)} == {job_id(3)}


def test_progress_alone_asks_nothing_and_a_changed_state_asks_again(day: Driver) -> None:
    for query in day.press("G", "k", "k", "enter"):
        day.answer(tag_of(query), ["none"], [])
    progressed(day, job_id(300), 40_000, None)
    assert not asked(day.shell.settle())
    complete(day, job_id(300))

    assert asked(day.shell.settle()) == {"job", "files", "violations", "history"}


def test_a_failed_question_is_told_and_not_asked_again_and_again(day: Driver) -> None:
    for query in day.press("enter"):
        day.fail(tag_of(query), "The projector is gone.")

    assert "The projector is gone." in day.text(120, 40)
    assert not asked(day.shell.settle())


def test_a_running_job_shows_its_progress_with_its_payload(day: Driver) -> None:
    day.press("G", "k", "k", "enter")
    text = day.text(120, 50)

    assert "30,521 records · 812/s" in text
    assert "2.3 MiB" in text  # payload bytes
    assert "batches" in text


def test_in_the_past_the_job_is_shown_as_it_was_then(day: Driver) -> None:
    screen = jobs_of(day)
    day.shell.travel.seq = 60
    try:
        effects = day.press("j", "j", "enter")
        command = next(each for each in effects if isinstance(each, RunCommand))
        assert command.args == ("--json", "job", "show", job_id(3), "--as-of", "60")
        file = {"output": "o", "kind": "data", "path": "/then/outputs/o/v1/x.parquet", "rows": 1, "bytes": 1,
                "is_damaged": False, "digest": ""}  # fmt: skip
        document = {"error_message": "as it was", "started_at": "2026-03-05 14:00:00", "files": [file], "violations": [],
                    "history": [{**event("JobLeased", 1), "data": {"worker_id": "w9", "attempt": 1}}]}  # fmt: skip
        day.send(Output(command.tag, json.dumps(document)), Ended(command.tag, 0))
        assert screen.detail.known.job is not None and screen.detail.known.job.started_at == _US
        assert [each.worker_id for each in attempts(screen.detail.known.history)] == ["w9"]
        assert "   /then/outputs/o/v1/x.parquet" in day.text(120, 60)
    finally:
        day.shell.travel.seq = None


def test_a_narrow_terminal_shows_the_detail_alone_and_escape_leads_back(day: Driver) -> None:
    day.lines(80, 24)
    day.press("enter")
    assert "ACTIONABLE" not in day.text(80, 24)
    assert "GUEST_CRASHED" in day.text(80, 24)
    day.press("esc")
    assert "ACTIONABLE" in day.text(80, 24)
    assert day.shell.mode == "jobs"


def test_a_long_detail_scrolls(day: Driver) -> None:
    day.lines(80, 24)
    open_failed(day)
    day.lines(80, 24)
    day.press("G")
    assert "older.log" in day.text(80, 24)
    day.press("g")
    assert "PARSE fix 1.0.0  FAILED" in day.text(80, 24)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_a_detail_looks_like_this(day: Driver, width: int, height: int) -> None:
    day.lines(width, height)
    open_failed(day)

    matches_snapshot(day.text(width, height), f"jobs_detail_{width}x{height}")


# --- the log ----------------------------------------------------------------------------------------------------------


def log_line(number: int, level: str = "INFO", text: str = "") -> str:
    return f"2026-03-05T14:00:{number % 60:02d}.000000Z {level} guest {text or f'line {number}'}\n"


def open_log(day: Driver, *lines: str) -> LogView:
    day.press("l")
    log = jobs_of(day).log
    assert log is not None
    day.send(Output(log.tag, "".join(lines)))
    return log


def test_l_follows_the_log_of_the_selected_job_and_escape_stops_it(day: Driver) -> None:
    effects = day.press("l")
    log = jobs_of(day).log
    assert log is not None
    assert effects == [FollowLog(("jobs", "log", job_id(30)), job_id(30))]
    assert "casparian job logs" in day.shell.commands[-1].cli
    day.press("esc")
    assert day.shell.settle() == [StopCommand(log.tag)]
    day.send(Output(log.tag, "too late\n"))
    assert "too late" not in day.text()


def test_a_followed_log_shows_its_end_until_one_scrolls_up(day: Driver) -> None:
    log = open_log(day, *(log_line(number) for number in range(100)))
    assert "line 99" in day.text()
    day.press("k")
    day.send(Output(log.tag, log_line(100)))
    assert "line 100" not in day.text() and "stopped" in day.text()
    day.press("f")
    assert "line 100" in day.text() and "following" in day.text()


def test_levels_leave_out_what_is_less(day: Driver) -> None:
    open_log(day, log_line(1, "DEBUG"), log_line(2, "WARNING"), "  its second row\n", log_line(3, "ERROR"), log_line(4))
    shown = {}
    for level in ("ALL", "INFO", "WARNING", "ERROR"):
        text = day.text()
        assert level in text.splitlines()[1]
        shown[level] = [n for n in range(1, 5) if f"line {n}" in text] + (["row"] if "second row" in text else [])
        day.press("L")

    assert shown == {"ALL": [1, 2, 3, 4, "row"], "INFO": [2, 3, 4, "row"], "WARNING": [2, 3, "row"], "ERROR": [3]}


def test_search_in_a_log_brings_the_line_up_and_marks_it(day: Driver) -> None:
    open_log(day, *(log_line(number) for number in range(100)))
    day.lines()
    day.press("/", *"line 42", "enter")

    assert "line 42" in day.lines()[2]
    assert ("selected", "line 42") in day.shell.view(80, 24)[2]
    day.press("/", *"nowhere", "enter")
    assert "not in this list" in day.text()


def test_a_line_of_a_megabyte_and_hostile_text_do_no_harm(day: Driver) -> None:
    log = open_log(
        day, log_line(1, text="\x1b[2J\x1b]0;owned\x07 \u202ereversed\u200b \r\b"), log_line(2, text="y" * 1_000_000)
    )
    frame = "\n".join(day.lines())

    assert not set(frame) & {"\x1b", "\x07", "\u202e", "\u200b", "\r", "\b"}
    assert "owned" in frame
    assert sum(len(text) for _, _, text in log._lines) < 40_000
    day.press("right", "right")
    assert "yyyy" in day.text()


def test_a_log_keeps_a_bounded_number_of_lines_and_counts_the_others(day: Driver) -> None:
    log = open_log(day, *(log_line(number) for number in range(LINES_KEPT + 10)))

    assert f"of {LINES_KEPT + 10:,} lines, the first 10 not loaded" in day.text(120, 24)
    day.press("g")
    assert "line 10" in day.lines()[2]
    assert len(log._lines) == LINES_KEPT


def test_lines_that_were_passed_over_count_among_the_lines_of_the_log(day: Driver) -> None:
    log = open_log(day, log_line(1))
    day.send(Output(log.tag, "more\n", 60_000))

    assert "60,001-60,002 of 60,002 lines, the first 60,000 not loaded" in day.text(120, 24)
    day.press("/", *"nowhere", "enter")
    assert "not in the lines that are loaded" in day.text()


def test_a_log_that_cannot_be_read_says_why(day: Driver) -> None:
    open_log(day)
    day.fail(("jobs", "log", job_id(30)), "That job has no log.")

    assert "That job has no log." in day.text()


def test_w_wraps_long_lines_of_a_log_below_their_text_and_cuts_them_again(day: Driver) -> None:
    day.press("l")
    line = "2026-03-05T14:00:00.000000Z INFO " + "word " * 60 + "the end"
    day.send(Output(("jobs", "log", jobs_of(day).log.job_id), line + "\n"))  # type: ignore[union-attr]
    assert "the end" not in day.text(100, 30)
    day.press("w")
    lines = day.lines(100, 30)
    (last,) = [at for at, text in enumerate(lines) if "the end" in text]
    assert lines[last].startswith(" " * 14)
    assert "INFO word" in lines[last - 3]
    day.press("w")
    assert "the end" not in day.text(100, 30)
