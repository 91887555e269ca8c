"""The interface of every way to start a guest, the plain way (a new interpreter for each job), and a running guest.

`Spawner.start(spec, environment)` returns a running `Guest`. The job determines the `GuestSpec`, and the assignment the
`Environment` (what the guest may import), so that one worker serves parsers with different libraries. `warm` is the quick way.
The limits and the plan of the sandbox are passed from here and put on by `launch`, the program that a guest
starts as; `Guest.greeted` checks that they are on.

A `Guest` can be read, stopped, and ended with everything that it left behind. `execute` reads its frames and judges why it ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.settings import LimitSettings
from casparian_shim.frames import LogLevel
from casparian_shim.frames.kinds import GuestJob, Hello, plain_fields
from casparian_shim.sandbox.confine import Plan
from casparian_worker.guest import children
from casparian_worker.guest.children import Child, GuestExit, end_orphans
from casparian_worker.guest.sandbox import (
    LAUNCH,
    SHIM_FOLDER,
    Level,
    Machine,
    NotConfined,
    network_of,
    plan_for,
    probe,
    require_confined,
)

_OPEN_FILES = 256
#: Threads before the parser's first line would make forks and limits unreliable; more than one arena costs address space.
QUIET_LIBRARIES = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    # The memory of one batch serves the next, instead of going back to the kernel.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}

#: Between the first and the last signal; including reaping, a guest is gone within two seconds of the first.
TERMINATE_SECONDS = 1.8
_KILLED_SECONDS = 60.0
_DRAIN_SECONDS = 0.05
#: How long the remaining output in the pipes of an ended guest is read.
_LAST_DRAIN_SECONDS = 1.0
_READ_BYTES = 64 * 1024
_ACCEPT_SECONDS = 5.0
OnOutput = Callable[[LogLevel, bytes], None]


class StartTimeout(CasparianError):
    """A guest did not say hello in time."""

    code = ErrorCode.START_TIMEOUT

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The guest did not say hello within {seconds:g} s.",
            remedy="The machine is overloaded, or Python does not start: `casparian job logs ID` shows its output.",
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """What a guest may import in addition to its bundle."""

    python: str
    sys_paths: tuple[str, ...] = ()
    #: The digest of its lock file; "" for the interpreter's library and pyarrow alone.
    digest: str = ""


#: The interpreter's library and pyarrow: for parsers that declare no dependencies.
BASE_ENVIRONMENT = Environment(sys.executable, (str(Path(pa.__file__).parent.parent),))


@dataclass(frozen=True, slots=True)
class GuestLimits:
    """Limits that the kernel enforces; None leaves one unchanged."""

    address_space_bytes: int | None = None
    cpu_seconds: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None
    core_bytes: int | None = None

    def to_json(self) -> str:
        return json.dumps(plain_fields(self))


def limits_from(settings: LimitSettings) -> GuestLimits:
    """The limits of a guest in production."""
    return GuestLimits(
        address_space_bytes=settings.address_space_bytes,
        cpu_seconds=settings.cpu_seconds,
        file_bytes=settings.scratch_bytes,
        open_files=_OPEN_FILES,
        core_bytes=0,
    )


def scrubbed_variables(scratch: Path) -> dict[str, str]:
    """All environment variables of a guest in production."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "POLARS_TEMP_DIR": str(scratch),
        **QUIET_LIBRARIES,
    }


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """What to start. `job` lacks the descriptors and import paths, which are filled in here."""

    job: GuestJob
    variables: Mapping[str, str]
    #: The working directory, which in production is also the guest's home.
    directory: Path
    limits: GuestLimits = field(default_factory=GuestLimits)
    input_fd: int | None = None
    #: Options of the interpreter; a guest in production sees nothing of the user's environment.
    options: Sequence[str] = ("-I", "-S", "-B")
    #: False for `casparian run`: it uses the user's terminal and process group, and no descriptor is drained.
    is_contained: bool = True


# --- a running guest --------------------------------------------------------------------------------------------------


