"""The quick way to start a guest: a warm process for each environment, which forks a guest for each job.

`WarmProcess` is the worker's side of `casparian_shim.warm`: one message, one answer, under a lock. `WarmSpawner` keeps one,
replaces it when it is old, idle, grown or dead, and starts guests the plain way when there is none. A guest is the same on both
ways: the same program limits and confines it, and the same `Guest` ends it. Only its status comes from the process that forked
it; if that one is gone, the kernel has killed its guests too, and their jobs fail as jobs of killed guests do.

Only environments without a lock file are warmed: what a lock file names is not Casparian's code, and runs confined only.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from casparian_protocol.settings import WarmSettings
from casparian_shim import warm
from casparian_shim.frames import LogLevel
from casparian_shim.frames.kinds import plain_fields
from casparian_shim.guest import ABSENT
from casparian_worker.guest import children
from casparian_worker.guest.children import GuestExit, GuestStatusLost, PidfdChild
from casparian_worker.guest.sandbox import LAUNCH, SHIM_FOLDER, Level, Machine
from casparian_worker.guest.spawner import (
    ColdSpawner,
    Environment,
    Guest,
    GuestSpec,
    OnOutput,
    Spawner,
    connected_pair,
    scrubbed_variables,
)

logger = logging.getLogger(__name__)

#: Python imports from these too.
_ARCHIVES = (".zip", ".whl", ".egg", ".pyz")
#: Home and scratch of a process that has neither; each guest gets its own.
_NOWHERE = Path("/nonexistent")
_OPTIONS = ("-I", "-S", "-B")
#: Two busy cores load libraries slowly; a job waits no longer than this before it gets a cold guest.
_READY_SECONDS = 15.0
_ANSWER_SECONDS = 30.0
_END_SECONDS = 2.0
#: How long guests are started cold after a warm process could not be.
_PAUSE_SECONDS = 60.0
#: It runs nothing that needs memory, so a process that grows by so much has a fault.
GROWTH_BYTES = 64 * 1024 * 1024


class WarmGone(Exception):
    """A warm process did not start, does not answer, or could not fork."""


class WarmProcess:
    """A process that forks guests. Raises `WarmGone` if it does not become ready."""

    def __init__(self, environment: Environment, *, own_network: bool = False) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._wanted = 0
        self._is_retired = False
        self._is_gone = False
        self.jobs = 0
        self.used_s = time.monotonic()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._child = children.start(lambda: _popen(environment, theirs.fileno(), own_network)).child
        except BaseException:
            self._control.close()
            raise
        self.pid = self._child.pid
        with self._lock:
            try:
                said = self._answer(_READY_SECONDS)
                self._first_bytes = self._bytes = int(said["resident"])
                #: Modules that a cold guest would not have imported before its parser.
                self.modules = frozenset(map(str, said["modules"]))
            except BaseException:
                self._end(is_killed=True)
                raise

    def want(self) -> None:
        """Keep it for a guest that is about to be forked; it does not end before `unwant`."""
        with self._lock:
            self._wanted += 1

    def unwant(self) -> None:
        with self._lock:
            self._wanted -= 1
            self._end_if_unused()

    def fork(self, order: warm.Order, descriptors: Sequence[int]) -> int:
        """Start a guest with these descriptors; returns its process id. Raises `WarmGone`."""
        with self._lock:
            pid = int(self._ask(order.to_message(), descriptors)["pid"])
            children.know(pid)
            self._running.add(pid)
            self.jobs += 1
            self.used_s = time.monotonic()
            return pid

    def reap(self, pid: int) -> GuestExit:
        """How a guest ended; asked only when it has."""
        with self._lock:
            try:
                said = self._ask(json.dumps({"reap": pid}).encode())
                return GuestExit(int(said["status"]), float(said["cpu_seconds"]), int(said["peak_bytes"]))
            except WarmGone:
                return _inherited(pid)
            finally:
                children.forget(pid)
                self._running.discard(pid)
                self.used_s = time.monotonic()
                self._end_if_unused()

    @property
    def has_grown(self) -> bool:
        return self._bytes - self._first_bytes > GROWTH_BYTES

    def is_idle(self, seconds: float) -> bool:
        """Whether nothing runs, and nothing did for so long."""
        with self._lock:
            return not self._running and not self._wanted and time.monotonic() - self.used_s >= seconds

    def has_ended(self) -> bool:
        with self._lock:
            return self._is_gone or self._child.wait(0)

    def retire(self) -> None:
        """Fork no more; the process ends with its last guest."""
        with self._lock:
            self._is_retired = True
            self._end_if_unused()

    # --- with the lock held

    def _end_if_unused(self) -> None:
        if self._is_retired and not self._running and not self._wanted:
            self._end()

    def _ask(self, message: bytes, descriptors: Sequence[int] = ()) -> dict[str, Any]:
        if self._is_gone:
            raise WarmGone("it has ended")
        if len(message) > warm.MESSAGE_BYTES:
            raise WarmGone(f"the order has {len(message)} bytes")
        try:
            socket.send_fds(self._control, [message], descriptors)
        except OSError as cause:
            self._end(is_killed=True)
            raise WarmGone(str(cause)) from cause
        said = self._answer(_ANSWER_SECONDS)
        self._bytes = int(said.get("resident", self._bytes))
        return said

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            self._control.settimeout(seconds)
            said: dict[str, Any] = json.loads(self._control.recv(warm.MESSAGE_BYTES) or b"null") or {}
        except (OSError, ValueError) as cause:  # TimeoutError is an OSError
            self._end(is_killed=True)
            raise WarmGone(str(cause)) from cause
        if not said:
            self._end(is_killed=True)
            raise WarmGone("it has ended")
        if "problem" in said:
            raise WarmGone(str(said["problem"]))
        return said

    def _end(self, *, is_killed: bool = False) -> None:
        """End it and wait for that: it ends by itself when its worker's end of the socket is closed."""
        if self._is_gone:
            return
        self._is_gone = True
        self._control.close()
        if is_killed or not self._child.wait(_END_SECONDS):
            self._child.signal(signal.SIGKILL)
        try:
            self._child.reap()
        except GuestStatusLost:
            logger.warning("It is not known how the warm process (pid %d) ended.", self.pid)


