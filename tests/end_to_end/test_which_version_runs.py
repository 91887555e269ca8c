"""Which version of a parser runs, and with which parameters: the real commands, a real daemon, workers and guests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import World, wait_for

FIX_PARSER = Path(__file__).parents[2] / "parsers" / "fix"
SOURCE = """
name, version, topics = "advice", "{version}", ["advice"]
dependencies = []
params = {{"separator": ";", "factor": 1}}
outputs = {{"advices": {{"columns": [
    {{"name": "id", "type": "string"{id_checks}}},
    {{"name": "amount", "type": "{amount}"}},
]}}}}


def parse(path, ctx):
    for number, line in enumerate(ctx.file.read().decode().splitlines(), 1):
        id, amount = line.split(ctx.params["separator"])
        yield {{"id": id or None, "amount": str(int(amount) * ctx.params["factor"]), "__cf_row_id": number}}
"""
REQUIRED = ', "nullable": False'


@pytest.fixture
def ready(world: World) -> Iterator[World]:
    """Version 1.0.0 is approved and has processed a.txt; a daemon runs."""
    world.run("init")
    world.serve(1)
    register(world, "1.0.0")
    world.run("contract", "approve", "advice")
    process(world, "a.txt", "A;1\n")
    yield world
    world.stop()


def register(world: World, version: str, *, id_checks: str = REQUIRED, amount: str = "int64") -> dict[str, Any]:
    path = world.root / "advice.py"
    path.write_text(SOURCE.format(version=version, id_checks=id_checks, amount=amount))
    found: dict[str, Any] = world.ask("parser", "register", path)
    return found


def process(world: World, name: str, text: str) -> dict[str, Any]:
    """The job of a new or changed file."""
    path = world.write(name, text)
    world.scan()
    world.run("process")
    return job_of(world, path)


def job_of(world: World, path: Path) -> dict[str, Any]:
    newest = next(one for one in world.ask("jobs") if one["input"] == str(path))
    found: dict[str, Any] = world.ask("job", "show", newest["id"])
    return found


def states(world: World) -> dict[str, str]:
    return {one["version"]: one["state"] for one in world.ask("parser", "list")}


def test_a_corrected_version_with_the_same_contract_runs_for_new_and_changed_files_without_an_approval(
    ready: World,
) -> None:
    registered = register(ready, "1.0.1")
    assert registered["contracts"][0]["state"] == "approved"
    assert registered["carried"][0]["version"] == "1.0.0"
    assert registered["versions"][0]["state"] == "current"
    assert process(ready, "b.txt", "B;2\n")["version"] == "1.0.1"
    assert process(ready, "a.txt", "A;1\nC;3\n")["version"] == "1.0.1"
    assert states(ready) == {"1.0.0": "ready", "1.0.1": "current"}

    register(ready, "1.1.0", id_checks="")  # looser: NULL is allowed
    said = ready.run("contract", "approve", "advice@1.1.0").stdout
    assert "advice 1.1.0 is current: new and changed files go to it" in said
    assert process(ready, "c.txt", ";9\n")["version"] == "1.1.0"
    assert ready.sql("select id, amount from advices order by amount") == [
        {"id": "A", "amount": 1},
        {"id": "B", "amount": 2},
        {"id": "C", "amount": 3},
        {"id": None, "amount": 9},
    ]
    (live,) = ready.sql("select output, version, contract_hash from cf_live_outputs")
    newest = ready.sql("select contract_hash from cf_schema_contracts where version = '1.1.0'")[0]
    assert (live["version"], live["contract_hash"]) == (1, newest["contract_hash"])


def test_a_version_with_another_type_waits_says_why_everywhere_and_the_old_one_goes_on(ready: World) -> None:
    register(ready, "2.0.0", amount="string")
    approved = ready.ask("contract", "approve", "advice@2.0.0")
    (verdict,) = approved["versions"]
    reason = "advices.amount: its type was int64 and is string"
    assert (verdict["state"], verdict["current"]) == ("waits", "1.0.0")
    assert reason in verdict["said"]
    assert verdict["problems"][0]["column"] == "amount"
    assert process(ready, "b.txt", "B;2\n")["version"] == "1.0.0"
    assert f"advice 2.0.0 waits, files go to 1.0.0: {reason}" in ready.run("process").stderr
    rerun = ready.ask("job", "rerun", job_of(ready, ready.inbox / "b.txt")["id"])
    assert rerun["waiting_versions"][0]["said"] == reason
    shown = ready.ask("parser", "show", "advice@2.0.0")
    assert (shown["current"], shown["versions"][0]["waits"]["said"]) == ("1.0.0", reason)
    assert reason in ready.run("parser", "list").stdout
    chosen = ready.run("parser", "use", "advice@2.0.0", "--reason", "now", status=1)
    assert reason in chosen.stderr

    remedy = "Register another version in which the output advices has a new name, or the contract of advice@1.0.0"
    assert remedy in chosen.stderr
    register(ready, "2.0.1")  # the contract of 1.0.0, as the remedy says
    assert states(ready) == {"1.0.0": "ready", "2.0.0": "ready", "2.0.1": "current"}
    assert process(ready, "c.txt", "C;3\n")["version"] == "2.0.1"


def test_another_version_is_chosen_by_hand_and_back_with_reasons(ready: World) -> None:
    register(ready, "1.0.1")
    ready.run("parser", "use", "advice@1.0.0", "--reason", "1.0.1 loses lines")
    assert process(ready, "b.txt", "B;2\n")["version"] == "1.0.0"
    shown = ready.run("parser", "show", "advice").stdout
    assert "chosen by hand: 1.0.1 loses lines" in shown
    job = job_of(ready, ready.inbox / "a.txt")
    ready.run("parser", "use", "advice@1.0.1", "--reason", "it did not")
    rerun = ready.ask("job", "rerun", job["id"])
    ready.run("process")
    assert ready.ask("job", "show", rerun["job_id"])["version"] == "1.0.1"
    assert ready.run("parser", "use", "advice@9", "--reason", "x", status=1).stderr
    assert ready.run("parser", "use", "advice", "--reason", "x", status=2).stderr


def test_parameters_reach_the_guest_by_parser_source_and_rule_and_are_part_of_the_job(ready: World) -> None:
    ready.run("parser", "set", "advice", "separator=,")
    job = process(ready, "b.txt", "B,2\n")
    assert job["spec"]["params"] == {"separator": ",", "factor": 1}
    assert job["spec"]["param_origins"] == {"separator": "set"}

    other = ready.root / "other"
    other.mkdir()
    (other / "plain.txt").write_text("C|3\n")
    (other / "tenfold.log").write_text("D|4\n")
    ready.run("source", "add", other, "--name", "pipes", "--tag", "advice", "--param", "separator=|")
    ready.run("rule", "add", "**/*.log", "advice", "--name", "tenfold", "--priority", "5", "--param", "factor=10")
    ready.run("source", "rescan", "pipes")

    def is_scanned() -> bool:
        return [one["status"] for one in ready.ask("jobs") if one["type"] == "SCAN"] == ["COMPLETED"]

    wait_for(is_scanned, "the source was scanned")
    ready.run("process")
    by_rule = job_of(ready, other / "tenfold.log")
    assert by_rule["spec"]["params"] == {"separator": "|", "factor": 10}
    assert by_rule["spec"]["param_origins"] == {"separator": "source pipes", "factor": "rule tenfold"}
    assert "source pipes" in ready.run("job", "show", by_rule["id"]).stdout
    assert job_of(ready, other / "plain.txt")["spec"]["params"] == {"separator": "|", "factor": 1}
    amounts = [row["amount"] for row in ready.sql("select amount from advices order by amount")]
    assert amounts == [1, 2, 3, 40]
    keys = {one["job_key"] for one in ready.sql("select job_key from cf_processing_queue where job_type = 'PARSE'")}
    assert len(keys) == 4


def test_the_shipped_fix_parser_takes_its_parameters_in_production(world: World) -> None:
    world.run("init")
    world.serve(1)
    world.run("parser", "register", FIX_PARSER)
    world.run("contract", "approve", "fix_parser")
    path = world.write("dummies.fix", "8=FIX.4.4|9=000|35=0|49=A|56=B|34=1|52=20240304-10:20:30|10=000\n")
    world.run("scan", world.inbox, "--tag", "fix")
    world.run("process", status=1)
    failed = job_of(world, path)
    assert failed["error_code"] == "QUARANTINE_EXCEEDED"

    refused = world.run("parser", "set", "fix_parser", "checksum=dummies", status=2)
    assert "Did you mean checksums?" in refused.stderr
    told = world.run("parser", "set", "fix_parser", "checksums=dummies", "tz=Europe/Zurich")
    assert "`casparian job rerun ID` runs one again with them" in told.stderr
    rerun = world.ask("job", "rerun", failed["id"])
    world.run("process")
    done = world.ask("job", "show", rerun["job_id"])
    assert done["status"] == "COMPLETED"
    assert done["spec"]["params"] == {"tz": "Europe/Zurich", "checksums": "dummies", "encoding": "utf-8"}
    (row,) = world.sql("select sending_time from fix_session")
    assert row["sending_time"].startswith("2024-03-04T09:20:30")  # 10:20:30 in Zurich
    shown = {one["name"]: one for one in world.ask("parser", "show", "fix_parser")["params"]}
    assert shown["tz"] == {"name": "tz", "value": "Europe/Zurich", "default": "UTC", "origin": "set"}
    assert (
        json.loads(world.run("parser", "set", "fix_parser", "--reset", "--json").stdout)["params"][0]["origin"]
        == "default"
    )
    world.stop()


def test_after_a_fix_all_failed_inputs_run_again_at_once_with_the_corrected_version(ready: World) -> None:
    for name in ("x.txt", "y.txt", "z.txt"):
        ready.write(name, f"{name} is not an advice\n")
    ready.scan()
    ready.run("process", status=1)
    ready.write("z.txt", "Z;9\n")  # its new content is another input
    ready.scan()
    ready.run("process", status=1)  # the others failed earlier, and nobody has run them again
    path = ready.root / "advice.py"
    fixed = SOURCE.format(version="1.0.1", id_checks=REQUIRED, amount="int64")
    path.write_text(
        fixed.replace('line.split(ctx.params["separator"])', 'line.replace(" is not an advice", ";7").split(";")')
    )
    ready.run("parser", "register", path)

    assert ready.ask("job", "rerun", "--failed", "--code", "NO_SUCH_CODE") == {
        "rerun": 0,
        "refused": [],
        "dry_run": False,
    }
    tried = ready.ask("job", "rerun", "--failed", "--parser", "advice", "--dry-run")
    assert tried == {"rerun": 2, "refused": [], "dry_run": True}
    ready.run("parser", "pause", "advice")  # else the first may run before the second is asked for
    done = ready.run("job", "rerun", "--failed", "--parser", "advice")
    assert done.stdout == "2 failed inputs queued again\n"
    again = ready.ask("job", "rerun", "--failed", status=1)
    assert again["refused"] == [{"reason": "its input is queued already", "jobs": 2}]
    ready.run("parser", "resume", "advice")
    ready.run("process")
    assert {row["id"] for row in ready.sql("select id from advices where amount = 7")} == {"x.txt", "y.txt"}
    assert ready.ask("job", "rerun", "--failed") == {"rerun": 0, "refused": [], "dry_run": False}
    assert "Did you mean advice?" in ready.run("job", "rerun", "--failed", "--parser", "advise", status=2).stderr
    assert ready.run("job", "rerun", status=2).stderr
