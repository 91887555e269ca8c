"""Processes that the daemon keeps alive: a child and how it is watched, the wait before the next start, and the local workers.

`LocalWorkers` keeps as many workers running as the options say, and adopts those that an earlier sentinel left behind. The
projector, another child, has its own module.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from casparian_protocol.home import Home
from casparian_protocol.wire.operations.daemon import WorkerGivenUp
from casparian_sentinel.ports import Clock, RealFs, read_file

FIRST_BACKOFF_SECONDS = 0.1
LAST_BACKOFF_SECONDS = 30.0
#: A child that ended sooner than this after its start is said to have ended at once.
INSTANT_SECONDS = 5.0
GIVE_UP_AFTER = 5
PIDS_FILE = "workers.json"
_PIDS_LIMIT_BYTES = 1024 * 1024
#: Linux gives no pid from here on.
_PID_END = 2**22
#: An interpreter starts slowly on a busy machine: a new worker has at least this long to send its first hello.
_START_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Backoff:
    """Computes how long to wait before the next start, and when to give up."""

    first_seconds: float = FIRST_BACKOFF_SECONDS
    instant_deaths: int = 0

    def died_after(self, lived_seconds: float) -> float:
        """The seconds to wait before the next start."""
        self.instant_deaths = self.instant_deaths + 1 if lived_seconds < INSTANT_SECONDS else 0
        if not self.instant_deaths:
            return self.first_seconds
        wait: float = self.first_seconds * 3 ** (self.instant_deaths - 1)
        return min(LAST_BACKOFF_SECONDS, wait)

    @property
    def is_hopeless(self) -> bool:
        return self.instant_deaths >= GIVE_UP_AFTER


class Watched:
    """A process that can be signalled. `on_exit` is called once, in the event loop, with a description of how it ended."""

    def __init__(self, pid: int, pidfd: int, on_exit: Callable[[str], None]) -> None:
        self.pid = pid
        self._pidfd: int | None = pidfd
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._ended)

    @property
    def is_running(self) -> bool:
        return self._pidfd is not None

    @property
    def lived_seconds(self) -> float:
        """How long it has run; infinite if another process started it."""
        return float("inf")

    def kill(self) -> None:
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def terminate(self) -> None:
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def _ended(self) -> None:
        if self._pidfd is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = None
        self._on_exit(self._how())

    def _how(self) -> str:
        """How it ended. For a process that is not a child of this one, only the end itself can be seen."""
        return "ended"


class Child(Watched):
    """A child process, started in a new session, so that Ctrl-C at the terminal reaches only the sentinel, which passes it on.

    Raises `OSError` if it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        clock: Clock,
        on_exit: Callable[[str], None],
        *,
        output: int,
        pass_descriptors: Sequence[int] = (),
    ) -> None:
        self._clock = clock
        self.started_at_s = clock.monotonic_seconds()
        self._ended_at_s: float | None = None
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(pass_descriptors),
            start_new_session=True,
            cwd="/",
        )
        #: None while it runs; a negative number is the signal that killed it.
        self.exit_code: int | None = None
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise
        super().__init__(self._process.pid, pidfd, on_exit)

    @property
    def lived_seconds(self) -> float:
        until_s = self._clock.monotonic_seconds() if self._ended_at_s is None else self._ended_at_s
        return until_s - self.started_at_s

    def _how(self) -> str:
        self._ended_at_s = self._clock.monotonic_seconds()
        self.exit_code = self._process.wait()
        return describe_exit(self.exit_code)


