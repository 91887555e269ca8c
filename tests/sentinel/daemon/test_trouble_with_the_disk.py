"""A full disk is waited for, a broken one ends the sentinel, a nearly full one stops intake."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.home import Home
from casparian_sentinel import local
from casparian_sentinel.local import LocalSentinel
from casparian_sentinel.operations.steps import OperationRefused
from tests.sentinel.daemon.world import (
    PATIENCE_SECONDS,
    Daemon,
    event_types,
    new_home,
    observe,
    register,
    running,
    until,
)
from tests.sentinel.log.support import FailingFs

MODULE = ("-m", "tests.sentinel.daemon.failing_disk_daemon")


def failing_daemon(home: Home, switch: Path) -> Daemon:
    daemon = Daemon(home, module=MODULE, FAILING_DISK=str(switch))
    assert daemon.is_ready, daemon.said()
    return daemon


def add_source(client: Client, name: str, timeout_seconds: float | None = None) -> None:
    client.request("add_source", {"name": name, "path": f"/data/{name}"}, timeout_seconds=timeout_seconds)


def test_a_full_disk_pauses_intake_keeps_readers_going_and_heals_without_a_restart(tmp_path: Path) -> None:
    home, switch = new_home(tmp_path), tmp_path / "disk"
    daemon = failing_daemon(home, switch)
    with daemon.client() as client, daemon.client() as writer:
        switch.write_text("ENOSPC")
        with pytest.raises(NoSentinel):
            add_source(writer, "during", timeout_seconds=0.5)  # decided, but not durable: never answered
        assert client.request("ping")["pid"] == daemon.process.pid
        assert client.query("select count(*) from cf_audit").rows == [[1]]
        until(lambda: "disk" in client.request("status")["intake"], "intake is paused")
        switch.unlink()
        until(lambda: client.request("status")["intake"] == "open", "intake is open again")
        add_source(client, "after")
        until(lambda: "IntakeResumed" in event_types(client), "the resumption is in the log")
        assert event_types(client) == [
            "SentinelStarted",
            "SourceAdded",
            "IntakePaused",
            "IntakeResumed",
            "SourceAdded",
        ]
    assert daemon.stop() == 0


def test_a_sentinel_whose_log_has_no_room_stops_without_a_seal(tmp_path: Path) -> None:
    home, switch = new_home(tmp_path), tmp_path / "disk"
    daemon = failing_daemon(home, switch)
    with daemon.client() as client:
        switch.write_text("ENOSPC")
        with pytest.raises(NoSentinel):
            add_source(client, "during", timeout_seconds=0.5)
        assert daemon.stop() == 1
        assert "the end of the sentinel are not recorded" in daemon.said()
    switch.unlink()
    again = failing_daemon(home, switch)
    with again.client() as client:
        assert event_types(client) == ["SentinelStarted", "SentinelStarted"]
    assert again.stop() == 0


def test_a_failed_sync_ends_the_sentinel_without_an_answer(tmp_path: Path) -> None:
    home, switch = new_home(tmp_path), tmp_path / "disk"
    daemon = failing_daemon(home, switch)
    with daemon.client() as client:
        switch.write_text("EIO")
        with pytest.raises(NoSentinel):
            add_source(client, "lost", timeout_seconds=0.5)
        assert daemon.process.wait(PATIENCE_SECONDS) == 1
    assert "fdatasync failed" in daemon.said()


def test_below_the_floor_new_work_is_refused_beforehand_until_there_is_room_with_or_without_a_daemon(
    tmp_path: Path,
) -> None:
    home = new_home(tmp_path)
    home.config_file.write_text("[log]\nreserve_bytes = 65536\nlow_disk_bytes = 1000000000000000\n")
    with running(home) as daemon, daemon.client() as client:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        until(lambda: "floor" in client.request("status")["intake"], "intake is paused")
        with pytest.raises(RequestRefused, match="No new work is taken") as refused:
            client.request("queue")
        assert refused.value.reply_code == "INTAKE_PAUSED"
        client.upload(b"a small blob, as scans and tags need")
        with pytest.raises(RequestRefused, match="A blob of 1,048,577 bytes is not accepted") as too_large:
            client.upload(bytes(1024 * 1024 + 1))
        assert too_large.value.reply_code == "INTAKE_PAUSED"

    with LocalSentinel(home) as sentinel, pytest.raises(OperationRefused, match="No new work is taken"):
        sentinel.request("queue")
    home.config_file.write_text("[log]\nreserve_bytes = 0\nlow_disk_bytes = 4096\n")
    with LocalSentinel(home) as sentinel:
        assert sentinel.request("queue")["queued"] == 1
        resumed = sentinel.query("select count(*) as n from cf_audit where type = 'IntakeResumed'").to_pylist()
    assert resumed == [{"n": 1}]


def test_inodes_that_are_used_up_pause_intake_as_a_full_disk_does(tmp_path: Path) -> None:
    """Else job after job would use up its retries on a disk that has no room for its files."""
    home, switch = new_home(tmp_path), tmp_path / "disk"
    daemon = failing_daemon(home, switch)
    with daemon.client() as client:
        switch.write_text("INODES")
        until(lambda: "7 more files (inodes)" in client.request("status")["intake"], "intake is paused")
        switch.unlink()
        until(lambda: client.request("status")["intake"] == "open", "intake is open again")
    assert daemon.stop() == 0


def test_a_command_that_only_looks_answers_on_a_full_disk_and_leaves_the_home_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_SNAPSHOT_WORTHWHILE_EVENTS", 1)
    home, fs = new_home(tmp_path), FailingFs()
    with LocalSentinel(home) as sentinel:
        sentinel.request("add_source", {"name": "here", "path": "/data/here"})

    with LocalSentinel(home, fs=fs) as sentinel:
        assert [source["name"] for source in sentinel.query("select name from scout_sources").to_pylist()] == ["here"]
        fs.space_bytes = 0

    assert not home.snapshot_file.exists()
    with LocalSentinel(home) as sentinel:  # neither locked nor in doubt
        assert sentinel.query("select count(*) as n from scout_sources").to_pylist() == [{"n": 1}]


def test_a_command_whose_work_is_durable_has_succeeded_though_its_end_finds_the_disk_full(tmp_path: Path) -> None:
    home, fs = new_home(tmp_path), FailingFs()
    home.config_file.write_text("[log]\nreserve_bytes = 0\n")
    with LocalSentinel(home, fs=fs) as sentinel:
        sentinel.request("add_source", {"name": "here", "path": "/data/here"})
        fs.space_bytes = 0

    with LocalSentinel(home) as sentinel:
        assert sentinel.query("select count(*) as n from scout_sources").to_pylist() == [{"n": 1}]
