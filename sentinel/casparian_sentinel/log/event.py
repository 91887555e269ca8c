"""An event and its bytes: the only module that knows how events look in msgpack.

An event is packed as the array `[ts, type, v, actor, data]`; its sequence number follows from its place in the
batch. What could be packed but not read back is refused. Pure: bytes in, events out, and the reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from casparian_sentinel.log.errors import DamagedBatch, EventTooLarge, EventUnfit

MAX_EVENT_BYTES = 16 * 1024

#: Values that msgpack reads back as they were written.
_FLAT_TYPES = frozenset({str, int, float, bool, bytes, type(None)})

#: What a caller wants recorded: (ts, type, v, actor, data); the log adds the sequence number.
Fact = tuple[int, str, int, str, dict[str, Any]]


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


def pack_events(facts: Sequence[Fact]) -> bytes:
    """The body of a batch; raises `EventTooLarge` or `EventUnfit` naming the first event that cannot go in."""
    packer = msgpack.Packer()
    packed: list[bytes] = []
    for fact in facts:
        try:
            one = packer.pack(fact)
            _check(fact)
            if not _FLAT_TYPES.issuperset(map(type, fact[4].values())):
                _unpack(b"\x91" + one)  # deeper down may lie keys that could be written but not read back
        except (TypeError, ValueError, OverflowError, RecursionError) as cause:
            raise EventUnfit(_name_of(fact), str(cause) or "it is not (ts, type, v, actor, data)") from cause
        except DamagedBatch as cause:
            raise EventUnfit(_name_of(fact), cause.reason) from cause
        if len(one) > MAX_EVENT_BYTES:
            raise EventTooLarge(fact[1], len(one), MAX_EVENT_BYTES)
        packed.append(one)
    head: bytes = packer.pack_array_header(len(packed))
    return head + b"".join(packed)


def unpack_events(body: bytes, first_seq: int) -> list[Event]:
    """Every event of a batch's body; `DamagedBatch` for anything `pack_events` would not have made."""
    made = tuple.__new__  # as `Event` would, without a call of its own for each
    return [made(Event, (first_seq + index, *fact)) for index, fact in enumerate(_unpack(body))]


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
            _check(fact)
    except (TypeError, ValueError) as cause:
        raise DamagedBatch("an event is not [ts, type, v, actor, data]") from cause
    return facts


def _check(fact: Any) -> None:
    """Every event passes here when written and when read, so the tests are the quickest that are exact."""
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
        raise DamagedBatch("an event has a negative time, no type or no version")
    "".join(data)  # a TypeError when a key is not text


def _refuse_extension(code: int, _data: bytes) -> None:
    raise ValueError(f"extension type {code} is not used in the log")


def _name_of(fact: Any) -> str:
    is_sequence = isinstance(fact, tuple | list) and len(fact) > 1
    return str(fact[1])[:80] if is_sequence else type(fact).__name__
