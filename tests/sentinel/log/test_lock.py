"""One sentinel per home."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from casparian_sentinel.log.errors import LogInUse
from casparian_sentinel.log.writer import HomeLock
from tests.crash.mounts import filled, move_onto_tmpfs

HOLD = """
import sys
from pathlib import Path
from casparian_sentinel.log.writer import HomeLock
with HomeLock.acquire(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(path: Path, role: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLD, str(path), role]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder


def test_the_lock_of_a_living_process_is_refused_with_its_pid_and_falls_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "sentinel.lock"
    with held_by_another(path, "sentinel") as holder:
        with pytest.raises(LogInUse, match=f"pid {holder.pid}") as refusal:
            HomeLock.acquire(path, patience_seconds=60)  # a sentinel is not waited for
        assert refusal.value.owner_pid == holder.pid
        assert "casparian stop" in refusal.value.remedy
        holder.kill()
        holder.wait()

    with HomeLock.acquire(path):
        assert path.read_text().split() == [str(os.getpid()), "sentinel"]


def test_a_released_lock_is_free_and_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "sentinel.lock"
    lock = HomeLock.acquire(path)
    with pytest.raises(LogInUse):
        HomeLock.acquire(path)
    lock.release()
    lock.release()

    assert path.read_text().split() == []
    HomeLock.acquire(path).release()


def test_a_command_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "sentinel.lock"
    with held_by_another(path, "command") as holder:
        with pytest.raises(LogInUse, match=f"Another casparian command .pid {holder.pid}"):
            HomeLock.acquire(path)
        assert holder.stdin is not None
        threading.Timer(0.1, holder.stdin.close).start()

        with HomeLock.acquire(path, patience_seconds=60):
            assert path.read_text().split() == [str(os.getpid()), "sentinel"]


def test_a_full_disk_does_not_keep_the_lock_from_being_taken_and_released(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    path = place / "sentinel.lock"
    with ExitStack() as stack:
        move_onto_tmpfs(stack, place, "1m")
        HomeLock.acquire(path).release()
        new = place / "new.lock"
        with filled(place):
            with HomeLock.acquire(path):
                assert path.read_text().split() == [str(os.getpid()), "sentinel"]  # its block was kept
            with HomeLock.acquire(new, "command"):
                assert new.read_text() == ""
                with pytest.raises(LogInUse):
                    HomeLock.acquire(new)
            HomeLock.acquire(new).release()