def _popen(environment: Environment, control: int, own_network: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            environment.python,
            *_OPTIONS,
            LAUNCH,
            SHIM_FOLDER,
            "warm",
            str(control),
            str(os.getpid()),
            json.dumps(environment.sys_paths),
            "1" if own_network else "0",
        ],
        env=scrubbed_variables(_NOWHERE),
        cwd="/",
        pass_fds=[control],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        umask=0o077,
    )


def _inherited(pid: int) -> GuestExit:
    """How a guest ended that was killed with its warm process. This process is its parent now if it adopts orphans."""
    try:
        return children.reap(pid)
    except GuestStatusLost:
        return GuestExit(-signal.SIGKILL, 0.0, 0)


def spawner_for(settings: WarmSettings) -> Spawner:
    """The way to start guests that the settings ask for."""
    return WarmSpawner(settings) if settings.enabled else ColdSpawner()


class WarmSpawner:
    """A fork of a warm process for each guest, and a new interpreter where that is not possible."""

    def __init__(self, settings: WarmSettings, machine: Machine | None = None) -> None:
        """`machine`: what guests may use of this machine, for tests; by default everything that it has."""
        self._settings = settings
        self._cold = ColdSpawner(machine)
        self._lock = threading.Lock()
        self._processes: dict[Environment, WarmProcess] = {}
        self._paused_until_s = 0.0
        self._logged = ""

    @property
    def machine(self) -> Machine:
        return self._cold.machine

    @property
    def level(self) -> Level:
        return self._cold.level

    def start(self, spec: GuestSpec, environment: Environment, on_output: OnOutput) -> Guest:
        problem = ""
        for _ in range(2 if _can_be_forked(spec, environment) else 0):  # a process may have ended since the last job
            try:
                with self._wanted(environment) as process:
                    if process is None or (names := names_in(spec.job.bundle_path)) & process.modules:
                        break
                    guest = self._start(process, spec, environment, on_output, is_searched=ABSENT in names)
                self._logged = ""
                return guest
            except WarmGone as gone:
                problem = str(gone)
        if problem and problem != self._logged:  # once, until guests are warm again
            self._logged = problem
            logger.warning("Guests are started cold, which is slower: the warm process failed: %s.", problem)
        return self._cold.start(spec, environment, on_output)

    def tidy(self) -> None:
        with self._lock:
            for environment, process in list(self._processes.items()):
                if process.is_idle(self._settings.idle_seconds) or process.has_grown or process.has_ended():
                    self._retire(environment)

    def close(self) -> None:
        with self._lock:
            for environment in list(self._processes):
                self._retire(environment)

    @contextmanager
    def _wanted(self, environment: Environment) -> Iterator[WarmProcess | None]:
        """The process to fork from, which does not end meanwhile, even if it is retired."""
        with self._lock:
            process = self._process_for(environment)
            if process is not None:
                process.want()
        try:
            yield process
        finally:
            if process is not None:
                process.unwant()

    def _process_for(self, environment: Environment) -> WarmProcess | None:
        """The process to fork from; None while there should be none. Raises `WarmGone` if a new one does not start."""
        process = self._processes.get(environment)
        if process is not None and (
            process.jobs >= self._settings.max_jobs or process.has_grown or process.has_ended()
        ):
            self._retire(environment)
            process = None
        if process is None and time.monotonic() >= self._paused_until_s:
            try:
                process = self._processes[environment] = WarmProcess(environment, own_network=self.machine.owns_network)
            except (WarmGone, OSError, RuntimeError) as cause:  # RuntimeError: no thread could be started
                self._paused_until_s = time.monotonic() + _PAUSE_SECONDS
                raise WarmGone(f"{cause}") from cause
        return process

    def _retire(self, environment: Environment) -> None:
        self._processes.pop(environment).retire()

    def _start(
        self,
        process: WarmProcess,
        spec: GuestSpec,
        environment: Environment,
        on_output: OnOutput,
        *,
        is_searched: bool,
    ) -> Guest:
        plan = replace(self._cold.plan(spec, environment), inputs=(warm.INPUT,))
        assert spec.input_fd is not None
        job = replace(spec.job, socket_fd=warm.CONNECTION, input_fd=warm.INPUT, sys_paths=environment.sys_paths)
        order = warm.Order(
            str(spec.directory),
            dict(spec.variables),
            plain_fields(spec.limits),
            plain_fields(plan),
            plain_fields(job),
            is_searched=is_searched,
        )
        with ExitStack() as ours, ExitStack() as theirs:
            stream, connection = connected_pair()
            ours.enter_context(stream)
            theirs.enter_context(connection)
            pipes: dict[IO[bytes], LogLevel] = {}
            writing = []
            for level in (LogLevel.STDOUT, LogLevel.STDERR):
                reading_fd, writing_fd = os.pipe()
                pipes[ours.enter_context(os.fdopen(reading_fd, "rb", buffering=0))] = level
                writing.append(theirs.enter_context(os.fdopen(writing_fd, "wb", buffering=0)).fileno())
            pid = process.fork(order, (*writing, connection.fileno(), spec.input_fd))
            child = _child_of(process, pid)
            try:
                guest = Guest(
                    child,
                    stream,
                    plan,
                    changes_user=self._cold.changes_user(plan),
                    pipes=pipes,
                    on_output=on_output,
                    is_contained=True,
                )
            except BaseException:  # no thread could be started for its output
                child.signal(signal.SIGKILL)
                child.reap()
                raise
            ours.pop_all()
            return guest


