"""Children are waited for, signalled and reaped alike with a kernel that has descriptors of processes and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from casparian_protocol.errors import ErrorCode
from casparian_worker.guest import children, launch
from casparian_worker.guest.children import Child, GuestStatusLost, PidfdChild, Started, WatchedChild

SECONDS = 20.0
Without = Callable[[], None]


@pytest.fixture(params=["pidfd", "no pidfd", "pidfd refused"])
def child_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Child]:
    """What stands for a child, with the kernel as it is or as it is elsewhere."""
    if request.param == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open")
    elif request.param == "pidfd refused":
        monkeypatch.setattr(os, "pidfd_open", _refuse)
    return PidfdChild if request.param == "pidfd" else WatchedChild


def _refuse(pid: int) -> int:
    raise OSError(38, "Function not implemented")


def python(source: str) -> Started:
    return children.start(
        lambda: subprocess.Popen(
            [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
    )


def test_a_child_that_nobody_could_wait_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = []

    def refuse(pid: int, leads_group: bool) -> Child:
        pids.append(pid)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(children, "_child_of", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        python("import time; time.sleep(60)")

    assert not Path(f"/proc/{pids[0]}").exists()


def test_a_child_that_ends_is_noticed_and_its_status_and_use_are_known(child_class: type[Child]) -> None:
    started = python("input(); import sys; sys.exit(7)")
    assert isinstance(started.child, child_class)
    assert not started.child.wait(0)
    assert started.stdin is not None and started.stdout is not None
    started.stdin.write(b"\n")
    started.stdin.close()
    assert started.child.wait(SECONDS)
    ended = started.child.reap()
    assert (ended.status, ended.signal, ended.said) == (7, "", "exited with status 7")
    assert ended.cpu_seconds > 0 and ended.peak_bytes > 1024 * 1024
    assert started.child.reap() == ended
    started.stdout.close()


def test_a_signal_goes_to_the_whole_group(child_class: type[Child]) -> None:
    started = python("import os, time\nif os.fork(): print(1, flush=True)\ntime.sleep(60)")
    assert started.stdin is not None and started.stdout is not None
    assert started.stdout.readline() == b"1\n"
    started.child.signal(signal.SIGKILL)
    ended = started.child.reap()
    assert (ended.status, ended.said) == (-9, "was killed by SIGKILL")
    assert started.stdout.read() == b"", "the other process of the group holds this pipe no more"
    started.child.signal(signal.SIGKILL)  # nobody is there
    started.stdin.close()
    started.stdout.close()


def test_a_status_that_somebody_else_took_is_told_as_lost(child_class: type[Child]) -> None:
    started = python("input()")
    assert started.stdin is not None and started.stdout is not None
    if child_class is WatchedChild:  # which waits already: nobody can be quicker
        started.stdin.close()
        assert started.child.reap().status == 1
    else:
        started.stdin.close()
        os.waitpid(started.child.pid, 0)
        with pytest.raises(GuestStatusLost) as lost:
            started.child.reap()
        assert lost.value.code is ErrorCode.CONNECTION_RESET
    started.stdout.close()


def test_children_are_started_by_one_thread_that_outlives_whoever_asks() -> None:
    """The kernel ends a guest with the thread that started it."""
    found: list[str] = []

    def popen() -> subprocess.Popen[bytes]:
        found.append(threading.current_thread().name)
        return subprocess.Popen(["true"], start_new_session=True)

    def ask() -> None:
        children.start(popen).child.reap()

    for _ in range(2):
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join()
    assert found == [found[0]] * 2
    assert found[0] in {thread.name for thread in threading.enumerate()}


def test_a_forked_process_starts_children_of_its_own() -> None:
    children.start(lambda: subprocess.Popen(["true"], start_new_session=True)).child.reap()
    pid = os.fork()
    if pid == 0:
        started = children.start(lambda: subprocess.Popen(["true"], start_new_session=True))
        os._exit(started.child.reap().status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("is_there", [True, False])
def test_a_nameless_file_is_written_and_read_and_has_no_name(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_there:
        monkeypatch.delattr(os, "memfd_create")
    with children.nameless_file() as file:
        file.write(b"job")
        file.seek(0)
        assert file.read() == b"job"
        assert os.fstat(file.fileno()).st_nlink == 0


WITHOUT_PRCTL = f"""
import ctypes, os, sys
class Libc:
    def __init__(self, *arguments, **options): pass
ctypes.CDLL = Libc
sys.path.insert(0, {str(Path(launch.__file__).parent)!r})
import launch
launch._LOOK_SECONDS = 0.01
launch.die_with(os.getppid())
print(os.getpid(), flush=True)
sys.stdin.read()
while True: pass
"""


def test_without_prctl_a_guest_notices_that_its_worker_is_gone() -> None:
    """The worker here is a process between: when it is killed, the guest, busy as it is, ends by itself."""
    between = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WITHOUT_PRCTL!r}])"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert between.stdin is not None and between.stdout is not None
    pid = int(between.stdout.readline())
    between.stdin.close()
    os.kill(pid, 0)
    between.kill()
    between.wait()
    assert between.stdout.read() == b"", "the guest held this pipe until it ended"
    between.stdout.close()


def test_without_prctl_orphans_are_left_to_init(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *arguments, **options: object())
    children.adopt()
    assert not children._is_adopting
    assert children.end_orphans() == 0