class Guest:
    """A process that runs one parser on one file."""

    def __init__(
        self,
        child: Child,
        stream: socket.socket,
        plan: Plan,
        *,
        changes_user: bool = False,
        pipes: Mapping[IO[bytes], LogLevel],
        on_output: OnOutput,
        is_contained: bool,
    ) -> None:
        """`pipes` are read by the thread that waits for the guest, here or for its stream (`also_read`).

        A guest that is not contained keeps the user's terminal and its own children.
        """
        self.stream = stream
        #: The level that the guest has put on, as it reported and as this process checked; "none" before its hello.
        self.level: Level = "none"
        self._plan = plan
        self._changes_user = changes_user
        self._status = _open_status(child.pid) if plan.has_filter else None
        self._child = child
        self._is_contained = is_contained
        self._exit: GuestExit | None = None
        self._pipes = {pipe.fileno(): (pipe, level) for pipe, level in pipes.items()}
        self._on_output = on_output

    @property
    def pid(self) -> int:
        return self._child.pid

    def greeted(self, hello: Hello) -> None:
        """Check the sandbox of a guest that has said hello. Raises `NotConfined` if it is not the one that was planned."""
        status = ""
        if self._status is not None:
            status = self._status.read(_READ_BYTES).decode("utf-8", "replace")
        elif self._plan.has_filter:
            raise NotConfined("its status cannot be read")
        network = network_of(self.pid) if self._plan.own_network else ""
        self.level = require_confined(self._plan, self._changes_user, hello, status, network)

    def stop(self) -> None:
        """Ask the guest and its process group to end, and stop reading its stream. From any thread; does not wait."""
        self._child.signal(signal.SIGTERM)
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:  # not connected any more
            return

    @property
    def also_read(self) -> dict[int, Callable[[], bool]]:
        """The pipes of its descriptors 1 and 2, to be read as soon as something is in them: each function reads it, and returns
        whether more may come."""
        return {descriptor: partial(self._drain, descriptor) for descriptor in self._pipes}

    def wait(self, timeout_seconds: float) -> bool:
        """Wait; returns whether the process has ended by then."""
        deadline_s = time.monotonic() + timeout_seconds
        while self._exit is None:
            left_s = deadline_s - time.monotonic()
            if self._child.wait(max(0.0, min(left_s, _DRAIN_SECONDS) if self._pipes else left_s)):
                break
            if left_s <= 0:
                return False
            for descriptor in _readable(self._pipes):
                self._drain(descriptor)
        return True

    def has_ended(self) -> bool:
        """Whether the process has ended. If so, its group and its orphans are ended too, because nothing they do counts."""
        if self._exit is not None:
            return True
        if not self.wait(0):
            return False
        if self._is_contained:
            self._child.signal(signal.SIGKILL)
            self._end_orphans()
        return True

    def end(self, *, grace_seconds: float = TERMINATE_SECONDS) -> GuestExit:
        """End everything of it: SIGTERM, grace period, SIGKILL for its whole group, then reap. Returns how it ended."""
        if self._exit is not None:
            return self._exit
        if not self.wait(0):
            self._child.signal(signal.SIGTERM)
            if not self.wait(grace_seconds):
                self._child.signal(signal.SIGKILL)
                self.wait(_KILLED_SECONDS)
        if self._is_contained:
            self._child.signal(signal.SIGKILL)
        self._exit = self._child.reap()
        self._end_orphans()
        if self._status is not None:
            self._status.close()
        deadline_s = time.monotonic() + _LAST_DRAIN_SECONDS  # a process that it left behind may write forever
        while (ready := _readable(self._pipes)) and time.monotonic() < deadline_s:
            for descriptor in ready:
                self._drain(descriptor)
        for pipe, _level in self._pipes.values():
            pipe.close()
        self._pipes.clear()
        self.stream.close()
        return self._exit

    def _drain(self, descriptor: int) -> bool:
        """Pass on what is in a pipe that is readable; returns whether it is still open."""
        if descriptor not in self._pipes:  # its end was seen by another caller
            return False
        pipe, level = self._pipes[descriptor]
        data = os.read(descriptor, _READ_BYTES)
        if data:
            self._on_output(level, data)
        else:
            del self._pipes[descriptor]
            pipe.close()
        return bool(data)

    def _end_orphans(self) -> None:
        """End what it left behind. With a filter of system calls on it, which was checked, it cannot have started anything."""
        if self.level == "none":
            end_orphans()


def _open_status(pid: int) -> IO[bytes] | None:
    """The status of a process, opened at its start: a /proc that hides processes may hide it once it has given up rights."""
    try:
        return open(f"/proc/{pid}/status", "rb", buffering=0)
    except OSError:
        return None