def describe_exit(code: int) -> str:
    """How a process ended: `exited with 3`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


_MINIMUM_OPTION = "--sandbox-minimum"


def worker_command(home: Home, worker_id: str, *, sandbox_minimum: str = "") -> list[str]:
    """`sandbox_minimum` is the level that the user of this daemon accepts instead of that of the settings."""
    command = [sys.executable, "-m", "casparian_worker", "--home", str(home.root), "--worker-id", worker_id]
    return [*command, _MINIMUM_OPTION, sandbox_minimum] if sandbox_minimum else command


class LocalWorkers:
    def __init__(
        self,
        home: Home,
        count: int,
        clock: Clock,
        output: int,
        *,
        on_gone: Callable[[str, str], None],
        on_hopeless: Callable[[], None],
        may_restart: Callable[[], bool],
        command: Callable[[Home, str], list[str]] = worker_command,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
    ) -> None:
        """`on_gone(worker_id, how)` is called at every end, `on_hopeless()` when the last worker was given up.

        `may_restart` returns False while the sentinel drains, so that a worker that left is not replaced.
        """
        self._home = home
        self._clock = clock
        self._output = output
        self._on_gone = on_gone
        self._on_hopeless = on_hopeless
        self._may_restart = may_restart
        self._command = command
        self._names = [f"local-{number}" for number in range(1, count + 1)]
        self._running: dict[str, Watched] = {}
        self._first_backoff_seconds = first_backoff_seconds
        self._backoffs = {name: Backoff(first_backoff_seconds) for name in self._names}
        #: Workers that could not be started, for want of descriptors, memory or processes.
        self._unstarted: dict[str, Backoff] = {}
        self._are_pids_noted = True
        self._given_up: dict[str, str] = {}
        #: When each worker was last heard from; a new one has a full lease to send hello.
        self._heard_s: dict[str, float] = {}
        self._greeted: set[str] = set()
        self._is_closing = False
        self._all_ended = asyncio.Event()

    def start(self) -> None:
        """Adopt workers that an earlier sentinel left behind, end surplus ones, and start the missing ones."""
        for name, pid in read_pids(self._pids_path).items():
            self._adopt(name, pid)
        for name in self._names:
            if name not in self._running:
                self._start(name)
        self._write_pids()

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    @property
    def given_up(self) -> list[WorkerGivenUp]:
        """Workers that are no longer restarted, and why."""
        return [WorkerGivenUp(worker=name, reason=reason) for name, reason in sorted(self._given_up.items())]

    def end_silent(self, heard_s: Mapping[str, float], allowed_seconds: float) -> None:
        """Kill workers that were silent for too long, because they stopped or hang; others are started in their place.

        `heard_s` is the monotonic time at which the sentinel last heard from each connected worker.
        """
        if not self._are_pids_noted:
            self._write_pids()
        now_s = self._clock.monotonic_seconds()
        for name, process in self._running.items():
            last_s = self._heard_s[name] = max(self._heard_s.get(name, now_s), heard_s.get(name, 0.0))
            may_be_starting = name not in heard_s and name not in self._greeted
            if name in heard_s:
                self._greeted.add(name)
            allowed_s = max(allowed_seconds, _START_SECONDS) if may_be_starting else allowed_seconds
            if now_s - last_s > allowed_s and process.is_running:
                text = "Worker %s (pid %d) was silent for %.0f s and is killed."
                logger.warning(text, name, process.pid, now_s - last_s)
                self._heard_s[name] = now_s  # its end is noticed in a moment
                process.kill()

    async def close(self, *, grace_seconds: float) -> None:
        """End the workers, which were asked over the bus to leave: terminate them after the grace period, then kill them."""
        self._is_closing = True
        for ask, wait_seconds in (("", grace_seconds), ("terminate", 2.0), ("kill", 5.0)):
            for process in list(self._running.values()):
                if ask == "terminate":
                    process.terminate()
                elif ask == "kill":
                    process.kill()
            if self._running:
                self._all_ended.clear()
                try:
                    await asyncio.wait_for(self._all_ended.wait(), wait_seconds)
                except TimeoutError:
                    continue
        self._write_pids()

    @property
    def _pids_path(self) -> Path:
        return self._home.run / PIDS_FILE

    def _adopt(self, name: str, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        words = _words_of(pid)
        if str(self._home.root) not in words or name not in words:  # another process that got its pid
            os.close(pidfd)
            return
        adopted = self._running[name] = Watched(pid, pidfd, lambda how: self._exited(name, how))
        logger.info("Worker %s (pid %d) is still running.", name, pid)
        if name not in self._names or _minimum_in(words) != _minimum_in(self._command(self._home, name)):
            adopted.terminate()  # what an earlier daemon's user accepted does not hold for this one

    def _start(self, name: str) -> None:
        if self._is_closing or name in self._running or not self._may_restart():
            return
        try:
            self._running[name] = Child(
                self._command(self._home, name), self._clock, lambda how: self._exited(name, how), output=self._output
            )
        except OSError as cause:  # what is lacking may come back, so the worker is not given up
            wait_seconds = self._unstarted.setdefault(name, Backoff(self._first_backoff_seconds)).died_after(0.0)
            logger.warning(
                "Worker %s cannot be started: %s; tried again in %.1f s.", name, cause.strerror, wait_seconds
            )
            asyncio.get_running_loop().call_later(wait_seconds, self._start, name)
            return
        self._unstarted.pop(name, None)
        self._write_pids()

    def _exited(self, name: str, how: str) -> None:
        process = self._running.pop(name)
        self._heard_s.pop(name, None)
        self._greeted.discard(name)
        if not self._running:
            self._all_ended.set()
        self._on_gone(name, how)
        if self._is_closing or name not in self._names or not self._may_restart():
            return
        backoff = self._backoffs[name]
        wait_seconds = backoff.died_after(process.lived_seconds)
        if backoff.is_hopeless:
            self._give_up(name, how)
            return
        logger.warning("Worker %s (pid %d) %s; started again in %.1f s.", name, process.pid, how, wait_seconds)
        asyncio.get_running_loop().call_later(wait_seconds, self._start, name)

    def _give_up(self, name: str, how: str) -> None:
        self._given_up[name] = f"it {how}, {self._backoffs[name].instant_deaths} times within seconds of its start"
        logger.error(
            "Worker %s is given up: %s. Its last output is in %s. Restart the sentinel to try it again.",
            name,
            self._given_up[name],
            self._home.daemon_log,
        )
        if len(self._given_up) == len(self._names):
            self._on_hopeless()

    def _write_pids(self) -> None:
        """Note the pids for the next sentinel. On a full disk this is repeated each second; the workers run on."""
        aside = self._pids_path.with_suffix(".new")
        try:
            aside.write_text(json.dumps(self.pids), encoding="ascii")
            aside.replace(self._pids_path)
        except OSError as cause:
            if self._are_pids_noted:
                logger.warning("The pids of the workers cannot be written to %s: %s", self._pids_path, cause.strerror)
            self._are_pids_noted = False
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        else:
            self._are_pids_noted = True


def read_pids(path: Path) -> dict[str, int]:
    """Worker → pid, as the previous sentinel noted them; empty if the file is missing or cannot be read."""
    try:
        noted = json.loads(read_file(RealFs(), path, _PIDS_LIMIT_BYTES) or b"{}")
    except (OSError, RecursionError, ValueError) as cause:
        logger.warning("The pids of an earlier sentinel's workers in %s cannot be read (%s).", path.name, cause)
        return {}
    if not isinstance(noted, dict):
        return {}
    return {name: pid for name, pid in noted.items() if type(pid) is int and 1 < pid < _PID_END}


def _words_of(pid: int) -> list[str]:
    """The command line of a process; empty if it is gone."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:
        return []


def _minimum_in(words: Sequence[str]) -> str:
    """The sandbox level that a worker's command line gives it; empty if the settings do."""
    return words[words.index(_MINIMUM_OPTION) + 1] if _MINIMUM_OPTION in words[:-1] else ""