def _child_of(process: WarmProcess, pid: int) -> PidfdChild:
    try:
        return PidfdChild(pid, os.pidfd_open(pid), leads_group=True, reaped=process.reap)
    except OSError as cause:
        os.kill(pid, signal.SIGKILL)  # it is not reaped, so this is still its number
        process.reap(pid)
        raise WarmGone(f"pidfd_open: {cause}") from cause


def _can_be_forked(spec: GuestSpec, environment: Environment) -> bool:
    return (
        spec.is_contained
        and spec.input_fd is not None
        and tuple(spec.options) == _OPTIONS
        and not environment.digest
        and _has_pidfd()
    )


def names_in(bundle: str) -> Set[str]:
    """Modules and packages in the directory of a parser that have the names of such that a warm process knows.

    A cold guest imports the parser's. Below the directory only `ABSENT` counts, because a parser may add import paths; an archive
    may have it.
    """
    try:
        return _names_in(bundle, os.stat(bundle).st_mtime_ns)
    except OSError:  # no parser; the guest says so
        return frozenset()


@lru_cache(maxsize=256)
def _names_in(bundle: str, _changed_at_ns: int) -> frozenset[str]:
    top = os.listdir(bundle)
    below = (name for _folder, folders, files in os.walk(bundle) for name in (*folders, *files))
    may_have_it = any(name.partition(".")[0] == ABSENT or name.endswith(_ARCHIVES) for name in below)
    return frozenset((*(name.partition(".")[0] for name in top), *([ABSENT] if may_have_it else ())))


def _has_pidfd() -> bool:
    """Whether processes have descriptors here (not on macOS, not before Linux 5.3, nor where a container forbids it)."""
    opened = getattr(os, "pidfd_open", None)
    if opened is None:
        return False
    try:
        os.close(opened(os.getpid()))
    except OSError:
        return False
    return True
