"""Views of the log: its last events, statistics, and copies as JSON lines and Parquet.

All of them read below a watermark and change nothing. In JSON lines, text stays escaped, so that a terminal can show a line
safely; bytes become `{"base64": …}`, and numbers that JSON does not have (NaN, infinities) become their names as text. pyarrow is
imported only for Parquet.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from casparian_sentinel.log.format import LogRecord, Position
from casparian_sentinel.log.reader import LogReader, list_segments, segment_name, segment_path
from casparian_sentinel.log.recovery import examine
from casparian_sentinel.ports import Fs


@dataclass(frozen=True, slots=True)
class LogStats:
    """Statistics of the log. The times are the smallest and largest `ts`; the clock may have jumped in between."""

    event_counts: dict[str, int]  # by type, most frequent first
    segment_bytes: dict[str, int]
    batch_count: int
    earliest_ts: int | None
    latest_ts: int | None

    @property
    def event_count(self) -> int:
        return sum(self.event_counts.values())


def end_of_log(fs: Fs, directory: Path) -> Position | None:
    """The watermark if no sentinel is writing: the end of the last whole batch. None if there is no log."""
    found = examine(fs, directory)
    return None if found is None else found.end.position


def tail(fs: Fs, directory: Path, count: int, upto: Position) -> list[LogRecord]:
    """The last `count` events below the watermark, oldest first; reads only the segments that hold them."""
    found: list[LogRecord] = []
    with LogReader(fs, directory) as reader:
        for segment in reversed([s for s in list_segments(fs, directory) if s <= upto.segment]):
            wanted = count - len(found)
            if wanted <= 0:
                break
            size = upto.offset if segment == upto.segment else _size(fs, directory, segment)
            last: list[LogRecord] = []
            for _head, events in reader.event_batches(
                reader.segment_start(segment), Position(segment, size), as_written=True
            ):
                last = (last + events)[-wanted:]
            found = last + found
    return found


def stats(fs: Fs, directory: Path, upto: Position) -> LogStats:
    """Read every event below the watermark, and count."""
    counts: Counter[str] = Counter()
    batch_count = 0
    earliest: int | None = None
    latest: int | None = None
    with LogReader(fs, directory) as reader:
        for _head, events in reader.event_batches(reader.start(), upto, as_written=True):
            batch_count += 1
            counts.update(event.type for event in events)
            times = [event.ts for event in events]
            earliest = min(times) if earliest is None else min(earliest, *times)
            latest = max(times) if latest is None else max(latest, *times)
    segments = [s for s in list_segments(fs, directory) if s <= upto.segment]
    sizes = {segment_name(segment): _size(fs, directory, segment) for segment in segments}
    return LogStats(dict(counts.most_common()), sizes, batch_count, earliest, latest)


def _size(fs: Fs, directory: Path, segment: int) -> int:
    descriptor = fs.open_read(segment_path(directory, segment))
    try:
        return fs.size(descriptor)
    finally:
        fs.close(descriptor)


_ROW_GROUP_EVENTS = 65_536


def export_jsonl(events: Iterable[LogRecord], out: TextIO) -> int:
    """Write one line for each event; returns their number."""
    count = 0
    for event in events:
        record = {
            "seq": event.seq,
            "ts": event.ts,
            "type": event.type,
            "v": event.v,
            "actor": event.actor,
            "cause": event.cause or None,
            "data": _plain(event.data),
        }
        out.write(json.dumps(record, allow_nan=False, separators=(",", ":")))
        out.write("\n")
        count += 1
    return count


def export_parquet(events: Iterable[LogRecord], path: Path) -> int:
    """Write a Parquet file, which appears complete or not at all; `data` is JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            pa.field("seq", pa.uint64(), nullable=False),
            pa.field("ts", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("type", pa.string(), nullable=False),
            pa.field("v", pa.int64(), nullable=False),
            pa.field("actor", pa.string(), nullable=False),
            pa.field("cause", pa.string()),
            pa.field("data", pa.string(), nullable=False),
        ]
    )
    aside = path.with_name(path.name + ".new")
    count = 0
    try:
        with pq.ParquetWriter(str(aside), schema, compression="zstd") as writer:
            for group in _groups(events):
                writer.write_table(pa.table(_columns(group), schema=schema))
                count += len(group)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _columns(events: list[LogRecord]) -> dict[str, list[Any]]:
    return {
        "seq": [event.seq for event in events],
        "ts": [event.ts for event in events],
        "type": [event.type for event in events],
        "v": [event.v for event in events],
        "actor": [event.actor for event in events],
        "cause": [str(event.cause) if event.cause else None for event in events],
        "data": [json.dumps(_plain(event.data), allow_nan=False, separators=(",", ":")) for event in events],
    }


def _groups(events: Iterable[LogRecord]) -> Iterator[list[LogRecord]]:
    remaining = iter(events)
    while group := list(islice(remaining, _ROW_GROUP_EVENTS)):
        yield group


def _plain(value: Any) -> Any:
    """The value as JSON's own types."""
    if isinstance(value, dict):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else base64.b64encode(key).decode("ascii")
