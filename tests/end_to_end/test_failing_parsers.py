"""A parser that fails again and again is paused, tried again and let go; what gave up can be replayed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.end_to_end.world import World, advice, lines, wait_for


def _boom(number: int) -> str:
    return lines(number) + "!boom\n"


def _events(world: World) -> list[str]:
    found = world.sql(
        "select type from cf_audit where type in ('ParserRegistered', 'ParserPaused', 'ParserHalfOpened',"
        " 'ParserResumed') order by seq"
    )
    return [row["type"] for row in found]


@pytest.fixture(scope="module")
def paused(story: World) -> World:
    """Five files that the parser fails on, then fifteen that it reads."""
    story.run("init")
    story.register(advice())
    for number in range(1, 6):
        story.write(f"a{number}.txt", _boom(number))
    for number in range(15):
        story.write(f"b{number:02}.txt", lines(3, start=1000 * (number + 1)))
    story.scan()
    return story


def test_five_failures_pause_the_parser_and_the_rest_stays_queued(paused: World) -> None:
    done = paused.run("process", "--workers", "1", status=1)

    assert "left: the parser is paused (advice)" in done.stderr
    assert len(paused.ask("jobs", "--status", "failed")) == 5
    assert len(paused.ask("jobs", "--status", "queued")) > 0
    (health,) = paused.ask("parser", "health")
    assert (health["state"], health["version"]) == ("open", "1.0.0")
    assert health["pause_reason"] == "[CIRCUIT_BREAKER] Parser 'advice' paused after 5 consecutive failures"
    between = datetime.fromisoformat(health["probe_at"]) - datetime.fromisoformat(health["paused_at"])
    assert between == timedelta(minutes=10)
    assert _events(paused) == ["ParserRegistered", "ParserPaused"]


def test_another_run_leaves_it_paused(paused: World) -> None:
    before = len(paused.ask("jobs", "--status", "queued"))
    summary = paused.ask("process", "--workers", "1")

    assert (summary["left"], summary["jobs"]["completed"], summary["jobs"]["failed"]) == (before, 0, 0)


def test_the_cause_is_one_with_all_its_files(paused: World) -> None:
    (cause,) = paused.ask("errors", "list")
    assert (cause["code"], cause["occurrences"], cause["files"], cause["parsers"]) == ("INVALID_DATA", 5, 5, ["advice"])

    fingerprint = cause["fingerprint"]
    assert f"ERR-{fingerprint[:8]} " in paused.run("errors", "list").stdout
    for written in (fingerprint, fingerprint[:8], f"ERR-{fingerprint}", f"err-{fingerprint[:9].upper()}"):
        shown = paused.run("errors", "show", written).stdout
        assert shown.startswith(f"5 occurrences of ERR-{fingerprint} across 5 files\n")
        assert "advice.py: parse" in shown
    files = paused.ask("errors", "files", fingerprint)
    assert sorted(one["file"] for one in files) == [str(paused.inbox / f"a{number}.txt") for number in range(1, 6)]
    assert paused.ask("errors", "show", fingerprint)["jobs"] == {"FAILED": 5}


@pytest.mark.parametrize("wrong", ["a1b2c3", "ERR-zzzzzzzz", "0123456789abcdef0", "0000000000000000"])
def test_what_is_no_fingerprint_is_refused_with_the_way_to_find_one(paused: World, wrong: str) -> None:
    assert "`casparian errors list`" in paused.run("errors", "show", wrong, status=2).stderr


def test_a_person_resumes_it_and_the_rest_runs(paused: World) -> None:
    paused.run("parser", "resume", "advice", "--reason", "the five are odd")
    paused.ask("process", "--workers", "1")

    assert len(paused.ask("jobs", "--status", "completed")) == 15
    assert paused.ask("parser", "health", "advice")[0]["consecutive_failures"] == 0
    assert _events(paused)[1:] == ["ParserPaused", "ParserResumed"]
    paused.assert_at_rest()


def test_a_probe_that_succeeds_lets_the_rest_run_by_itself(world: World) -> None:
    world.run("init")
    (world.home / "config.toml").write_text("[breaker]\ncooldown_seconds = 0.5\n")
    world.register(advice())
    for number in range(1, 6):
        world.write(f"a{number}.txt", _boom(number))
    for number in range(15):
        world.write(f"b{number:02}.txt", lines(3, start=1000 * (number + 1)))
    world.scan()
    world.run("start", "--workers", "1", "--detach")
    try:
        wait_for(lambda: len(world.ask("jobs", "--status", "completed")) == 15, "the fifteen good files are read")
        seen = _events(world)
        assert seen[1:] == ["ParserPaused", "ParserHalfOpened", "ParserResumed"]
        assert world.ask("parser", "health")[0]["state"] == "running"
    finally:
        world.run("stop")
    world.assert_at_rest()


def test_dead_letters_are_listed_with_their_reason_and_replayed(world: World) -> None:
    world.run("init")
    (world.home / "config.toml").write_text("[retry]\nmax_retries = 0\n")
    world.register(advice(on_boom="raise TimeoutError('the exchange is asleep')"))
    for number in range(1, 4):
        world.write(f"a{number}.txt", _boom(number))
    world.scan()
    assert world.ask("process", "--workers", "1", status=1)["jobs"]["dead_letter"] == 3
    dead = world.ask("jobs", "--dead-letter")
    assert [job["reason"] for job in dead] == ["retries"] * 3
    listed = world.run("jobs", "--dead-letter").stdout
    assert "gave up" in listed
    assert listed.count("retries") == 3

    assert world.ask("jobs", "replay", dead[0]["id"]) == {"replayed": 1, "refused": []}
    assert world.ask("jobs", "replay", "--fingerprint", f"ERR-{dead[0]['fingerprint'][:8]}")["replayed"] == 2
    assert world.ask("jobs", "replay", "--all-dead")["replayed"] == 0
    queued = world.ask("jobs", "--status", "queued")
    assert [job["retry_count"] for job in queued] == [0, 0, 0]
    world.run("jobs", "replay", dead[0]["id"], status=1)
    world.run("jobs", "replay", status=2)
    world.assert_at_rest()
