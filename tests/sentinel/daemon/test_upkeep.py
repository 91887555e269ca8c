"""What a daemon clears away by itself: its own log, scratch of dead attempts, unfinished blobs; it says when it is ready."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from casparian_protocol.client import NoSentinel, RequestRefused, TablesAway
from casparian_protocol.home import Home
from casparian_protocol.trees import remove_if_unused
from casparian_protocol.wire import messages as m
from casparian_sentinel.daemon.options import ServiceManager
from tests.ending import words_of
from tests.sentinel.daemon.test_local_workers import MODULE
from tests.sentinel.daemon.world import Daemon, TinyWorker, new_home, observe, register, running, until


def test_the_daemons_log_is_rotated_and_workers_and_projector_follow(tmp_path: Path) -> None:
    home = new_home(tmp_path, "[daemon]\nlog_bytes = 65536\nlog_files = 2\n[liveness]\nheartbeat_seconds = 0.1\n")
    home.daemon_log.write_bytes(b"old words\n" + b"x" * 70_000)
    (home.logs / "2020-01-01").mkdir()
    (home.logs / "2020-01-01" / "00000000000000aa.log").write_text("a job's log of long ago")
    with running(home, "--workers", "1") as daemon, daemon.client() as client:
        until(lambda: home.daemon_log.stat().st_size < 65_536, "the full log is rotated at the start")
        assert (home.logs / "daemon.log.1").read_bytes().startswith(b"old words\n")
        worker = until(lambda: client.request("status")["workers"], "the worker says hello")[0]
        until(lambda: not (home.logs / "2020-01-01").exists(), "a worker that starts clears old logs of jobs")
        with home.daemon_log.open("ab") as log:
            log.write(b"y" * 70_000)
        until(lambda: (home.logs / "daemon.log.2").exists(), "it is rotated again while it lives")
        present = home.daemon_log.stat().st_ino
        writers = [worker["pid"], daemon.process.pid, *children_of(daemon.process.pid)]
        until(
            lambda: all(log_of(home, pid) in (set(), {present}) for pid in writers), "everybody writes into the new one"
        )
        assert log_of(home, worker["pid"]) == {present}


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def log_of(home: Home, pid: int) -> set[int]:
    """The files of the daemon's log, present or old, that the process holds, as inodes."""
    held = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(each).startswith(str(home.daemon_log)):
                held.add(each.stat().st_ino)
        except FileNotFoundError:
            continue
    return held


def test_scratch_of_dead_attempts_goes_at_the_start_and_when_a_lease_ends_but_never_under_a_living_worker(
    tmp_path: Path,
) -> None:
    home = new_home(tmp_path)
    dead = home.scratch / "00000000000000aa-1"
    (dead / "deep").mkdir(parents=True)
    held = home.scratch / "00000000000000bb-1"
    held.mkdir()
    lock = os.open(held, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with running(home) as daemon, daemon.client() as client:
        until(lambda: not dead.exists(), "it is removed at the start")
        assert held.exists()
        os.close(lock)
        until(lambda: not held.exists(), "it is removed when its worker let go")
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        client.request("queue")
        with TinyWorker(home, "w1") as worker:
            worker.connect()
            job = worker.take()
            worker.started(job)
            leased = home.scratch / f"{job.job.job_id}-{job.epoch}"
            leased.mkdir()
            time.sleep(1.2)  # more than one look: the lease protects it
            assert leased.exists()
            worker.send(m.Bye())
            until(lambda: not leased.exists(), "it goes with its lease")


def test_scratch_that_its_guest_closed_even_to_itself_is_removed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "in").mkdir(parents=True)
    (closed / "in").chmod(0)
    closed.chmod(0)
    assert remove_if_unused(closed)
    assert not closed.exists()


