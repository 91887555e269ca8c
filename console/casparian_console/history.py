"""The log in memory, and the facts as of any of its events.

`History` holds the packed events. `Past` folds them from the nearest checkpoint. Checkpoints are forks (`Facts.fork`) that
share what did not change between them.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator

from casparian_console.facts import Facts
from casparian_protocol.feed import FeedEvent
from casparian_protocol.packing import pack, unpack
from casparian_protocol.wording import last_event_at

_CHUNK_EVENTS = 512
#: Far more than 512 events of 16 KiB, the log's limit for one event.
_CHUNK_LIMIT_BYTES = 64 * 1024 * 1024
_OPEN_CHUNKS = 4
_NO_JOB = 0


class History:
    """The events `first` to `last`; `first` is 0 while there are none."""

    def __init__(self) -> None:
        self.first = 0
        self._packed: list[bytes] = []
        self._tail: list[FeedEvent] = []
        #: chunk → its unpacked events, for the chunks that were used last.
        self._open: dict[int, list[FeedEvent]] = {}
        self._times = array("q")
        self._jobs = array("Q")

    def __len__(self) -> int:
        return len(self._times)

    @property
    def last(self) -> int:
        return self.first + len(self) - 1 if len(self) else 0

    def append(self, event: FeedEvent) -> bool:
        """Add the next event. False: it is not the next one."""
        if not len(self):
            self.first = event.seq
        elif event.seq != self.last + 1:
            return False
        self._tail.append(event)
        self._times.append(event.ts)
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
        """The events after `after`, up to and including `upto`."""
        start, end = max(after + 1, self.first) - self.first, min(upto, self.last) - self.first + 1
        while start < end:
            chunk, at = divmod(start, _CHUNK_EVENTS)
            stretch = self._chunk(chunk)[at : at + end - start]
            yield from stretch
            start += len(stretch)

    def time_of(self, seq: int) -> int:
        return self._times[seq - self.first]

    def last_at(self, at_us: int) -> int:
        """The last event that is not newer than the time, as `--as-of` shows it; 0 if all are newer."""
        return last_event_at(enumerate(self._times, self.first), at_us)

    def neighbour(self, seq: int, step: int) -> int | None:
        """The next (`step` 1) or previous (-1) event of the same job. From an event without a job: the nearest event of any
        job."""
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
    """The id of the event's job as a number."""
    job = event.data.get("job")
    job_id = job.get("job_id") if isinstance(job, dict) else event.data.get("job_id")
    try:
        return int(job_id, 16) & 0xFFFF_FFFF_FFFF_FFFF if isinstance(job_id, str) else _NO_JOB
    except ValueError:
        return hash(job_id) & 0xFFFF_FFFF_FFFF_FFFF


#: The number of checkpoints, spread over the log.
KEPT = 24
_STRIDE_EVENTS = 2_000
#: Checkpoints this many events before the current one, kept if more events than that had to be folded.
_CLOSE_BEHIND = (256, 16)
_CLOSE_KEPT = 8


class Past:
    """The facts as of event `facts.seq`. They change in place while the console moves forward."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.facts = Facts()
        self.facts.count_from_nothing()
        self._stride = _STRIDE_EVENTS
        self._kept: dict[int, Facts] = {0: self.facts.fork()}
        self._close: dict[int, Facts] = {}

    def expect(self, events: int) -> None:
        """Set the expected length of the log, which determines the distance between checkpoints."""
        while self._stride * KEPT < events:
            self._stride *= 2

    def go(self, seq: int, *, is_passing: bool = False) -> Facts:
        """Go to the event. `is_passing`: the console moves on at once and will not step back from here."""
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
        """Keep a checkpoint every so many events; the distance grows with the log."""
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
