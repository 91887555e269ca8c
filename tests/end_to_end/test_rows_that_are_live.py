"""Which rows are live, with the real commands: files that grow, come back, have copies, fail; reruns; sources to append to.

One daemon serves the tests; each has a folder of its own and amounts that nobody else has.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import World, advice, lines, wait_for

_bases = itertools.count(100_000, 10_000)


@dataclass
class Corner:
    """A folder that one test has to itself, and the ids of the rows in it."""

    world: World
    base: int = field(default_factory=lambda: next(_bases))

    @property
    def folder(self) -> Path:
        return self.world.root / f"corner{self.base}"

    def write(self, name: str, count: int, *, start: int = 0, bad: tuple[int, ...] = (), more: str = "") -> Path:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        path.write_text(lines(count, start=self.base + start, bad=bad) + more)
        return path

    def process(self, status: int = 0) -> Any:
        self.world.run("scan", self.folder, "--tag", "advice")
        return self.world.ask("process", status=status)

    def rows(self, *past: str) -> int:
        """How many rows there are; each is there once."""
        mine = f"id between 'A{self.base}' and 'A{self.base + 9_999}'"
        (row,) = self.world.ask(
            "sql", f"select count(*) as n, count(distinct id) as ids from advices where {mine}", *past
        )
        assert row["n"] == row["ids"], "a row is there twice"
        return int(row["n"])

    def file(self, name: str, *more: str) -> dict[str, Any]:
        (found,) = self.world.ask("files", "--like", f"{self.folder}/{name}", *more)
        return dict(found)

    def jobs(self, *options: str) -> list[dict[str, Any]]:
        found = self.world.ask("jobs", "--limit", "500", *options)
        return [job for job in found if job["input"].startswith(str(self.folder)) and job["type"] == "PARSE"]

    def history(self) -> list[dict[str, Any]]:
        found = self.world.ask("outputs", "history", "advices", "--limit", "500")
        return [one for one in found if one["input"].startswith(str(self.folder))]

    def seq(self) -> int:
        return int(self.world.ask("status")["sentinel"]["seq"])


@pytest.fixture(scope="module")
def served(story: World) -> Iterator[World]:
    story.run("init")
    story.register(advice())
    story.serve(1)
    yield story
    story.stop()


@pytest.fixture
def corner(served: World) -> Corner:
    """50 lines, processed."""
    made = Corner(served)
    made.write("day.txt", 50)
    made.process()
    return made


def test_a_file_that_grows_has_its_rows_once_and_what_was_is_still_there(corner: Corner) -> None:
    world, then = corner.world, str(corner.seq())
    corner.write("day.txt", 51, bad=(50,))
    corner.process()
    assert corner.rows() == 50
    assert [one["rows"] for one in world.ask("quarantine", "summary")] == [1]
    corner.write("day.txt", 52)
    corner.process()
    assert corner.rows() == 52
    assert corner.file("day.txt")["rows"] == 52
    assert world.sql("select count(*) as n from quarantine.advices") == [{"n": 0}]
    assert world.ask("quarantine", "summary") == []
    assert [one["rows"] for one in world.ask("quarantine", "summary", "--superseded")] == [1]
    (output,) = world.ask("outputs", "list")
    assert (output["rows"], output["quarantined"], output["superseded_rows"]) == (52, 0, 100)

    newest, middle, oldest = corner.history()
    assert [(one["rows"], one["is_live"]) for one in (newest, middle, oldest)] == [(52, True), (50, False), (50, False)]
    assert (oldest["superseded_by"], middle["superseded_by"]) == (middle["job_id"], newest["job_id"])
    assert f"superseded by those of job {middle['job_id']}" in world.run("story", oldest["job_id"]).stdout
    assert len(world.published()) == 3, "superseded files stay on disk"
    assert corner.rows("--as-of", then) == 50
    (bad,) = world.ask("sql", "select count(*) as n from quarantine.advices", "--as-of", str(newest["seq"] - 1))
    assert bad["n"] == 1
    assert [one["job_id"] for one in world.ask("verify", "advices")] == [newest["job_id"]]

    next(path for path in world.published() if oldest["job_id"] in path.name).unlink()
    refused = world.run("sql", "select count(*) from advices", "--as-of", then, status=2)
    assert "no longer on disk" in refused.stderr
    assert corner.rows() == 52
    assert world.ask("sql", "select count(*) as n from cf_jobs", "--as-of", then) == [{"n": 1}]


def test_a_rerun_replaces_the_rows_of_the_first_run(corner: Corner) -> None:
    (job,) = corner.jobs()
    assert corner.world.ask("job", "rerun", job["id"])["replaces_rows"] == 50
    corner.world.run("process")
    assert corner.rows() == 50
    assert [one["is_live"] for one in corner.history()] == [True, False]


def test_a_job_whose_file_has_other_content_or_is_gone_is_not_run_again(corner: Corner) -> None:
    (job,) = corner.jobs()
    path = corner.write("day.txt", 51)
    corner.process()

    refused = corner.world.run("job", "rerun", job["id"], status=1)
    assert "its file has other content now" in refused.stderr
    path.unlink()
    corner.process()
    newest = next(each for each in corner.jobs() if each["id"] != job["id"])
    assert "its file is gone" in corner.world.run("job", "rerun", newest["id"], status=1).stderr
    assert len(corner.jobs()) == 2 and corner.rows() == 51


def test_a_changed_file_that_fails_keeps_its_earlier_rows_and_says_so(corner: Corner) -> None:
    corner.write("day.txt", 60, more="!boom\n")
    corner.process(status=1)
    assert corner.rows() == 50
    found = corner.file("day.txt")
    assert (found["status"], found["status_text"], found["rows"]) == ("failed", "changed, failed", 50)
    corner.write("day.txt", 60)
    corner.process()
    assert corner.rows() == 60
    assert corner.file("day.txt")["status_text"] == "processed"


def test_process_takes_in_what_a_rescan_that_was_just_asked_for_finds(served: World) -> None:
    corner = Corner(served)
    corner.write("day.txt", 5)
    name = f"in{corner.base}"
    served.run("source", "add", corner.folder, "--name", name, "--tag", "advice")
    for count in (5, 7):
        corner.write("day.txt", count)
        served.run("source", "rescan", name)
        served.run("process")
        assert corner.rows() == count
    served.run("source", "remove", name)


def test_a_failed_log_that_is_rotated_away_fails_or_succeeds_where_it_lies_now(corner: Corner) -> None:
    corner.write("day.txt", 60, more="!boom\n")
    corner.process(status=1)
    os.rename(corner.folder / "day.txt", corner.folder / "day.txt.1")
    corner.write("day.txt", 5, start=1_000)
    corner.process(status=1)
    assert corner.rows() == 5, "nobody has the 50 rows of before any more"
    assert [corner.file(name)["status"] for name in ("day.txt", "day.txt.1")] == ["processed", "failed"]
    (failed,) = corner.jobs("--status", "failed")
    assert failed["input"].endswith("day.txt.1"), "the failure of the rotated content stays open under its present name"

    corner.process(status=1)
    assert len(corner.jobs()) == 4, "it is not tried again and again"
    corner.write("day.txt.1", 60)
    corner.process()
    assert corner.rows() == 65


def test_a_file_that_is_renamed_while_its_job_waits_is_processed_under_its_new_name(corner: Corner) -> None:
    path = corner.write("day.txt", 60)
    corner.world.run("parser", "pause", "advice")
    corner.process()
    os.rename(path, path.with_name("day.txt.1"))
    corner.process()
    corner.world.run("parser", "resume", "advice")
    wait_for(lambda: corner.jobs("--status", "queued") == [], "the job has ended")
    corner.process()
    assert corner.rows() == 60
    assert corner.jobs("--status", "failed") == [], "the success under the new name closes the failure"


def test_a_file_that_comes_back_to_earlier_content_has_the_rows_of_that_content(corner: Corner) -> None:
    corner.write("day.txt", 70)
    corner.process()
    assert corner.rows() == 70
    corner.write("day.txt", 50)
    corner.process()
    assert corner.rows() == 50
    assert len(corner.jobs()) == 2, "nothing is processed twice"
    before = corner.seq()
    corner.process()
    told = corner.world.ask("sql", f"select type from cf_audit where seq > {before}")
    assert {"type": "ContentsRecognised"} not in told, "an unchanged tree costs no such event"


def test_copies_renamed_and_vanished_files_keep_their_rows(corner: Corner) -> None:
    corner.write("copy.txt", 50)
    corner.process()
    assert corner.rows() == 50
    assert corner.file("copy.txt")["rows"] == 50
    corner.write("day.txt", 10, start=1_000)
    corner.process()
    assert corner.rows() == 60, "the copy keeps its content alive"
    os.rename(corner.folder / "copy.txt", corner.folder / "gone.txt")
    corner.process()
    assert corner.rows() == 60
    (corner.folder / "gone.txt").unlink()
    corner.process()
    assert corner.rows() == 60
    assert corner.file("gone.txt", "--status", "vanished")["status_text"] == "vanished, rows kept"


def test_a_source_that_is_appended_to_keeps_the_rows_of_every_content(served: World) -> None:
    corner = Corner(served)
    corner.write("day.txt", 5)
    add = ("source", "add", corner.folder, "--name", f"in{corner.base}", "--tag", "advice")
    assert "the earlier ones stay" in served.run(*add, "--on-change", "append").stderr
    assert [one["on_change"] for one in served.ask("source", "list")] == ["append"]
    assert f"casparian source remove in{corner.base}" in served.run(*add, status=1).stderr
    for part in range(3):
        corner.write("day.txt", 5, start=5 * part)
        corner.process()
    assert corner.rows() == 15
    served.run("job", "rerun", corner.jobs()[0]["id"])
    served.run("process")
    assert corner.rows() == 15, "a rerun replaces the rows of its own content"


def test_a_failure_is_open_until_a_success_on_its_file_or_a_person_closes_it(corner: Corner) -> None:
    world = corner.world
    before = world.ask("status")["queue"]["failed"]
    corner.write("bad.txt", 0, more="!boom\n")
    corner.write("worse.txt", 0, more="\n!boom\n")
    corner.process(status=1)
    assert world.ask("status")["queue"]["failed"] == before + 2
    assert len(corner.jobs("--status", "failed")) == 2
    corner.write("bad.txt", 3, start=900)
    corner.process(status=1)  # the other one has still failed
    (worse,) = corner.jobs("--status", "failed")
    assert worse["input"].endswith("worse.txt")
    (mended,) = (job for job in corner.jobs("--status", "failed", "--all") if job["id"] != worse["id"])
    assert mended["closed_by"] == corner.jobs()[0]["id"]
    opened = sum(one["open"] for one in world.ask("errors", "list"))

    world.run("job", "close", worse["id"], status=2)  # without a reason
    world.run("job", "close", worse["id"], "--reason", "the sender withdrew it")
    assert world.ask("status")["queue"]["failed"] == before
    assert sum(one["open"] for one in world.ask("errors", "list")) == opened - 1
    assert corner.jobs("--status", "failed") == []
    shown = world.ask("job", "show", worse["id"])
    assert (shown["status"], shown["close_reason"]) == ("FAILED", "the sender withdrew it")
    assert "the sender withdrew it" in world.run("story", worse["id"]).stdout
    world.run("job", "close", worse["id"], "--reason", "again", status=1)


def test_every_row_leads_to_its_file(corner: Corner) -> None:
    found = corner.world.sql(
        "select f.source_path, f.relative_path, count(*) as n from advices a"
        f" join lineage.files f using (_cf_job_id, _cf_source_hash) where a.id = 'A{corner.base}' group by all"
    )
    assert found == [{"source_path": str(corner.folder / "day.txt"), "relative_path": "day.txt", "n": 1}]


def test_a_month_of_a_growing_log_with_reruns_and_a_corrected_parser(served: World) -> None:
    """Logs grow, are copied, break and are mended: every evening every row is in the table once."""
    corner = Corner(served)
    side = 0
    for day in range(8):
        log, fails = 20 + 3 * day, day == 5
        corner.write("growing.log", log)
        if day == 1:
            corner.write("copy.log", log)  # one job for both
        elif day > 1:
            corner.write("copy.log", log if day == 3 else 2, start=0 if day == 3 else 3_000)
        if day == 2:
            side = 7
            corner.write("side.log", side, start=5_000)
        if day == 4:
            served.register(advice("1.1.0"))
        if fails:
            corner.write("side.log", 8, start=5_000, more="!boom\n")  # its 7 rows stay
        if day == 6:
            side = 9
            corner.write("side.log", side, start=5_000)
        corner.process(status=1 if fails else 0)
        if day in (1, 4):
            job = next(one for one in corner.jobs() if one["input"].endswith(".log") and one["rows"] == log)
            served.run("job", "rerun", job["id"])
            served.run("process")
        assert corner.rows() == log + side + (2 if day > 1 and day != 3 else 0), day


def test_the_tables_are_what_the_log_says_after_all_that(served: World) -> None:
    served.run("stop")
    found = served.ask("log", "verify", "--tables")
    assert (found["tables"]["differences"], found["tables"].get("not_compared")) == ([], None)
    assert {"cf_commits", "cf_processed_contents"} <= set(found["tables"]["compared"])
    served.serve(1)


@pytest.mark.parametrize("how", ["written anew", "moved away and back"])
def test_a_file_that_was_gone_and_comes_back_with_more_lines_has_each_row_once(corner: Corner, how: str) -> None:
    path, aside = corner.folder / "late.txt", corner.world.root / f"aside-{corner.base}.txt"
    corner.write("late.txt", 6, start=1_000)
    corner.process()
    os.rename(path, aside)
    corner.process()
    assert corner.rows() == 56
    assert corner.file("late.txt", "--status", "vanished")["status_text"] == "vanished, rows kept"
    if how == "written anew":
        corner.write("late.txt", 8, start=1_000)
    else:
        with aside.open("a") as file:
            file.write(lines(2, start=corner.base + 1_006))
        os.rename(aside, path)
    corner.process()
    assert corner.rows() == 58
    assert corner.file("late.txt")["rows"] == 8
    assert not [one for one in corner.world.ask("files", "--status", "vanished") if one["path"] == str(path)]
