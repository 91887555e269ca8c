"""What a worker does beside its jobs: it measures itself without waiting for a disk, and tidies up once an hour."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from casparian_protocol.home import Home, make_home
from casparian_protocol.settings import JobLogSettings
from casparian_worker.execute.files import Housekeeping, check_scratch
from casparian_worker.reports import UsageMeter
from casparian_worker.validation import LimitExceeded
from tests.worker.attempts import Desk


def test_a_heartbeat_says_what_is_used_and_asks_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = UsageMeter(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: pytest.fail(f"{folder} is waited for in the loop"))
    used = meter.read()
    assert used.rss_bytes > 1024 * 1024
    assert used.free_bytes > 0
    assert used.cpu_percent >= 0


def test_free_space_is_that_of_the_last_look_and_nothing_where_nobody_says(tmp_path: Path) -> None:
    folder = tmp_path / "staging"
    folder.mkdir()
    meter = UsageMeter(folder)
    before = meter.read().free_bytes
    folder.rmdir()
    assert meter.read().free_bytes == before
    meter.look_at_disk()
    assert meter.read().free_bytes == 0


def test_it_tidies_up_at_its_start_and_then_once_an_hour(tmp_path: Path) -> None:
    home = Home(tmp_path)
    make_home(home)
    housekeeping = Housekeeping(home, JobLogSettings())
    due = [housekeeping.is_due(now_s) for now_s in (0.0, 1.0, 3600.0, 3601.0, 7200.0)]
    assert due == [True, False, False, True, False]


def test_scratch_of_a_worker_that_died_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    home = Home(tmp_path)
    make_home(home)
    left = home.scratch / "0123456789abcdef-7"
    fresh = home.scratch / "0123456789abcdef-8"
    for folder in (left, fresh):
        folder.mkdir()
    os.utime(left, (0, 0))
    Housekeeping(home, JobLogSettings()).clean_up()
    assert sorted(path.name for path in home.scratch.iterdir()) == [fresh.name]


HOARD = """
import ctypes, os, time
libc = ctypes.CDLL(None)
def parse(path, ctx):
    kept = []
    for number in range(8):
        file = os.open(str(number), os.O_CREAT | os.O_RDWR)
        os.unlink(str(number))
        os.write(file, bytes(1 << 20))
        kept.append({keep})
    time.sleep(60)
    yield {{}}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what other processes keep open")
@pytest.mark.parametrize(
    "keep", ["file", "(libc.mmap(None, 4096, 1, 2, file, 0), os.close(file))"], ids=["open", "mapped"]
)
def test_what_a_guest_has_removed_and_keeps_counts_as_scratch(tmp_path: Path, keep: str) -> None:
    desk = Desk(tmp_path)
    desk.limits = {"scratch_bytes": 4 << 20, "wall_seconds": 30.0}
    error = desk.failed(HOARD.format(keep=keep)).error
    assert (error.code, "scratch" in error.message) == ("LIMIT_EXCEEDED", True), error


def test_directories_that_move_hide_nothing_from_the_limits_of_scratch(tmp_path: Path) -> None:
    pairs = [(tmp_path / f"{number}" / "inner", tmp_path / f"other{number}" / "inner") for number in range(4)]
    for left, right in pairs:
        right.parent.mkdir()
        for number in range(20):
            (left / str(number)).mkdir(parents=True)
    for number in range(40):
        (tmp_path / f"big{number}").mkdir()
        (tmp_path / f"big{number}" / "file").write_bytes(bytes(40_000))
    is_over = threading.Event()

    def move() -> None:
        while not is_over.is_set():
            for left, right in pairs:
                os.rename(left, right)
            for left, right in pairs:
                os.rename(right, left)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(20):
            with pytest.raises(LimitExceeded):
                check_scratch(tmp_path, 40 * 40_000)
    finally:
        is_over.set()
        mover.join()
    check_scratch(tmp_path, 5_000_000)
