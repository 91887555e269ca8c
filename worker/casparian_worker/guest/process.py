"""One running guest, however it was started: listened to, stopped, and ended with all that it left behind.

Owns the worker's end of the stream and the raw bytes on the guest's descriptors 1 and 2. Starting is a `Spawner`'s; reading
frames and judging why a guest ended are `execute`'s.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Literal

from casparian_shim.frames import LogLevel
from casparian_worker.guest.children import Child, GuestExit, end_orphans

#: From the first signal to the last; with reaping, a guest is gone within two seconds of being told.
TERMINATE_SECONDS = 1.8
_KILLED_SECONDS = 60.0
_DRAIN_SECONDS = 0.2
#: What is already in the pipes of a guest that has ended is read for so long.
_LAST_DRAIN_SECONDS = 1.0
_READ_BYTES = 64 * 1024

#: What holds a guest back, as leases and commits record it.
Level = Literal["full", "strong", "basic", "none"]
OnOutput = Callable[[LogLevel, bytes], None]


class Guest:
    """A process that runs one parser on one file."""

    def __init__(
        self,
        child: Child,
        stream: socket.socket,
        level: Level,
        *,
        pipes: Mapping[IO[bytes], LogLevel],
        on_output: OnOutput,
        is_contained: bool,
    ) -> None:
        """`pipes` are read until the guest ends. One that is not contained keeps the user's terminal and its own children."""
        self.stream = stream
        #: What it is really held back by.
        self.level = level
        self._child = child
        self._is_contained = is_contained
        self._exit: GuestExit | None = None
        self._is_ending = threading.Event()
        self._drain: threading.Thread | None = None
        if pipes:
            self._drain = threading.Thread(
                target=_drain_pipes, args=(pipes, self._is_ending, on_output), name=f"drain-{self.pid}", daemon=True
            )
            self._drain.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        """From any thread: ask it and its process group to end, and end the reading of its stream. Does not wait."""
        self._child.signal(signal.SIGTERM)
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:  # not connected any more
            return

    def wait(self, timeout_seconds: float) -> bool:
        """Whether the process has ended by then."""
        return self._exit is not None or self._child.wait(timeout_seconds)

    def has_ended(self) -> bool:
        """Whether the process has ended. From then on nothing that it left behind counts: its group and its orphans end."""
        if self._exit is not None:
            return True
        if not self.wait(0):
            return False
        if self._is_contained:
            self._child.signal(signal.SIGKILL)
            end_orphans()
        return True

    def end(self, *, grace_seconds: float = TERMINATE_SECONDS) -> GuestExit:
        """Make sure that nothing of it is left: SIGTERM, grace, SIGKILL for its whole group, then reap. How it ended."""
        if self._exit is not None:
            return self._exit
        if not self.wait(0):
            self._child.signal(signal.SIGTERM)
            if not self.wait(grace_seconds):
                self._child.signal(signal.SIGKILL)
                self.wait(_KILLED_SECONDS)
        if self._is_contained:
            self._child.signal(signal.SIGKILL)
        self._exit = self._child.reap()
        end_orphans()
        self._is_ending.set()
        if self._drain is not None:
            self._drain.join()
        self.stream.close()
        return self._exit


def _drain_pipes(pipes: Mapping[IO[bytes], LogLevel], is_ending: threading.Event, on_output: OnOutput) -> None:
    """Read until both pipes are closed; once the guest is gone, only what is already there."""
    with selectors.DefaultSelector() as selector:
        for pipe, level in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, level)
        deadline_s = float("inf")
        while selector.get_map() and time.monotonic() < deadline_s:
            was_ending = is_ending.is_set()
            if was_ending and deadline_s == float("inf"):  # somebody that it left behind may write for ever
                deadline_s = time.monotonic() + _LAST_DRAIN_SECONDS
            ready = selector.select(0 if was_ending else _DRAIN_SECONDS)
            for key, _events in ready:
                data = os.read(key.fd, _READ_BYTES)
                if data:
                    on_output(key.data, data)
                else:
                    selector.unregister(key.fileobj)
            if was_ending and not ready:
                break
    for pipe in pipes:
        pipe.close()
