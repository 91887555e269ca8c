"""The worker's end of the bus: one DEALER, drained through its descriptor in the loop.

Owns the socket and nothing else. A message goes only to a connection that exists: what cannot be sent now is said again
by whoever keeps it, so nothing stale waits here for a sentinel that comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import zmq

from casparian_protocol.packing import MalformedMessage
from casparian_protocol.wire.codec import decode, encode
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, Message

logger = logging.getLogger(__name__)

_LINGER_MILLISECONDS = 1000
_RECONNECT_MILLISECONDS = (50, 1000)
_DRAIN_LIMIT = 256


class WorkerBus:
    """Messages out, messages in."""

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
        """False when nobody is there to take it."""
        try:
            self._socket.send_multipart(encode(message, attachments), zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._recheck()
        return True

    def close(self) -> None:
        """Last words get a second to leave."""
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=_LINGER_MILLISECONDS)
        self._context.term()

    def _recheck(self) -> None:
        """The descriptor is edge-triggered: a send may have swallowed the edge."""
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
            logger.warning("The sentinel sent what is no message: %s", malformed.reason)
            return
        self._on_message(message, attachments)
