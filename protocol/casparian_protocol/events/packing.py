"""The bytes of an event, `[ts, type, v, actor, data]` in msgpack, at most 16 KiB; and the upcast of older versions.

The cause of an event is stored in the data under `_cause`, so that older programs can still read the event. The core packs an
event before it is folded, and the log writes these bytes. `casparian_sentinel.log.format` defines the batches.

The log is never rewritten: an event keeps the version it was written in, and `upcast` converts its data to the current one. A
step in `STEPS` uses no other event, and is never changed after its release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import msgpack

from casparian_protocol.errors import CasparianError
from casparian_protocol.events.base import Event, EventData, MalformedEvent
from casparian_protocol.jobs import PLAIN_PART_NAMES
from casparian_protocol.jobs.kinds import with_work

MAX_EVENT_BYTES = 16 * 1024

#: The cause of an event: the sequence of an earlier event, the request that asked for it (`op:id`), or 0 if unknown.
Cause: TypeAlias = int | str
#: The key of the cause in the data of a packed event; no event has a field of this name.
CAUSE_KEY = "_cause"
#: (ts, type, v, actor, data, cause); the log adds the sequence number. Without a cause it has five parts.
Fact: TypeAlias = tuple[int, str, int, str, EventData] | tuple[int, str, int, str, EventData, Cause]

#: Values that msgpack reads back as they were written.
_FLAT_TYPES = frozenset({str, int, float, bool, bytes, type(None)})


class EventRefused(CasparianError):
    """The log cannot store the event, so nothing of the decision was recorded."""


class EventTooLarge(EventRefused):
    """The event is larger than the log allows."""

    def __init__(self, event_type: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"An event {event_type} of {size_bytes} bytes exceeds the {limit_bytes} bytes an event may have.",
            remedy="Put the bulk into a blob and name the blob in the event.",
        )
        self.event_type = event_type
        self.size_bytes = size_bytes


class EventUnfit(EventRefused):
    """The event holds a value that cannot be packed and read back."""

    def __init__(self, event_type: str, reason: str) -> None:
        super().__init__(
            f"An event {event_type!r} cannot be written as msgpack and read back: {reason}.",
            remedy="Use text keys and plain values: text, bytes, 64-bit integers, floats, booleans, null, lists, maps.",
        )
        self.event_type = event_type


def fact_of(ts: int, event: Event, actor: str, cause: Cause = 0) -> Fact:
    """The event in the form that the log takes. Raises `EventUnfit` for a field of the wrong type."""
    about = event.about
    try:
        data = event.to_data()
    except MalformedEvent as cause_of:
        raise EventUnfit(about.name, str(cause_of)) from cause_of
    return (
        (ts, about.name, about.version, actor, data, cause) if cause else (ts, about.name, about.version, actor, data)
    )


def pack_events(facts: Iterable[Fact]) -> list[bytes]:
    """The bytes of each event. Raises `EventTooLarge` or `EventUnfit`, naming the first that cannot be stored."""
    pack = msgpack.Packer().pack  # cheaper than a packer for each event; used in this thread alone
    return [pack_event(fact, pack=pack) for fact in facts]


def pack_event(fact: Fact, *, has_text_keys: bool = False, pack: Callable[[Any], Any] = msgpack.packb) -> bytes:
    """The event's bytes. Raises `EventTooLarge` or `EventUnfit`. `has_text_keys`: the field types guarantee text keys."""
    try:
        if len(fact) == 6:
            ts, name, version, actor, data, cause = fact
            fact = (ts, name, version, actor, {**data, CAUSE_KEY: cause})
        packed: bytes = pack(fact)
        check_shape(fact)
        if not has_text_keys and not _FLAT_TYPES.issuperset(map(type, fact[4].values())):
            # Nested maps may have keys that could be written but not read back.
            msgpack.unpackb(packed, raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    except (TypeError, ValueError, OverflowError, RecursionError, msgpack.UnpackException) as unfit:
        raise EventUnfit(_name_of(fact), str(unfit) or "it is not (ts, type, v, actor, data)") from unfit
    if len(packed) > MAX_EVENT_BYTES:
        raise EventTooLarge(fact[1], len(packed), MAX_EVENT_BYTES)
    return packed


class EventPacker:
    """Packs many events of this program, as `fact_of` and `pack_event` pack one of anybody. Use it in one thread."""

    def __init__(self) -> None:
        self._pack = msgpack.Packer().pack

    def pack(self, ts: int, event: Event, actor: str, cause: Cause = 0) -> bytes:
        """The bytes of the event. Raises `EventTooLarge` or `EventUnfit`."""
        about = event.about
        is_plain = ts.__class__ is int and ts >= 0 and actor.__class__ is str and cause.__class__ in (int, str)
        if not (cause and is_plain and about.has_text_keys):
            return pack_event(
                fact_of(ts, event, actor, cause), has_text_keys=about.has_text_keys, pack=self._pack
            )  # it says what is wrong
        try:  # its keys are the names of its fields, and `to_data`, which makes a new map, checks the types of their values
            data = event.to_data()
            data[CAUSE_KEY] = cause
            packed: bytes = self._pack((ts, about.name, about.version, actor, data))
        except (TypeError, ValueError, OverflowError, RecursionError) as unfit:  # `MalformedEvent` is a ValueError
            raise EventUnfit(about.name, str(unfit)) from unfit
        if len(packed) > MAX_EVENT_BYTES:
            raise EventTooLarge(about.name, len(packed), MAX_EVENT_BYTES)
        return packed


def check_shape(fact: Any) -> None:
    """Check the parts of an event. This runs for every event written and read, so it uses the fastest exact tests.

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
    if CAUSE_KEY in data and data[CAUSE_KEY].__class__ not in (int, str):
        raise TypeError("a cause is a sequence or a request")


def _refuse_extension(code: int, _data: bytes) -> None:
    raise ValueError(f"extension type {code} is not used in the log")


def _name_of(fact: Any) -> str:
    is_sequence = isinstance(fact, tuple | list) and len(fact) > 1
    return str(fact[1])[:80] if is_sequence else type(fact).__name__


# --- earlier versions -------------------------------------------------------------------------------------------------

Step: TypeAlias = Callable[[EventData], EventData]


def _job_with_targets(data: EventData) -> EventData:
    """Version 1: every output had one version, and parameters were the declared defaults."""
    job = data["job"]
    targets = dict.fromkeys(job.get("contracts", {}), 1)
    return {**data, "job": {**job, "output_versions": targets, "param_origins": {}}}


def _job_with_work(data: EventData) -> EventData:
    """Version 2: a job had the fields of every kind at one level."""
    return {**data, "job": with_work(data["job"])}


def _approval_with_origin(data: EventData) -> EventData:
    """Version 1: every contract was decided by a user, and the current version followed from the approvals."""
    return {**data, "carried_from": "", "derives_current": True}


def _retirement_that_derives(data: EventData) -> EventData:
    return {**data, "derives_current": True}


#: One step for every version of a type that a release has written, except the latest.
STEPS: dict[tuple[str, int], Step] = {
    ("JobOutputsCommitted", 1): lambda data: {**data, "part_names": PLAIN_PART_NAMES},
    ("JobQueued", 1): _job_with_targets,
    ("JobReplayed", 1): _job_with_targets,
    ("JobQueued", 2): _job_with_work,
    ("JobReplayed", 2): _job_with_work,
    ("ContractApproved", 1): _approval_with_origin,
    ("ParserRetired", 1): _retirement_that_derives,
}


def upcast(name: str, version: int, known: int, data: EventData) -> EventData:
    """The data of an event of this version, converted to version `known`, which is not lower."""
    while version < known:
        data = STEPS[name, version](data)
        version += 1
    return data


def missing_steps(versions: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Missing steps; a test checks that there are none."""
    for name, version in versions.items():
        for older in range(1, version):
            if (name, older) not in STEPS:
                yield name, older
