"""The log in memory, and the facts as they were after any of its events.

`History` holds the events packed. `Past` folds them from the nearest kept place: kept places are forks (`Facts.fork`) that
share what did not change between them.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from casparian_console.facts import Facts
from casparian_protocol.feed import FeedEvent
from casparian_protocol.packing import pack, unpack

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


#: Places kept all over the log.
KEPT = 24
_STRIDE_EVENTS = 2_000
#: Places kept before the one that is stood at, so many events back, when more than that had to be folded.
_CLOSE_BEHIND = (256, 16)
_CLOSE_KEPT = 8


class Past:
    """`facts` are those after event `facts.seq`; they change in place while the console moves forward."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.facts = Facts()
        self.facts.count_from_nothing()
        self._stride = _STRIDE_EVENTS
        self._kept: dict[int, Facts] = {0: self.facts.fork()}
        self._close: dict[int, Facts] = {}

    def expect(self, events: int) -> None:
        """The log will be so long: the places to keep are chosen for that from the start."""
        while self._stride * KEPT < events:
            self._stride *= 2

    def go(self, seq: int, *, is_passing: bool = False) -> Facts:
        """Stand at the event; `is_passing` when nobody will step back from there."""
        base = self._nearest(seq)
        if base is not self.facts:
            self.facts = base.fork()
        start = self.facts.seq
        stops = [seq - back for back in _CLOSE_BEHIND if seq - back > start and not is_passing]
        for event in self.history.events(start, seq):
            self.facts.fold(event)
            self._keep_far()
            if event.seq in stops:
                self._keep_close()
        if len(self.history):
            self.facts.tick(self.history.time_of(seq))
        return self.facts

    def _nearest(self, seq: int) -> Facts:
        places = [*self._kept.values(), *self._close.values(), self.facts]
        return max((place for place in places if place.seq <= seq), key=lambda place: place.seq)

    def _keep_far(self) -> None:
        """Every so many events, the fewer the longer the log becomes."""
        seq = self.facts.seq
        if seq % self._stride or seq in self._kept:
            return
        self._kept[seq] = self.facts.fork()
        if len(self._kept) > KEPT:
            self._stride *= 2
            self._kept = {at: facts for at, facts in self._kept.items() if at % self._stride == 0}

    def _keep_close(self) -> None:
        self._close.pop(self.facts.seq, None)
        self._close[self.facts.seq] = self.facts.fork()
        if len(self._close) > _CLOSE_KEPT:
            del self._close[next(iter(self._close))]
