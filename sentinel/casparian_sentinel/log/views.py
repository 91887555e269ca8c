"""Looking at the log: its last events, and figures about all of it. Reads below a watermark; changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from casparian_sentinel.log.event import Event
from casparian_sentinel.log.format import Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.recovery import examine
from casparian_sentinel.log.segments import list_segments, segment_name, segment_path
from casparian_sentinel.ports import Fs


@dataclass(frozen=True, slots=True)
class LogStats:
    """Figures over the log. The times are the smallest and largest `ts` seen; the clock may have jumped between."""

    event_counts: dict[str, int]  # by type, most frequent first
    segment_bytes: dict[str, int]
    batch_count: int
    earliest_ts: int | None
    latest_ts: int | None

    @property
    def event_count(self) -> int:
        return sum(self.event_counts.values())


def end_of_log(fs: Fs, directory: Path) -> Position | None:
    """The watermark when no sentinel writes: the end of the last whole batch. None when there is no log."""
    found = examine(fs, directory)
    return None if found is None else found.end.position


def tail(fs: Fs, directory: Path, count: int, upto: Position) -> list[Event]:
    """The last `count` events below the watermark, oldest first; no more segments are read than hold them."""
    found: list[Event] = []
    with LogReader(fs, directory) as reader:
        for segment in reversed([s for s in list_segments(fs, directory) if s <= upto.segment]):
            wanted = count - len(found)
            if wanted <= 0:
                break
            size = upto.offset if segment == upto.segment else _size(fs, directory, segment)
            last: list[Event] = []
            for _head, events in reader.event_batches(
                reader.segment_start(segment), Position(segment, size), as_written=True
            ):
                last = (last + events)[-wanted:]
            found = last + found
    return found


def stats(fs: Fs, directory: Path, upto: Position) -> LogStats:
    """Read every event below the watermark and count."""
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
