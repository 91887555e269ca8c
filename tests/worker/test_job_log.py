"""The log of a job: readable, bounded, harmless."""

import errno
import os
from pathlib import Path

import pytest

from casparian_protocol.home import Home, make_home
from casparian_protocol.settings import JobLogSettings
from casparian_shim.frames import LogLevel
from casparian_worker.execute.files import BURST_LINES, JobLog, rotate


def test_a_guest_cannot_forge_lines_origins_or_escapes(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "day" / "j.log", max_bytes=10_000, now=lambda: 0.0)
    log.write(LogLevel.INFO, "guest", "a\n1970-01-01T00:00:00.000000Z INFO worker forged\x1b]0;x\x07\u202e")
    log.close()
    lines = (tmp_path / "day" / "j.log").read_text().splitlines()
    assert [line.split(" ")[2] for line in lines] == ["guest", "guest"]
    assert "\\x1b" in lines[1]
    assert "\\u202e" in lines[1]


def test_the_size_is_held_and_what_was_dropped_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "j.log"
    for _attempt in range(2):
        log = JobLog(path, max_bytes=5_000)
        for number in range(200):
            log.write(LogLevel.STDOUT, "guest", f"line {number} " + "y" * 50)
        log.close()
    assert path.stat().st_size <= 5_000 + 200
    assert "200 more lines" in path.read_text().splitlines()[-1]


def test_a_line_is_cut_and_a_flood_is_slowed(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "j.log", max_bytes=100_000_000, monotonic=lambda: 0.0)
    log.write(LogLevel.STDOUT, "guest", "y" * 60_000)
    log.write(LogLevel.STDOUT, "guest", "\n" * (BURST_LINES + 10))
    log.close()
    lines = (tmp_path / "j.log").read_text().splitlines()
    assert lines[0].endswith("(51,808 more characters)")
    assert "12 more lines" in lines[-1]


def test_raw_bytes_become_lines_whatever_their_pieces(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "j.log", max_bytes=100_000)
    for piece in (b"a", b"b\nc", b"\xff"):
        log.write_raw(LogLevel.STDERR, piece)
    log.close()
    assert [line.split(" ", 3)[3] for line in (tmp_path / "j.log").read_text().splitlines()] == ["ab", "c\\xff"]


@pytest.mark.parametrize("line_bytes", [10, 60_000])
def test_what_a_full_disk_did_not_take_is_told_at_the_end_and_never_to_who_writes(line_bytes: int) -> None:
    log = JobLog(Path("/dev/full"), max_bytes=1_000_000)
    for _ in range(3):
        log.write_raw(LogLevel.STDOUT, b"x" * line_bytes + b"\n")
    log.flush()
    with pytest.raises(OSError, match="No space left") as told:
        log.close()

    assert told.value.errno == errno.ENOSPC


def test_old_days_go_first_then_the_oldest_logs_beyond_the_size(tmp_path: Path) -> None:
    home = Home(tmp_path)
    make_home(home)
    now = 1_800_000_000.0  # 2027-01-15
    for day, names in {"2027-01-01": "ab", "2027-01-14": "cd", "2027-01-15": "e"}.items():
        (home.logs / day).mkdir()
        for name in names:
            path = home.logs / day / f"{name}.log"
            path.write_bytes(bytes(1000))
            os.utime(path, (now - 100 + ord(name), now - 100 + ord(name)))
    home.daemon_log.write_text("kept")
    rotate(home, JobLogSettings(keep_days=7, keep_bytes=2000), now)
    assert sorted(path.name for path in home.logs.rglob("*.log")) == ["d.log", "daemon.log", "e.log"]


def test_a_gap_is_marked_where_it_is_with_how_many_lines_it_has(tmp_path: Path) -> None:
    """A flood, quiet, a flood: two gaps, each told before the line that follows it."""
    now = [0.0]
    path = tmp_path / "j.log"
    log = JobLog(path, max_bytes=100_000_000, monotonic=lambda: now[0])
    for flood in (BURST_LINES + 25, 10_000 + 7):
        for _ in range(flood):
            log.write(LogLevel.STDOUT, "guest", "y")
        now[0] += 1.0
        log.write(LogLevel.STDOUT, "guest", f"after {flood}")
    log.close()

    lines = [line.split(" ", 3)[3] for line in path.read_text().splitlines()]
    told = [(place, line) for place, line in enumerate(lines) if "dropped" in line]
    assert [line for _, line in told] == [
        "25 more lines (25 bytes) were dropped",
        "8 more lines (8 bytes) were dropped",
    ]
    assert [lines[place + 1] for place, _ in told] == [f"after {BURST_LINES + 25}", "after 10007"]
    assert len(lines) + 25 + 8 == BURST_LINES + 25 + 10_000 + 7 + 2 + 2
