"""What happens to the leases of a worker (inputs), and what has to be done about it (outputs).

`leases.LeaseTable.step` takes one input and returns outputs; `agent` makes the inputs from sockets, slots and the clock, and
performs the outputs. The messages of the sentinel are inputs as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from casparian_protocol.jobs import JobError, Manifest
from casparian_protocol.wire import messages as m
from casparian_worker.execute.run import StopCause
from casparian_worker.reports import Counters, Usage

#: A job and its epoch.
LeaseKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `uncommitted` names its durable quarantine files."""

    error: JobError
    uncommitted: Manifest | None = None


# --- inputs, beside the messages of the sentinel ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. `counters` has how far the attempts are that have begun."""

    usage: Usage
    wall_us: int
    counters: Mapping[LeaseKey, Counters]


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """Its guest runs."""

    key: LeaseKey
    guest_pid: int


@dataclass(frozen=True, slots=True)
class AttemptStopped:
    """It ended because it was asked to, and left nothing."""

    key: LeaseKey


@dataclass(frozen=True, slots=True)
class AttemptStaged:
    """Its files are written and closed, and not durable yet."""

    key: LeaseKey


@dataclass(frozen=True, slots=True)
class AttemptsEnded:
    """Their files are durable (a manifest), or they failed. Several at once share messages."""

    ends: Sequence[tuple[LeaseKey, Manifest | Failure]]


@dataclass(frozen=True, slots=True)
class Unsent:
    """No sentinel was there to take this message."""

    message: m.Message


Input = m.Message | Tick | AttemptStarted | AttemptStopped | AttemptStaged | AttemptsEnded | Unsent


# --- outputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    message: m.Message
    attachments: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Give this to the next free slot."""

    assignment: m.Assignment


@dataclass(frozen=True, slots=True)
class Stop:
    """End the attempt, or see that it never begins."""

    key: LeaseKey
    cause: StopCause


@dataclass(frozen=True, slots=True)
class Sync:
    """Make durable what this attempt staged, and say when it is."""

    key: LeaseKey


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete what this attempt staged."""

    key: LeaseKey


@dataclass(frozen=True, slots=True)
class ContactLost:
    """No daemon answers any more."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing more is to be done here. `refused`: why the sentinel does not want this worker; "" otherwise."""

    says_bye: bool = False
    refused: str = ""


Output = Send | Start | Stop | Sync | Drop | ContactLost | Leave
