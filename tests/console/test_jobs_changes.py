"""What Jobs asks for: retry, cancel, rerun, replay; how many at once, with which command line."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from casparian_console.canvas import clock
from casparian_console.messages import Answer, Copy, Effect, Failed, OpenFolder, RunOperation, RunQuery
from casparian_console.screens.jobs import Jobs
from casparian_console.screens.jobs.changes import PAGE_IDS, Batch
from casparian_protocol.queries.jobs import GroupedJob, JobsInQueue, JobsOfGroup
from casparian_protocol.queries.outputs import ViolationsOfJobs
from tests.console.driving import Driver, complete, fail, group, grouped, job_id, queued, run_job
from tests.console.jobs_scene import work_day
from tests.console.test_growth import found_job, many_waiting


@pytest.fixture
def day() -> Driver:
    driver = work_day()
    driver.tick(10)
    driver.press("alt-j")
    driver.lines(100, 40)
    return driver


def asks(effects: list[Effect]) -> list[RunOperation]:
    return [effect for effect in effects if isinstance(effect, RunOperation)]


def jobs_of(driver: Driver) -> Jobs:
    screen = driver.shell.screens["jobs"]
    assert isinstance(screen, Jobs)
    return screen


def test_one_failed_job_is_retried_at_once_and_the_command_is_shown(day: Driver) -> None:
    (ask,) = asks(day.press("R"))
    assert (ask.op, ask.call.packed(), ask.cli) == (
        "retry",
        {"job_id": job_id(30)},
        f"casparian job retry {job_id(30)}",
    )
    day.done(ask, job_id=job_id(30), state="QUEUED")

    assert f"Job {job_id(30)} is queued again." in day.text()
    assert [(each.cli, each.outcome) for each in day.shell.commands] == [(ask.cli, "ok")]


def test_a_group_is_retried_after_a_question_that_names_how_many(day: Driver) -> None:
    assert not asks(day.press("j", "j", "R"))
    text = day.text(100, 40)
    assert "Retry 3 jobs of fix 1.0.0?" in text
    assert "venue_nyse_20240102.log" in text
    asked = asks(day.press("y"))

    (ask,) = asked
    assert (ask.op, sorted(ask.call.packed()["job_ids"])) == ("retry_jobs", [job_id(1), job_id(2), job_id(3)])
    assert ask.cli == f"casparian job retry {' '.join(ask.call.packed()['job_ids'])}"
    assert "0 jobs are queued again, 3 to go." in day.text(100, 40)
    day.done(ask, queued=2, refused=[{"reason": "version 1.0.0 is retired", "jobs": 1}])
    assert "2 jobs are queued again; 1 refused: version 1.0.0 is retired." in day.text(100, 40)


def test_saying_no_does_nothing(day: Driver) -> None:
    day.press("j", "j", "R")
    assert not asks(day.press("n"))
    day.press("R")
    assert not asks(day.press("esc"))


def test_a_hundred_thousand_jobs_are_asked_for_a_thousand_a_request_and_two_requests_at_a_time() -> None:
    driver = Driver()
    driver.snapshot()
    changes = jobs_of(driver).changes
    changes.batch = Batch("retry", deque(job_id(number) for number in range(1, 100_001)))
    waiting = asks(changes.batch.more())
    assert len(waiting) == 2
    done = 0
    while waiting:
        ask = waiting.pop(0)
        done += len(ask.call.packed()["job_ids"])
        waiting += asks(driver.done(ask, queued=1000))
        assert len(waiting) <= 2
        if waiting:
            assert f"{done:,} jobs are queued again, {100_000 - done:,} to go." in driver.text(100, 24)

    assert done == 100_000
    assert "100,000 jobs are queued again." in driver.text(100, 24)


def test_a_batch_ends_when_the_sentinel_goes_away() -> None:
    driver = Driver()
    driver.snapshot()
    driver.press("alt-j")
    changes = jobs_of(driver).changes
    changes.batch = Batch("retry", deque(job_id(number) for number in range(1, 20_001)))
    first = asks(changes.batch.more())
    driver.shell.present.gone("No daemon answers.")
    more = [ask for each in first for ask in asks(driver.send(Failed(each.tag, "No daemon answers.")))]

    assert more == []
    assert jobs_of(driver).changes.batch is None
    assert (
        "0 jobs are queued again; 18,000 refused: the daemon stopped answering; 2,000 refused: No daemon"
        in driver.text(160, 24)
    )


def test_only_what_a_filter_lets_through_is_retried(day: Driver) -> None:
    day.press("f", "down", "down", "down", *"nyse_20240102", "enter")

    assert [ask.call.packed()["job_id"] for ask in asks(day.press("R"))] == [job_id(2)]


def test_cancelling_asks_and_says_how_many_run(day: Driver) -> None:
    day.press("j", "j", "j", "c")
    assert "Cancel 4 jobs of fix 1.1.0, 2 of them running?" in day.text(100, 40)
    asked = asks(day.press("y"))

    (ask,) = asked
    ids = [job_id(number) for number in range(200, 204)]
    assert (ask.op, sorted(ask.call.packed()["job_ids"])) == ("cancel_jobs", ids)
    assert ask.cli == f"casparian job cancel {' '.join(ask.call.packed()['job_ids'])}"
    day.done(ask, cancelled=1, requested=2, refused=[{"reason": "it is committed", "jobs": 1}])
    assert "3 jobs are stopped; 1 refused: it is committed." in day.text(100, 40)


def test_thousands_of_jobs_are_cancelled_by_a_handful_of_requests() -> None:
    driver = Driver()
    driver.snapshot()
    changes = jobs_of(driver).changes
    ids = [job_id(number) for number in range(1, 2501)]
    changes.batch = Batch("cancel", deque(ids))

    asked = asks(changes.batch.more())

    asked += asks(driver.done(asked[0], cancelled=1000, requested=0))
    assert [len(ask.call.packed()["job_ids"]) for ask in asked] == [1000, 1000, 500]
    assert "1,000 jobs are stopped, 1,500 to go." in driver.text(100, 40)
    driver.send(Failed(asked[1].tag, "The log is full."))
    driver.done(asked[2], cancelled=500, requested=0)
    assert "1,500 jobs are stopped; 1,000 refused: The log is full." in driver.text(100, 40)
    assert changes.batch is None


def test_finished_inputs_run_anew_after_a_question(day: Driver) -> None:
    day.press("G", "k", " ", "j", "r")
    question = " ".join(day.text(100, 40).split())
    assert "Run 1 input of fix 1.0.0 again, with the parser's current version?" in question
    assert "This replaces 1,007 rows." in question, "what becomes of the rows is said before it is done"
    (ask,) = asks(day.press("y"))

    assert (ask.op, ask.cli) == ("rerun", f"casparian job rerun {job_id(107)}")


def test_the_inputs_of_a_group_run_anew_by_one_request(day: Driver) -> None:
    day.press("j", "j", "r")
    assert "Run 3 inputs of fix 1.0.0 again" in " ".join(day.text(100, 40).split())
    (ask,) = asks(day.press("y"))

    assert (ask.op, sorted(ask.call.packed()["job_ids"])) == ("rerun_jobs", [job_id(1), job_id(2), job_id(3)])
    day.done(ask, queued=2, refused=[{"reason": "its file is gone", "jobs": 1}])
    assert "2 jobs are queued again; 1 refused: its file is gone." in day.text(100, 40)


def dead_letters(driver: Driver, start: int, number: int, fingerprint: str) -> None:
    error = {"code": "GUEST_CRASHED", "message": "signal 11", "fingerprint": fingerprint}
    for at in range(start, start + number):
        made = run_job(driver, at, path=f"/data/{at}.txt")
        driver.event("JobDeadLettered", job_id=made, epoch=1, reason="retries", error=error, retry_count=3)


def test_dead_letters_are_listed_alone_and_replayed_one_by_cause_or_all() -> None:
    driver = work_day()
    dead_letters(driver, 800, 3, "d" * 16)
    driver.press("alt-j", "d")
    text = driver.text(100, 40)
    assert "only dead letters" in text
    assert "SCHEMA_MISMATCH" not in text and "READY" not in text

    driver.press("g", "R")
    assert "Replay all dead letters with ERR-dddddddd? 3 are known here." in driver.text(100, 40)
    (ask,) = asks(driver.press("y"))
    assert ask.call.packed() == {"fingerprint": "d" * 16, "after": ""}
    assert ask.cli == f"casparian jobs replay --fingerprint ERR-{'d' * 16}"

    driver.press(" ", "j")
    (ask,) = asks(driver.press("R"))
    assert (ask.call.packed(), ask.cli) == ({"job_id": job_id(802)}, f"casparian jobs replay {job_id(802)}")

    driver.press("A")
    assert "Replay all 4 dead letters of this home?" in driver.text(100, 40)
    (ask,) = asks(driver.press("y"))
    assert ask.call.packed() == {"all_dead": True, "after": ""}

    driver.press("esc")
    assert "READY" in driver.text(100, 40)


def test_a_replay_goes_on_with_the_next_page_and_counts_what_stays_dead() -> None:
    driver = work_day()
    dead_letters(driver, 800, 3, "d" * 16)
    driver.press("alt-j", "d", "g", "R")
    (ask,) = asks(driver.press("y"))
    (more,) = asks(
        driver.done(ask, replayed=1000, refused=[{"reason": "the parser is retired", "jobs": 7}], next_after="0" * 16)
    )
    assert more.call.packed() == {"fingerprint": "d" * 16, "after": "0" * 16}
    driver.done(more, replayed=1, refused=[], next_after="")

    assert "1,001 dead letters are queued again; 7 not: the parser is retired." in driver.text(120, 40)


def test_a_dead_letter_whose_replay_was_refused_is_not_said_to_be_queued() -> None:
    driver = work_day()
    dead_letters(driver, 800, 3, "d" * 16)
    driver.press("alt-j", "d", "g", " ", "j")
    (ask,) = asks(driver.press("R"))
    driver.done(ask, replayed=0, refused=[{"reason": "the parser is retired", "jobs": 1}], next_after="")

    assert "0 dead letters are queued again; 1 not: the parser is retired." in driver.text(120, 40)


def test_without_dead_letters_the_list_says_so(day: Driver) -> None:
    driver = Driver()
    driver.snapshot()
    driver.press("alt-j", "d")

    assert "No dead letters." in driver.text()
    assert "replay all" not in driver.text()


def test_nothing_can_be_changed_without_a_sentinel_or_in_the_past(day: Driver) -> None:
    day.shell.present.gone("No daemon answers.")
    assert not asks(day.press("R"))
    assert "nothing can be changed" in day.text(100, 40)


def test_the_output_of_a_finished_job_can_be_copied_and_opened(day: Driver) -> None:
    day.press("G", "k")
    path = "/home/op/.casparian_flow/outputs/fix_orders/v1"

    assert day.press("y") == [Copy(path)]
    assert day.press("o") == [OpenFolder(path)]


def test_keys_that_have_nothing_to_do_say_so(day: Driver) -> None:
    for key, word, does in (("c", "cancel", "cancel the job"), ("y", "copy path", "copy the path")):
        assert day.press("g", key) == []
        assert f"{key} ({word}) does nothing on a failed job. It would {does}" in day.text(120, 40)


def test_a_key_that_does_nothing_names_the_selected_job_or_the_part_where_it_works(day: Driver) -> None:
    day.press("G", "k", "R")
    retry = "R (retry) does nothing on a finished job. It would retry the job, or all jobs of the group."
    assert retry in day.text(120, 40)
    day.press("L")
    assert "L (level) does nothing on a finished job. Log: choose which levels are shown." in day.text(120, 40)
    day.press("m", "L")
    assert "L (level) does nothing here. Log: choose which levels are shown." in day.text(120, 40)


def test_a_job_that_waits_can_be_cancelled_and_not_retried() -> None:
    driver = Driver()
    driver.snapshot()
    driver.event("JobQueued", **queued(job_id(1)))
    driver.press("alt-j")
    assert not asks(driver.press("R"))
    driver.press("c")

    assert [ask.op for ask in asks(driver.press("y"))] == ["cancel"]


def test_quarantined_rows_are_handed_to_inspect(day: Driver) -> None:
    day.press("G", "k", "Q")

    assert day.shell.mode == "inspect"
    assert "Quarantine  of 5 jobs" in day.text()


def test_escape_leads_back_from_where_a_key_led(day: Driver) -> None:
    day.press("G", "k", "Q")
    assert day.shell.mode == "inspect"
    day.press("esc")
    assert day.shell.mode == "jobs"
    day.press("Q", "alt-i", "esc")
    assert day.shell.mode == "inspect", "who came by a mode's own key goes its usual way"


def test_a_paused_group_says_when_one_job_tries_and_u_lets_it_run_again(day: Driver) -> None:
    registered = {"name": "fix", "version": "1.1.0", "artifact": "", "topics": ["fix"], "outputs": {"out": ""}}
    day.event("ParserRegistered", **registered)
    day.event("ParserPaused", name="fix", version="1.1.0", reason="5 failures in a row", cooldown_seconds=600)
    tries = clock(day.now_us + 600 * 1_000_000)[11:]
    assert f"paused: 5 failures in a row · one job tries at {tries}" in day.text(140, 40)
    day.press(*"jjjjjj")
    for _ in range(20):
        if asked := asks(day.press("u")):
            break
        day.press("k")
    assert [(ask.op, ask.call.packed(), ask.cli) for ask in asked] == [
        ("resume", {"parser": "fix"}, "casparian parser resume fix")
    ]


def test_cancelled_jobs_are_neither_ready_nor_a_failure(day: Driver) -> None:
    day.event("JobCancelled", job_id=job_id(203), reason="wrong file")
    lines = day.lines(100, 40)

    at = next(number for number, line in enumerate(lines) if line.startswith(" CANCELLED"))
    assert "fix 1.1.0 · 1 job cancelled" in lines[at + 1]
    complete(day, job_id(200))
    day.press("G")
    assert [ask.op for ask in asks(day.press("R"))] == ["retry"]


def test_rows_of_a_job_that_failed_of_its_quarantine_are_shown_though_nothing_was_published() -> None:
    driver = Driver()
    driver.snapshot()
    made = run_job(driver, 1)
    fail(driver, made, code="QUARANTINE_EXCEEDED")
    driver.press("alt-j")
    driver.text()
    assert driver.press("Q") != []

    assert driver.shell.mode == "inspect"
    asked = [effect for effect in driver.effects if isinstance(effect, RunQuery) and effect.tag[0] == "inspect"]
    assert [effect.query for effect in asked] == [ViolationsOfJobs((made,))]


def test_after_a_retry_the_cursor_stays_where_it_was_and_does_not_go_with_the_job(day: Driver) -> None:
    day.press("j", "j", " ", "j", "j")  # into the group of three, onto its second job
    day.lines(100, 40)
    window = jobs_of(day).window
    (ask,) = asks(day.press("R"))
    second = ask.call.packed()["job_id"]
    day.done(ask, job_id=second, state="QUEUED")
    day.event("JobReplayed", from_state="FAILED", **queued(second, path="/data/fix/venue_nyse_20240102.log"))
    day.lines(100, 40)

    assert window.identity == ("job", job_id(1))  # the one below it is in its place
    day.event("JobLeased", job_id=second, worker_id="w1", attempt=2, sandbox="none")
    day.lines(100, 40)
    assert window.identity == ("job", job_id(1))


def test_files_of_a_group_are_told_apart_by_their_path_from_the_common_directory() -> None:
    driver = Driver()
    driver.snapshot()
    for number, path in enumerate(("/data/in/2024/nyse/a.log", "/data/in/2024/lse/a.log", "/data/in/2023/lse/b.log")):
        fail(driver, run_job(driver, number, path=path))
    driver.press("alt-j", " ")
    text = driver.text(120, 40)

    assert "✗ 2024/nyse/a.log " in text and "✗ 2024/lse/a.log " in text and "✗ 2023/lse/b.log " in text


# --- groups that are not loaded as a whole ----------------------------------------------------------------------------


def ids(first: int, behind: int) -> list[GroupedJob]:
    return [found_job(number) for number in range(first, behind)]


def whole_group(jobs: int) -> tuple[Driver, RunQuery]:
    """A home with so many waiting jobs, 10 of them listed, whose cancellation was confirmed; the query for the first ids."""
    driver = many_waiting(jobs, 10)
    driver.press("alt-j", "c")
    text = driver.text(100, 40)
    assert f"Cancel all {jobs:,} jobs of fix 1.0.0, 0 of them running?" in text
    assert f"and {jobs - 6:,} more" in text
    effects = driver.press("y")
    assert not asks(effects)
    (page,) = [each for each in effects if isinstance(each, RunQuery) and each.tag[0] == "jobs"]
    return driver, page


def test_a_group_of_which_only_some_jobs_are_listed_is_cancelled_as_a_whole() -> None:
    driver, page = whole_group(12_000)
    every = ("COMMITTED", "LEASED", "QUEUED", "RETRY_WAIT", "RUNNING")
    until = driver.shell.present.seq
    assert page.query == JobsInQueue(every, "PARSE", "fix", "1.0.0", until_seq=until, limit=PAGE_IDS)
    cancelled, read, requests, pages = 0, 0, list[RunOperation](), [page]
    while pages or requests:
        if pages:
            (page,) = pages
            assert isinstance(page.query, JobsInQueue)
            assert page.query.after_seq == read
            effects = driver.send(Answer(page.tag, driver.seq, ids(read, min(read + PAGE_IDS, 12_000))))
            read = min(read + PAGE_IDS, 12_000)
        else:
            request = requests.pop(0)
            asked = len(request.call.packed()["job_ids"])
            effects = driver.done(request, cancelled=asked, requested=0)
            cancelled += asked
            to_go = f", {12_000 - cancelled:,} to go." if cancelled < 12_000 else "."
            assert f"{cancelled:,} jobs are stopped{to_go}" in driver.text(100, 24)
        requests += asks(effects)
        assert len(requests) <= 2
        pages = [each for each in effects if isinstance(each, RunQuery) and each.tag[:2] == ("jobs", "page")]

    assert cancelled == 12_000
    assert not jobs_of(driver).changes.is_busy


def test_a_cancellation_of_very_many_jobs_can_be_stopped() -> None:
    driver, page = whole_group(300_000)
    requests = asks(driver.send(Answer(page.tag, driver.seq, ids(0, PAGE_IDS))))
    assert [len(ask.call.packed()["job_ids"]) for ask in requests] == [1000] * 2
    requests += asks(driver.done(requests[0], cancelled=1000, requested=0))
    assert "s stop" in driver.lines(80, 24)[-1]

    assert driver.press("c", "y") == []
    assert "Wait: 1,000 jobs are stopped, 299,000 to go." in driver.text(80, 24)
    driver.press("s")
    assert "s stop" not in driver.lines(80, 24)[-1]
    for each in requests[1:]:
        assert not asks(driver.done(each, cancelled=1000, requested=0))
    late = driver.send(Answer(page.tag, driver.seq, ids(PAGE_IDS, 2 * PAGE_IDS)))

    assert not asks(late)
    assert "3,000 jobs are stopped; the other 297,000 stay as they are." in driver.text(80, 24)
    assert jobs_of(driver).changes.batch is None


def test_a_page_of_ids_that_fails_ends_the_change_and_says_how_many_stay() -> None:
    driver, page = whole_group(300_000)
    driver.fail(page.tag, "The tables do not answer.")

    assert "0 jobs are stopped; 300,000 refused: The tables do not answer." in driver.text(100, 24)
    assert jobs_of(driver).changes.batch is None


def test_a_group_of_ended_jobs_is_retried_as_a_whole() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["groups", "jobs"])
    driver.send(Answer(("facts", "groups"), driver.seq, [group("CANCELLED", 300_000)]))
    known = [grouped(job_id(number), status="CANCELLED", ended_at=9_000 - number) for number in range(200)]
    driver.send(Answer(("facts", "jobs"), driver.seq, known))
    driver.press("alt-j", "R")
    assert "Retry all 300,000 jobs of fix 1.0.0?" in driver.text(100, 40)
    (page,) = [each for each in driver.press("y") if isinstance(each, RunQuery) and each.tag[0] == "jobs"]
    assert page.query == JobsOfGroup("CANCELLED", "PARSE", "fix", "1.0.0", limit=PAGE_IDS)
    rows = [grouped(job_id(number), status="CANCELLED", ended_at=9_000 - number) for number in range(PAGE_IDS)]
    requests = asks(driver.send(Answer(page.tag, driver.seq, rows)))
    following: list[RunQuery] = []
    while not following:  # as soon as less than a request's worth of ids is left
        effects = driver.done(requests.pop(0), queued=1000)
        requests += asks(effects)
        following = [each for each in effects if isinstance(each, RunQuery) and each.tag[0] == "jobs"]

    assert len(requests) == 2
    assert following[0].query == replace(page.query, before_at=9_001 - PAGE_IDS, before_id=job_id(PAGE_IDS - 1))


def test_replaying_all_dead_letters_can_be_stopped(day: Driver) -> None:
    (first,) = asks(jobs_of(day).changes.replay_page())
    day.press("s")

    assert not asks(day.done(first, replayed=1000, next_after=job_id(1000)))
    assert "1,000 dead letters are queued again; the others stay dead letters." in day.text(100, 40)
