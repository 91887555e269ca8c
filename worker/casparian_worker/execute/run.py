"""One run of a job in a slot: what every kind gets (`JobRun`), how it is stopped early, and how it ends (`Outcome`).

A `CancelToken` carries the request to stop from the loop to the slot's thread: it stops whatever is attached to it, and `check`
raises `Stopped` between steps. `StreamCounters` carries counts the other way, to heartbeats.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

from casparian_protocol.contract import Contract
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobError, Manifest
from casparian_protocol.settings import Settings
from casparian_protocol.wire.messages import Assignment
from casparian_shim.frames import Progress
from casparian_worker.guest import ColdSpawner, Spawner
from casparian_worker.staging import SinkMeters, StagingDirectory

# --- stopping early ---------------------------------------------------------------------------------------------------


class StopCause(Enum):
    """Why an attempt was asked to stop."""

    CANCELLED = "cancelled"
    FENCED = "fenced"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "no daemon in time"


class Stopped(Exception):
    """The attempt ended because it was asked to."""

    def __init__(self, cause: StopCause) -> None:
        super().__init__(cause.value)
        self.cause = cause


class Stoppable(Protocol):
    def stop(self) -> None: ...


class CancelToken:
    """A request to stop one attempt. The first cause wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Stoppable | None = None
        self.cause: StopCause | None = None

    def request(self, cause: StopCause) -> None:
        """Request the stop: at once if the attempt is running, otherwise before it starts. Does not wait."""
        with self._lock:
            if self.cause is not None:
                return
            self.cause = cause
            running = self._running
        if running is not None:
            running.stop()

    def attach(self, running: Stoppable) -> None:
        """Attach what `request` must stop. Raises `Stopped` if the request came first."""
        with self._lock:
            self._running = running
        self.check()

    def detach(self) -> None:
        """Detach it, because it is not running any more."""
        with self._lock:
            self._running = None

    def check(self) -> None:
        """Raise `Stopped` if the attempt was asked to end."""
        if self.cause is not None:
            raise Stopped(self.cause)


# --- what a kind of job gets, and what it returns ---------------------------------------------------------------------


@dataclass(slots=True)
class StreamCounters:
    """The counts so far. The reading thread writes them and others read them, each value independently."""

    rows: int = 0
    bytes: int = 0
    batches: int = 0
    quarantined: int = 0
    #: The progress that the guest itself reported.
    reported: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What all attempts of a worker share."""

    home: Home
    settings: Settings
    spawner: Spawner = field(default_factory=ColdSpawner)
    start_seconds: float = 5.0
    follow_links: bool = False
    meters: SinkMeters = field(default_factory=SinkMeters)


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything is staged and nothing is durable yet: sync `staging`, then offer `manifest`."""

    manifest: Manifest
    staging: StagingDirectory


@dataclass(frozen=True, slots=True)
class Failed:
    """Why the attempt failed. `uncommitted` names quarantine files in `staging` that must be synced and kept."""

    error: JobError
    uncommitted: Manifest | None = None
    staging: StagingDirectory | None = None


Outcome = Finished | Failed


@dataclass(frozen=True, slots=True)
class JobRun:
    """One lease, run in the thread of a slot. `stop` ends it early; heartbeats report `counters`."""

    assignment: Assignment
    context: WorkerContext
    stop: CancelToken
    counters: StreamCounters
    #: To be called once, with the process id of the started process.
    on_started: Callable[[int], None]
    #: Return the unpacked bundle and the contract with this hash, fetched from the sentinel if they are not here.
    bundle: Callable[[str], Path]
    contract: Callable[[str], Contract]


#: Runs one attempt to its end. Raises `Stopped`; any other exception is a bug that ends only this attempt.
Runner: TypeAlias = Callable[[JobRun], Outcome]
