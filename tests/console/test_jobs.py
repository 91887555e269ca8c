"""The list of Jobs: order, groups, selection, filters, and what it looks like."""

from __future__ import annotations

import random

import pytest

from casparian_console.messages import Click, Paste, Scroll
from casparian_console.screens.jobs import Jobs
from tests.console.driving import Driver, complete, fail, job_id, matches_snapshot, queued, run_job
from tests.console.jobs_scene import fail_many, progressed, work_day
from tests.console.test_growth import many_waiting


def jobs_of(driver: Driver) -> Jobs:
    screen = driver.shell.screens["jobs"]
    assert isinstance(screen, Jobs)
    return screen


@pytest.fixture
def day() -> Driver:
    driver = work_day()
    driver.tick(10)
    driver.press("alt-j")
    return driver


def selected_line(driver: Driver) -> str:
    return next(line for line in driver.lines(100, 40) if "▸" in line[:2])


def place_of(lines: list[str], text: str) -> int:
    return next(at for at, line in enumerate(lines) if text in line)


def test_what_failed_comes_first_then_what_runs_then_what_is_ready(day: Driver) -> None:
    lines = day.lines(100, 40)

    places = [place_of(lines, text) for text in ("ACTIONABLE", "swift 1.0.0", "SCHEMA_MISMATCH", "fix 1.1.0", "READY")]
    assert places == sorted(places)
    assert place_of(lines, "outputs/fix_orders") > place_of(lines, "READY")


def test_the_header_counts_jobs_and_output(day: Driver) -> None:
    assert " ↻ 3 running  ✓ 9 done  ✗ 4 failed  1 dead letter  · 2 queued" in day.lines(100, 40)[1]
    assert "8/18 parsed · 32.0 KiB output" in day.lines(100, 40)[1]


def test_jobs_with_one_cause_are_one_group_that_opens_to_its_files(day: Driver) -> None:
    day.press("j", "j")
    assert "3 jobs failed · SCHEMA_MISMATCH: row 42 · ERR-a1b2c3d4e" in day.text(100, 40)
    assert "first: /data/fix/venue_nyse_20240101.log" in day.text(100, 40)
    day.lines(100, 40)
    day.press(" ")

    files = [line for line in day.lines(100, 40) if line.startswith("    ✗ venue")]
    assert [line.split()[1] for line in files] == [f"venue_nyse_2024010{n}.log" for n in (3, 2, 1)]


def test_fingerprints_are_as_short_as_they_may_be_and_have_eight_digits_at_least(day: Driver) -> None:
    text = day.text(100, 40)

    assert "ERR-00ff00ff\n" in text
    assert {"ERR-a1b2c3d4e", "ERR-a1b2c3d4f"} <= set(text.split())


def test_the_selection_stays_on_its_group_when_the_order_changes(day: Driver) -> None:
    day.press("G", "k")
    before = selected_line(day)
    line = place_of(day.lines(100, 40), before)
    fail_many(day, 500, 2, code="OTHER", fingerprint="b" * 16)
    day.press("alt-j")

    assert "PARSE    fix 1.0.0" in selected_line(day)
    assert place_of(day.lines(100, 40), selected_line(day)) >= line


def test_the_selection_follows_a_job_that_ends(day: Driver) -> None:
    day.press("j", "j", "j", " ", "j")
    running = jobs_of(day).window.identity
    assert running == ("job", job_id(201))
    complete(day, job_id(201))

    assert "osier_001.fix" in selected_line(day)
    assert jobs_of(day).window.identity == ("job", job_id(201))


def test_the_selection_goes_with_the_jobs_of_a_group_that_is_gone(day: Driver) -> None:
    day.press("j", "j")
    assert "✗ PARSE    fix 1.0.0" in selected_line(day)
    for number in (1, 2, 3):
        spec = queued(job_id(number), path=f"/data/fix/venue_nyse_2024010{number}.log")
        day.event("JobReplayed", **spec, from_state="FAILED")
    assert "· PARSE    fix 1.0.0" in selected_line(day)
    for number in (1, 2, 3):
        day.event("JobLeased", job_id=job_id(number), worker_id="w1", attempt=2, sandbox="none")
        fail(day, job_id(number))

    assert "✗ PARSE    fix 1.0.0" in selected_line(day)


