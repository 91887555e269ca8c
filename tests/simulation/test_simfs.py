"""The simulated disk behaves as a real one, and loses exactly what it may lose."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from casparian_sentinel.ports import Fs, RealFs, write_file_durably
from tests.simulation.simfs import File, SimFs

AT = Path("/home")


def simulated() -> SimFs:
    fs = SimFs(random.Random(0))
    fs.make_directory(AT)
    fs.sync_everything()
    return fs


def _outcome(action: Callable[[], object]) -> object:
    try:
        return action()
    except OSError as cause:
        return type(cause).__name__, cause.errno


def _errors(fs: Fs, root: Path) -> list[object]:
    """What both disks must say alike, step by step."""
    fs.make_directory(root / "a" / "b")
    descriptor = fs.create(root / "a" / "file")
    fs.pwrite(descriptor, b"hello", 0)
    fs.pwrite(descriptor, b"!", 7)
    fs.truncate(descriptor, 9)
    above, below = fs.open_directory(root, "a"), fs.open_directory(root, "a", "b")
    fs.make_link(root / "link", "a")
    return [
        fs.pread(descriptor, 100, 1),
        fs.size(descriptor),
        fs.names(root),
        fs.read_link(root / "link"),
        fs.is_directory(root / "a"),
        fs.is_directory(root / "link"),
        _outcome(lambda: fs.create(root / "a" / "file")),
        _outcome(lambda: fs.make_new_directory(root / "a")),
        _outcome(lambda: fs.open_read(root / "missing")),
        _outcome(lambda: fs.remove_directory(root / "a")),
        _outcome(lambda: fs.open_regular(above, "b")),
        _outcome(lambda: fs.open_regular(above, "missing")),
        _outcome(lambda: fs.rename_new(above, "file", below, "moved")),
        _outcome(lambda: fs.rename_new(above, "file", below, "moved")),
        fs.names(root / "a" / "b"),
        _outcome(lambda: fs.remove_tree(root / "a")),
        fs.exists(root / "a"),
        fs.exists(root / "link"),
    ]


def test_it_says_what_a_real_disk_says(tmp_path: Path) -> None:
    assert _errors(simulated(), AT) == _errors(RealFs(), tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_a_file_written_durably_survives_a_power_cut_and_an_older_one_is_never_lost(seed: int) -> None:
    fs = simulated()
    fs.dice = random.Random(seed)
    write_file_durably(fs, AT / "file", b"old")
    descriptor = fs.create(AT / "other")
    fs.pwrite(descriptor, b"x" * 2000, 0)
    fs.rename(AT / "other", AT / "file")
    fs.cut_power()

    file = fs.on_platter(AT)["file"]
    assert isinstance(file, File)
    content = file.platter
    assert content == b"old" or set(content) <= {0, ord("x")}
    assert fs.names(AT) in (["file"], ["file", "other"])


def test_what_a_failed_sync_forgot_no_later_sync_brings_back() -> None:
    lost = 0
    for seed in range(20):
        fs = simulated()
        descriptor = fs.create(AT / "file")
        fs.fsync_directory(AT)
        fs.pwrite(descriptor, b"promise", 0)
        file = fs.on_platter(AT)["file"]
        assert isinstance(file, File)
        file.fail_sync(random.Random(seed))
        fs.fdatasync(descriptor)
        assert fs.pread(descriptor, 10, 0) == b"promise"
        lost += bytes(file.platter) != b"promise"
    assert lost
