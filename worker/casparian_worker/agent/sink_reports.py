"""Telling the sentinel what was written: what changed, at most once a second, in messages that fit. Pure but for `send`.

Counts are cumulative, so a report that could not be sent is not kept: the next one says more. A sentinel that just
welcomed this worker is told everything, since it may be another than before.
"""

from __future__ import annotations

from collections.abc import Callable

from casparian_protocol.packing import pack
from casparian_protocol.wire.messages import BODY_LIMIT_BYTES, Message, SinkCounts, Sinks
from casparian_worker.staging import SinkMeter, SinkMeters

#: A second, less what a timer may come early.
INTERVAL_SECONDS = 0.95
_REPORT_BYTES = BODY_LIMIT_BYTES * 3 // 4


class SinkReports:
    """One worker's."""

    def __init__(self, since_us: int) -> None:
        """Counts begin now."""
        self.meters = SinkMeters()
        self._since_us = since_us
        #: Meter → how many of its changes the sentinel knows of.
        self._told: dict[SinkMeter, int] = {}
        self._told_at_s = float("-inf")

    def begin_anew(self) -> None:
        """Nobody knows anything."""
        self._told.clear()

    def tell(self, send: Callable[[Message], bool], now_s: float, *, is_last: bool = False) -> None:
        """Report what changed, if it is time or these are the last words. `send` says whether somebody takes it."""
        if not is_last and now_s - self._told_at_s < INTERVAL_SECONDS:
            return
        changed = [meter for meter in self.meters.all() if meter.changes != self._told.get(meter, 0)]
        group: dict[SinkMeter, tuple[int, SinkCounts]] = {}
        size_bytes = 0
        for meter in changed:
            reading = meter.read()
            cost_bytes = len(pack(reading[1].model_dump()))
            if size_bytes + cost_bytes > _REPORT_BYTES:
                self._send(send, group, now_s)
                group, size_bytes = {}, 0
            group[meter] = reading
            size_bytes += cost_bytes
        self._send(send, group, now_s)

    def _send(
        self, send: Callable[[Message], bool], group: dict[SinkMeter, tuple[int, SinkCounts]], now_s: float
    ) -> None:
        if not group:
            return
        if send(Sinks(since=self._since_us, sinks=[counts for _, counts in group.values()])):
            self._told |= {meter: changes for meter, (changes, _) in group.items()}
            self._told_at_s = now_s