def test_a_row_above_the_window_does_not_move_what_is_read() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(40):
        complete(driver, run_job(driver, number, parser=f"p{number:02d}"))
    driver.press("alt-j")
    driver.lines(80, 24)
    driver.press(*["j"] * 20)
    before = driver.lines(80, 24)
    complete(driver, run_job(driver, 99, parser="newest"))
    after = driver.lines(80, 24)

    assert [line[:40] for line in before[4:20]] == [line[:40] for line in after[4:20]]


def test_two_busy_parsers_do_not_change_places_with_every_job() -> None:
    driver = Driver()
    driver.snapshot()
    orders = set()
    driver.press("alt-j")
    for number in range(12):
        complete(driver, run_job(driver, number, parser="ab"[number % 2]))
        if number > 1:
            lines = driver.lines(80, 24)
            orders.add(place_of(lines, "PARSE    a") < place_of(lines, "PARSE    b"))

    assert len(orders) == 1


def test_a_running_job_shows_bar_numbers_rate_and_time_left() -> None:
    driver = Driver()
    driver.snapshot()
    made = run_job(driver, 1, path="/data/big.log")
    progressed(driver, made, 87_000, 100_000, rate=5100.0)
    driver.press("alt-j")

    text = driver.text(100, 24)
    assert "██░░  87%" in text
    assert "big.log  87,000/100,000 rows · 5.1K/s · ETA 2.0 s" in text


def test_no_progress_for_thirty_seconds_is_stalled() -> None:
    driver = Driver()
    driver.snapshot()
    progressed(driver, run_job(driver, 1), 10, 100)
    driver.press("alt-j")
    driver.tick(29)
    assert "stalled" not in driver.text()
    driver.tick(1)

    assert "1 stalled" in driver.text()


def test_what_does_not_move_has_no_rate_and_no_eta_and_the_daemons_setting_says_when_that_is() -> None:
    driver = Driver()
    driver.snapshot()
    driver.metric("workers", workers=[], local_workers=1, given_up=[], stalled_after_seconds=5.0)
    progressed(driver, run_job(driver, 1), 10, 100)
    driver.press("alt-j")
    driver.tick(4)
    assert "ETA" in driver.text(120, 40)
    driver.tick(1)

    shown = driver.text(120, 40)
    assert "1 stalled" in shown and "10/100" in shown
    assert "ETA" not in shown and "/s" not in shown


def test_a_job_beyond_three_medians_of_its_kind_is_a_straggler() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(3):
        complete(driver, run_job(driver, number))  # each takes 1.5 s
    made = run_job(driver, 9)
    driver.press("alt-j")
    driver.tick((driver.shell.present.jobs.by_id[made].started_at - driver.now_us) / 1e6 + 4.4)
    assert "straggler" not in driver.text()
    driver.tick(0.2)
    assert "1 straggler" in driver.text()
    driver.press(" ", "j")

    assert "straggler, the median is 1.5 s" in driver.text(140, 30)
    assert jobs_of(driver).window.identity == ("job", made)


def test_a_group_at_work_shows_how_far_its_jobs_are() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(10):
        driver.event("JobQueued", **queued(job_id(number), path=f"/data/{number}.log"))
    for number in range(4):
        driver.event("JobLeased", job_id=job_id(number), worker_id="w1", attempt=1, sandbox="none")
        driver.event("JobStarted", job_id=job_id(number), epoch=driver.seq, guest_pid=1)
        if number < 3:
            complete(driver, job_id(number))
    driver.tick(1)
    driver.press("alt-j")

    assert "3/10 jobs · 1 running · 6 queued" in driver.text(100, 24)


def test_paused_parsers_and_waiting_contracts_say_so_where_their_jobs_wait() -> None:
    driver = Driver()
    driver.snapshot()
    registered = {"name": "fix", "version": "1.0.0", "artifact": "a", "topics": ["fix"], "outputs": {}}
    driver.event("ParserRegistered", **registered)
    driver.event("JobQueued", **queued(job_id(1)))
    driver.press("alt-j")
    driver.event("ParserPaused", name="fix", reason="three failures in a row")
    assert "paused: three failures in a row" in driver.text(100, 24)
    driver.event("ParserResumed", name="fix", reason="")
    proposed = {"contract_id": "c", "scope_id": "s", "output": "o", "contract_hash": "h", "logic_hash": ""}
    driver.event("ContractProposed", **proposed, parser="fix", version="1.0.0", columns=3)

    assert "its contract waits for approval" in driver.text(100, 24)


