"""Events of older versions, as the program of today understands them. Pure; applied whenever events are read to be folded.

Nothing rewrites the log: an event keeps the version it was written in, and one function a step, (type, v) to v + 1, brings
its data up to the catalogue's. A step never looks at other events and is never changed once it was released. What is newer
than the catalogue is refused: guessing what it means would lose what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from casparian_protocol.events import CATALOGUE
from casparian_protocol.jobs import PLAIN_PART_NAMES
from casparian_sentinel.log.event import Event

Data = dict[str, Any]
Step = Callable[[Data], Data]

#: The version of each type that core and projection understand.
VERSIONS: dict[str, int] = {name: event.version for name, event in CATALOGUE.items()}


def _job_with_targets(data: Data) -> Data:
    """Before version 2 every output had one version, and parameters were the declared defaults."""
    job = data["job"]
    targets = dict.fromkeys(job.get("contracts", {}), 1)
    return {**data, "job": {**job, "output_versions": targets, "param_origins": {}}}


def _approval_with_origin(data: Data) -> Data:
    """Before version 2 somebody decided about each contract, and the current version followed from the approvals."""
    return {**data, "carried_from": "", "derives_current": True}


def _retirement_that_derives(data: Data) -> Data:
    return {**data, "derives_current": True}


#: (type, v) → the data of v + 1. One for every version of a type that a release has ever written, but its last.
STEPS: dict[tuple[str, int], Step] = {
    ("JobOutputsCommitted", 1): lambda data: {**data, "part_names": PLAIN_PART_NAMES},
    ("JobQueued", 1): _job_with_targets,
    ("JobReplayed", 1): _job_with_targets,
    ("ContractApproved", 1): _approval_with_origin,
    ("ParserRetired", 1): _retirement_that_derives,
}


class NewerEvent(Exception):
    """An event that this program does not know; who reads the log says what to do about it."""

    def __init__(self, event: Event) -> None:
        known = VERSIONS.get(event.type)
        self.what = (
            f"event {event.seq} is of type {event.type!r}, which it does not know"
            if known is None
            else f"event {event.seq}, {event.type}, has version {event.v}, and it knows version {known}"
        )
        super().__init__(self.what)
        self.event = event


def current(events: list[Event]) -> list[Event]:
    """The events in the catalogue's versions; the very list when there is nothing to do. Raises `NewerEvent`."""
    versions = VERSIONS
    for event in events:
        if versions.get(event.type) != event.v:
            return [_current(event) for event in events]
    return events


def _current(event: Event) -> Event:
    known = VERSIONS.get(event.type, 0)
    if event.v > known:
        raise NewerEvent(event)
    data, version = event.data, event.v
    while version < known:
        data = STEPS[event.type, version](data)
        version += 1
    return event if version == event.v else event._replace(v=version, data=data)


def missing_steps(versions: Mapping[str, int] = VERSIONS) -> Iterator[tuple[str, int]]:
    """Steps that must exist and do not; a test keeps this empty."""
    for name, version in versions.items():
        for older in range(1, version):
            if (name, older) not in STEPS:
                yield name, older
