"""One running guest: started, drained, stopped, and reaped with all that it left behind.

Owns the process, its end of the connection and the raw bytes on its descriptors 1 and 2. Reading frames and judging why a
guest ended are `execute`'s. `start` must be called from a thread that lives as long as the worker: the kernel ends the
guest with the thread that started it.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import casparian_shim
from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_shim.frames import LogLevel
from casparian_shim.job import GuestJob
from casparian_worker.guest import launch, orphans
from casparian_worker.guest.channel import connected_pair
from casparian_worker.guest.sandbox import GuestLimits

#: From the first signal to the last; with reaping, a guest is gone within two seconds of being told.
TERMINATE_SECONDS = 1.8
_DRAIN_SECONDS = 0.2
#: What is already in the pipes of a guest that has ended is read for so long.
_LAST_DRAIN_SECONDS = 1.0
_READ_BYTES = 64 * 1024
SHIM_FOLDER = str(Path(casparian_shim.__file__).parent)
_LAUNCH = str(Path(launch.__file__))

OnOutput = Callable[[LogLevel, bytes], None]


class StartTimeout(CasparianError):
    """A guest did not say hello in time."""

    code = ErrorCode.START_TIMEOUT

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The guest did not say hello within {seconds:g} s.",
            remedy="The machine is overloaded, or the interpreter does not start: the job's log has its last words.",
        )


class GuestStatusLost(CasparianError):
    """The kernel gave a guest's exit status to nobody: something in this process reaps children that are not its own."""

    code = ErrorCode.CONNECTION_RESET

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"How the guest (pid {pid}) ended is not known: its exit status was not kept.",
            remedy="Stop and start this worker's sentinel, and report it: the status belongs to the worker alone.",
        )


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """What to start. `job` lacks the descriptors, which are made here."""

    job: GuestJob
    python: str
    environment: dict[str, str]
    #: Working directory, and in production the guest's home.
    directory: Path
    limits: GuestLimits = field(default_factory=GuestLimits)
    input_fd: int | None = None
    #: Options of the interpreter; a guest in production sees nothing of the user's environment.
    options: Sequence[str] = ("-I", "-S", "-B")
    #: False for `casparian run`: the user's terminal, the user's process group, no descriptors drained.
    is_contained: bool = True


@dataclass(frozen=True, slots=True)
class GuestExit:
    """How a guest ended: exit status, or minus the signal; and what it used."""

    status: int
    cpu_seconds: float
    peak_bytes: int

    @property
    def said(self) -> str:
        return f"exited with status {self.status}" if self.status >= 0 else f"was killed by {self.signal}"

    @property
    def signal(self) -> str:
        """Name of the signal that ended it; "" when it exited."""
        if self.status >= 0:
            return ""
        try:
            return signal.Signals(-self.status).name
        except ValueError:
            return f"signal {-self.status}"


