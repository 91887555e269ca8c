"""Processes that this one starts, and processes that those leave behind.

One thread starts every child and lives as long as the process, because the kernel ends a guest with the *thread* that started it.
A child is awaited through its descriptor (pidfd) if the kernel has them, otherwise by a separate thread.

`adopt` makes this process the parent of every orphan among its descendants. Children started here are known; any other child in
another session was left behind by a guest, and `end_orphans` ends it. Nothing outlives its guest.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from casparian_protocol.errors import CasparianError, ErrorCode

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 16


def _new_starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="starts-children")


_starter = _new_starter()
_lock = threading.Lock()
_ours: set[int] = set()
_is_adopting = False


def _reset_after_fork() -> None:
    """Start over in a forked process, which has none of its parent's threads."""
    global _starter, _lock
    _starter, _lock = _new_starter(), threading.Lock()
    _ours.clear()


os.register_at_fork(after_in_child=_reset_after_fork)


class GuestStatusLost(CasparianError):
    """A guest's exit status is lost, because something in this process reaped a child that it did not start."""

    code = ErrorCode.CONNECTION_RESET

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"It is not known how the guest (pid {pid}) ended: its exit status was lost.",
            remedy="Restart the daemon with `casparian stop` and `casparian start`, and please report it.",
        )


@dataclass(frozen=True, slots=True)
class GuestExit:
    """How a process ended: its exit status, or minus the signal's number; and its resource usage."""

    status: int
    cpu_seconds: float
    peak_bytes: int

    @property
    def said(self) -> str:
        return f"exited with status {self.status}" if self.status >= 0 else f"was killed by {self.signal}"

    @property
    def signal(self) -> str:
        """The name of the signal that ended it; "" if it exited."""
        if self.status >= 0:
            return ""
        try:
            return signal.Signals(-self.status).name
        except ValueError:
            return f"signal {-self.status}"


class Child(Protocol):
    """A child process, until it is reaped. For a warm guest, the process that forked it answers."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout_seconds: float) -> bool:
        """Wait; returns whether the process has ended by then."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole process group, if it leads one; does nothing once it is reaped."""

    def reap(self) -> GuestExit:
        """Wait for its end. Raises `GuestStatusLost` if its status is lost."""


@dataclass(frozen=True, slots=True)
class Started:
    """A new child, and its pipes if it has any."""

    child: Child
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None


def start(popen: Callable[[], subprocess.Popen[bytes]], *, leads_group: bool = True) -> Started:
    """Start a child in the thread for that, so that it is never mistaken for an orphan."""
    return _starter.submit(_start, popen, leads_group).result()


def _start(popen: Callable[[], subprocess.Popen[bytes]], leads_group: bool) -> Started:
    with _lock:
        process = popen()
        _ours.add(process.pid)
    process.returncode = 0  # this module reaps it; a garbage-collected Popen must not
    try:
        child = _child_of(process.pid, leads_group)
    except BaseException:  # no thread could be started to wait for it
        _send(process.pid, signal.SIGKILL, leads_group)
        reap(process.pid)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise
    return Started(child, process.stdin, process.stdout, process.stderr)


def _child_of(pid: int, leads_group: bool) -> Child:
    pidfd_open = getattr(os, "pidfd_open", None)
    if pidfd_open is not None:
        with suppress(OSError):  # an old kernel, or a container that forbids it
            return PidfdChild(pid, pidfd_open(pid), leads_group)
    return WatchedChild(pid, leads_group)


class PidfdChild:
    """A child behind a descriptor that always refers to this process and never to another one."""

    def __init__(
        self, pid: int, pidfd: int, leads_group: bool, reaped: Callable[[int], GuestExit] | None = None
    ) -> None:
        """`reaped` reaps the child of another process, after it has ended."""
        self.pid = pid
        self._pidfd = pidfd
        self._leads_group = leads_group
        self._reaped = reaped or reap
        self._lock = threading.Lock()
        self._exit: GuestExit | None = None

    def wait(self, timeout_seconds: float) -> bool:
        if self._exit is not None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_seconds) * 1000))

    def signal(self, number: signal.Signals) -> None:
        """The leader is not reaped yet, so the group's number still belongs to it."""
        with self._lock:
            if self._exit is None and not _send(self.pid, number, self._leads_group):
                _send(self.pid, number, False)  # just forked, it does not lead its group yet

    def reap(self) -> GuestExit:
        self.wait(_FOR_EVER_SECONDS)
        with self._lock:
            if self._exit is None:
                self._exit = self._reaped(self.pid)
                os.close(self._pidfd)
        return self._exit


