"""The console beside very many jobs: groups are counted, jobs are evicted and asked for when they are wanted."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import pytest

from casparian_console.facts.book import KEPT, MOST_LISTED
from casparian_console.facts.jobs import Standing
from casparian_console.facts.loading import PAGE_WAITING
from casparian_console.messages import Answer, Heard, RunQuery
from casparian_console.screens.jobs import Jobs
from casparian_console.screens.jobs.job_list import OPEN
from casparian_protocol.queries.jobs import GroupedJob, JobGroups, JobsById, JobsInQueue, JobsMatching, JobsOfGroup
from tests.console.driving import Driver, complete, fail, group, grouped, job_id, queued, run_job, snapshot_of

DONE = KEPT[Standing.DONE]


def open_job(number: int, state: str = "QUEUED", **fields: Any) -> dict[str, Any]:
    return {
        "job_id": job_id(number),
        "type": "PARSE",
        "state": state,
        "parser": "fix",
        "parser_version": "1.0.0",
        "input": f"/data/{number}.log",
        "attempt": 1,
        "epoch": 0,
        "worker_id": "",
        "retry_count": 0,
        "not_before": 0,
        "queued_at": number + 1,
        "queued_seq": number + 1,
        "priority": 0,
        "progress": None,
        **fields,
    }


def many_waiting(jobs: int, listed: int) -> Driver:
    """A home with so many waiting jobs, of which the snapshot lists the first."""
    driver = Driver(seq=1000)
    counted = {
        "type": "PARSE",
        "state": "QUEUED",
        "parser": "fix",
        "parser_version": "1.0.0",
        "input": "",
        "jobs": jobs,
    }
    snapshot = snapshot_of(driver.seq, [open_job(number) for number in range(listed)], groups=[counted])
    for load in driver.send(Heard(snapshot)):
        if isinstance(load, RunQuery):
            nothing = [{"files": 0, "bytes": 0, "untagged": 0}] if load.tag[1] == "files" else []
            driver.send(Answer(load.tag, driver.seq, nothing))
    return driver


def asked(effects: list[Any], kind: type[Any]) -> list[RunQuery]:
    return [effect for effect in effects if isinstance(effect, RunQuery) and isinstance(effect.query, kind)]


def screen_of(driver: Driver) -> Jobs:
    screen = driver.shell.screens["jobs"]
    assert isinstance(screen, Jobs)
    return screen


# --- ended jobs -------------------------------------------------------------------------------------------------------


def test_ended_jobs_are_counted_for_ever_and_known_for_a_while() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(DONE + 50):
        complete(driver, run_job(driver, number), rows=10, bad=1)
    facts = driver.shell.present

    (bucket,) = facts.jobs.ordered()
    assert (bucket.size, bucket.rows, bucket.quarantined) == (DONE + 50, 10 * (DONE + 50), DONE + 50)
    assert len(facts.jobs.by_id) == DONE
    assert (facts.done, facts.totals.rows) == (DONE + 50, 10 * (DONE + 50))
    driver.press("alt-j")
    assert f"{DONE + 50:,} jobs → outputs/fix_orders" in driver.text(120, 40)


def test_an_open_group_asks_for_older_jobs_before_the_cursor_comes_to_its_end_and_forgets_them_when_it_is_closed() -> (
    None
):
    driver = Driver()
    driver.snapshot(unanswered=["groups", "jobs"])
    driver.send(Answer(("facts", "groups"), driver.seq, [group("COMPLETED", 2000, rows=2000)]))
    recent = [grouped(job_id(number), ended_at=10_000 - number) for number in range(150)]
    driver.send(Answer(("facts", "jobs"), driver.seq, recent))
    driver.press("alt-j")
    driver.text(120, 40)
    driver.press(" ")
    assert not asked(driver.shell.settle(), JobsOfGroup)

    pages = asked(driver.press(*["pgdn"] * 3), JobsOfGroup)
    assert {page.query for page in pages} == {
        JobsOfGroup("COMPLETED", "PARSE", "fix", "1.0.0"),
        JobsOfGroup("PARTIAL_SUCCESS", "PARSE", "fix", "1.0.0"),
    }
    older = [grouped(job_id(number), ended_at=10_000 - number) for number in range(500)]
    driver.send(*(Answer(page.tag, driver.seq, older if page.tag[2] == "COMPLETED" else []) for page in pages))
    driver.text(120, 40)
    assert len(screen_of(driver).job_list) == 501
    (more,) = asked(driver.press("G"), JobsOfGroup)
    assert more.query == JobsOfGroup(
        "COMPLETED", "PARSE", "fix", "1.0.0", before_at=10_000 - 499, before_id=job_id(499)
    )

    driver.press("left")
    driver.text(120, 40)
    assert len(driver.shell.present.jobs.by_id) == DONE


def test_a_group_of_which_nothing_is_known_but_its_sums_is_listed_and_its_first_page_asked_for() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["groups"])
    driver.send(Answer(("facts", "groups"), driver.seq, [group("FAILED", 12, cause="ab" * 8)]))
    driver.press("alt-j")
    assert "12 jobs failed · ERR-abababab" in driver.text(120, 40)

    pages = asked(driver.metric("projection", applied=0), JobsOfGroup)
    assert {page.query.status for page in pages} == {"FAILED", "DEAD_LETTER"}  # type: ignore[attr-defined]
    assert not asked(driver.metric("projection", applied=0), JobsOfGroup)
    found = grouped(job_id(1), status="FAILED", error_code="X", error_message="odd", error_fingerprint="ab" * 8)
    driver.send(Answer(pages[0].tag, driver.seq, [found]))
    assert "12 jobs failed · X: odd" in driver.text(120, 40)


def test_what_happened_behind_the_sums_is_counted_once() -> None:
    for is_first in (True, False):
        driver = Driver()
        driver.snapshot(unanswered=["groups"])
        before = driver.seq
        complete(driver, run_job(driver, 1), rows=10)
        fail(driver, run_job(driver, 2), fingerprint="cd" * 8)
        after = driver.seq
        sums = [group("COMPLETED", 100, rows=1000)]
        if not is_first:
            sums = [group("COMPLETED", 101, rows=1010), group("FAILED", 1, cause="cd" * 8)]
        driver.send(Answer(("facts", "groups"), before if is_first else after, sums))
        buckets = {bucket.standing: bucket for bucket in driver.shell.present.jobs.ordered()}

        assert (buckets[Standing.DONE].size, buckets[Standing.DONE].rows) == (101, 1010)
        assert buckets[Standing.FAILED].size == 1


def test_the_sums_are_asked_for_again_after_a_job_that_is_not_listed_was_queued_again() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["groups", "jobs"])
    driver.send(Answer(("facts", "groups"), driver.seq, [group("CANCELLED", 1000)]))
    driver.send(Answer(("facts", "jobs"), driver.seq, [grouped(job_id(1), status="CANCELLED", ended_at=5)]))
    driver.tick(10)
    driver.event("JobReplayed", **queued(job_id(1)), from_state="CANCELLED")
    assert not asked(driver.metric("projection", applied=0), JobGroups)
    driver.event("JobReplayed", **queued(job_id(2)), from_state="CANCELLED")

    (sums,) = asked(driver.metric("projection", applied=0), JobGroups)
    driver.send(Answer(sums.tag, driver.seq, [group("CANCELLED", 998)]))
    driver.press("alt-j")
    assert "998 jobs cancelled" in driver.text(100, 24)


# --- waiting jobs -----------------------------------------------------------------------------------------------------


def test_three_hundred_thousand_waiting_jobs_are_counted_and_the_next_ones_listed() -> None:
    driver = many_waiting(300_000, 5_000)
    driver.press("alt-j", " ")
    text = driver.text(120, 40)

    assert "300,000 queued" in text
    assert "· 0.log" in text  # the next one is the first
    assert driver.shell.present.waiting == 300_000
    assert len(screen_of(driver).job_list) == 5_001


def test_jobs_that_are_queued_behind_those_that_are_listed_are_counted_only() -> None:
    driver = many_waiting(6_000, 5_000)
    for number in range(6_000, 6_100):
        driver.event("JobQueued", **queued(job_id(number)))

    assert driver.shell.present.waiting == 6_100
    assert len(driver.shell.present.jobs.by_id) == 5_000


def test_an_event_about_a_job_that_is_counted_only_waits_until_the_tables_say_whose_it_is() -> None:
    driver = many_waiting(6_000, 5_000)
    unknown = job_id(5_500)
    (who,) = asked(driver.event("JobLeased", job_id=unknown, worker_id="w1", attempt=1, sandbox="none"), JobsById)
    assert who.query == JobsById((unknown,))
    assert not asked(driver.event("JobStarted", job_id=unknown, epoch=driver.seq, guest_pid=1), JobsById)
    assert driver.shell.present.running == 0

    driver.send(Answer(who.tag, driver.seq, [found_job(5_500) | {"status": "RUNNING"}]))
    facts = driver.shell.present
    job = facts.jobs.get(unknown)
    assert job is not None
    assert (job.state, job.parser, job.worker_id, job.input) == ("RUNNING", "fix", "w1", "/data/5500.log")
    assert (facts.running, facts.waiting) == (1, 5_999)
    complete(driver, unknown)
    assert (facts.running, facts.waiting, facts.done) == (0, 5_999, 1)
    assert facts.jobs.open_of(("PARSE", "fix", "1.0.0")) == 5_999


def test_a_question_whose_job_it_is_that_was_refused_is_asked_again() -> None:
    driver = many_waiting(6_000, 5_000)
    (who,) = asked(driver.event("JobLeased", job_id=job_id(5_500), worker_id="w", attempt=1, sandbox=""), JobsById)
    driver.fail(who.tag, "The projector starts.")

    assert asked(driver.metric("projection", applied=0), JobsById) == [who]


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_text_filter_asks_the_tables_for_jobs_that_are_not_listed_here() -> None:
    driver = many_waiting(6_000, 10)
    driver.press("alt-j", "f", "down", "down", "down", *"5999", "enter")
    (found,) = asked(driver.shell.settle(), JobsMatching)
    assert isinstance(found.query, JobsMatching)
    assert (found.query.text, "QUEUED" in found.query.statuses, "COMPLETED" in found.query.statuses) == (
        "5999",
        True,
        True,
    )

    driver.send(Answer(found.tag, driver.seq, [grouped(job_id(5999), status="QUEUED", input_file="/data/5999.log")]))
    assert "5999.log" in driver.text(120, 40)
    assert not asked(driver.shell.settle(), JobsMatching)


def filtered(text: str) -> tuple[Driver, RunQuery]:
    """Of 6,000 waiting jobs the first 5,000 are listed; a filter for a text asked for the others."""
    driver = many_waiting(6_000, 5_000)
    driver.press("alt-j", "f", "down", "down", "down", *text, "enter")
    (found,) = asked(driver.shell.settle(), JobsMatching)
    return driver, found


def found_job(number: int) -> GroupedJob:
    return grouped(
        job_id(number),
        status="QUEUED",
        input_file=f"/data/{number}.log",
        queued_at=number + 1,
        queued_seq=number + 1,
        started_at=None,
    )


def test_a_filter_finds_jobs_behind_a_full_list_and_keeps_them_while_it_is_on() -> None:
    driver, found = filtered("/5990")
    driver.send(Answer(found.tag, driver.seq, [found_job(5990)]))

    assert "5990.log" in driver.text(120, 40)
    (shown,) = screen_of(driver).job_list.order
    assert [job.job_id for job in screen_of(driver).job_list.members(shown)] == [job_id(5990)]


def test_jobs_that_are_queued_again_stay_in_the_filtered_list() -> None:
    driver, found = filtered("/599")
    driver.send(Answer(found.tag, driver.seq, [found_job(5990), found_job(5991)]))
    driver.text(120, 40)
    for number in (5990, 5991):
        driver.event("JobCancelled", job_id=job_id(number), reason="no")
    assert "2 jobs cancelled" in driver.text(120, 40)
    for number in (5990, 5991):
        path = f"/data/{number}.log"
        driver.event("JobReplayed", **queued(job_id(number), path=path), from_state="CANCELLED")
    driver.event("JobQueued", **queued(job_id(7000), path="/data/5997.log"))  # a new one that passes the filter
    driver.text(120, 40)

    (shown,) = screen_of(driver).job_list.order
    assert [job.input for job in screen_of(driver).job_list.members(shown)] == [
        "/data/599.log",
        "/data/5990.log",
        "/data/5991.log",
        "/data/5997.log",
    ]
    assert driver.shell.present.waiting == 6_001


def test_a_filter_finds_an_old_job_that_is_done_and_no_longer_known() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(DONE + 5):
        complete(driver, run_job(driver, number, path=f"/data/{number}-of.log"))
    driver.press("alt-j", "f", "down", "down", "down", *"/3-of", "enter")
    (found,) = asked(driver.shell.settle(), JobsMatching)
    driver.send(Answer(found.tag, driver.seq, [grouped(job_id(3), input_file="/data/3-of.log", ended_at=5)]))
    driver.press(" ")

    assert "3-of.log" in driver.text(120, 40)


def test_that_no_job_matches_is_said_after_the_tables_have_answered() -> None:
    driver, found = filtered("no-such")
    before = driver.text(120, 40)
    assert "No job matches in the 5,000 jobs listed of 6,000; asking for all…" in before
    assert "asking the daemon for all of them" in before.splitlines()[1]
    driver.send(Answer(found.tag, driver.seq, []))

    assert "No job matches.  Esc shows all of them again." in driver.text(120, 40)


def test_more_jobs_than_an_answer_has_are_told() -> None:
    driver, found = filtered("data")
    driver.send(Answer(found.tag, driver.seq, [found_job(number) for number in range(2_000)]))

    assert "only “data”; the latest 2,000 of them" in driver.text(120, 40)


def test_a_filter_whose_question_was_refused_asks_again_after_the_next_reading() -> None:
    driver, found = filtered("5999")
    driver.fail(found.tag, "The projector starts.")
    assert not asked(driver.shell.settle(), JobsMatching)
    driver.metric("projection", applied=0)

    assert asked(driver.shell.settle(), JobsMatching) == [found]


def test_a_search_asks_for_jobs_that_are_not_listed_and_goes_to_the_one_that_is_found() -> None:
    driver = many_waiting(6_000, 5_000)
    driver.press("alt-j", "/", *"5999.log", "enter")
    (found,) = asked(driver.shell.settle(), JobsMatching)
    where = "“5999.log” is not in the 5,000 jobs listed of 6,000; asking for all…"
    assert where in driver.text(120, 40)
    driver.send(Answer(found.tag, driver.seq, [found_job(5999)]))
    text = driver.text(120, 40)

    assert screen_of(driver).window.identity == ("job", job_id(5999))
    assert "“5999.log” 1/1" in text


def test_a_search_without_any_match_says_so_of_all_jobs() -> None:
    driver = many_waiting(6_000, 5_000)
    driver.press("alt-j", "/", *"no-such", "enter")
    (found,) = asked(driver.shell.settle(), JobsMatching)
    driver.send(Answer(found.tag, driver.seq, []))

    driver.shell.settle()
    assert "No job contains “no-such”." in driver.text(120, 40)


def test_the_end_of_a_cut_list_says_that_it_is_cut() -> None:
    driver = many_waiting(300_000, 5_000)
    driver.press("alt-j")
    driver.text(120, 40)
    pages = asked(driver.press(" ", "G"), JobsInQueue)
    assert "The first 5,000 of 300,000 jobs are listed; more are loading." in driver.text(80, 24)
    read = 5_000
    while pages:
        (page,) = pages
        assert page.query == page_behind(read)
        driver.send(Answer(page.tag, driver.seq, [found_job(number) for number in range(read, read + PAGE_WAITING)]))
        read += PAGE_WAITING
        driver.text(80, 24)
        pages = asked(driver.press("G"), JobsInQueue)
    assert read == MOST_LISTED
    assert "The first 20,000 of 300,000 jobs are listed; `f` and `/` look in all." in driver.text(80, 24)
    driver.press("k")
    assert "are listed;" not in driver.text(120, 40)


def cancelled(driver: Driver, *numbers: int) -> list[RunQuery]:
    """Cancel jobs; the pages that are queried thereupon."""
    effects: list[Any] = []
    for number in numbers:
        effects += driver.event("JobCancelled", job_id=job_id(number), reason="no")
    return asked(effects, JobsInQueue)


def page_behind(number: int) -> JobsInQueue:
    return JobsInQueue(("QUEUED", "RETRY_WAIT"), "PARSE", "fix", "1.0.0", after_seq=number)


def listed_numbers(driver: Driver) -> list[int]:
    (shown,) = [group for group in screen_of(driver).job_list.order if group.section == OPEN]
    return [int(job.job_id, 16) for job in screen_of(driver).job_list.members(shown)]


def test_the_next_waiting_jobs_are_loaded_when_the_listed_ones_have_been_cancelled() -> None:
    driver = many_waiting(6_000, 2)
    driver.press("alt-j", " ")
    (page,) = asked(driver.shell.settle(), JobsInQueue)  # less than a page is listed
    assert not cancelled(driver, 0, 1)
    driver.press("g")
    assert "None of the 5,998 jobs is listed; more are loading." in driver.text(80, 24)

    driver.send(Answer(page.tag, driver.seq, [found_job(number) for number in range(2, 1_002)]))
    driver.text(80, 24)
    assert listed_numbers(driver) == list(range(2, 1_002))
    (following,) = asked(driver.press("G"), JobsInQueue)
    assert following.query == page_behind(1_002)


def test_a_closed_group_gets_its_next_page_with_the_next_reading_before_its_list_is_empty() -> None:
    driver = many_waiting(300_000, PAGE_WAITING)
    assert not asked(driver.metric("projection", applied=0), JobsInQueue)
    assert not cancelled(driver, 3)

    (page,) = asked(driver.metric("projection", applied=0), JobsInQueue)
    assert page.query == page_behind(PAGE_WAITING)
    assert not asked(driver.metric("projection", applied=0), JobsInQueue)  # it is in flight


def test_a_page_does_not_bring_back_jobs_that_were_cancelled_while_it_was_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KEPT, Standing.CANCELLED, 1)
    driver = many_waiting(6_000, 3)
    (page,) = asked(driver.metric("projection", applied=0), JobsInQueue)
    before = driver.seq
    cancelled(driver, 0, 1, 2)  # two of them are not listed as cancelled jobs either
    driver.send(Answer(page.tag, before, [found_job(number) for number in range(5)]))
    driver.press("alt-j", " ")
    driver.text(80, 24)

    assert listed_numbers(driver) == [3, 4]


def test_an_answer_that_is_newer_than_the_feed_does_not_count_a_job_twice() -> None:
    driver = many_waiting(6_000, 2)
    (page,) = asked(driver.metric("projection", applied=0), JobsInQueue)
    new = job_id(9_000)
    rows = [found_job(2), grouped(new, status="QUEUED", sequence=driver.seq + 1, queued_seq=driver.seq + 1)]
    driver.send(Answer(page.tag, driver.seq + 1, rows))
    assert driver.shell.present.jobs.get(new) is None
    driver.event("JobQueued", **queued(new))

    assert driver.shell.present.waiting == 6_001


def test_after_the_last_page_the_queue_is_read_from_its_start_if_jobs_are_missing() -> None:
    driver = many_waiting(6_000, 2)
    (page,) = asked(driver.metric("projection", applied=0), JobsInQueue)
    driver.send(Answer(page.tag, driver.seq, [found_job(5_000)]))
    driver.press("alt-j", " ")
    assert not asked(driver.shell.settle(), JobsInQueue)  # nothing is asked for without end

    (again,) = asked(driver.metric("projection", applied=0), JobsInQueue)
    assert again.query == page_behind(0)


def test_a_job_that_another_screen_names_and_nobody_knows_is_asked_for_and_then_selected() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["groups"])
    driver.send(Answer(("facts", "groups"), driver.seq, [group("COMPLETED", 900)]))
    driver.press("alt-j")
    (who,) = asked(screen_of(driver).show_job(job_id(7), driver.shell), JobsById)
    driver.send(Answer(who.tag, driver.seq, [grouped(job_id(7), ended_at=5)]))
    driver.text(120, 40)

    assert screen_of(driver).window.identity == ("job", job_id(7))


# --- hours ------------------------------------------------------------------------------------------------------------


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_eight_hours_of_feed_leave_memory_where_it_was(record_property: Any) -> None:
    """Seven jobs a second, each of five events, with the metrics of every second, in a console that stands in Jobs."""
    driver = Driver()
    driver.snapshot()
    driver.press("alt-j")
    jobs, hours, grown, began = 7 * 3600, 8, [], time.monotonic()
    for hour in range(hours):
        for number in range(hour * jobs, (hour + 1) * jobs):
            made = run_job(driver, number, path=f"/data/{number % 97}/{number}.log", version=f"1.{number % 3}.0")
            if number % 50:
                complete(driver, made, rows=100, bad=number % 2)
            else:
                fail(driver, made, fingerprint=f"{number % 40:016x}")
            driver.log.clear()
            driver.effects.clear()
            if number % 7 == 0:
                driver.metric("throughput", rows_per_second=1.0, bytes_per_second=1.0)
                driver.metric("workers", workers=[], local_workers=1, given_up=[])
            if number % 70 == 0:
                driver.lines(120, 40)
        gc.collect()
        grown.append(_resident_bytes())
        record_property(f"hour {hour + 1}", grown[-1])
    told = ", ".join(f"{each / 2**20:.0f}" for each in grown)
    print(f"MiB after each hour: {told}; {hours * jobs:,} jobs in {time.monotonic() - began:.0f} s")

    assert len(driver.shell.present.jobs.by_id) < 20_000
    assert grown[-1] - grown[1] < 8 * 2**20, told
