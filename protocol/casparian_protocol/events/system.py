"""Events about workers, the daemon itself, its log and its intake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from casparian_protocol.events.base import Event, event


@event()
class WorkerJoined(Event):
    """A worker joined."""

    worker_id: str
    host: str
    pid: int
    slots: int
    labels: Mapping[str, str]
    version: str
    sandbox: Annotated[str, "level"]


@event()
class WorkerLost(Event):
    """A worker fell silent or died."""

    worker_id: str
    reason: str


@event()
class WorkerLeft(Event):
    """A worker left in order."""

    worker_id: str


@event()
class SentinelStarted(Event):
    """A sentinel started and owns the log."""

    pid: int
    version: str
    host: str
    boot_id: str
    mode: Annotated[Literal["daemon", "local"], "daemon|local"]


@event()
class SentinelStopped(Event):
    """The sentinel stopped in order."""

    reason: str


@event()
class TornTailCut(Event):
    """Unacknowledged bytes at the end of the log were cut off and kept."""

    segment: str
    offset: int
    bytes: int
    kept_as: str


@event()
class LogRepaired(Event):
    """A damaged log was cut back to its last good batch by a user; the old bytes are kept."""

    segment: str
    offset: Annotated[int, "of the cut"]
    last_good_seq: int
    last_seen_seq: Annotated[int, "the highest event that could still be read after the cut"]
    cut_bytes: int
    removed_segments: Annotated[tuple[str, ...], "names, at most 200"]
    segments_left_out: Annotated[int, "the number of names left out"] = 0
    reason: Annotated[str, "what was damaged"]
    kept_as: Annotated[str, "below the log folder"]


@event()
class WeakerSandboxAccepted(Event):
    """A user started a daemon whose guests may have a weaker sandbox than the settings demand, until it stops."""

    minimum: Annotated[str, "level, of the settings"]
    level: Annotated[str, "what guests get on that machine"]
    missing: Annotated[str, "what the machine lacks for the minimum"]


@event()
class IntakePaused(Event):
    """The daemon stopped taking new work."""

    reason: str


@event()
class IntakeResumed(Event):
    """The daemon takes new work again."""

    reason: str
