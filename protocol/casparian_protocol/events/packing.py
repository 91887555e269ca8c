"""An event's bytes, and what may be one: `[ts, type, v, actor, data]` in msgpack, at most 16 KiB, readable as it was written.

The core asks before an event becomes part of anything, the log writes what was packed then. Where an event lies in a batch
and how it is read back is the log's business (`casparian_sentinel.log.event`). Pure.
"""

from __future__ import annotations

from typing import Any

import msgpack

from casparian_protocol.errors import CasparianError

MAX_EVENT_BYTES = 16 * 1024

#: (ts, type, v, actor, data); the log adds the sequence number.
Fact = tuple[int, str, int, str, dict[str, Any]]

#: Values that msgpack reads back as they were written.
_FLAT_TYPES = frozenset({str, int, float, bool, bytes, type(None)})


class EventRefused(CasparianError):
    """An event that the log cannot hold; nothing of its decision was recorded."""


class EventTooLarge(EventRefused):
    def __init__(self, event_type: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"An event {event_type} of {size_bytes} bytes exceeds the {limit_bytes} bytes an event may have.",
            remedy="Put the bulk into a blob and name the blob in the event.",
        )
        self.event_type = event_type
        self.size_bytes = size_bytes


class EventUnfit(EventRefused):
    def __init__(self, event_type: str, reason: str) -> None:
        super().__init__(
            f"An event {event_type!r} cannot be written as msgpack and read back: {reason}.",
            remedy="Use text keys and plain values: text, bytes, 64-bit integers, floats, booleans, null, lists, maps.",
        )
        self.event_type = event_type


def pack_event(fact: Fact) -> bytes:
    """The event's bytes; raises `EventTooLarge` or `EventUnfit`."""
    try:
        packed: bytes = msgpack.packb(fact)
        check_shape(fact)
        if not _FLAT_TYPES.issuperset(map(type, fact[4].values())):
            # Deeper down may lie keys that could be written but not read back.
            msgpack.unpackb(packed, raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    except (TypeError, ValueError, OverflowError, RecursionError, msgpack.UnpackException) as cause:
        raise EventUnfit(_name_of(fact), str(cause) or "it is not (ts, type, v, actor, data)") from cause
    if len(packed) > MAX_EVENT_BYTES:
        raise EventTooLarge(fact[1], len(packed), MAX_EVENT_BYTES)
    return packed


def check_shape(fact: Any) -> None:
    """Every event passes here when written and when read, so the tests are the quickest that are exact.

    Raises `TypeError` or `ValueError`.
    """
    ts, name, version, actor, data = fact
    if (
        ts.__class__ is not int
        or name.__class__ is not str
        or version.__class__ is not int
        or actor.__class__ is not str
        or data.__class__ is not dict
    ):
        raise TypeError
    if ts < 0 or version < 1 or not name:
        raise ValueError("an event has a negative time, no type or no version")
    "".join(data)  # a TypeError when a key is not text


def _refuse_extension(code: int, _data: bytes) -> None:
    raise ValueError(f"extension type {code} is not used in the log")


def _name_of(fact: Any) -> str:
    is_sequence = isinstance(fact, tuple | list) and len(fact) > 1
    return str(fact[1])[:80] if is_sequence else type(fact).__name__