@pytest.mark.parametrize(
    ("key", "shown", "hidden"),
    [("2", "2 running", "SCHEMA"), ("3", "SCHEMA", "READY"), ("4", "queued", "SCHEMA"), ("1", "READY", "only ")],
)
def test_digits_show_all_running_failed_or_pending_jobs(day: Driver, key: str, shown: str, hidden: str) -> None:
    day.press(key, " ")

    text = "\n".join(day.lines(100, 40)[2:-2])
    assert shown in text
    assert hidden not in text


def test_x_hides_what_is_completed_and_shows_it_again(day: Driver) -> None:
    day.press("x")
    assert "READY" not in day.text(100, 40)
    assert "completed hidden" in day.text(100, 40)
    day.press("x")
    assert "READY" in day.text(100, 40)


def test_the_filter_dialog_takes_status_type_parser_and_text(day: Driver) -> None:
    day.press("f", "right", "right", "down", "right", "down", "right", "up")
    day.send(Paste("NYSE_20240102"))
    day.press("enter")

    text = day.text(140, 40)
    assert "only failed, PARSE, fix, “NYSE_20240102”" in text
    assert "1 of 3 jobs failed" in text
    assert "swift" not in text
    day.press("esc")
    assert "swift" in day.text(100, 40)


def test_letters_typed_in_the_filter_dialog_are_its_text_on_every_line(day: Driver) -> None:
    day.press("f", *"failed", "enter")

    assert "only “failed”" in day.text(140, 40)


def test_cancelled_jobs_are_neither_done_nor_speed_nor_parsed() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(30):
        driver.event("JobQueued", **queued(job_id(number)))
    for number in range(20):
        driver.event("JobCancelled", job_id=job_id(number), reason="no")
    driver.press("alt-j")
    live = driver.text(120, 24)

    assert "0/10 jobs · 0 running · 10 queued\n" in live
    assert "  0/10 parsed" in live
    assert "jobs/s" not in live and "ETA" not in live
    for number in range(5):
        driver.event("JobReplayed", **queued(job_id(number)), from_state="CANCELLED")
    assert "0/15 jobs · 0 running · 15 queued" in driver.text(120, 24)


def test_a_filtered_group_counts_what_passes_the_filter_of_all() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(30):
        driver.event("JobQueued", **queued(job_id(number), path=f"/data/f{number:02d}"))
    driver.press("alt-j", "f", *"/f1", "enter")

    assert "10 of 30 jobs · 0 running · 10 queued" in driver.text(120, 24)


@pytest.mark.parametrize("jobs", [1_380, 87_360, 101_000, 294_990])
def test_the_words_of_the_header_are_apart_at_eighty_columns(jobs: int) -> None:
    driver = many_waiting(jobs, 10)
    driver.press("alt-j")

    line = driver.lines(80, 24)[1]
    assert f"· {jobs:,} queued  " in line and f"  0/{jobs:,} parsed " in line


def test_a_text_filter_follows_what_happens(day: Driver) -> None:
    day.press("f", "down", "down", "down", *"wanted", "enter")
    assert "No job matches." in day.text()
    made = run_job(day, 700, path="/data/wanted.log")
    run_job(day, 701, path="/data/other.log")
    assert "wanted.log" in day.text()
    assert "other" not in day.text()
    fail(day, made, fingerprint="c" * 16)
    assert "1 job failed" in day.text()
    complete(day, run_job(day, 702, path="/data/wanted too.log"))
    assert "1 of 9 jobs" in day.text()


def test_search_finds_groups_and_files_of_closed_groups_forwards_and_backwards(day: Driver) -> None:
    day.press("/", *"nyse_20240102", "enter")
    assert "venue_nyse_20240102.log" in selected_line(day)
    day.press("/", *"lumen", "enter")
    first = selected_line(day)
    day.press("n")
    assert "lumen" in selected_line(day) != first
    day.press("N")
    assert selected_line(day) == first
    day.press("/", *"no such file", "enter")
    assert "is not in this list" in day.text()


def test_a_click_selects_and_a_double_click_opens_the_detail(day: Driver) -> None:
    lines = day.lines(100, 40)
    day.send(Click(place_of(lines, "fix 1.1.0"), 20))
    assert "fix 1.1.0" in selected_line(day)
    day.send(Click(place_of(lines, "mail 2.0.0"), 20, 2))
    assert "PARSE mail 2.0.0  RUNNING" in day.text(100, 40)


