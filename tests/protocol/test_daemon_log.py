"""The daemon's log is rotated under its writers, and every line they write is found again, once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casparian_protocol.home import follow, old_name, open_daemon_log, rotate_if_large

WRITER = """
import sys
from pathlib import Path
from casparian_protocol.home import follow
for line in sys.stdin:
    print(line.strip(), flush=True)
    print("told", line.strip(), file=sys.stderr, flush=True)
    follow(Path(sys.argv[1]))
"""


def test_no_line_of_a_child_is_lost_or_doubled_while_the_log_is_rotated_under_it(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    ours = open_daemon_log(path)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=ours, stderr=ours, text=True
    )
    assert child.stdin is not None
    rotations = 0
    for number in range(3000):
        print(number, file=child.stdin, flush=number % 10 == 0)
        os.write(ours, f"ours {number}\n".encode())
        rotations += rotate_if_large(path, ours, max_bytes=8 * 1024, keep_files=50)
    child.stdin.close()
    assert child.wait(20) == 0
    os.close(ours)

    said = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    expected = [text for number in range(3000) for text in (f"{number}", f"told {number}", f"ours {number}")]
    assert sorted(said) == sorted(expected)
    assert rotations >= 3
    assert "2999" in path.read_text()  # the child writes into the present file


def test_the_set_number_of_old_files_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    ours = open_daemon_log(path)
    for number in range(6):
        os.write(ours, f"{number}".encode() * 100)
        assert rotate_if_large(path, ours, max_bytes=100, keep_files=2)
    assert not rotate_if_large(path, ours, max_bytes=100, keep_files=2)
    os.close(ours)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert old_name(path, 1).read_text() == "5" * 100
    assert old_name(path, 2).read_text() == "4" * 100


def test_a_disk_that_refuses_a_rotation_again_and_again_costs_no_old_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "daemon.log"
    ours = open_daemon_log(path)
    for text in ("a", "b"):
        os.write(ours, text.encode() * 100)
        assert rotate_if_large(path, ours, max_bytes=100, keep_files=3)
    os.write(ours, b"c" * 100)

    steps: list[tuple[object, str]] = [(os, "link"), (Path, "replace")]
    for owner, step in steps:
        for _ in range(3):
            with monkeypatch.context() as refusing, pytest.raises(OSError, match="No space"):
                refusing.setattr(owner, step, _refuse)
                rotate_if_large(path, ours, max_bytes=100, keep_files=3)
        assert path.read_text() == "c" * 100
    assert rotate_if_large(path, ours, max_bytes=100, keep_files=3)
    os.close(ours)

    assert [old_name(path, number).read_text()[0] for number in (1, 2, 3)] == ["c", "b", "a"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["daemon.log", *(f"daemon.log.{n}" for n in (1, 2, 3))]


def test_a_rotation_that_ended_after_its_link_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    ours = open_daemon_log(path)
    os.write(ours, b"a" * 100)
    os.link(path, old_name(path, 1))

    assert rotate_if_large(path, ours, max_bytes=100, keep_files=3)
    os.close(ours)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["daemon.log", "daemon.log.1"]


def _refuse(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_output_that_somebody_sent_elsewhere_is_left_alone(tmp_path: Path) -> None:
    path, mine = tmp_path / "daemon.log", tmp_path / "my.log"
    ours, theirs = open_daemon_log(path), open_daemon_log(mine)
    os.write(ours, b"x" * 100)
    rotate_if_large(path, ours, max_bytes=100, keep_files=2)
    assert not follow(path, [theirs])
    os.write(theirs, b"here")
    os.close(ours)
    os.close(theirs)
    assert mine.read_text() == "here"
