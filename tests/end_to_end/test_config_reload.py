"""A changed setting is taken over where that is possible, and named where it is not; nothing is silently old."""

from __future__ import annotations

from casparian_protocol.settings import READ_BY_COMMANDS, RELOADABLE, known_keys
from tests.end_to_end.world import World, advice, lines, wait_for


def _configure(world: World, text: str) -> None:
    (world.home / "config.toml").write_text(text)


def test_a_running_daemon_takes_over_what_needs_no_restart_and_names_the_rest(world: World) -> None:
    world.run("init")
    _configure(world, "[quarantine]\nmax_pct = 10.0\n")
    world.register(advice())
    world.run("start", "--workers", "1", "--detach")
    try:
        world.write("bad.txt", lines(10, bad=(1, 2)))
        world.scan()
        wait_for(lambda: [job["status"] for job in world.ask("jobs")] == ["FAILED"], "a fifth is too much")

        _configure(world, "[quarantine]\nmax_pct = 50.0\n[retry]\nmax_retries = 7\n[limits]\nwall_seconds = 99\n")
        shown = world.run("config", "show")
        assert "the running daemon still has quarantine.max_pct = 10.0" in shown.stdout
        assert "the running daemon still has limits.wall_seconds = 3600" in shown.stdout
        assert world.ask("config", "show", "quarantine.max_pct")["quarantine.max_pct"]["daemon"] == 10.0

        (job,) = world.ask("jobs")
        told = world.run("job", "retry", job["id"])
        assert "advices: at most 10 % of the rows may be bad, as when it was queued" in told.stderr
        assert "a new job would get" not in told.stderr  # the daemon does not know the new value yet
        wait_for(lambda: world.ask("jobs")[0]["status"] == "FAILED", "the policy it was queued with holds")

        result = world.ask("config", "reload", status=1)
        assert sorted(result["changed"]) == ["quarantine.max_pct", "retry.max_retries"]
        assert result["changed"]["retry.max_retries"] == {"before": 3, "now": 7}
        assert result["needs_restart"] == ["limits.wall_seconds"]
        assert "Settings reloaded" in (world.home / "logs" / "daemon.log").read_text()
        again = world.ask("config", "reload", status=1)
        assert (again["changed"], again["needs_restart"]) == ({}, ["limits.wall_seconds"])

        told = world.run("job", "retry", job["id"])
        assert (
            "a new job would get: at most 50 % of the rows may be bad (`casparian job rerun` makes one)" in told.stderr
        )
        wait_for(lambda: world.ask("jobs")[0]["status"] == "FAILED", "a retry keeps its policy")
        world.run("job", "rerun", job["id"])
        wait_for(lambda: "PARTIAL_SUCCESS" in [one["status"] for one in world.ask("jobs")], "a new job has the new one")

        _configure(world, "[quarantine]\nmax_pct = 500.0\n")
        assert "is not allowed" in world.run("config", "reload", status=1).stderr
        assert world.ask("config", "check", status=1)["error"]["code"] == "SETTINGS_ERROR"
    finally:
        _configure(world, "")
        world.run("stop")


def test_without_a_daemon_there_is_nothing_to_reload(world: World) -> None:
    world.run("init")
    assert "No daemon" in world.run("config", "reload", status=3).stderr


def test_every_setting_says_what_a_change_needs(world: World) -> None:
    world.run("init")
    shown = world.ask("config", "show")

    assert RELOADABLE | READ_BY_COMMANDS <= set(known_keys()) == set(shown)
    assert {one["takes_effect"] for one in shown.values()} == {"nothing", "config reload", "restart"}
    assert shown["limits.wall_seconds"]["takes_effect"] == "restart"
