"""Home: the cards, what needs a person, approvals."""

from __future__ import annotations

import json

import pytest

from casparian_console.messages import Gone, RunOperation, RunQuery
from tests.console.driving import Driver, complete, fail, files_wait, job_id, matches_snapshot, queued, run_job


def contract(driver: Driver, number: int = 1, *, version: str = "1.0.0") -> None:
    ids = {"contract_id": f"c{number:015x}", "scope_id": "s", "contract_hash": "h", "logic_hash": ""}
    driver.event("ContractProposed", **ids, parser="fix", version=version, output="fix_orders", columns=3)


def busy(driver: Driver) -> Driver:
    """A home on a bad day."""
    driver.snapshot()
    driver.event("SourceAdded", source_id="s", name="desk", path="/data", poll_seconds=0, options={})
    driver.event(
        "ParserRegistered", name="fix", version="1.0.0", artifact="", topics=["fix"], outputs={"fix_orders": ""}
    )
    contract(driver)
    complete(driver, run_job(driver, 1), rows=12_000, bad=14)
    for number in (2, 3):
        fail(
            driver,
            run_job(driver, number, path=f"/data/venue_{number}.log"),
            message="row 42: price 'abc' is no decimal",
        )
    run_job(driver, 4)
    driver.event("ParserPaused", name="fix", version="1.0.0", reason="5 failures in a row", cooldown_seconds=600)
    driver.event("IntakePaused", reason="the disk of /home/op has 12 MiB left")
    return driver


def test_nothing_that_waits_is_said_in_one_sentence() -> None:
    driver = Driver()
    driver.snapshot()

    assert "Nothing needs a person." in driver.text()


def test_what_no_answer_has_told_yet_is_not_guessed() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["files", "waiting", "outputs"])
    text = driver.text()

    assert text.count("not known yet") == 2  # Discover and Inspect
    assert "0 files" not in text
    assert "Nothing needs a person" not in text
    driver.answer(("facts", "files"), ("files", "bytes", "untagged"), [(300_000, 10, 0)])
    driver.answer(("facts", "outputs"), (), [])
    assert "300,000 files" in driver.text()
    assert "Nothing needs a person" not in driver.text()
    files_wait(driver, fxi=5)
    assert "5 files tagged fxi" in driver.text()


def test_that_nothing_needs_a_person_is_not_said_before_the_daemon_has_told_its_troubles() -> None:
    driver = Driver()
    driver.snapshot(is_measured=False)
    driver.metric("workers", workers=[])
    driver.metric("projection", applied=driver.seq)
    assert "Loading…" in driver.text() and "Nothing needs a person" not in driver.text()

    driver.metric("trouble", internal_errors={"count": 1, "places": {"worker.beat": 1}, "last": "KeyError"})
    assert "Needs a person  1" in driver.text()
    driver.metric("trouble")
    assert "Nothing needs a person." in driver.text()


def test_while_jobs_wait_for_the_first_worker_it_is_not_said_that_nothing_needs_a_person() -> None:
    driver = Driver()
    driver.snapshot()
    driver.event("JobQueued", **queued(job_id(1)))

    assert "1 job queued until a worker connects." in driver.text()


def test_what_needs_a_person_is_listed_the_most_urgent_first() -> None:
    driver = busy(Driver())
    lines = driver.lines(120, 40)
    words = ["No new work is taken", "2 jobs failed · SCHEMA_MISMATCH", "fix 1.0.0 is paused", "waits for approval"]
    rows = [next(at for at, line in enumerate(lines) if word in line) for word in words]

    assert rows == sorted(rows)


def test_files_that_will_never_run_are_told_with_the_reason() -> None:
    driver = Driver()
    driver.snapshot()
    driver.event("ParserRegistered", name="fix", version="1.0.0", artifact="", topics=["fix"], outputs={"orders": ""})
    files_wait(driver, fix=1, fxi=5)
    home = driver.text(120, 40)

    assert "1 file tagged fix waits: fix 1.0.0 cannot run: the contract of orders does not exist" in home
    assert "5 files tagged fxi wait: no parser takes the tag fxi; did you mean fix?" in home
    driver.press("alt-d")
    assert "5 files wait: no parser takes" in driver.text(200, 60)


def test_digits_open_the_cards_in_their_order() -> None:
    for digit, mode in (("1", "discover"), ("2", "bench"), ("3", "inspect"), ("4", "jobs")):
        driver = Driver()
        driver.snapshot()
        driver.press(digit)
        assert driver.shell.mode == mode


def test_arrows_walk_over_the_cards_and_into_the_list() -> None:
    driver = busy(Driver())
    driver.text()
    driver.press("right", "down", "enter")
    assert driver.shell.mode == "jobs"

    driver.press("alt-h", "down")
    assert "▸" in next(line for line in driver.lines() if "disk of" in line)


def test_enter_on_a_failure_leads_to_jobs() -> None:
    driver = busy(Driver())
    driver.text()
    driver.press("tab", "j", "enter")

    assert driver.shell.mode == "jobs"