class Guest:
    """A process that runs one parser on one file."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        sock: socket.socket,
        *,
        is_contained: bool,
        on_output: OnOutput,
    ) -> None:
        self.socket = sock
        self.pid = process.pid
        self.started_s = time.monotonic()
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._is_contained = is_contained
        self._lock = threading.Lock()
        self._exit: GuestExit | None = None
        self._is_ending = threading.Event()
        self._drain: threading.Thread | None = None
        if process.stdout is not None and process.stderr is not None:
            pipes = {process.stdout: LogLevel.STDOUT, process.stderr: LogLevel.STDERR}
            self._drain = threading.Thread(
                target=_drain_pipes, args=(pipes, self._is_ending, on_output), name=f"drain-{self.pid}", daemon=True
            )
            self._drain.start()

    @classmethod
    def start(cls, spec: GuestSpec, on_output: OnOutput) -> Guest:
        """Start it; the parser is not imported before the guest has said hello."""
        ours, theirs = connected_pair()
        try:
            with theirs, _description() as description:
                job = replace(spec.job, socket_fd=theirs.fileno(), input_fd=spec.input_fd)
                description.write(job.to_json())
                description.seek(0)
                inherited = [theirs.fileno(), description.fileno()]
                if spec.input_fd is not None:
                    inherited.append(spec.input_fd)
                process = _spawn(spec, description.fileno(), inherited)
            return cls(process, ours, is_contained=spec.is_contained, on_output=on_output)
        except BaseException:
            ours.close()
            raise

    def stop(self) -> None:
        """From any thread: ask the whole process group to end, and end the reading of its stream. Does not wait."""
        self._signal(signal.SIGTERM)
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # not connected any more
            return

    def wait(self, timeout_seconds: float) -> bool:
        """Whether the process has ended by then."""
        if self._exit is not None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_seconds) * 1000))

    def has_ended(self) -> bool:
        """Whether the process has ended. From then on nothing that it left behind counts: its group and its orphans end."""
        if self._exit is not None:
            return True
        if not self.wait(0):
            return False
        if self._is_contained:
            self._signal(signal.SIGKILL)
            orphans.end_all()
        return True

    def end(self, *, grace_seconds: float = TERMINATE_SECONDS) -> GuestExit:
        """Make sure that nothing of the guest is left: SIGTERM, grace, SIGKILL for its whole group, then reap."""
        if self._exit is not None:
            return self._exit
        if not self.wait(0):
            self._signal(signal.SIGTERM)
            if not self.wait(grace_seconds):
                self._signal(signal.SIGKILL)
                self.wait(60.0)
        # The leader is not reaped yet, so the group's number is still its own.
        if self._is_contained:
            self._signal(signal.SIGKILL)
        with self._lock:
            self._exit = _reaped(self.pid)
            self._process.returncode = self._exit.status
            os.close(self._pidfd)
        orphans.forget(self.pid)
        orphans.end_all()
        self._is_ending.set()
        if self._drain is not None:
            self._drain.join()
        self.socket.close()
        return self._exit

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._exit is not None:
                return
            try:
                if self._is_contained:
                    os.killpg(self.pid, number)
                else:
                    signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return
            except PermissionError:  # the group holds only zombies
                return


def _reaped(pid: int) -> GuestExit:
    """Wait for it. Raises `GuestStatusLost` where the kernel gave its status to nobody."""
    try:
        _pid, status, usage = os.wait4(pid, 0)
    except ChildProcessError as cause:
        raise GuestStatusLost(pid) from cause
    return GuestExit(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _spawn(spec: GuestSpec, description: int, inherited: list[int]) -> subprocess.Popen[bytes]:
    worker_pid = str(os.getpid()) if spec.is_contained else "0"
    command = [spec.python, *spec.options, _LAUNCH, SHIM_FOLDER, str(description), worker_pid, spec.limits.to_json()]
    if spec.is_contained:
        return orphans.start(
            lambda: subprocess.Popen(
                command,
                env=spec.environment,
                cwd=spec.directory,
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                umask=0o077,
            )
        )
    return subprocess.Popen(command, env=spec.environment, cwd=spec.directory, pass_fds=inherited)


def _description() -> IO[bytes]:
    """A file without a name, for the job's description."""
    return os.fdopen(os.memfd_create("job", os.MFD_CLOEXEC), "r+b", buffering=0)


def _drain_pipes(pipes: dict[IO[bytes], LogLevel], is_ending: threading.Event, on_output: OnOutput) -> None:
    """Read until both pipes are closed; once the guest is gone, only what is already there."""
    with selectors.DefaultSelector() as selector:
        for pipe, level in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, level)
        deadline_s = float("inf")
        while selector.get_map() and time.monotonic() < deadline_s:
            was_ending = is_ending.is_set()
            if was_ending and deadline_s == float("inf"):  # somebody that it left behind may write for ever
                deadline_s = time.monotonic() + _LAST_DRAIN_SECONDS
            ready = selector.select(0 if was_ending else _DRAIN_SECONDS)
            for key, _events in ready:
                data = os.read(key.fd, _READ_BYTES)
                if data:
                    on_output(key.data, data)
                else:
                    selector.unregister(key.fileobj)
            if was_ending and not ready:
                break
    for pipe in pipes:
        pipe.close()
