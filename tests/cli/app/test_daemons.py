"""How a home stands with and without a daemon and in the past; a daemon that does not start says why."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from casparian_app.daemons import (
    DaemonDidNotStart,
    HomeNotOurs,
    find_waiting_files,
    open_failures,
    past_status,
    spawn_daemon,
    status,
)
from casparian_app.files import ScanOptions, scan_roots
from casparian_app.gateway import Gateway, open_gateway
from casparian_app.parsers import register_parser
from casparian_app.texts import NoHome
from casparian_protocol.home import Home
from casparian_protocol.queries.jobs import JobsListed
from casparian_protocol.wire.operations.jobs import CLOSE
from tests.cli.app.conftest import await_tables


def test_a_home_that_is_not_there_does_not_stand(tmp_path: Path) -> None:
    with pytest.raises(NoHome):
        status(Home(tmp_path / "home"))


def test_without_a_daemon_the_queue_is_that_of_the_log(own_home: Home) -> None:
    found = status(own_home)
    assert not found.is_daemon and found.sentinel.mode == "local"
    assert found.queue == {"queued": 0, "running": 0, "retrying": 0, "failed": 1, "dead_letter": 0}
    assert (found.waiting, found.orphans, found.poison_events) == ([], 0, 0)


def test_beside_a_daemon_the_same_is_told_by_it(own_home: Home) -> None:
    child = spawn_daemon(own_home, ["--no-workers", "--with-parent"])
    try:
        await_tables(own_home, time.monotonic() + 60)  # before they are there, `status` answers without them
        found = status(own_home)
        assert found.is_daemon and found.sentinel.pid == child.pid and found.sentinel.mode == "daemon"
        assert found.queue["failed"] == 1
        with pytest.raises(HomeNotOurs) as refused:
            spawn_daemon(own_home, ["--no-workers"])
        assert f"pid {child.pid}" in refused.value.problem
    finally:
        child.terminate()
        child.wait(20)


def test_the_past_knows_its_queue(own_home: Home) -> None:
    with open_gateway(own_home, as_of="2") as past:
        early = past_status(past)
    with open_gateway(own_home, as_of="-0s") as past:
        late = past_status(past)
    assert early.seq == 2 and sum(early.queue.values()) == 0 and early.workers == []
    assert late.queue["failed"] == 1 and late.seq > 20


def test_a_setting_that_is_wrong_keeps_a_daemon_from_starting_and_is_told(own_home: Home) -> None:
    own_home.config_file.write_text("[limits]\nno_such_key = 1\n")
    with pytest.raises(DaemonDidNotStart) as refused:
        spawn_daemon(own_home, ["--no-workers"])
    assert "no_such_key" in refused.value.problem
    assert refused.value.remedy is not None and str(own_home.daemon_log) in refused.value.remedy


# --- what waits ---


def test_failures_that_are_open_are_counted(gateway: Gateway) -> None:
    assert open_failures(gateway.query) == {"failed": 1, "dead_letter": 0}


def test_a_closed_failure_is_counted_no_more(own: Gateway) -> None:
    (failed,) = own.query(JobsListed(statuses=("FAILED",)))
    own.perform(CLOSE(job_id=failed["id"], reason="known"))
    assert open_failures(own.query) == {"failed": 0, "dead_letter": 0}


def test_files_that_no_parser_may_take_wait_by_tag(own: Gateway, tmp_path: Path) -> None:
    assert find_waiting_files(own.query) == []
    (tmp_path / "x.txt").write_text("unlike any other")
    scan_roots(own, [str(tmp_path / "x.txt")], ScanOptions(tags=["nobody"], wanted_tags={"nobody"}))
    (waiting,) = find_waiting_files(own.query)
    assert (waiting.tag, waiting.files, waiting.parser) == ("nobody", 1, "")
    assert waiting.reason


def test_files_of_a_parser_without_an_approved_contract_wait_for_it(own: Gateway, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        'name, version, topics = "odd", "1.0.0", ["odd"]\ndependencies = []\n'
        'outputs = {"odds": {"columns": [{"name": "id", "type": "string"}]}}\n'
        "def parse(path, ctx):\n    return []\n"
    )
    register_parser(own, tmp_path / "odd.py")
    (tmp_path / "x.txt").write_text("unlike any other")
    scan_roots(own, [str(tmp_path / "x.txt")], ScanOptions(tags=["odd"], wanted_tags={"odd"}))
    (waiting,) = find_waiting_files(own.query)
    assert (waiting.tag, waiting.parser) == ("odd", "odd") and "contract" in waiting.reason
