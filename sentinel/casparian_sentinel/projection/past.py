"""The tables as they were: a projection in a file of its own, folded from the log's beginning up to an event.

Reads the log and the blobs only, so that it works beside a running sentinel; the home's own `state.duckdb` is not looked
at. Serves `--as-of` and the comparison of the live tables with a fold from scratch.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from casparian_protocol.home import Home
from casparian_sentinel import catalog
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.log.event import Event
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.poison import StartAgain
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection, chunked

_BATCH_EVENTS = 5_000


def fold_from_scratch(home: Home, path: Path, seq: int, end: Position) -> Projection:
    """A new projection at `path` that holds the events 1 to `seq` of the log whose whole batches end at `end`.

    Its position is only exact in `seq` when that event is not the last of its batch. Raises `LogCorrupt`.
    """
    projection = Projection(path, BlobStore(RealFs(), home.blobs).get, boot_id="past")
    try:
        with LogReader(RealFs(), home.log) as reader:
            while True:
                batches = _upto(reader.event_batches(reader.start(), end), seq)
                try:
                    for head, events in chunked(batches, _BATCH_EVENTS):
                        projection.apply(events, head)
                except StartAgain:
                    continue
                break
    except BaseException:
        projection.close()
        raise
    return projection


def last_seq_at(home: Home, microseconds: int, end: Position) -> int:
    """The last event that is not younger than that time, 0 when all are; the clock may have jumped between events."""
    found = 0
    with LogReader(RealFs(), home.log) as reader:
        for _head, events in reader.event_batches(reader.start(), end):
            found = max((event.seq for event in events if event.ts <= microseconds), default=found)
    return found


def publish_past_catalogue(home: Home, projection: Projection) -> dict[str, str]:
    """Write the catalogue of the outputs that were published then; name of a table → a file of it that is gone since."""
    files = projection.query(planning.OUTPUT_FILES).to_pylist()
    missing: dict[str, str] = {}
    for file in files:
        if file["path"] is not None and not (home.root / file["path"]).is_file():
            schema = "quarantine." if file["kind"] == "quarantine" else ""
            for name in (file["output"], f"{file['output']}@v{file['version']}"):
                missing.setdefault(schema + name, file["path"])
            file["path"] = None
    contracts = projection.query(planning.APPROVED_CONTRACTS).to_pylist()
    live_outputs = projection.query(planning.LIVE_OUTPUTS).to_pylist()
    uncommitted = projection.query(planning.UNCOMMITTED_FILES).to_pylist()
    catalog.publish(
        home,
        catalog.datasets(home, files, contracts, live_outputs),
        projection.query(planning.LINEAGE_FILES),
        catalog.kept(home, uncommitted, datetime.now(UTC)).files,
    )
    return missing


def _upto(batches: Iterator[tuple[Head, list[Event]]], seq: int) -> Iterator[tuple[Head, list[Event]]]:
    for head, events in batches:
        if head.seq <= seq:
            yield head, events
            continue
        wanted = [event for event in events if event.seq <= seq]
        if wanted:
            yield Head(head.position, head.batch_no, seq, head.sha256), wanted
        return
