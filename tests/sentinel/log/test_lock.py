"""One sentinel per home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casparian_sentinel.log.errors import LogInUse
from casparian_sentinel.log.lock import HomeLock

HOLD = """
import sys
from pathlib import Path
from casparian_sentinel.log.lock import HomeLock
with HomeLock.acquire(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_living_process_is_refused_with_its_pid_and_falls_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "sentinel.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LogInUse, match=f"pid {holder.pid}") as refusal:
            HomeLock.acquire(path)
        assert refusal.value.owner_pid == holder.pid
        assert "casparian stop" in refusal.value.remedy
        holder.kill()
        holder.wait()

    with HomeLock.acquire(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_released_lock_is_free_and_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "sentinel.lock"
    lock = HomeLock.acquire(path)
    with pytest.raises(LogInUse):
        HomeLock.acquire(path)
    lock.release()
    lock.release()

    assert path.read_text() == ""
    HomeLock.acquire(path).release()
