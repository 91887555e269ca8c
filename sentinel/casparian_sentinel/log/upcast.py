"""Events of older versions, as the program of today understands them; applied whenever events are read to be folded.

The steps are the protocol's (`casparian_protocol.events.older`). What is newer than the catalogue is refused: guessing what
it means would lose what it says.
"""

from __future__ import annotations

from casparian_protocol.events import VERSIONS
from casparian_protocol.events.older import upcast
from casparian_sentinel.log.event import Event


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
    if event.v == known:
        return event
    return event._replace(v=known, data=upcast(event.type, event.v, known, event.data))
