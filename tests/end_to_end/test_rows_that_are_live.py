"""Which rows are live, with the real commands: files that grow, come back, have copies, fail; reruns; sources to append to."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.end_to_end.world import World, advice, lines


@pytest.fixture
def ready(world: World) -> World:
    """Registered, approved, and one file of 50 lines processed."""
    world.run("init")
    world.register(advice())
    world.write("day.txt", lines(50))
    process(world)
    return world


def process(world: World, status: int = 0) -> Any:
    world.scan()
    return world.ask("process", "--workers", "1", status=status)


def rows_of(world: World, *past: str) -> int:
    (row,) = world.ask("sql", "select count(*) as n, count(distinct id) as ids from advices", *past)
    assert row["n"] == row["ids"], "a row is there twice"
    return int(row["n"])


def file_of(world: World, name: str) -> dict[str, Any]:
    (found,) = world.ask("files", "--like", f"%{name}", *(["--status", "vanished"] if name == "gone.txt" else []))
    return dict(found)


def last_seq(world: World) -> str:
    return str(world.ask("status")["sentinel"]["seq"])


def test_a_file_that_grows_has_its_rows_once_and_what_was_is_still_there(ready: World) -> None:
    then = last_seq(ready)
    ready.write("day.txt", lines(51, bad=(50,)))
    process(ready)
    assert rows_of(ready) == 50
    (output,) = ready.ask("outputs", "list")
    assert (output["rows"], output["quarantined"], output["superseded_rows"]) == (50, 1, 50)
    ready.write("day.txt", lines(52))
    process(ready)
    assert rows_of(ready) == 52
    assert ready.sql("select count(*) as n from quarantine.advices") == [{"n": 0}]
    assert ready.ask("quarantine", "summary") == []
    assert [one["rows"] for one in ready.ask("quarantine", "summary", "--superseded")] == [1]
    assert file_of(ready, "day.txt")["rows"] == 52

    history = ready.ask("outputs", "history", "advices")
    assert [(one["rows"], one["is_live"]) for one in history] == [(52, True), (50, False), (50, False)]
    assert [one["superseded_by"] for one in history[1:]] == [history[0]["job_id"], history[1]["job_id"]]
    assert len(ready.published()) == 3, "superseded files stay on disk"
    assert rows_of(ready, "--as-of", then) == 50
    assert rows_of(ready, "--as-of", str(history[1]["superseded_seq"] - 1)) == 50
    assert ready.ask("verify", "advices")[0]["job_id"] == history[0]["job_id"]
    assert len(ready.ask("verify", "advices")) == 1
    assert ready.ask("log", "verify", "--tables")["tables"]["differences"] == []


def test_a_part_of_the_past_that_is_gone_from_disk_is_said(ready: World) -> None:
    then = last_seq(ready)
    (old,) = ready.published()
    ready.write("day.txt", lines(51))
    process(ready)
    old.unlink()
    done = ready.run("sql", "select count(*) from advices", "--as-of", then, status=1)
    assert "advices" in done.stderr
    assert "no longer on disk" in done.stderr
    assert ready.sql("select count(*) as n from advices") == [{"n": 51}]
    assert ready.ask("sql", "select count(*) as n from cf_jobs", "--as-of", then) == [{"n": 1}]


def test_a_rerun_replaces_the_rows_of_the_first_run(ready: World) -> None:
    (job,) = ready.ask("jobs")
    assert ready.ask("job", "rerun", job["id"])["replaces_rows"] == 50
    ready.run("process", "--workers", "1")
    assert rows_of(ready) == 50
    assert [one["is_live"] for one in ready.ask("outputs", "history", "advices")] == [True, False]


def test_a_changed_file_that_fails_keeps_its_earlier_rows_and_says_so(ready: World) -> None:
    ready.write("day.txt", lines(60) + "!boom\n")
    process(ready, status=1)
    assert rows_of(ready) == 50
    found = file_of(ready, "day.txt")
    assert (found["status"], found["status_text"], found["rows"]) == ("failed", "changed, failed", 50)
    ready.write("day.txt", lines(60))
    process(ready)
    assert rows_of(ready) == 60
    assert file_of(ready, "day.txt")["status_text"] == "processed"


def test_a_file_that_comes_back_to_earlier_content_has_the_rows_of_that_content(ready: World) -> None:
    ready.write("day.txt", lines(70))
    process(ready)
    assert rows_of(ready) == 70
    ready.write("day.txt", lines(50))
    process(ready)
    assert rows_of(ready) == 50
    assert len(ready.ask("jobs")) == 2, "nothing is processed twice"
    before = last_seq(ready)
    process(ready)
    process(ready)
    told = [e["type"] for e in ready.ask("sql", f"select type from cf_audit where seq > {before}")]
    assert "ContentsRecognised" not in told, "an unchanged tree costs no such event"


def test_copies_renames_and_vanished_files_keep_their_rows(ready: World) -> None:
    ready.write("copy.txt", lines(50))
    process(ready)
    assert rows_of(ready) == 50
    assert file_of(ready, "copy.txt")["rows"] == 50
    ready.write("day.txt", lines(10, start=1000))
    process(ready)
    assert rows_of(ready) == 60, "the copy keeps its content alive"
    os.rename(ready.inbox / "copy.txt", ready.inbox / "gone.txt")
    process(ready)
    assert rows_of(ready) == 60
    (ready.inbox / "gone.txt").unlink()
    process(ready)
    assert rows_of(ready) == 60
    assert file_of(ready, "gone.txt")["status_text"] == "vanished, rows kept"


def test_a_source_that_is_appended_to_keeps_the_rows_of_every_content(world: World) -> None:
    world.run("init")
    world.register(advice())
    world.write("day.txt", lines(5))
    said = world.run("source", "add", world.inbox, "--name", "in", "--tag", "advice", "--on-change", "append")
    assert "the earlier ones stay" in said.stderr
    assert world.ask("source", "list")[0]["on_change"] == "append"
    refused = world.run("source", "add", world.inbox, "--name", "in", status=1)
    assert "casparian source remove in" in refused.stderr
    for part in range(3):
        world.write("day.txt", lines(5, start=5 * part))
        world.run("source", "rescan", "in")
        world.run("process", "--workers", "1")
    assert rows_of(world) == 15
    (job, *_) = world.ask("jobs")
    world.run("job", "rerun", job["id"])
    world.run("process", "--workers", "1")
    assert rows_of(world) == 15, "a rerun replaces the rows of its own content"


def test_a_corrected_parser_supersedes_the_rows_of_files_that_change(ready: World) -> None:
    ready.write("other.txt", lines(5, start=500))
    process(ready)
    ready.register(advice("1.1.0"))
    ready.write("day.txt", lines(51))
    process(ready)
    assert rows_of(ready) == 56
    (history, *_) = ready.ask("outputs", "history", "advices")
    assert history["is_live"]


def test_a_failure_is_open_until_a_success_on_its_file_or_a_person_closes_it(ready: World) -> None:
    ready.write("bad.txt", "!boom\n")
    ready.write("worse.txt", "\n!boom\n")
    process(ready, status=1)
    assert ready.ask("status")["queue"]["failed"] == 2
    assert len(ready.ask("jobs", "--status", "failed")) == 2
    ready.write("bad.txt", lines(3, start=900))
    process(ready)
    (worse,) = ready.ask("jobs", "--status", "failed")
    assert worse["input"].endswith("worse.txt")
    assert ready.ask("status")["queue"]["failed"] == 1
    (error,) = ready.ask("errors", "list")
    assert (error["occurrences"], error["open"]) == (1, 1)
    closed = next(job for job in ready.ask("jobs", "--status", "failed", "--all") if job["id"] != worse["id"])
    assert closed["closed_by"] != ""
    assert closed["closed_at"] is not None

    ready.run("job", "close", worse["id"], status=2)  # a reason is needed
    ready.run("job", "close", worse["id"], "--reason", "the sender withdrew it")
    assert ready.ask("status")["queue"]["failed"] == 0
    assert ready.ask("errors", "list") == []
    assert ready.ask("errors", "list", "--all")[0]["occurrences"] == 2
    shown = ready.ask("job", "show", worse["id"])
    assert shown["close_reason"] == "the sender withdrew it"
    ready.run("job", "close", worse["id"], "--reason", "again", status=1)
    assert ready.ask("log", "verify", "--tables")["tables"]["differences"] == []


def test_every_row_leads_to_its_file(ready: World) -> None:
    (row,) = ready.sql(
        "select f.source_path, f.relative_path, count(*) as n from advices a"
        " join lineage.files f using (_cf_job_id, _cf_source_hash) group by all"
    )
    assert row == {"source_path": str(ready.inbox / "day.txt"), "relative_path": "day.txt", "n": 50}


def test_a_month_of_a_growing_log_with_reruns_and_a_corrected_parser(world: World) -> None:
    """Days in which logs grow, are copied, rotate, break and are mended; every row is in the table once, every evening."""
    world.run("init")
    world.register(advice())
    expected: dict[str, int] = {}
    for day in range(10):
        size = 20 + 3 * day
        world.write("growing.log", lines(size))
        expected["growing.log"] = size
        if day == 2:
            world.write("side.log", lines(7, start=5_000))
            expected["side.log"] = 7
        if day == 3:
            world.write("copy.log", lines(size))  # the same content: processed once
        if day == 4:
            world.register(advice("1.1.0"))
        if day == 6:
            world.write("side.log", lines(8, start=5_000) + "!boom\n")  # stays at its 7 rows
        if day == 7:
            world.write("side.log", lines(9, start=5_000))
            expected["side.log"] = 9
        if day == 8:
            (world.inbox / "copy.log").unlink()
        process(world, status=1 if day == 6 else 0)
        if day in (1, 5):
            job = next(one for one in world.ask("jobs") if one["input"].endswith("growing.log"))
            world.run("job", "rerun", job["id"])
            world.run("process", "--workers", "1")
        rows = world.sql("select id, count(*) as n from advices group by id having count(*) > 1")
        # day 3's copy keeps a content of its own alive: its ids are those of the growing log
        assert all(row["n"] == 2 for row in rows)
        assert len(rows) == (29 if day > 3 else 0)
        total = world.sql("select count(*) as n from advices")[0]["n"]
        assert total == sum(expected.values()) + (29 if day > 3 else 0), day
    assert world.ask("log", "verify", "--tables")["tables"]["differences"] == []
