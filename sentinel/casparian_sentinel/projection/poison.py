"""Events that cannot be made part of the tables: what they are told apart by, and the row that remembers one.

A poison event never stops the projection: it is set aside by its sequence, counted, shown, and the rest goes on. The same log
gives the same poison, so a rebuild says what the running projection says. What may pass by itself (no memory, no disk, a
damaged file, being interrupted) is no poison: it is tried again.
"""

from __future__ import annotations

from typing import Any

import duckdb

from casparian_protocol.bounds import MICROSECONDS_MAX
from casparian_sentinel.blobs import BlobDamaged, BlobMissing
from casparian_sentinel.log.event import Event
from casparian_sentinel.projection.answers import is_damage

_MAY_PASS = (
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.ConnectionException,
    MemoryError,
    OSError,
)
_WORDS = 500


def may_pass(error: Exception) -> bool:
    """Whether the error says nothing about the event that was at hand."""
    return isinstance(error, _MAY_PASS) or is_damage(error)


def row_of(event: Event, error: Exception) -> dict[str, Any]:
    """The row of `cf_poison_events`."""
    return {
        "seq": event.seq,
        "ts": min(max(event.ts, 0), MICROSECONDS_MAX),
        "type": event.type[:100],
        "error": _in_words(error),
        "blob": _blob_of(event) if isinstance(error, BlobMissing | BlobDamaged) else None,
    }


def _in_words(error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else ""
    text = f"{type(error).__name__}: {first}"[:_WORDS]
    return text.encode("utf-8", "backslashreplace").decode()


def _blob_of(event: Event) -> str | None:
    """The blob whose content was missing: once it is back, the tables are worth building anew."""
    names = ("blob", "manifest_blob", "contract_hash")
    return next(
        (event.data[name] for name in names if isinstance(event.data.get(name), str) and event.data[name]), None
    )
