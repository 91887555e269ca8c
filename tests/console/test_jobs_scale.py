"""A hundred thousand jobs in the list: work is counted, not time."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_console.facts.book import JobBook
from casparian_console.facts.jobs import Job
from casparian_console.screens.jobs import Jobs
from casparian_console.screens.jobs.filter import Filter, all_matches, matches, matching_places
from casparian_console.screens.jobs.job_list import JobGroup, JobList
from casparian_protocol.jobs import JobState
from tests.console.driving import NOW_US, Driver, complete, run_job

JOBS = 100_000


def made(number: int, state: str = "COMPLETED", **fields: Any) -> Job:
    at = NOW_US - number * 1000
    ended = at if state in ("COMPLETED", "FAILED") else 0
    path = f"/data/Venue/{number:06d}.log"
    times: dict[str, Any] = {"queued_at": at, "started_at": ended, "ended_at": ended}
    return Job(f"{number:016x}", "PARSE", "fix", "1.0.0", path, state=JobState(state), **times, **fields)


@pytest.fixture(scope="module")
def book() -> JobBook:
    full = JobBook(keeps_all=True)
    full.know([made(number) for number in range(JOBS)], 1)
    return full


def big(book: JobBook) -> tuple[Driver, Jobs]:
    driver = Driver()
    driver.snapshot()
    driver.shell.present.jobs = book.fork()
    driver.press("alt-j")
    screen = driver.shell.screens["jobs"]
    assert isinstance(screen, Jobs)
    return driver, screen


def test_a_frame_asks_for_the_visible_rows_only(book: JobBook, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, screen = big(book)
    driver.press(" ")
    rows: list[int] = []
    row = JobList.row

    def counted(job_list: JobList, at: int) -> tuple[JobGroup, Job | None]:
        rows.append(at)
        return row(job_list, at)

    monkeypatch.setattr(JobList, "row", counted)
    driver.press("j", "pgdn", "G", "k")
    driver.lines(200, 60)

    assert len(screen.job_list) == JOBS + 1
    assert len(rows) < 2000
    assert screen.job_list.work == 0


def test_an_event_costs_its_own_move_only(book: JobBook) -> None:
    driver, screen = big(book)
    driver.press(" ")
    driver.lines(200, 60)
    for number in range(5):
        complete(driver, run_job(driver, JOBS + number))
        driver.lines(200, 60)

    assert screen.job_list.work <= 5 * 10
    assert len(screen.job_list) == JOBS + 5 + 1


def test_a_text_filter_reads_the_list_once_and_then_only_what_moves(book: JobBook) -> None:
    driver, screen = big(book)
    screen.set_filter(Filter(text="venue/0000"))
    driver.lines(200, 60)
    assert (screen.job_list.work, screen.job_list.size(screen.job_list.order[0])) == (JOBS, 100)
    complete(driver, run_job(driver, JOBS + 1, path="/data/venue/0000x.log"))
    complete(driver, run_job(driver, JOBS + 2, path="/data/other.log"))
    driver.lines(200, 60)

    assert screen.job_list.work <= JOBS + 20
    assert screen.job_list.size(screen.job_list.order[0]) == 101


def test_a_search_looks_at_each_job_once_and_says_which_match_this_is(book: JobBook) -> None:
    driver, screen = big(book)
    driver.press("/", *"e/00123", "enter", "n")

    assert screen.window.identity == ("job", f"{1231:016x}")
    assert "2/10" in driver.text(200, 60)
    assert screen.job_list.work == 2 * JOBS


@pytest.mark.parametrize("wanted", ["venue", "00004", "no such", "1.log", "schema", "beef"])
def test_searching_many_at_once_finds_what_searching_each_would(wanted: str) -> None:
    jobs = [made(number, "FAILED", error_code="SCHEMA_X", error_message=f"row {number}") for number in range(60)]
    jobs.append(made(0xBEEF, "FAILED", error_message="SCHEMA"))
    expected = [job for job in jobs if matches(job, wanted)]

    assert list(all_matches(jobs, jobs[0].standing, wanted)) == expected
    assert [jobs[place] for place in matching_places(jobs, jobs[0].standing, wanted)] == expected


def test_a_list_that_missed_too_much_reads_the_book_again() -> None:
    driver = Driver()
    driver.snapshot()
    shown = JobList()
    wanted = Filter(text="data")
    shown.follow(driver.shell.present.jobs, wanted)
    for number in range(4000):  # three moves each and more: beyond what a book remembers
        run_job(driver, number)
    shown.follow(driver.shell.present.jobs, wanted)

    assert shown.size(shown.order[0]) == 4000


def test_filtered_lists_stay_what_a_fresh_look_would_give() -> None:
    driver = Driver()
    driver.snapshot()
    wanted = Filter(text="a")
    followed = JobList()
    for number in range(60):
        job = run_job(driver, number, path=f"/{'ab'[number % 2]}/{number}.log", parser="pq"[number % 3 == 0])
        followed.follow(driver.shell.present.jobs, wanted)
        if number % 2 or number % 5 == 0:
            complete(driver, job)
    followed.follow(driver.shell.present.jobs, wanted)
    fresh = JobList()
    fresh.follow(driver.shell.present.jobs, wanted)

    assert {group.key: [job.job_id for job in followed.members(group)] for group in followed.order} == {
        group.key: [job.job_id for job in fresh.members(group)] for group in fresh.order
    }
