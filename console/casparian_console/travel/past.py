"""The facts as they were after any event: folded from the log, from the nearest place that was kept. Pure.

Kept places are forks (`Facts.fork`): they share the jobs that did not change between them, so that two dozen of them are
cheap. Some lie all over the log, a few close behind where the console stands: the next step back is there.
"""

from __future__ import annotations

from casparian_console.facts.store import Facts
from casparian_console.travel.history import History

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
