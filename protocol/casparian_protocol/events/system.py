"""Workers, the sentinel itself, its log and its intake, as events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from casparian_protocol.events.base import Event, event


@event()
class WorkerJoined(Event):
    """A worker is here."""

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
    """A worker said goodbye."""

    worker_id: str


@event()
class SentinelStarted(Event):
    """A sentinel owns the log."""

    pid: int
    version: str
    host: str
    boot_id: str
    mode: Annotated[Literal["daemon", "local"], "daemon|local"]


@event()
class SentinelStopped(Event):
    """A clean end."""

    reason: str


@event()
class TornTailCut(Event):
    """Unacknowledged bytes were cut and kept."""

    segment: str
    offset: int
    bytes: int
    kept_as: str


@event()
class LogRepaired(Event):
    """A damaged log was cut back to its last good batch, by hand; the old bytes are kept."""

    segment: str
    offset: Annotated[int, "of the cut"]
    last_good_seq: int
    last_seen_seq: Annotated[int, "the highest event that could still be read behind the cut"]
    cut_bytes: int
    removed_segments: Annotated[tuple[str, ...], "names, at most 200"]
    segments_left_out: Annotated[int, "how many more were removed"] = 0
    reason: Annotated[str, "what was damaged"]
    kept_as: Annotated[str, "below the log folder"]


@event()
class IntakePaused(Event):
    """No new work is taken."""

    reason: str


@event()
class IntakeResumed(Event):
    """Work is taken again."""

    reason: str
