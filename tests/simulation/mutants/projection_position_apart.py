"""«The rows are what matters; the position can follow in a transaction of its own.»"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.events import decode
from casparian_sentinel.log.format import Head, LogRecord
from casparian_sentinel.projection.store import Projection

_MOVE = "update cf_position set seq = ?, batch_no = ?, segment = ?, byte_offset = ?, sha256 = ?"


def _in_two(projection: Projection, events: Sequence[LogRecord], head: Head) -> None:
    db = projection._db
    db.execute("begin")
    try:
        told = [(event, decode(event.type, event.v, event.data)) for event in events]
        for event, fact in told:
            projection._apply_one(event, fact)
        projection._flush_jobs()
        projection._tables.audit(told)
        db.execute("commit")
    except BaseException:
        db.execute("rollback")
        raise
    db.execute(_MOVE, (head.seq, head.batch_no, head.position.segment, head.position.offset, head.sha256.hex()))
    projection.head = head


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(Projection, "apply", _in_two):
        yield
