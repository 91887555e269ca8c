"""The worker's end of the bus, and notices to the person who started it about whether a sentinel answers.

`WorkerBus` is one DEALER socket, read through its descriptor in the loop. A message is sent only on an existing connection;
`leases` sends everything else again later, so no stale messages wait for a sentinel that comes back. `Contact` decides when to
stop waiting for the first sentinel.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import zmq

from casparian_protocol.packing import MalformedMessage
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, Message, decode, encode

logger = logging.getLogger(__name__)
_LINGER_MILLISECONDS = 1000
_RECONNECT_MILLISECONDS = (50, 1000)
_DRAIN_LIMIT = 256


class WorkerBus:
    """Sends and receives messages."""

    def __init__(self, endpoint: str, on_message: Callable[[Message, Sequence[bytes]], None]) -> None:
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.IMMEDIATE, 1)
        self._socket.set(zmq.MAXMSGSIZE, ATTACHMENT_LIMIT_BYTES)
        self._socket.set(zmq.RECONNECT_IVL, _RECONNECT_MILLISECONDS[0])
        self._socket.set(zmq.RECONNECT_IVL_MAX, _RECONNECT_MILLISECONDS[1])
        self._socket.connect(endpoint)
        self._descriptor = int(self._socket.get(zmq.FD))
        self._loop.add_reader(self._descriptor, self._drain)
        self._is_scheduled = False
        self._recheck()

    def send(self, message: Message, attachments: Sequence[bytes] = ()) -> bool:
        """Send a message. Returns False if no sentinel is connected."""
        try:
            self._socket.send_multipart(encode(message, attachments), zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._recheck()
        return True

    def close(self) -> None:
        """Close the socket, giving the last messages a second to leave."""
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=_LINGER_MILLISECONDS)
        self._context.term()

    def _recheck(self) -> None:
        """Check for more messages: the descriptor is edge-triggered, and a send may have consumed the edge."""
        if not self._is_scheduled and not self._socket.closed and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._is_scheduled = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._is_scheduled = False
        try:
            for _ in range(_DRAIN_LIMIT):
                if self._socket.closed:
                    return
                self._take(self._socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return
        finally:
            if not self._socket.closed:
                self._recheck()

    def _take(self, frames: list[bytes]) -> None:
        try:
            message, attachments = decode(frames)
        except MalformedMessage as malformed:
            logger.warning("The daemon sent something that is not a message: %s", malformed.reason)
            return
        self._on_message(message, attachments)


def _told(tell: Callable[[str], None], text: str) -> None:
    with suppress(OSError):  # a full disk or a closed terminal ends no worker
        tell(text)


#: Exit statuses of a worker, the same as those of every command.
LEFT, REFUSED, NO_SENTINEL = 0, 1, 3
DEFAULT_WAIT_SECONDS = 30.0
#: A running sentinel answers sooner than this, so nothing is announced before.
_PATIENCE_SECONDS = 1.0


class Contact:
    """Announces the state of the connection. A managed worker announces nothing, and waits as `leases` decides."""

    def __init__(
        self,
        whom: str,
        tell: Callable[[str], None] | None,
        wait_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`whom` is the sentinel it waits for; `tell` is None for a managed worker."""
        self._whom = whom
        self._tell = None if tell is None else partial(_told, tell)
        self._wait_seconds = wait_seconds
        self._monotonic = monotonic
        self._began_s = monotonic()
        self._was_welcome = False
        self._is_told = False
        self.status = LEFT

    def keeps_waiting(self) -> bool:
        """No sentinel has answered yet; returns whether to keep waiting. Once one has answered, this waits without limit."""
        if self._tell is None or self._was_welcome:
            return True
        waited_s = self._monotonic() - self._began_s
        if waited_s >= self._wait_seconds:
            self._tell(f"No daemon answered for {self._wait_seconds:g} s: {self._whom}. `casparian start` starts one.")
            self.status = NO_SENTINEL
            return False
        if waited_s >= _PATIENCE_SECONDS and not self._is_told:
            self._is_told = True
            self._tell(f"waiting up to {self._wait_seconds:g} s for a daemon: {self._whom}")
        return True

    def welcomed(self) -> None:
        if self._tell is not None and (self._is_told or not self._was_welcome):
            self._tell("joined again" if self._was_welcome else "joined")
        self._was_welcome, self._is_told = True, False

    def lost(self) -> None:
        """The daemon stopped responding; announced once."""
        if self._tell is not None and self._was_welcome and not self._is_told:
            self._is_told = True
            self._tell("the daemon is gone; this worker keeps trying until it is back (Ctrl-C ends it)")

    def refused(self, reason: str) -> None:
        """The sentinel refused this worker for good."""
        self.status = REFUSED
        if self._tell is not None:
            self._tell(f"The daemon refused this worker: {reason}.")