def test_the_selection_stays_on_its_row_when_something_more_urgent_comes() -> None:
    driver = Driver()
    driver.snapshot()
    contract(driver)
    driver.text()
    driver.press("tab")
    fail(driver, run_job(driver, 2))

    chosen = next(line for line in driver.lines() if line.startswith(" ▸"))
    assert "waits for approval" in chosen


def test_a_contract_is_approved_after_its_diff_was_shown() -> None:
    driver = Driver()
    driver.snapshot()
    contract(driver)
    driver.press("A")
    driver.text()

    (asked,) = driver.press("a")
    assert isinstance(asked, RunQuery)
    columns = [{"name": "price", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": False}]
    before = [{"name": "price", "type": "string", "nullable": True}]
    proposed = json.dumps({"columns": columns})
    approved = json.dumps({"version": "0.9.0", "schema": json.dumps({"columns": before})})
    driver.answer(
        asked.tag,
        ("proposed", "parser", "version", "output", "approved"),
        [(proposed, "fix", "1", "fix_orders", approved)],
    )
    shown = driver.text(120, 40)
    assert "Against the approved 0.9.0" in shown
    assert "decimal(38, 10)" in shown
    assert "does not fit the existing rows (price: its type was string" in shown

    (done,) = driver.press("a")

    assert isinstance(done, RunOperation)
    assert (done.op, done.call.packed()["approve"]) == ("decide_contract", True)
    assert done.cli == "casparian contract approve fix@1.0.0/fix_orders"
    driver.event("ContractApproved", contract_id="c000000000000001", reason="")
    assert "No contract waits." in driver.text()


def test_a_rejection_has_a_reason() -> None:
    driver = Driver()
    driver.snapshot()
    contract(driver)
    driver.press("A")
    driver.text()
    driver.press("x")
    driver.write("price must be decimal")

    (ask,) = driver.press("enter")

    assert isinstance(ask, RunOperation)
    assert ask.call.packed() == {"selector": "c000000000000001", "approve": False, "reason": "price must be decimal"}
    assert ask.cli == "casparian contract reject fix@1.0.0/fix_orders --reason 'price must be decimal'"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_home_looks_right(width: int, height: int) -> None:
    matches_snapshot(busy(Driver()).text(width, height), f"home-{width}x{height}")


def test_home_looks_right_in_ascii() -> None:
    text = busy(Driver(is_ascii=True)).text()

    assert text.isascii()
    matches_snapshot(text, "home-80x24-ascii")


def test_jobs_that_wait_without_a_worker_need_a_person_but_not_while_the_daemon_starts() -> None:
    driver = Driver()
    driver.snapshot()
    driver.event("JobQueued", **queued(job_id(1)))
    driver.event("JobQueued", **queued(job_id(2)))
    assert "no worker" not in driver.text()

    driver.tick(6)

    assert "2 jobs queued, and no worker is connected" in driver.text(120, 40)


def test_a_daemon_that_went_away_needs_a_person_and_enter_says_that_nothing_else_is_to_do() -> None:
    driver = Driver()
    driver.snapshot()
    driver.send(Gone("No daemon answers."))
    assert "Nothing needs a person" not in driver.text()

    driver.press("tab", "enter")

    assert driver.shell.mode == "home"
    assert "reconnects by itself" in driver.text()


def test_files_of_scans_by_hand_are_not_said_to_have_no_source() -> None:
    driver = Driver()
    driver.snapshot()
    driver.answer(("facts", "files"), ("files", "bytes", "untagged"), [(7, 70, 0)])

    assert "7 files, scanned by hand" in driver.text()


def test_the_most_urgent_is_never_above_the_window_and_what_is_below_it_is_counted() -> None:
    driver = Driver()
    driver.snapshot()
    for number in range(20):
        fail(driver, run_job(driver, number), fingerprint=f"{number:016x}")
    driver.text()
    driver.event("IntakePaused", reason="the disk is full")
    lines = driver.lines()
    heading = next(at for at, line in enumerate(lines) if "Needs a person" in line)

    assert "1-8 of 21" in lines[heading]
    assert "No new work is taken" in lines[heading + 1]


def test_dead_letters_are_counted_apart_as_everywhere() -> None:
    driver = Driver()
    driver.snapshot()
    error = {"code": "TIMEOUT", "message": "late", "fingerprint": "00ff00ff00ff00ff"}
    driver.event("JobDeadLettered", job_id=run_job(driver, 1), epoch=1, reason="retries", error=error, retry_count=3)

    assert "0 failed, 1 dead, 0 done" in driver.text()


def test_a_tall_home_names_what_runs_below_what_was_published() -> None:
    driver = busy(Driver())
    lines = driver.lines(120, 40)

    running = next(at for at, line in enumerate(lines) if line.startswith(" Running"))
    assert running > next(at for at, line in enumerate(lines) if "Published last" in line)
    assert "fix 1.0.0: a.log" in lines[running + 1]
    assert not any(line.startswith(" Running") for line in driver.lines(80, 24))
