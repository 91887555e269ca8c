"""Local workers as children: replaced when they die, adopted when the sentinel died, given up when hopeless."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from casparian_protocol.client import Client
from casparian_protocol.home import Home
from casparian_sentinel.daemon.children import GIVE_UP_AFTER, Backoff, describe_exit, read_pids
from tests.ending import await_end
from tests.sentinel.daemon.world import PATIENCE_SECONDS, Daemon, event_types, new_home, until

MODULE = ("-m", "tests.sentinel.daemon.daemon_with_workers")


def start(home: Home, trick: str = "lives", *arguments: str) -> Daemon:
    return Daemon(home, *(arguments or ("--workers", "1")), module=MODULE, WORKER_TRICK=trick)


def only_worker(client: Client) -> dict[str, Any] | None:
    workers = client.request("status")["workers"]
    return workers[0] if workers else None


def test_a_killed_worker_is_noticed_at_once_and_replaced(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    daemon = start(home)
    with daemon.client() as client:
        first = until(lambda: only_worker(client), "the worker says hello")
        os.kill(first["pid"], signal.SIGKILL)
        second = until(
            lambda: (found := only_worker(client)) and found["pid"] != first["pid"] and found, "it is replaced"
        )
        assert second["id"] == first["id"] == "local-1"
        types = event_types(client)
        assert types.count("WorkerJoined") == 2
        assert types.count("WorkerLost") == 1
    assert daemon.stop() == 0
    assert read_pids(home.run / "workers.json") == {}


def test_workers_of_a_killed_sentinel_are_not_started_twice(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    first = start(home)
    with first.client() as client:
        worker = until(lambda: only_worker(client), "the worker says hello")
    first.kill()
    second = start(home)
    assert "is still running" in second.said()
    assert read_pids(home.run / "workers.json") == {"local-1": worker["pid"]}
    second.process.send_signal(signal.SIGINT)
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(PATIENCE_SECONDS) == 0
    await_end([worker["pid"]])  # the orphan


def test_workers_that_only_die_are_given_up_loudly(tmp_path: Path) -> None:
    daemon = start(new_home(tmp_path), "dies", "--workers", "1")
    with daemon.client() as client:
        client.request("add_source", {"name": "s", "path": "/data/s"})
        until(lambda: "given up" in daemon.said(), "it is given up")
        reason = f"it exited with 0, {GIVE_UP_AFTER} times within seconds of its start"
        assert reason in daemon.said()
        assert client.request("status")["given_up"] == [{"worker": "local-1", "reason": reason}]
    assert daemon.stop() == 0


def test_back_off_grows_and_is_forgotten_after_a_good_life() -> None:
    backoff = Backoff()
    waits = [backoff.died_after(0.1) for _ in range(GIVE_UP_AFTER)]
    assert waits == sorted(waits)
    assert waits[0] < 1 < waits[-1]
    assert backoff.is_hopeless
    backoff.died_after(3600)
    assert not backoff.is_hopeless


def test_exits_are_told_in_words() -> None:
    assert [describe_exit(code) for code in (3, -9)] == ["exited with 3", "killed by SIGKILL"]


def test_a_worker_that_was_stopped_is_replaced_when_its_lease_is_over(tmp_path: Path) -> None:
    """As by a SIGSTOP from its own guest: it neither ends nor speaks."""
    home = new_home(tmp_path, "[liveness]\nlease_timeout_seconds = 1.5\n")
    daemon = start(home)
    with daemon.client() as client:
        first = until(lambda: only_worker(client), "the worker says hello")
        os.kill(first["pid"], signal.SIGSTOP)
        second = until(
            lambda: (found := only_worker(client)) and found["pid"] != first["pid"] and found, "it is replaced"
        )
        assert second["id"] == first["id"]
    await_end([first["pid"]])
    assert "was silent for" in daemon.said()
    assert daemon.stop() == 0
