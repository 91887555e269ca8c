"""Whether a sentinel answers, in words for whoever started this worker by hand; and when to stop waiting for the first one."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Exit statuses of a worker, as of every command.
LEFT, REFUSED, NO_SENTINEL = 0, 1, 3
DEFAULT_WAIT_SECONDS = 30.0
#: A sentinel that is there answers sooner; nothing is announced before.
_PATIENCE_SECONDS = 1.0


class Contact:
    """One worker's. A managed worker tells nobody and waits as its own rules say."""

    def __init__(
        self,
        whom: str,
        tell: Callable[[str], None] | None,
        wait_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`whom` it waits for; `tell` None: a managed worker's."""
        self._whom = whom
        self._tell = tell
        self._wait_seconds = wait_seconds
        self._monotonic = monotonic
        self._began_s = monotonic()
        self._was_welcome = False
        self._is_told = False
        self.status = LEFT

    def looked(self) -> bool:
        """Nobody has answered yet; whether to wait on. For ever, once somebody has."""
        if self._tell is None or self._was_welcome:
            return True
        waited_s = self._monotonic() - self._began_s
        if waited_s >= self._wait_seconds:
            self._tell(
                f"No sentinel answered for {self._wait_seconds:g} s: {self._whom}. `casparian start` starts one."
            )
            self.status = NO_SENTINEL
            return False
        if waited_s >= _PATIENCE_SECONDS and not self._is_told:
            self._is_told = True
            self._tell(f"waiting up to {self._wait_seconds:g} s for a sentinel: {self._whom}")
        return True

    def welcomed(self) -> None:
        if self._tell is not None and (self._is_told or not self._was_welcome):
            self._tell("joined again" if self._was_welcome else "joined")
        self._was_welcome, self._is_told = True, False

    def lost(self) -> None:
        """The sentinel that was here takes nothing any more. Told once."""
        if self._tell is not None and self._was_welcome and not self._is_told:
            self._is_told = True
            self._tell("the sentinel is gone; this worker keeps trying until it is back (Ctrl-C ends it)")

    def refused(self, reason: str) -> None:
        """The sentinel does not want this worker, and will not."""
        self.status = REFUSED
        if self._tell is not None:
            self._tell(f"The sentinel refused this worker: {reason}.")
