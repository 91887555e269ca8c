"""What a kind of job is given to run one attempt with, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from casparian_protocol.contract import Contract
from casparian_protocol.wire.messages import Assignment
from casparian_worker.execute import CancelToken, Outcome, WorkerContext
from casparian_worker.execute.stream import StreamCounters


@dataclass(frozen=True, slots=True)
class JobRun:
    """One lease, in the thread of a slot. `stop` ends it early; `counters` are what heartbeats tell of it."""

    assignment: Assignment
    context: WorkerContext
    stop: CancelToken
    counters: StreamCounters
    #: To be called once, with the process id of what was started.
    on_started: Callable[[int], None]
    #: The unpacked bundle, and the contract, that have this hash; fetched from the sentinel when they are not here.
    bundle: Callable[[str], Path]
    contract: Callable[[str], Contract]


#: Runs one attempt to its end. Raises `Stopped`; any other error is an accident that ends this attempt alone.
Runner: TypeAlias = Callable[[JobRun], Outcome]
