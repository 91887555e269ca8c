"""The Parser Bench: who is listed and how they fare, tests and their results, contracts, pauses, watching."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casparian_console.messages import (
    Ended,
    Gone,
    ListDirectory,
    Listing,
    LoadPast,
    Output,
    PastEvents,
    RunCommand,
    RunOperation,
    RunQuery,
    StopCommand,
    Watch,
)
from casparian_console.overlays import TextView
from casparian_console.screens.bench import Bench
from casparian_console.screens.bench.trials import Column, verdict
from tests.console.driving import Driver, complete, fail, files_wait, matches_snapshot, run_job

SECOND = 1_000_000


def register(driver: Driver, name: str, version: str = "1.0.0", *outputs: str) -> None:
    driver.event(
        "ParserRegistered", name=name, version=version, artifact=f"{name:0<64}".replace("_", "0"), topics=["fix"],
        outputs=dict.fromkeys(outputs, ""),
    )  # fmt: skip


def propose(driver: Driver, parser: str, output: str, number: int = 1, version: str = "1.0.0") -> str:
    ids = {"contract_id": f"c{number:015x}", "scope_id": "s", "contract_hash": "h", "logic_hash": ""}
    driver.event("ContractProposed", **ids, parser=parser, version=version, output=output, columns=3)
    return ids["contract_id"]


def ready(driver: Driver, name: str, version: str, output: str, number: int) -> None:
    """A registered version whose contract is approved."""
    register(driver, name, version, output)
    driver.event("ContractApproved", contract_id=propose(driver, name, output, number, version), reason="")


def bench(*, is_ascii: bool = False) -> Driver:
    """A bench with a good parser, one that waits for approval, one that is held, and files of all kinds."""
    driver = Driver(is_ascii=is_ascii)
    driver.snapshot()
    register(driver, "advice", "1.0.0", "advices")
    propose(driver, "advice", "advices")
    ready(driver, "fix", "1.0.0", "fix_orders", 2)
    ready(driver, "fix", "1.1.0", "fix_orders", 3)
    ready(driver, "hl7", "2.0.0", "oru", 4)
    complete(driver, run_job(driver, 1, version="1.1.0"), rows=12_000, bad=14)
    for number in (2, 3):
        fail(driver, run_job(driver, number, parser="hl7", version="2.0.0", path=f"/data/{number}.hl7"))
    driver.event("ParserPaused", name="hl7", version="2.0.0", reason="5 failures in a row", cooldown_seconds=600)
    (listing,) = [effect for effect in driver.press("alt-p") if isinstance(effect, ListDirectory)]
    hour_ago = driver.now_us - 3600 * SECOND
    entries = (
        ("orders.py", False, False, 2048, hour_ago),
        ("gone.py", False, True, 0, hour_ago),
        ("evil\x1b[31m.py", False, False, 9, hour_ago),
        ("venue", True, False, 0, hour_ago),
        ("notes.txt", False, False, 10, hour_ago),
        (".hidden.py", False, False, 10, hour_ago),
        ("__pycache__", True, False, 0, hour_ago),
    )
    driver.send(Listing(listing.tag, listing.path, entries))
    return driver


def select(driver: Driver, name: str) -> None:
    screen = driver.shell.screens["bench"]
    assert isinstance(screen, Bench)
    driver.text()
    driver.press("g")
    for _ in screen.listed:
        entry = screen.entry()
        if entry is not None and entry.name == name:
            return
        driver.press("j")
    raise AssertionError(name)


def violation(code: str, column: str, got: str | None, line: int) -> dict[str, Any]:
    example = {"source_row": line, "row_index": line - 1, "expected": "decimal(9,2)", "got": got}
    return {"code": code, "column": column, "count": 3, "examples": [example]}


def column(name: str, declared: str, *observed: str, bad: int = 0) -> Column:
    return {"name": name, "declared": declared, "observed": list(observed), "null_count": 0, "violation_count": bad}


def document(**changes: Any) -> dict[str, Any]:
    """What `casparian run --json` prints."""
    output = {
        "has_contract": True, "received": 100, "valid": 97, "violating": 3,
        "columns": [column("id", "int64", "int64"), column("price", "decimal(9,2)", "string", bad=3)],
        "rows": [{"id": at, "price": f"{at}.50"} for at in range(3)],
        "violations": [violation("type_mismatch", "price", "12O.5\x1b[2J", 42)],
        "notes": [],
    }  # fmt: skip
    run = {
        "input": "/data/a.log", "status": "partial_success", "source_hash": "0" * 64, "seconds": 0.148,
        "outputs": {"fix_orders": output}, "skipped": {"comment": 7}, "stopped_at_limit": False, "error": None,
    }  # fmt: skip
    return {"parser": {"name": "fix", "version": "1.1.0", "file": "fix.py"}, "inputs": [run | changes]}


def failed_document() -> dict[str, Any]:
    error = {
        "code": "INVALID_DATA", "exception": "ModuleNotFoundError", "message": "No module named 'polars'",
        "trace": "ModuleNotFoundError\n  fix.py: parse", "fingerprint": "a1b2c3d4e5f60718",
        "context": {"file": "fix.py", "line": 4, "function": "parse"},
    }  # fmt: skip
    return document(status="failed", outputs={}, skipped={}, error=error)


def begin_test(driver: Driver, path: str = "/data/a.log", key: str = "t") -> RunCommand:
    """`t`, and the named file out of the offered ones."""
    (query,) = [effect for effect in driver.press(key) if isinstance(effect, RunQuery)]
    driver.answer(query.tag, ("path", "standing", "size"), [(path, "failed", 10), ("/data/b.log", "new", 20)])
    (run,) = driver.press("enter")
    assert isinstance(run, RunCommand)
    return run


def end_test(driver: Driver, run: RunCommand, answer: dict[str, Any], *, code: int = 0, stderr: str = "") -> Any:
    text = json.dumps(answer)
    return driver.send(Output(run.tag, text[:50]), Output(run.tag, text[50:]), Ended(run.tag, code, stderr))


def test_the_bench_says_which_version_is_current_and_why_a_newer_one_waits() -> None:
    driver = bench()
    current = {"name": "fix", "previous": "", "by": "approval", "reason": ""}
    driver.event("ParserCurrentChanged", **current, version="1.0.0")
    problem = {
        "output": "fix_orders",
        "column": "price",
        "what": "its type was string and is int64",
        "code": "CONTRACT",
    }
    waits = {"name": "fix", "version": "1.1.0", "left_out": 0, "may_be_chosen": False, "like": "1.0.0"}
    driver.event("ParserVersionWaits", **waits, problems=[problem])
    select(driver, "fix")
    text = driver.text(200, 60)
    assert "fix 1.0.0" in text
    assert "Current: new and changed files go to it." in text
    assert "1.1.0 waits: fix_orders.price: its type was string and is int64." in text
    assert "the contract of fix@1.0.0" in text

    driver.event("ParserVersionWaits", **waits, problems=[])
    driver.event("ParserCurrentChanged", **current, version="1.1.0")
    text = driver.text(200, 60)
    assert "fix 1.1.0" in text
    assert "waits" not in text.replace("waits for approval", "")


def test_registered_parsers_and_files_are_listed_with_their_health() -> None:
    text = bench().text(120, 40)

    assert "advice 1.0.0" in text
    assert "waits for approval" in text
    assert "fix 1.1.0" in text
    assert "fix 1.0.0" not in text  # one row a parser: the newest version
    assert "to approve" in text
    assert "0% of 2 runs" in text
    assert "broken link" in text
    assert "evil\\x1b[31m.py" in text
    assert "notes.txt" not in text
    assert ".hidden" not in text
    assert "__pycache__" not in text


def test_the_files_of_the_last_failures_are_offered_first_and_a_test_is_one_command() -> None:
    driver = bench()
    select(driver, "fix")
    run = begin_test(driver)

    assert run.args == ("run", "fix@1.1.0", "/data/a.log", "--json", "--contained")
    assert "running" in driver.text()
    assert any(each.cli == "casparian run fix@1.1.0 /data/a.log --json --contained" for each in driver.shell.commands)


def test_enter_before_the_files_are_known_chooses_nothing() -> None:
    driver = bench()
    select(driver, "fix")
    (query,) = [effect for effect in driver.press("t") if isinstance(effect, RunQuery)]
    assert "loading the files" in driver.text()
    assert driver.press("enter") == []
    driver.text()
    driver.answer(query.tag, ("path", "standing", "size"), [("/data/a.log", "failed", 10)])
    driver.text()
    (run,) = driver.press("enter")

    assert isinstance(run, RunCommand)
    assert run.args[2] == "/data/a.log"


def test_without_an_answer_a_path_can_still_be_typed() -> None:
    driver = bench()
    select(driver, "fix")
    (query,) = [effect for effect in driver.press("t") if isinstance(effect, RunQuery)]
    driver.fail(query.tag, "No daemon answers.")
    driver.press("enter")
    driver.write("/data/x.log")
    (run,) = [effect for effect in driver.press("enter") if isinstance(effect, RunCommand)]

    assert run.args[2] == "/data/x.log"


def test_a_result_shows_rows_columns_and_each_offending_value_scrubbed() -> None:
    driver = bench()
    select(driver, "fix")
    end_test(driver, begin_test(driver), document())
    text = driver.text(120, 40)

    assert "3 rows break their contract" in text
    assert "line 42: ‘12O.5\\x1b[2J’" in text
    assert "wanted decimal(9,2)" in text
    assert "97 valid" in text
    assert "7  comment" in text
    assert "2.50" in text


def test_an_error_comes_with_its_place_and_what_to_try() -> None:
    driver = bench()
    select(driver, "fix")
    end_test(driver, begin_test(driver), failed_document(), code=1, stderr="printed by the parser\ncasparian: failed\n")
    text = driver.text(120, 40)

    assert "No module named 'polars'" in text
    assert "at fix.py:4 in parse" in text
    assert "Try: The library is not in this environment" in text
    assert "printed by the parser" in text


def test_a_command_that_cannot_begin_says_why_in_the_pane() -> None:
    driver = bench()
    select(driver, "fix")
    run = begin_test(driver)
    driver.send(Ended(run.tag, 2, "casparian: The input /data/a.log does not exist.\n  Name files.\n"))
    text = driver.text(120, 40)

    assert "could not be run" in text
    assert "The input /data/a.log does not exist." in text
    assert "Name files." in text


def test_r_runs_the_same_again_and_c_stops_it() -> None:
    driver = bench()
    select(driver, "fix")
    first = begin_test(driver)
    end_test(driver, first, document())
    (again,) = driver.press("r")
    assert isinstance(again, RunCommand)
    stopped = driver.press("c")

    assert again.args == first.args
    assert again.tag != first.tag
    assert stopped == [StopCommand(again.tag)]
    assert "stopped" in driver.text()


def test_what_a_stopped_test_still_says_is_not_taken() -> None:
    driver = bench()
    select(driver, "fix")
    run = begin_test(driver)
    driver.press("c")
    end_test(driver, run, document())

    assert "stopped" in driver.text()


def test_a_watched_file_is_tested_again_when_it_is_saved_and_after_the_test_that_still_runs() -> None:
    driver = bench()
    select(driver, "orders.py")
    end_test(driver, begin_test(driver), document())
    (watch,) = driver.press("w")
    assert watch == Watch(("bench", "watch"), "/home/op/.casparian_flow/parsers/orders.py")
    (run,) = driver.send(Output(watch.tag, "changed"))
    assert isinstance(run, RunCommand)
    while_running = driver.send(Output(watch.tag, "changed"))
    (after,) = end_test(driver, run, document())

    assert while_running == []
    assert isinstance(after, RunCommand)
    assert after.args == run.args
    assert driver.press("w") == [StopCommand(watch.tag)]


def test_a_registered_parser_has_no_file_to_watch() -> None:
    driver = bench()
    select(driver, "fix")

    assert driver.press("w") == []
    assert "w (watch) does nothing here. It would" in driver.text()


def test_a_quick_test_asks_for_the_parser_then_for_the_file() -> None:
    driver = bench()
    effects = driver.press("N")
    assert [effect.path for effect in effects if isinstance(effect, ListDirectory)] == ["."]
    (listing,) = driver.write("/tmp/")[:1]
    assert isinstance(listing, ListDirectory)
    driver.send(Listing(listing.tag, "/tmp/", (("quick.py", False, False, 1, 1), ("data.csv", False, False, 1, 1))))
    assert "data.csv" not in driver.text()
    driver.press("tab")
    query = next(effect for effect in driver.press("enter") if isinstance(effect, RunQuery))
    driver.answer(query.tag, ("path", "standing", "size"), [("/data/a.log", "known", 10)])
    (run,) = driver.press("enter")

    assert isinstance(run, RunCommand)
    assert run.args == ("run", "/tmp/quick.py", "/data/a.log", "--json", "--contained")


def test_the_schema_diff_of_an_untested_parser_runs_a_test_and_then_opens() -> None:
    driver = bench()
    select(driver, "fix")
    run = begin_test(driver, key="D")
    end_test(driver, run, document())

    assert isinstance(driver.shell.overlay, TextView)
    assert "3 bad values" in driver.text()


@pytest.mark.parametrize(
    ("declared", "observed", "bad", "words"),
    [
        ("int64", ["int64"], 0, ""),
        ("boolean", ["bool"], 0, ""),
        ("int64", ["string"], 0, "converted"),
        ("int64", ["string"], 1, "1 bad value"),
        ("int64", [], 0, "not produced"),
        ("", ["string"], 0, "not in the contract"),
    ],
)
def test_declared_and_observed_are_compared_in_words(declared: str, observed: list[str], bad: int, words: str) -> None:
    assert verdict(column("c", declared, *observed, bad=bad), has_contract=True)[1] == words


def test_approving_shows_the_contract_first_and_then_asks_the_sentinel() -> None:
    driver = bench()
    select(driver, "advice")
    (query,) = driver.press("a")
    assert isinstance(query, RunQuery)
    schema = {"columns": [{"name": "id", "type": "string"}]}
    columns = ("proposed", "parser", "version", "output", "approved")
    driver.answer(query.tag, columns, [(json.dumps(schema), "advice", "1.0.0", "advices", None)])
    assert "first contract of this output" in driver.text()
    (ask,) = driver.press("a")

    assert isinstance(ask, RunOperation)
    assert (ask.op, ask.call.packed()["approve"]) == ("decide_contract", True)
    assert ask.cli == "casparian contract approve advice@1.0.0/advices"


def test_rejecting_asks_for_a_reason() -> None:
    driver = bench()
    select(driver, "advice")
    driver.press("x")
    driver.write("price must be decimal")
    (ask,) = driver.press("enter")

    assert isinstance(ask, RunOperation)
    assert ask.call.packed() == {"selector": f"c{1:015x}", "approve": False, "reason": "price must be decimal"}


def test_pausing_can_be_taken_back_and_a_held_parser_resumes() -> None:
    driver = bench()
    select(driver, "fix")
    (pause,) = driver.press("p")
    driver.done(pause)
    assert "U takes it back" in driver.text(120, 40)
    (undo,) = driver.press("U")
    select(driver, "hl7")
    (resume,) = driver.press("u")

    assert isinstance(pause, RunOperation)
    assert isinstance(undo, RunOperation)
    assert isinstance(resume, RunOperation)
    assert [(each.op, each.call.packed()["parser"]) for each in (pause, undo, resume)] == [
        ("pause", "fix"),
        ("resume", "fix"),
        ("resume", "hl7"),
    ]


def test_without_a_sentinel_nothing_can_be_paused_but_a_file_can_be_tested() -> None:
    driver = bench()
    select(driver, "fix")
    driver.send(Gone("The daemon stopped answering."))

    assert driver.press("p") == []
    assert begin_test(driver).args[1] == "fix@1.1.0"


def test_the_selection_stays_on_its_parser_while_others_are_registered() -> None:
    driver = bench()
    select(driver, "hl7")
    register(driver, "aaa", "1.0.0")
    (ask,) = driver.press("u")

    assert isinstance(ask, RunOperation)
    assert ask.call.packed()["parser"] == "hl7"


def test_a_parser_whose_contract_was_rejected_is_not_ready_and_says_why_and_what_waits_for_it() -> None:
    driver = Driver()
    driver.snapshot()
    register(driver, "fix", "1.0.0", "out")
    driver.event("ContractRejected", contract_id=propose(driver, "fix", "out"), reason="no")
    files_wait(driver, fix=5)
    driver.press("alt-p")
    shown = driver.text(120, 40)

    assert "fix 1.0.0  ✗ cannot run" in shown and "✓ fix" not in shown
    assert "fix 1.0.0 cannot run: the contract of out was rejected." in shown
    assert "5 files tagged fix wait for it." in shown


def test_until_a_person_chooses_the_first_is_selected_whatever_arrives_first() -> None:
    driver = Driver()
    (listing,) = driver.press("alt-p")
    assert isinstance(listing, ListDirectory)
    driver.send(Listing(listing.tag, listing.path, (("zz.py", False, False, 1, 1),)))
    driver.text()
    driver.snapshot()
    ready(driver, "fix", "1.0.0", "out", 1)
    assert "▸✓ fix" in driver.text()
    driver.press("j")
    register(driver, "aaa")

    assert "▸· zz.py" in driver.text()


def test_a_missing_parsers_directory_is_told_once() -> None:
    driver = Driver()
    driver.snapshot()
    (listing,) = driver.press("alt-p")
    assert isinstance(listing, ListDirectory)
    driver.tick(6)
    again = driver.shell.settle()
    driver.fail(listing.tag, "There is no such directory.")
    driver.tick(6)

    assert again == [listing]
    assert driver.shell.settle() == []


def test_a_home_directory_may_be_typed_as_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/op")
    driver = bench()
    driver.press("N")
    driver.write("~/quick.py")
    query = next(effect for effect in driver.press("enter") if isinstance(effect, RunQuery))
    driver.answer(query.tag, ("path", "standing", "size"), [("/data/a.log", "known", 10)])
    (run,) = driver.press("enter")

    assert isinstance(run, RunCommand)
    assert run.args[1] == "/home/op/quick.py"


def test_home_and_discover_can_hand_a_parser_over() -> None:
    driver = bench()
    screen = driver.shell.screens["bench"]
    assert isinstance(screen, Bench)
    screen.show_parser("hl7", driver.shell)
    assert "paused by its circuit breaker" in driver.text().splitlines()[2]
    (run,) = screen.test_file("fix", "/data/c.log", driver.shell)

    assert isinstance(run, RunCommand)
    assert run.args == ("run", "fix@1.1.0", "/data/c.log", "--json", "--contained")


def test_in_the_past_the_parsers_of_then_are_listed_and_nothing_can_be_run() -> None:
    driver = bench()
    (load,) = driver.press("ctrl-t")
    assert isinstance(load, LoadPast)
    driver.send(PastEvents(load.tag, tuple(driver.log)), Ended(load.tag, 0))
    text = driver.text()

    assert [effect for key in ("t", "N", "a", "p") for effect in driver.press(key)] == []
    assert "hl7 2.0.0" in text
    assert "orders.py" not in text


def test_escape_leaves_the_pane_then_the_result_then_the_bench() -> None:
    driver = bench()
    select(driver, "fix")
    end_test(driver, begin_test(driver), document())
    driver.press("tab", "esc", "esc")
    assert "Outputs" in driver.text()
    driver.press("esc")

    assert driver.shell.mode == "home"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_bench_at_its_sizes(width: int, height: int) -> None:
    driver = bench()
    select(driver, "fix")
    end_test(driver, begin_test(driver), document(), stderr="one line\n")
    matches_snapshot(driver.text(width, height), f"bench_result_{width}x{height}")
    select(driver, "advice")
    matches_snapshot(driver.text(width, height), f"bench_detail_{width}x{height}")


def test_the_bench_without_unicode() -> None:
    driver = bench(is_ascii=True)
    select(driver, "hl7")
    text = driver.text(80, 24)

    assert text.isascii()
    matches_snapshot(text, "bench_ascii_80x24")
