"""Nothing outlives its guest: processes that escaped their group come to the worker, which ends them.

`adopt` makes this process the parent of every orphan among its descendants. Children that the worker started itself are
registered; any other child in another session is what some guest left behind. A guest's children lose their lives with
their own parent, whichever guest ends first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 16

_lock = threading.Lock()
_ours: set[int] = set()
_is_adopting = False


def adopt() -> None:
    """From now on orphans come to this process. For a worker process only: it kills children that it does not know."""
    global _is_adopting
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        _is_adopting = True


def start(popen: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a child of the worker's own. Nobody takes it for an orphan meanwhile."""
    with _lock:
        process = popen()
        _ours.add(process.pid)
    return process


def forget(pid: int) -> None:
    """A child of the worker's own was reaped."""
    with _lock:
        _ours.discard(pid)


def end_all() -> int:
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
                with suppress(ProcessLookupError, ChildProcessError):  # reaped by whoever started it
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
    """None for a process that is gone: another thread started it and has reaped it meanwhile."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