class WatchedChild:
    """A child with a thread that waits for it, for systems without process descriptors (macOS, kernels before 5.3).

    It is reaped as soon as it ends. Its group may be signalled after that; the kernel refuses once the group is empty.
    """

    def __init__(self, pid: int, leads_group: bool) -> None:
        self.pid = pid
        self._leads_group = leads_group
        self._has_ended = threading.Event()
        self._exit: GuestExit | None = None
        threading.Thread(target=self._watch, name=f"waits-for-{pid}", daemon=True).start()

    def _watch(self) -> None:
        try:
            self._exit = reap(self.pid)
        except GuestStatusLost:  # `reap` raises it
            self._exit = None
        self._has_ended.set()

    def wait(self, timeout_seconds: float) -> bool:
        return self._has_ended.wait(timeout_seconds)

    def signal(self, number: signal.Signals) -> None:
        if self._leads_group or not self._has_ended.is_set():
            _send(self.pid, number, self._leads_group)

    def reap(self) -> GuestExit:
        self._has_ended.wait()
        if self._exit is None:
            raise GuestStatusLost(self.pid)
        return self._exit


_FOR_EVER_SECONDS = 86_400.0


def _send(pid: int, number: signal.Signals, to_group: bool) -> bool:
    """Send a signal; returns whether a process got it."""
    try:
        (os.killpg if to_group else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):  # gone, or a group that holds only zombies
        return False
    return True


def reap(pid: int) -> GuestExit:
    """Wait for the end of a child of this process. Raises `GuestStatusLost`."""
    try:
        _pid, status, usage = os.wait4(pid, 0)
    except ChildProcessError as cause:
        raise GuestStatusLost(pid) from cause
    finally:
        forget(pid)
    return GuestExit(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def know(pid: int) -> None:
    """This process, forked by a child, is awaited here, and no orphan even if its parent ends."""
    with _lock:
        _ours.add(pid)


def forget(pid: int) -> None:
    """Undo `know`, once it is reaped."""
    with _lock:
        _ours.discard(pid)


def nameless_file() -> IO[bytes]:
    """A file without a name, to be inherited; in memory if the kernel supports that."""
    memfd_create = getattr(os, "memfd_create", None)
    if memfd_create is not None:
        with suppress(OSError):
            return os.fdopen(memfd_create("job", os.MFD_CLOEXEC), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


# --- orphans ----------------------------------------------------------------------------------------------------------


def adopt() -> None:
    """Make this process the parent of all orphans. For a worker process only: it kills children that it does not know.

    Without `prctl` (macOS) orphans go to init as usual, and only a guest's own process group is ended with it.
    """
    global _is_adopting
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is not None and prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        _is_adopting = True


def end_orphans() -> int:
    """Kill and reap every orphan; returns how many there were."""
    if not _is_adopting:
        return 0
    ended = 0
    with _lock:
        for _ in range(_ROUNDS):  # the children of an orphan become orphans when it dies
            found = _orphans()
            if not found:
                break
            for pid in found:
                with suppress(ProcessLookupError, ChildProcessError):  # the thread that started it has reaped it
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            ended += len(found)
    return ended


def _orphans() -> list[int]:
    session = os.getsid(0)
    children: set[int] = set()
    for listed in Path("/proc/self/task").glob("*/children"):
        try:
            children.update(int(pid) for pid in listed.read_text(encoding="ascii").split())
        except OSError:  # a thread that has ended
            continue
    return [pid for pid in sorted(children - _ours) if _session_of(pid) not in (session, None)]


def _session_of(pid: int) -> int | None:
    """The session of a process; None if it is gone, because the thread that started it reaped it in the meantime."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
