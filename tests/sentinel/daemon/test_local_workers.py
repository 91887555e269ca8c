"""Local workers as children: replaced when they die, adopted when the sentinel died, given up when hopeless."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.client import Client
from casparian_protocol.home import Home
from casparian_sentinel.daemon.children import GIVE_UP_AFTER, Backoff, Child, LocalWorkers, describe_exit, read_pids
from casparian_sentinel.daemon.projector import Projector
from casparian_sentinel.ports import RealClock
from tests.crash.mounts import filled, move_onto_tmpfs
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


def test_a_child_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = []

    def refuse(pid: int) -> int:
        pids.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        Child(["sleep", "60"], RealClock(), lambda how: None, output=2)

    assert not Path(f"/proc/{pids[0]}").exists()


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


# --- want of space, descriptors or processes


def test_on_a_full_disk_the_daemon_starts_replaces_a_killed_worker_and_stops_cleanly(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    home.run.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        move_onto_tmpfs(stack, home.run, "1m")
        with filled(home.run):
            daemon = start(home)
            with daemon.client() as client:
                first = until(lambda: only_worker(client), "the worker says hello")
                os.kill(first["pid"], signal.SIGKILL)
                until(lambda: (found := only_worker(client)) and found["pid"] != first["pid"], "it is replaced")
            assert daemon.stop() == 0
        assert "The pids of the workers cannot be written" in daemon.said()
        assert "Stopped at event" in daemon.said()
        assert [path.name for path in home.run.iterdir() if path.is_socket()] == []


def test_when_a_part_cannot_be_closed_the_others_are_and_the_log_is_sealed(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    daemon = Daemon(home, "--workers", "0", module=("-m", "tests.sentinel.daemon.unclosable_daemon"))
    assert daemon.stop() == 1
    assert "a fault of ours" in daemon.said()
    assert "Stopped at event" in daemon.said()
    assert [path.name for path in home.run.iterdir() if path.is_socket() or path == home.pid_file] == []


def local_workers(home: Home, command: Callable[[Home, str], list[str]]) -> LocalWorkers:
    return LocalWorkers(
        home,
        1,
        RealClock(),
        2,
        on_gone=lambda worker_id, how: None,
        on_hopeless=lambda: None,
        may_restart=lambda: True,
        command=command,
        first_backoff_seconds=0.001,
    )


async def come(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 -- nothing announces it
            await asyncio.sleep(0.005)


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    tries = [["/nowhere/python"], ["/nowhere/python"], ["/bin/sleep", "1000"]]

    async def life() -> None:
        workers = local_workers(new_home(tmp_path), lambda home, name: tries.pop(0))
        workers.start()
        await come(lambda: workers.pids)
        assert (tries, workers.given_up) == ([], [])
        await workers.close(grace_seconds=0.0)
        assert workers.pids == {}

    asyncio.run(life())


def test_pids_that_a_full_disk_refused_are_written_when_there_is_room(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    home.run.mkdir(mode=0o700, exist_ok=True)

    async def life() -> None:
        workers = local_workers(home, lambda home, name: ["/bin/sleep", "1000"])
        with filled(home.run):
            workers.start()
            assert read_pids(home.run / "workers.json") == {}
        workers.end_silent({}, 60.0)
        assert read_pids(home.run / "workers.json") == workers.pids
        await workers.close(grace_seconds=0.0)

    with ExitStack() as stack:
        move_onto_tmpfs(stack, home.run, "1m")
        asyncio.run(life())


class SetClock(RealClock):
    now_s = 0.0

    def monotonic_seconds(self) -> float:
        return self.now_s


def test_the_life_of_a_child_ends_with_the_child() -> None:
    clock, ends = SetClock(), list[str]()

    async def life() -> None:
        child = Child(["/bin/true"], clock, ends.append, output=2)
        await come(lambda: ends)
        clock.now_s += 100
        assert (ends, child.lived_seconds) == (["exited with 0"], 0.0)

    asyncio.run(life())


def test_a_projector_that_cannot_be_started_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SetClock()

    async def life() -> None:
        monkeypatch.setattr(sys, "executable", "/bin/true")
        projector = Projector(
            new_home(tmp_path), clock, 2, on_applied=lambda seq: None, on_away=aways.append, first_backoff_seconds=0.001
        )
        projector.start()
        await come(lambda: aways)
        clock.now_s += 100  # the next starts fail long after the child has ended
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        await come(lambda: projector.is_given_up)
        await projector.close()

    aways = list[str]()
    asyncio.run(life())


@pytest.mark.parametrize(
    "content", ["", "[", "[" * 30_000, "7", '{"local-1": 1e999}', '{"local-1": true}', f'{{"local-1": {2**80}}}', None]
)
def test_pids_that_cannot_be_read_are_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "workers.json"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    assert read_pids(path) == {}