def test_blobs_that_nobody_finishes_are_collected_at_the_start(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    incoming = home.blobs / "incoming"
    incoming.mkdir()
    left, fresh = incoming / "left", incoming / "fresh"
    left.write_bytes(b"half")
    fresh.write_bytes(b"being written")
    os.utime(left, (time.time() - 3600, time.time() - 3600))
    with running(home):
        until(lambda: not left.exists(), "it is collected")
        assert fresh.exists()


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_service_manager_hears_of_readiness_life_and_the_end(tmp_path: Path, is_abstract: bool) -> None:
    home = new_home(tmp_path)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"casparian-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    manager.bind(f"\0{name}" if is_abstract else name)
    manager.settimeout(20)
    daemon = Daemon(home, NOTIFY_SOCKET=f"@{name}" if is_abstract else name, WATCHDOG_USEC="1000000")
    assert daemon.is_ready, daemon.said()
    said = until_said(manager, "READY=1")
    assert f"MAINPID={daemon.process.pid}" in said
    assert any(line.startswith("STATUS=0 queued, 0 running") for line in said)
    began = time.monotonic()
    for _ in range(2):
        until_said(manager, "WATCHDOG=1")
    assert time.monotonic() - began < 20
    assert daemon.stop() == 0
    assert "STATUS=draining" in until_said(manager, "STOPPING=1")
    manager.close()


def until_said(manager: socket.socket, line: str) -> list[str]:
    while True:
        said = manager.recv(4096).decode().splitlines()
        if line in said:
            return said


def test_a_stopped_loop_is_not_called_alive(tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(20)
    daemon = Daemon(new_home(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="500000")
    until_said(manager, "WATCHDOG=1")
    daemon.process.send_signal(signal.SIGSTOP)
    manager.settimeout(1.0)
    with pytest.raises(TimeoutError):
        while True:
            manager.recv(4096)
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.stop() == 0
    manager.close()


NO_PROJECTOR = """
import os, sys
if "casparian_sentinel.projection" in sys.orig_argv:
    os._exit(7)
"""


def test_a_projector_that_only_dies_is_told_of_and_questions_do_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_PROJECTOR)
    home = new_home(tmp_path)
    with running(home, module=MODULE, PYTHONPATH=str(tmp_path)) as daemon, daemon.client() as client:
        until(
            lambda: "given up for now: it exited with 7, 5 times" in client.request("status")["projection"]["state"],
            "it is told",
        )
        began = time.monotonic()
        with pytest.raises(RequestRefused, match="given up for now"):
            client.request("rerun", {"job_id": "00000000000000aa"})
        assert time.monotonic() - began < 20  # half of what a living projector is given
        began = time.monotonic()
        with pytest.raises(
            TablesAway, match="The tables are not available now: the projector is given up for now: it exited"
        ):
            client.query("select 1")
        assert time.monotonic() - began < 15
        client.request("add_source", {"name": "s", "path": "/data/s"})  # decisions go on


def test_a_stopped_projector_is_reported_and_a_killed_one_is_waited_for(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    with running(home) as daemon, daemon.client() as client:
        assert client.query("select 1").rows == [[1]]
        [projector] = [
            child
            for child in psutil.Process(daemon.process.pid).children()
            if "projection" in " ".join(words_of(child))
        ]
        projector.suspend()
        until(lambda: client.request("status")["projection"]["phase"] == "hung", "its silence is noticed")
        with pytest.raises(TablesAway, match="the projector is hung: it has not been heard from for"):
            client.query("select 1")
        projector.kill()
        until(lambda: client.request("status")["projection"]["state"] != "ready", "its end is noticed")
        until(lambda: client.request("status")["projection"]["state"] == "ready", "it is started again")
        assert client.query("select 1").rows == [[1]]


def test_only_the_process_that_is_meant_tells_the_watchdog() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1", "HOME": "/"}
    assert ServiceManager.from_environment(environment).watchdog_seconds == 0
    assert environment == {"HOME": "/"}
    mine = {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}
    assert ServiceManager.from_environment(mine).watchdog_seconds == 5


def test_a_manager_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    service = ServiceManager(str(tmp_path / "nobody"), 1.0)
    service.ready("here")
    service.alive(0.0)
    service.stopping("gone")
    service.close()


def test_given_up_workers_are_told_to_the_manager_too(tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(20)
    daemon = Daemon(
        new_home(tmp_path), "--workers", "1", module=MODULE, WORKER_TRICK="dies", NOTIFY_SOCKET=str(tmp_path / "notify")
    )
    until(lambda: "worker local-1 given up" in manager.recv(4096).decode(), "it is told")
    assert daemon.stop() == 0
    manager.close()


def test_a_daemon_is_found_from_any_environment_and_leaves_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home is so deep that its sockets lie elsewhere, and the daemon's runtime directory is not the client's."""
    short = Path(tempfile.mkdtemp(prefix="cf-"))  # a socket's path has 107 bytes
    theirs, ours = short / "a", short / "b"
    for runtime in (theirs, ours):
        runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(ours))
    home = Home(tmp_path / ("deep" * 25) / "home")
    home.root.parent.mkdir()
    with running(home, XDG_RUNTIME_DIR=str(theirs)) as daemon:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        with daemon.client() as client:
            assert client.query("select 1").rows == [[1]]
        assert daemon.stop() == 0
    assert list(theirs.rglob("*.sock")) == []
    assert not home.sockets_record.exists()
    with pytest.raises(NoSentinel):
        daemon.client()
    shutil.rmtree(short)
