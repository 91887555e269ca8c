"""`process` says what became of the files asked for, whoever ran them, and why a file is not among them."""

from __future__ import annotations

import pytest

from casparian_protocol.client import Client
from casparian_protocol.home import Home
from tests.end_to_end.world import World, advice, lines, wait_for


@pytest.fixture(scope="module")
def asked(story: World) -> World:
    """A daemon that plans by itself, two files that fail, one that does not, and a copy of it."""
    story.run("init")
    story.serve(2)
    story.register(advice())
    story.write("bad_1.txt", "!boom\n")
    story.write("bad_2.txt", lines(1) + "!boom\n")
    story.write("good.txt", lines(3))
    story.write("same.txt", lines(3))
    story.scan()
    return story


def test_what_a_daemon_ran_before_the_call_is_reported_and_fails_it(asked: World) -> None:
    wait_for(
        lambda: sorted(job["status"] for job in asked.ask("jobs")) == ["COMPLETED", "FAILED", "FAILED"],
        "the daemon has run all by itself",
    )

    told = asked.ask("process", status=1)

    assert (told["jobs"]["completed"], told["jobs"]["failed"], told["rows"]) == (1, 2, 3)
    assert told["ended_before"] == 3
    (parser,) = told["asked"]
    assert (parser["files"], parser["duplicates"], parser["ended"], parser["failed"]) == (4, 1, 3, 2)
    failed = {job["id"]: job["input"] for job in asked.ask("jobs", "--status", "failed")}
    assert {one["id"]: one["input"] for one in told["failures"]} == failed


def test_a_failure_counts_until_the_work_was_done_again(asked: World) -> None:
    asked.write("more.txt", lines(2, start=100))
    asked.scan()

    done = asked.run("process", status=1)

    assert "1 completed" in done.stdout
    assert "2 failed earlier and have not been run again since" in done.stdout
    assert "advice: 5 files: " in done.stderr and "1 with the same content as another" in done.stderr
    assert " 2 failed before" in done.stderr and "casparian job rerun --failed" in done.stderr


def test_only_the_files_asked_for_are_waited_for_and_reported(asked: World) -> None:
    slow = asked.root / "slow"
    slow.mkdir()
    (slow / "slow.txt").write_text("!sleep 30\n" + lines(1, start=900))
    asked.run("scan", slow, "--tag", "advice")
    wait_for(lambda: asked.ask("status")["queue"]["running"] == 1, "the slow one runs")
    quick = asked.root / "quick"
    quick.mkdir()
    (quick / "quick.txt").write_text(lines(2, start=800))
    asked.run("scan", quick, "--tag", "advice")

    told = asked.ask("process", "--path", quick)

    assert (told["jobs"]["completed"], told["jobs"]["failed"], told["rows"], told["left"]) == (1, 0, 2, 0)
    assert asked.ask("status")["queue"]["running"] == 1
    (running,) = asked.ask("jobs", "--status", "running")
    asked.run("job", "cancel", running["id"])
    wait_for(lambda: asked.ask("jobs", "--status", "cancelled") != [], "it is stopped")


def test_a_cancelled_file_is_named_and_left_alone_until_it_is_asked_for(asked: World) -> None:
    slow = asked.root / "slow"
    asked.run("scan", slow, "--tag", "advice")
    asked.run("contract", "approve", "advice")

    told = asked.ask("process", "--path", slow)

    assert (told["jobs"]["completed"], told["left"]) == (0, 0)
    (left,) = told["not_queued"]
    assert (left["code"], left["files"]) == ("CANCELLED", 1)
    assert [one["path"] for one in asked.ask("files", "--status", "cancelled")] == [str(slow / "slow.txt")]
    would = asked.ask("process", "--path", slow, "--include-cancelled", "--dry-run")
    assert (would["not_queued"], would["asked"][0]["cancelled"]) == ([], 1)
    assert asked.ask("jobs", "--status", "running") == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--tag", "advixe"], 2, "There is no tag advixe.\n  Did you mean advice?"),
        (["--parser", "advise"], 2, "There is no parser advise.\n  Did you mean advice?"),
        (["--parser", "advice", "--tag", "other"], 2, "Parser advice does not take the tag other.\n  It takes advice."),
        (["--path", "/nowhere/at/all"], 2, "There is no file or directory /nowhere/at/all."),
    ],
)
def test_a_selection_that_can_mean_nothing_is_refused_with_what_was_perhaps_meant(
    asked: World, arguments: list[str], status: int, said: str
) -> None:
    assert said in asked.run("process", *arguments, status=status).stderr


def test_a_tag_that_no_parser_takes_is_named_with_its_files(asked: World) -> None:
    stray = asked.root / "stray"
    stray.mkdir()
    (stray / "one.txt").write_text("x")
    asked.run("scan", stray, "--tag", "advise")

    everything = asked.run("process", "--path", stray, status=1)
    by_tag = asked.run("process", "--tag", "advise", status=1)

    assert "not queued: 1 file: no parser takes the tag advise. Did you mean advice?" in everything.stderr
    assert "No parser takes the tag advise, which 1 file carries." in by_tag.stderr
    assert asked.ask("process", "--path", stray, "--dry-run")["no_parser"] == [
        {"tag": "advise", "files": 1, "hint": "Did you mean advice?"}
    ]


def test_a_worker_that_starts_is_shown_as_one(world: World) -> None:
    world.run("init")
    world.run("start", "--workers", "2", "--detach")
    try:
        workers = world.ask("status")["workers"]
        assert [one["id"] for one in sorted(workers, key=lambda one: one["id"])] == ["local-1", "local-2"]
        assert "No workers" not in world.run("status").stderr
        with Client.connect(Home(world.home)) as client:
            assert {one["id"] for one in client.request("status")["workers"]} <= {"local-1", "local-2"}
    finally:
        world.run("stop")
