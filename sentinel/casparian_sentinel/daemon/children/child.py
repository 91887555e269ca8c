"""Child processes: started from the main thread, watched through pidfds, restarted with growing delays.

Owns starting, noticing the end, and the waiting between starts. What a child does and what its end means is said by
whoever keeps it. Children are never started from a short-lived thread: a parent-death signal would fire with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from casparian_sentinel.ports import Clock

FIRST_BACKOFF_SECONDS = 0.1
LAST_BACKOFF_SECONDS = 30.0
#: A child that lived shorter than this died at once.
INSTANT_SECONDS = 5.0
GIVE_UP_AFTER = 5


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start, and when to give up. Pure."""

    first_seconds: float = FIRST_BACKOFF_SECONDS
    instant_deaths: int = 0

    def died_after(self, lived_seconds: float) -> float:
        """Seconds to wait before the next start."""
        self.instant_deaths = self.instant_deaths + 1 if lived_seconds < INSTANT_SECONDS else 0
        if not self.instant_deaths:
            return self.first_seconds
        wait: float = self.first_seconds * 3 ** (self.instant_deaths - 1)
        return min(LAST_BACKOFF_SECONDS, wait)

    @property
    def is_hopeless(self) -> bool:
        return self.instant_deaths >= GIVE_UP_AFTER


class Child:
    """One running process of ours. `on_exit` is called in the loop, once, with a word about how it ended."""

    def __init__(
        self,
        argv: Sequence[str],
        clock: Clock,
        on_exit: Callable[[str], None],
        *,
        output: int,
        pass_descriptors: Sequence[int] = (),
    ) -> None:
        """Start it, in a session of its own: a Ctrl-C at the terminal is for the sentinel to pass on."""
        self._clock = clock
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(pass_descriptors),
            start_new_session=True,
            cwd="/",
        )
        #: None while it runs; negative: the signal that killed it.
        self.exit_code: int | None = None
        self.started_at_s = clock.monotonic_seconds()
        self.pid = self._process.pid
        self._pidfd: int | None = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def is_running(self) -> bool:
        return self._pidfd is not None

    @property
    def lived_seconds(self) -> float:
        return self._clock.monotonic_seconds() - self.started_at_s

    def kill(self) -> None:
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def terminate(self) -> None:
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def _ended(self) -> None:
        if self._pidfd is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = None
        self.exit_code = self._process.wait()
        self._on_exit(said_of_exit(self.exit_code))


def said_of_exit(code: int) -> str:
    """`exited with 3`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