def _readable(pipes: Collection[int]) -> list[int]:
    """The pipes in which something is, or whose other end is closed."""
    if not pipes:
        return []
    poll = select.poll()
    for descriptor in pipes:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _event in poll.poll(0)]


# --- starting one -----------------------------------------------------------------------------------------------------


class Spawner(Protocol):
    """One way to start guests."""

    @property
    def level(self) -> Level:
        """The sandbox level of its guests."""

    @property
    def machine(self) -> Machine:
        """What its guests may use of this machine's sandbox."""

    def start(self, spec: GuestSpec, environment: Environment, on_output: OnOutput) -> Guest:
        """Start a guest, from any thread. The guest imports the parser only after it has said hello.

        `on_output` gets the raw bytes of its descriptors 1 and 2, in the thread that waits for it.
        """

    def tidy(self) -> None:
        """End what has not been used for long. Called now and then, from any thread."""

    def close(self) -> None:
        """End what was kept for further guests, when no guest runs any more."""


class ColdSpawner:
    """A new interpreter for each guest. It gets the strongest sandbox that `machine` offers."""

    def __init__(self, machine: Machine | None = None) -> None:
        """`machine`: what guests may use of this machine, for tests; by default everything that it has."""
        self._given = machine

    @property
    def machine(self) -> Machine:
        return self._given if self._given is not None else probe()

    @property
    def level(self) -> Level:
        """*basic* requires a filter of system calls; limits and a scrubbed environment alone count as *none*."""
        return self.machine.level

    def start(self, spec: GuestSpec, environment: Environment, on_output: OnOutput) -> Guest:
        plan = self.plan(spec, environment)
        ours, theirs = connected_pair()
        try:
            with theirs, children.nameless_file() as description:
                job = replace(
                    spec.job,
                    socket_fd=theirs.fileno(),
                    input_fd=spec.input_fd,
                    sys_paths=environment.sys_paths,
                )
                description.write(job.to_json())
                description.seek(0)
                inherited = [theirs.fileno(), description.fileno()]
                if spec.input_fd is not None:
                    inherited.append(spec.input_fd)
                started = _start(spec, plan, environment.python, description.fileno(), inherited)
            pipes = {started.stdout: LogLevel.STDOUT, started.stderr: LogLevel.STDERR}
            return Guest(
                started.child,
                ours,
                plan,
                changes_user=self.changes_user(plan),
                pipes={pipe: level for pipe, level in pipes.items() if pipe is not None},
                on_output=on_output,
                is_contained=spec.is_contained,
            )
        except BaseException:
            ours.close()
            raise

    def changes_user(self, plan: Plan) -> bool:
        return plan.gives_up_rights and self.machine.changes_user

    def plan(self, spec: GuestSpec, environment: Environment) -> Plan:
        if not spec.is_contained:
            return Plan()
        job = spec.job
        return plan_for(
            self.machine,
            read=(*environment.sys_paths, job.bundle_path, *job.context_paths.values()),
            scratch=job.scratch_path,
            inputs=() if spec.input_fd is None else (spec.input_fd,),
        )

    def tidy(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is kept."""


def _start(spec: GuestSpec, plan: Plan, python: str, description: int, inherited: list[int]) -> children.Started:
    worker_pid = str(os.getpid()) if spec.is_contained else "0"
    command = [
        python,
        *spec.options,
        LAUNCH,
        SHIM_FOLDER,
        str(description),
        worker_pid,
        spec.limits.to_json(),
        plan.to_json(),
    ]
    if spec.is_contained:
        return children.start(
            lambda: subprocess.Popen(
                command,
                env=spec.variables,
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
    return children.start(
        lambda: subprocess.Popen(command, env=spec.variables, cwd=spec.directory, pass_fds=inherited),
        leads_group=False,
    )


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """(worker's end, guest's end) of a TCP connection on the loopback: the guest inherits its end and needs no right to connect.

    The listener is closed before this returns; a connection from elsewhere that came first is closed.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        listener.settimeout(_ACCEPT_SECONDS)
        theirs = socket.create_connection(listener.getsockname(), timeout=_ACCEPT_SECONDS)
        expected = theirs.getsockname()
        try:
            while (accepted := listener.accept())[1] != expected:
                accepted[0].close()
        except BaseException:
            theirs.close()
            raise
    for end in (ours := accepted[0], theirs):
        end.setblocking(True)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # by the worker: a guest may set no options
    return ours, theirs
