"""Events that cannot be applied to the tables: how they are recognised, and the row that records one.

A poison event never stops the projection: it is recorded by its sequence number, counted and shown, and the projection continues.
The same log has the same poison events, so a rebuild gives the same result as the running projection. An error that may pass (no
memory, no disk space, a damaged file, an interrupt) is not poison: the event is tried again.

An error after which DuckDB gives up the whole database may come from damage or from an event. In both cases the tables are
rebuilt; an event that also breaks the new tables is poison (`Suspects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import duckdb

from casparian_protocol.bounds import MICROSECONDS_MAX
from casparian_sentinel.blobs import BlobDamaged, BlobMissing
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection.answers import is_damage
from casparian_sentinel.projection.database import is_failed_write

_MAY_PASS = (
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.ConnectionException,
    MemoryError,
    OSError,
)
_WORDS = 500
#: Errors after which DuckDB gives up the whole database.
BREAKS = (duckdb.FatalException, duckdb.InternalException)
#: The most rebuilds in one process: a disk that fails at random is no event's fault.
_TIMES_MAX = 16


class StartAgain(Exception):
    """The tables broke and were replaced by empty ones: apply the log from its start."""


@dataclass(slots=True)
class Suspects:
    """Events at which the tables broke: first all events of a batch, then, on new tables, a single event."""

    found: dict[int, Exception] = field(default_factory=dict)
    _first: int = 0
    _last: int = -1
    _times: int = 0

    def stand_alone(self, events: Sequence[LogRecord]) -> bool:
        """Whether these events must be applied one by one, to find the one that breaks the tables."""
        if len(events) < 2:
            return False
        first, last = events[0].seq, events[-1].seq
        is_near = first <= self._last and self._first <= last
        return is_near or any(first <= seq <= last for seq in self.found)

    def note(self, events: Sequence[LogRecord], error: Exception) -> bool:
        """Note that the tables broke while these events were applied; returns whether a rebuild makes sense."""
        self._times += 1
        if not events or self._times > _TIMES_MAX:
            return False
        first, last = events[0].seq, events[-1].seq
        if first == last and self._first <= first <= self._last:
            self.found[first] = error
        else:
            self._first, self._last = first, last
        return True


def may_pass(error: Exception) -> bool:
    """Whether the error says nothing about the event that was being applied."""
    return isinstance(error, _MAY_PASS) or is_failed_write(error) or is_damage(error)


class PoisonRow(TypedDict):
    """A row of `cf_poison_events`."""

    seq: int
    #: µs UTC.
    ts: int
    type: str
    error: str
    blob: str | None


def row_of(event: LogRecord, error: Exception) -> PoisonRow:
    return PoisonRow(
        seq=event.seq,
        ts=min(max(event.ts, 0), MICROSECONDS_MAX),
        type=event.type[:100],
        error=_in_words(error),
        blob=_blob_of(event) if isinstance(error, BlobMissing | BlobDamaged) else None,
    )


def _in_words(error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else ""
    text = f"{type(error).__name__}: {first}"[:_WORDS]
    return text.encode("utf-8", "backslashreplace").decode()


def _blob_of(event: LogRecord) -> str | None:
    """The blob whose content was missing; once it is back, the tables are worth rebuilding."""
    names = ("blob", "manifest_blob", "contract_hash")
    return next(
        (event.data[name] for name in names if isinstance(event.data.get(name), str) and event.data[name]), None
    )
