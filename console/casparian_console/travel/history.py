"""The log in memory, packed: any stretch of it again, and where a time or a job's next event lies. Pure.

200,000 events as objects are 170 MB, packed 5 to 20 MB. Events are known by their sequence, which has no gaps.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from casparian_protocol.codec import pack, unpack
from casparian_protocol.feed import FeedEvent

_CHUNK_EVENTS = 512
#: Far above 512 events of the 16 KiB that the log allows each.
_CHUNK_LIMIT_BYTES = 64 * 1024 * 1024
_OPEN_CHUNKS = 4
_NO_JOB = 0


class History:
    """The events `first` to `last`; `first` is 0 while there is none."""

    def __init__(self) -> None:
        self.first = 0
        self._packed: list[bytes] = []
        self._tail: list[FeedEvent] = []
        #: chunk → its events, of those that were looked at last.
        self._open: dict[int, list[FeedEvent]] = {}
        self._times = array("q")
        #: The highest time up to each event: clocks may be set back, and a search needs an order.
        self._latest = array("q")
        self._jobs = array("Q")

    def __len__(self) -> int:
        return len(self._times)

    @property
    def last(self) -> int:
        return self.first + len(self) - 1 if len(self) else 0

    def append(self, event: FeedEvent) -> bool:
        """The next event; False for one that is not the next."""
        if not len(self):
            self.first = event.seq
        elif event.seq != self.last + 1:
            return False
        self._tail.append(event)
        self._times.append(event.ts)
        self._latest.append(max(event.ts, self._latest[-1]) if self._latest else event.ts)
        self._jobs.append(_job_number(event))
        if len(self._tail) == _CHUNK_EVENTS:
            rows = [[each.seq, each.ts, each.type, each.v, each.actor, each.data] for each in self._tail]
            self._packed.append(zlib.compress(pack(rows), 1))
            self._keep_open(len(self._packed) - 1, self._tail)
            self._tail = []
        return True

    def event(self, seq: int) -> FeedEvent:
        chunk, at = divmod(seq - self.first, _CHUNK_EVENTS)
        return self._chunk(chunk)[at]

    def events(self, after: int, upto: int) -> Iterator[FeedEvent]:
        """Those behind `after`, up to and with `upto`."""
        start, end = max(after + 1, self.first) - self.first, min(upto, self.last) - self.first + 1
        while start < end:
            chunk, at = divmod(start, _CHUNK_EVENTS)
            stretch = self._chunk(chunk)[at : at + end - start]
            yield from stretch
            start += len(stretch)

    def time_of(self, seq: int) -> int:
        return self._times[seq - self.first]

    def last_at(self, at_us: int) -> int:
        """The last event that is not younger than the time; the first one when all are."""
        return self.first + max(0, bisect_right(self._latest, at_us) - 1)

    def neighbour(self, seq: int, step: int) -> int | None:
        """The next (`step` 1) or last (-1) event of the same job; from an event of no job, the nearest of any job."""
        at = seq - self.first
        job = self._jobs[at]
        places = range(at + 1, len(self)) if step > 0 else range(at - 1, -1, -1)
        for place in places:
            other = self._jobs[place]
            if other == job if job != _NO_JOB else other != _NO_JOB:
                return self.first + place
        return None

    def _chunk(self, chunk: int) -> list[FeedEvent]:
        if chunk == len(self._packed):
            return self._tail
        events = self._open.pop(chunk, None)
        if events is None:
            rows = unpack(zlib.decompress(self._packed[chunk]), limit_bytes=_CHUNK_LIMIT_BYTES)
            events = [FeedEvent(*row) for row in rows]
        self._keep_open(chunk, events)
        return events

    def _keep_open(self, chunk: int, events: list[FeedEvent]) -> None:
        self._open[chunk] = events
        if len(self._open) > _OPEN_CHUNKS:
            del self._open[next(iter(self._open))]


def _job_number(event: FeedEvent) -> int:
    """The job that an event is about, as the number that its id writes down."""
    job = event.data.get("job")
    job_id = job.get("job_id") if isinstance(job, dict) else event.data.get("job_id")
    try:
        return int(job_id, 16) & 0xFFFF_FFFF_FFFF_FFFF if isinstance(job_id, str) else _NO_JOB
    except ValueError:
        return hash(job_id) & 0xFFFF_FFFF_FFFF_FFFF
