"""Starting a daemon: detached for good, or as the child of whoever asks.

The child says `ready` (or why not) through a pipe; nothing is polled. What it prints goes to `logs/daemon.log`.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from casparian_app.problems import NoDaemon, WorkFailed
from casparian_protocol.home import Home
from casparian_protocol.settings import Settings

#: A daemon that could not open its home ends so (`casparian start --foreground`).
_HOME_NOT_OURS_STATUS = 3


class DaemonDidNotStart(WorkFailed):
    """The daemon ended before it was ready; its own last words."""


class HomeNotOurs(NoDaemon):
    """Another process owns the home, says the daemon that could not open it (exit 3, as in the foreground)."""


def spawn_daemon(home: Home, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """A daemon in a session of its own, ready to be asked. Raises `DaemonDidNotStart`."""
    home.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "casparian", "--home", str(home.root), "start", "--foreground"]
    command += [*arguments, "--ready-fd", str(writing)]
    with home.daemon_log.open("a+b") as log:
        began = log.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing,), start_new_session=True
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            word = ready.read(16)
        if word.strip() == b"ready":
            return child
        status = child.wait()
        log.seek(began)
        said = log.read(65_536) + _said_since_rotation(home, log)
    kind = HomeNotOurs if status == _HOME_NOT_OURS_STATUS else DaemonDidNotStart
    problem, remedy = _last_words(said)
    raise kind(
        f"The daemon did not start (exit {status}): {problem}",
        remedy=f"{remedy} {home.daemon_log} has all it said.".lstrip(),
    )


def _said_since_rotation(home: Home, log: BinaryIO) -> bytes:
    """What lies in the new file when the log was rotated meanwhile."""
    with home.daemon_log.open("rb") as present:
        return b"" if os.path.sameopenfile(present.fileno(), log.fileno()) else present.read(65_536)


def _last_words(output: bytes) -> tuple[str, str]:
    """What went wrong, and what to do about it: the last problem that was told as one, or else the last line."""
    said = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    told = [number for number, line in enumerate(said) if line.startswith("casparian: ")]
    if not told:
        return (said or ["it said nothing"])[-1], ""
    below = itertools.takewhile(lambda line: line.startswith("  "), said[told[-1] + 1 :])
    return said[told[-1]].removeprefix("casparian: "), " ".join(line.strip() for line in below)


def run_daemon(
    home: Home,
    settings: Settings,
    *,
    flags: Mapping[str, Any],
    plans_by_itself: bool,
    ready_descriptor: int | None,
    log_to_stderr: bool,
) -> int:
    """Be the daemon of `home` until it ends; the exit code. Raises what keeps it from starting, such as `LogInUse`."""
    from casparian_sentinel import run_daemon as run

    return run(
        home,
        settings,
        flags=flags,
        plans_by_itself=plans_by_itself,
        ready_descriptor=ready_descriptor,
        log_to_stderr=log_to_stderr,
    )


def run_worker(arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    """Be one worker until it ends; the exit code. `tell` is told what becomes of its connection."""
    from casparian_worker import run_worker as run

    return run(arguments, tell)
