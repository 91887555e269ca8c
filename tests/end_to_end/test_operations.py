"""What whoever runs it at night relies on: a drain with a deadline, workers given up loudly, a disk that fills."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.world import World, advice, lines, wait_for

#: Ends every process that is to be a worker, as a broken installation would.
NO_WORKERS = """
import os, sys
if "casparian_worker" in sys.orig_argv:
    sys.stderr.write("cannot start: no reason\\n")
    os._exit(7)
"""


def prepare(world: World, config: str = "") -> None:
    world.run("init")
    (world.home / "config.toml").write_text("[log]\nreserve_bytes = 65536\nlow_disk_bytes = 0\n" + config)
    world.register(advice())


def test_a_job_longer_than_the_deadline_is_given_back_and_nothing_is_lost(world: World) -> None:
    prepare(world, "[daemon]\ndrain_seconds = 0.3\n[retry]\nmax_retries = 0\n")
    world.write("long.txt", "!sleep 60\n" + lines(3))
    world.scan()
    world.run("start", "--detach", "--workers", "1")
    wait_for(lambda: world.ask("status")["queue"]["running"] == 1, "the long job runs")
    look_into_a_bundle(world)
    began = time.monotonic()
    world.run("stop")
    assert time.monotonic() - began < 50  # of the sixty that the job would take
    world.assert_at_rest()

    (job,) = world.ask("jobs")
    assert job["status"] == "QUEUED"
    assert world.published() == []
    types = [row["type"] for row in world.sql("select type from cf_audit order by seq")]
    assert "JobFailed" not in types and "JobRetryScheduled" not in types
    assert types[-1] == "SentinelStopped"

    world.write("long.txt", lines(3))  # the same job does not run again as it was: its input changed, a new one does
    world.scan()
    done = world.ask("process", "--workers", "1")  # the old one fails before the new one has done its work again
    assert (done["jobs"]["completed"], done["jobs"]["dead_letter"] + done["jobs"]["failed"]) == (1, 1)
    assert world.sql("select count(*) as n from advices") == [{"n": 3}]


def look_into_a_bundle(world: World) -> None:
    """Beside a daemon that works: its status without a name of what it works on."""
    world.run("support-bundle", world.root / "s.tar.gz")
    with tarfile.open(world.root / "s.tar.gz") as bundle:
        reader = bundle.extractfile("casparian-support/status.json")
        assert reader is not None
        text = reader.read().decode()
    status = json.loads(text)
    assert (status["queue"]["running"], status["intake"], status["mode"]) == (1, "open", "daemon")
    assert status["workers"][0]["state"] == "busy"
    assert status["workers"][0]["jobs"][0]["seconds"] >= 0
    assert "long.txt" not in text and "advice" not in text and str(world.home) not in text


def test_a_drained_daemon_ends_with_exit_0_whether_the_job_was_done_or_not(world: World) -> None:
    prepare(world, "[daemon]\ndrain_seconds = 0.3\n")
    world.write("long.txt", "!sleep 60\n" + lines(3))
    world.scan()
    daemon = world.popen("start", "--foreground", "--workers", "1")
    try:
        wait_for(lambda: (world.home / "run" / "sentinel.pid").exists(), "the daemon is ready")
        wait_for(lambda: world.ask("status")["queue"]["running"] == 1, "the long job runs")
        daemon.terminate()
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.communicate()
    world.assert_at_rest()
    assert world.ask("status")["queue"]["queued"] == 1


def test_process_does_not_wait_for_workers_that_only_die(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(world)
    world.write("a.txt", lines(3))
    world.scan()
    broken = world.root / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(NO_WORKERS)
    monkeypatch.setenv("PYTHONPATH", str(broken))
    world.run("start", "--detach", "--workers", "1")
    done = world.run("process", status=1)
    assert "Workers keep failing (local-1: it exited with 7, 5 times within seconds of its start" in done.stderr
    assert "daemon.log" in done.stderr
    assert "cannot start: no reason" in (world.home / "logs" / "daemon.log").read_text()
    assert world.ask("status")["queue"]["queued"] == 1
    assert "given up: worker local-1: it exited with 7" in world.run("status").stdout
    world.run("stop")
    monkeypatch.delenv("PYTHONPATH")
    assert world.ask("process", "--workers", "1")["jobs"]["completed"] == 1
    world.assert_at_rest()


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """The home on a file system of 64 MiB of its own; only where tests may mount one."""
    world.home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", str(world.home)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield world.home
    subprocess.run(["umount", "--lazy", str(world.home)], check=True)


def test_below_the_floor_new_work_is_refused_in_words_and_what_runs_finishes(world: World, small_disk: Path) -> None:
    world.run("init")
    (small_disk / "config.toml").write_text("[log]\nreserve_bytes = 65536\nlow_disk_bytes = 16777216\n")
    world.register(advice())
    world.write("growing.txt", lines(2) + "!grow\n")
    world.scan()
    world.run("start", "--detach", "--workers", "1")
    wait_for(lambda: world.ask("status")["queue"]["running"] == 1, "a job runs")

    free = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - 8 * 1024 * 1024))
    wait_for(lambda: world.ask("status")["sentinel"]["intake"] != "open", "intake is paused")
    assert "below the floor of 16.0 MiB; no new job starts until there is room again" in world.run("status").stdout
    world.write("more.txt", lines(2))
    world.run("scan", world.inbox / "more.txt", "--tag", "advice")
    refused = world.run("process", status=1)
    assert "No new work is taken: disk: " in refused.stderr
    assert "Free disk space" in refused.stderr

    grown = world.inbox / "growing.txt"
    assert world.ask("jobs", "--status", "running") != []
    grown.write_text(grown.read_text() + "!grown\n")  # lets its parser end; the job may fail for the change, it ends
    wait_for(lambda: world.ask("status")["queue"]["running"] == 0, "what ran has ended")

    (small_disk / "ballast").unlink()
    wait_for(lambda: world.ask("status")["sentinel"]["intake"] == "open", "intake is open again by itself")
    wait_for(
        lambda: world.sql("select count(*) as n from advices where id in ('A0', 'A1')")[0]["n"] >= 2,
        "the waiting file is worked off without a restart",
    )
    world.run("stop")
    world.assert_at_rest()
