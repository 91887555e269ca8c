"""Boot: the same state from the log, from a snapshot with the tail behind it, and by a process without a daemon."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from casparian_protocol.home import Home
from casparian_protocol.packing import pack
from casparian_protocol.settings import LogSettings, Settings
from casparian_sentinel.core.snapshot import dump
from casparian_sentinel.core.state import State
from casparian_sentinel.daemon.boot import boot_home
from casparian_sentinel.daemon.snapshots import (
    INTERVAL_SECONDS,
    WORTHWHILE_EVENTS,
    Snapshotter,
    make_snapshot,
    pack_snapshot,
    read_document,
    write_snapshot,
)
from casparian_sentinel.local import LocalSentinel
from casparian_sentinel.log import Head
from casparian_sentinel.log.errors import LogInUse
from casparian_sentinel.log.recovery import LogReplaced
from casparian_sentinel.operations.steps import OperationRefused
from casparian_sentinel.ports import RealClock, RealFs
from tests.sentinel.daemon.world import Daemon, new_home

SETTINGS = Settings(log=LogSettings(reserve_bytes=0, low_disk_bytes=0))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


def add_sources(home: Home, *names: str) -> None:
    with LocalSentinel(home, SETTINGS) as sentinel:
        for name in names:
            sentinel.request("add_source", {"name": name, "path": f"/data/{name}"}, actor="user:test@cli")


def booted(home: Home) -> tuple[State, int]:
    found = boot_home(home, SETTINGS, RealFs())
    found.log.close(seal=True)
    return found.state, found.folded_events


def snapshot_now(home: Home) -> None:
    found = boot_home(home, SETTINGS, RealFs())
    write_snapshot(RealFs(), home.snapshot_file, pack_snapshot(found.state, found.log.chain_id), found.log.durable)
    found.log.close(seal=True)


def test_a_boot_with_a_snapshot_folds_only_the_tail(home: Home) -> None:
    add_sources(home, "a", "b")
    snapshot_now(home)
    add_sources(home, "c")
    state, folded = booted(home)
    assert folded == 3  # started, added, stopped
    home.snapshot_file.unlink()
    whole, all_events = booted(home)
    assert all_events == 7
    assert dump(state) == dump(whole)


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_snapshot_is_not_used(home: Home, damage: str) -> None:
    add_sources(home, "a")
    snapshot_now(home)
    content = bytearray(home.snapshot_file.read_bytes())
    content[len(content) // 2] ^= 1
    home.snapshot_file.write_bytes({"torn": bytes(content[:40]), "flipped": bytes(content), "empty": b""}[damage])
    state, folded = booted(home)
    assert folded == 3
    assert len(state.sources) == 1


def _as_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def _as_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def _as_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent)


CACHES = ("log/open-state.snapshot", "state.position", "state.duckdb", "log/clean-shutdown.seal")


@pytest.mark.parametrize("damage", [_as_directory, _as_fifo])
def test_something_else_in_place_of_the_caches_stops_no_command(home: Home, damage: Callable[[Path], None]) -> None:
    """Nor the command after it."""
    add_sources(home, "a")
    snapshot_now(home)
    for name in CACHES:
        damage(home.root / name)
    for count in (1, 2):
        with LocalSentinel(home, SETTINGS) as sentinel:
            assert sentinel.query("select name from scout_sources").num_rows == count
            sentinel.request("add_source", {"name": f"b{count}", "path": f"/data/{count}"}, actor="user:test@cli")


SIGNED = '{"batch_no": %s, "seq": %s, "head_sha256": "%s", "chain_id": "%s"}'
_HASH, _CHAIN = "00" * 32, "00" * 16


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "7", "[" * 30_000, '{"batch_no": 1}',
        SIGNED % ("1e999", 1, _HASH, _CHAIN), SIGNED % (1, '"1"', _HASH, _CHAIN), SIGNED % (1, -1, _HASH, _CHAIN),
        SIGNED % (1, "true", _HASH, _CHAIN), SIGNED % (1, 10**30, _HASH, _CHAIN), SIGNED % (1, 1, "00", _CHAIN),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_file_that_is_no_signed_head_is_complained_about_once(
    home: Home, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_sources(home, "a")
    (home.log / "seals").mkdir()
    (home.log / "seals" / "x.json").write_text(content)
    state, _count = booted(home)
    assert len(state.sources) == 1
    lines = [record.getMessage() for record in caplog.records if "signed head" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("The signed head seals/x.json cannot be read (")


@pytest.mark.parametrize("damage", [_as_directory, _as_fifo, _as_link])
@pytest.mark.parametrize("name", ["seals/x.json", "seals"])
def test_something_else_in_place_of_signed_heads_stops_no_command(
    home: Home, name: str, damage: Callable[[Path], None]
) -> None:
    add_sources(home, "a")
    (home.log / name).parent.mkdir(exist_ok=True)
    damage(home.log / name)
    assert len(booted(home)[0].sources) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": ["a", 0, 1, 3, bytes(32)]}, {"head": [1, 0, 1, 3, "text"]}, {"head": 7}, {"head": {}},
        {"chain_id": 5}, {"chain_id": b""}, {"state": 7}, {"state": {"": {}}}, {"state": [[[]]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_snapshot_with_other_types_is_not_used(home: Home, wrong: dict[str, object]) -> None:
    add_sources(home, "a")
    snapshot_now(home)
    document = read_document(RealFs(), home.snapshot_file)
    assert document is not None
    body = pack({**document, **wrong})
    home.snapshot_file.write_bytes(blake3(body).digest() + body)
    state, folded = booted(home)
    assert folded == 3
    assert len(state.sources) == 1


def test_a_log_whose_snapshot_is_of_another_is_refused(home: Home, tmp_path: Path) -> None:
    other = new_home(tmp_path / "other")
    add_sources(home, "a", "b")
    add_sources(other, "x", "y")
    snapshot_now(other)
    home.snapshot_file.write_bytes(other.snapshot_file.read_bytes())
    with pytest.raises(LogReplaced, match=r"the snapshot .* knew event 4, and it was another"):
        booted(home)


def test_a_command_that_only_looks_leaves_no_trace(home: Home) -> None:
    add_sources(home, "a")
    for _again in range(2):
        with LocalSentinel(home, SETTINGS) as sentinel:
            assert sentinel.request("status")["seq"] == 3
            rows = sentinel.query("select name from scout_sources").to_pylist()
            assert rows == [{"name": "a"}]


def test_without_a_daemon_what_needs_one_is_refused(home: Home) -> None:
    with LocalSentinel(home, SETTINGS) as sentinel, pytest.raises(OperationRefused, match="needs a running daemon"):
        sentinel.request("stop")


def test_a_home_with_a_daemon_cannot_be_opened_beside_it(home: Home) -> None:
    daemon = Daemon(home)
    with pytest.raises(LogInUse, match=f"pid {daemon.process.pid}"), LocalSentinel(home, SETTINGS):
        pass
    assert daemon.stop() == 0
    with LocalSentinel(home, SETTINGS) as sentinel:
        assert sentinel.seq == 2


def test_the_child_that_snapshots_goes_on_from_the_last_snapshot(home: Home) -> None:
    add_sources(home, "a")
    for name in ("b", "c"):
        add_sources(home, name)
        found = boot_home(home, SETTINGS, RealFs())
        found.log.close(seal=True)
        made = make_snapshot(home, found.log.chain_id, found.log.durable.position)
        assert made == found.log.durable
    state, folded = booted(home)
    assert folded == 0
    assert sorted(source.name for source in state.sources.values()) == ["a", "b", "c"]


@pytest.mark.parametrize("is_left", [False, True])
def test_a_snapshot_that_is_made_or_given_up_at_the_end_leaves_nothing_in_the_log(
    home: Home, caplog: pytest.LogCaptureFixture, *, is_left: bool
) -> None:
    add_sources(home, "a")
    found = boot_home(home, SETTINGS, RealFs())
    output = os.open(home.root / "said", os.O_RDWR | os.O_CREAT)

    async def made() -> None:
        gone = asyncio.Event()

        class Watched(Snapshotter):
            def _ended(self, how: str) -> None:
                super()._ended(how)
                gone.set()

        snapshotter = Watched(home, RealFs(), found.log.chain_id, found.state, RealClock(), output, folded_events=0)
        snapshotter.start(found.log.durable)
        if is_left:
            snapshotter.close()
        await gone.wait()

    asyncio.run(asyncio.wait_for(made(), 60))
    assert os.pread(output, 4096, 0) == b""
    assert caplog.records == []
    assert home.snapshot_file.exists() is not is_left
    os.close(output)
    found.log.close(seal=True)


@pytest.mark.parametrize(
    ("folded_events", "is_due"), [(0, False), (WORTHWHILE_EVENTS - 1, False), (WORTHWHILE_EVENTS, True)]
)
def test_events_that_the_start_had_to_fold_are_soon_in_a_snapshot(
    home: Home, folded_events: int, *, is_due: bool
) -> None:
    add_sources(home, "a")
    found = boot_home(home, SETTINGS, RealFs())
    started: list[Head] = []

    class Clock(RealClock):
        now_s = 0.0

        def monotonic_seconds(self) -> float:
            return self.now_s

    class Noting(Snapshotter):
        def start(self, durable: Head) -> None:
            started.append(durable)

    clock = Clock()
    snapshotter = Noting(home, RealFs(), found.log.chain_id, found.state, clock, 2, folded_events=folded_events)
    clock.now_s += INTERVAL_SECONDS
    snapshotter.tick(found.log.durable)
    assert started == [found.log.durable] * is_due
    found.log.close(seal=True)


def test_the_daemon_needs_neither_duckdb_nor_pyarrow() -> None:
    program = "import casparian_sentinel.daemon.main, sys; print({'duckdb', 'pyarrow', 'pandas'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
