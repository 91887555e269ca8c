"""An event as it lies in a batch of the log, and as the program of today understands it.

The bytes are the protocol's (`casparian_protocol.events.packing`), and so are the steps from older versions to today's. What is
newer than the catalogue is refused: guessing what it means would lose what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from casparian_protocol import events
from casparian_protocol.events import VERSIONS
from casparian_protocol.events.packing import CAUSE_KEY, MAX_EVENT_BYTES, Cause, Fact, check_shape, pack_event, upcast
from casparian_sentinel.log.errors import DamagedBatch

__all__ = ["MAX_EVENT_BYTES", "Event", "Fact", "body_of", "event_count", "pack_event", "pack_events", "unpack_events"]


class Event(NamedTuple):
    """One fact. `ts` is µs since the epoch in UTC and never used for ordering; `v` is the version of `type`.

    A named tuple: every start folds the log, and this is made three times as fast as a frozen dataclass.
    """

    seq: int
    ts: int
    type: str
    v: int
    actor: str
    data: dict[str, Any]
    #: What led to it: the sequence of an event, or a request; 0 in logs that did not say so.
    cause: Cause = 0

    def decoded(self) -> events.Event:
        """The event itself, of its own class. Raises `MalformedEvent`."""
        return events.decode(self.type, self.v, self.data)


def pack_events(facts: Sequence[Fact]) -> bytes:
    """The body of a batch; raises `EventTooLarge` or `EventUnfit` naming the first event that cannot go in."""
    return body_of([pack_event(fact) for fact in facts])


def body_of(packed: Sequence[bytes]) -> bytes:
    """The body of a batch of packed events."""
    head: bytes = msgpack.Packer().pack_array_header(len(packed))
    return head + b"".join(packed)


def unpack_events(body: bytes, first_seq: int) -> list[Event]:
    """Every event of a batch's body; `DamagedBatch` for anything `pack_events` would not have made."""
    made = tuple.__new__  # as `Event` would, without a call of its own for each
    return [
        made(Event, (first_seq + index, *fact, fact[4].pop(CAUSE_KEY, 0))) for index, fact in enumerate(_unpack(body))
    ]


def event_count(body: bytes) -> int:
    """How many events the body claims, from its first bytes."""
    kind = body[0] if body else 0
    if 0x90 <= kind <= 0x9F:
        return kind & 0x0F
    width = {0xDC: 2, 0xDD: 4}.get(kind)
    if width is None or len(body) <= width:
        raise DamagedBatch("its events are not an array")
    return int.from_bytes(body[1 : 1 + width], "big")


def _unpack(body: bytes) -> list[Fact]:
    try:
        facts = msgpack.unpackb(body, raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as cause:
        raise DamagedBatch(f"its events cannot be decoded ({type(cause).__name__}: {cause})") from cause
    if type(facts) is not list:
        raise DamagedBatch("its events are not an array")
    try:
        for fact in facts:
            check_shape(fact)
    except (TypeError, ValueError) as cause:
        raise DamagedBatch("an event is not [ts, type, v, actor, data]") from cause
    return facts


def _refuse_extension(code: int, _data: bytes) -> None:
    raise ValueError(f"extension type {code} is not used in the log")


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


def current_events(events: list[Event]) -> list[Event]:
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
