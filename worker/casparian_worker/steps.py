"""The inputs of a worker's state machine (what happens to leases), and its outputs (what must be done about it).

`leases.LeaseTable.step` takes one input and returns outputs; `agent` creates the inputs from sockets, slots and the clock, and
performs the outputs. The sentinel's messages are inputs without conversion.
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


# --- inputs, in addition to the sentinel's messages -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. `counters` has the progress of the attempts that have begun."""

    usage: Usage
    wall_us: int
    counters: Mapping[LeaseKey, Counters]


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The attempt's guest is running."""

    key: LeaseKey
    guest_pid: int


@dataclass(frozen=True, slots=True)
class AttemptStopped:
    """The attempt ended because it was asked to, and left nothing."""

    key: LeaseKey


@dataclass(frozen=True, slots=True)
class AttemptStaged:
    """The attempt's files are written and closed, but not durable yet."""

    key: LeaseKey


@dataclass(frozen=True, slots=True)
class AttemptsEnded:
    """The attempts' files are durable (with a manifest), or the attempts failed. Several at once share messages."""

    ends: Sequence[tuple[LeaseKey, Manifest | Failure]]


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message could not be sent, because no sentinel is connected."""

    message: m.Message


Input = m.Message | Tick | AttemptStarted | AttemptStopped | AttemptStaged | AttemptsEnded | Unsent


# --- outputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    message: m.Message
    attachments: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Give the attempt to the next free slot."""

    assignment: m.Assignment


@dataclass(frozen=True, slots=True)
class Stop:
    """End the attempt, or prevent its start."""

    key: LeaseKey
    cause: StopCause


@dataclass(frozen=True, slots=True)
class Sync:
    """Make what this attempt staged durable, and report when it is; together with others if it may wait for them."""

    key: LeaseKey
    may_wait: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete what this attempt staged."""

    key: LeaseKey


@dataclass(frozen=True, slots=True)
class ContactLost:
    """No daemon answers any more."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker has nothing more to do. `refused` is why the sentinel does not accept it; "" otherwise."""

    says_bye: bool = False
    refused: str = ""


Output = Send | Start | Stop | Sync | Drop | ContactLost | Leave
