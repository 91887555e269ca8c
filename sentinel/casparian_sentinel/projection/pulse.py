"""The rhythm of the projector's loop: when it applies events, and what it reports about its turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from casparian_protocol.wire.heartbeats import LONG_TURN_SECONDS
from casparian_sentinel.projection import LoopState, Report

#: A transaction costs some ten milliseconds, whatever it holds, so events are applied together: at most this often, and rarely
#: enough to leave most of a processor to others. A question that waits for an event is not kept waiting by this.
_APPLY_EVERY_SECONDS = 0.1
_APPLY_REST = 4
_APPLY_REST_SECONDS = 1.0
_BEAT_SECONDS = 1.0
#: A long turn with at least this much CPU time is working; the thread that sends beats uses far less.
_AT_WORK_SECONDS = 0.02


def rest_seconds(took_seconds: float) -> float:
    """How long after the beginning of an application of this length the next one begins.

    The rest is limited: otherwise the tables would fall behind further and further as soon as events take a quarter of the time.
    """
    return max(_APPLY_EVERY_SECONDS, min(_APPLY_REST * took_seconds, took_seconds + _APPLY_REST_SECONDS))


class Pulse:
    """Reports the state of the loop from a separate thread, to distinguish a long batch, a hang and a stopped process."""

    def __init__(
        self,
        say: Callable[[Report], object],
        now: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._send_report, self._now, self._cpu = say, now, cpu
        self._turn_began_s = now()
        self._was_long_s: float | None = None
        self._worked_s, self._cpu_then = self._turn_began_s, cpu()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def turn(self) -> None:
        """Note that the loop begins another turn."""
        now = self._now()
        if now - self._turn_began_s > LONG_TURN_SECONDS:
            self._was_long_s = now
        self._turn_began_s = now

    def beat(self) -> LoopState:
        now, cpu = self._now(), self._cpu()
        is_long = now - self._turn_began_s > LONG_TURN_SECONDS
        if not is_long or cpu - self._cpu_then >= _AT_WORK_SECONDS:
            self._worked_s, self._cpu_then = now, cpu
        busy_ago = 0.0 if is_long else None if self._was_long_s is None else now - self._was_long_s
        return LoopState(busy_ago=busy_ago, idle=now - self._worked_s)

    def _run(self) -> None:
        while not self._is_over.wait(_BEAT_SECONDS):
            self._send_report(Report(beat=self.beat()))