def test_the_wheel_moves_the_window_and_keeps_the_selection_inside(day: Driver) -> None:
    day.press(*"jj", " ")
    day.lines(80, 18)
    day.send(Scroll(10, 10, 9))

    assert any("▸" in line[:2] for line in day.lines(80, 18))
    assert "swift" not in day.text(80, 18)


def test_other_screens_can_show_a_job_even_when_a_filter_hides_it(day: Driver) -> None:
    day.press("2")
    jobs_of(day).show_job(job_id(2), day.shell)

    assert "venue_nyse_20240102.log" in selected_line(day)


def test_the_pipeline_header_shows_sources_parsed_files_and_outputs(day: Driver) -> None:
    day.press("P")
    text = day.text(120, 40)

    assert "SOURCE" in text and "PARSED" in text and "OUTPUT" in text
    assert "@3" in text
    assert "fix 1.1.0  2 running · 0/4 jobs" in text
    day.press("alt-h", "alt-j")
    assert "SOURCE" in day.text(120, 40)  # remembered
    day.press("P")
    assert "PARSED" not in day.text(120, 40)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_jobs_look_like_this(day: Driver, width: int, height: int) -> None:
    day.lines(width, height)
    day.press("j", "j", " ")
    if width > 80:
        day.press("P", "enter")

    matches_snapshot(day.text(width, height), f"jobs_{width}x{height}")


def test_jobs_look_like_this_in_ascii() -> None:
    driver = work_day(is_ascii=True)
    driver.tick(60)
    driver.press("alt-j", "j", "j", " ", "P")
    text = "\n".join(driver.text(120, 40).splitlines()[1:-2])

    assert text.isascii(), [character for character in text if not character.isascii()]
    matches_snapshot(text, "jobs_ascii_120x40")


KEYS = ("j", "k", "g", "G", "pgdn", "pgup", " ", "left", "right", "enter", "esc", "tab", "1", "2", "3", "4", "x", "P", "m",
        "d", "l", "L", "f", "n", "p", "r", "c", "R", "A", "Q", "y", "o", "/", "?", ":")  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_any_keys_and_events_leave_a_screen_that_draws_and_a_way_home(seed: int) -> None:
    choose = random.Random(seed)
    driver = work_day()
    driver.press("alt-j")
    number = 1000
    for _ in range(150):
        match choose.randrange(5):
            case 0:
                number += 1
                made = run_job(driver, number, parser=choose.choice("ab"), path=f"/d/{number}\x1b[2J\u202e.log")
                if choose.random() < 0.5:
                    complete(driver, made, bad=choose.randrange(3))
                elif choose.random() < 0.5:
                    fail(driver, made, fingerprint=choose.choice("0123456789abcdef") * 16)
            case 1:
                driver.tick(choose.choice((0.1, 1, 40)))
            case _:
                driver.press(choose.choice(KEYS))
        if choose.random() < 0.4:
            driver.lines(*choose.choice(((80, 24), (120, 40), (200, 60), (90, 14))))
        screen = jobs_of(driver)
        shown = screen.job_list
        assert [shown.place(shown.identity(at)) for at in range(0, len(shown), 7)] == list(range(0, len(shown), 7))
    for _ in range(8):
        driver.press("esc")
    assert driver.shell.mode == "home"
    driver.lines(80, 24)


def test_the_pipeline_header_does_not_say_that_nothing_runs_when_the_filter_hides_it(day: Driver) -> None:
    day.press("P", "3")

    assert "The filter hides 3 running jobs." in day.text(100, 40)


def test_a_failure_that_comes_in_above_the_window_is_told(day: Driver) -> None:
    day.press("g")
    assert "above" not in day.text(80, 24)

    fail(day, run_job(day, 700, path="/data/fix/new.log"), fingerprint="0123456789abcdef")

    assert "▲ 1 above" in day.lines(80, 24)[1]


def test_numbers_that_no_answer_has_told_are_not_shown_as_zeros() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["groups", "files", "outputs"])
    driver.press("alt-j", "P")
    text = driver.text(120, 40)

    assert "? parsed · ? output" in text
    assert text.count("not known yet") == 3
