"""The bus: one ROUTER socket in the loop, drained through its descriptor without one future a message.

Owns the socket, its limits and who is behind which identity; knows no message. The descriptor of a ZeroMQ socket is
edge-triggered: whether more can be read is asked again after every drain and every send. A peer that vanished or does
not read never holds up the others.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from casparian_protocol.errors import CasparianError
from casparian_protocol.messages import ATTACHMENT_LIMIT_BYTES

_IPC = "ipc://"
HIGH_WATER_MARK = 10_000
#: Messages in one turn of the loop; the rest waits for the next, so that batches and timers get their turn.
DRAIN_LIMIT = 512

ZmqContext = zmq.Context[zmq.Socket[bytes]]


class EndpointNotPrivate(CasparianError):
    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory} holds the sentinel's sockets but other users may enter it.",
            remedy=f"chmod 700 {directory} (and make sure that it is yours).",
        )


class EndpointRefused(CasparianError):
    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"The endpoint {endpoint} is not ipc://.",
            remedy="Only processes of this user on this host can connect; leave the endpoint out.",
        )


def prepare_endpoint(endpoint: str) -> None:
    """Make way for binding: the directory must be private; a socket file left by a killed sentinel goes.

    Only the holder of the home's lock may call this.
    """
    if not endpoint.startswith(_IPC):
        raise EndpointRefused(endpoint)
    path = Path(endpoint.removeprefix(_IPC))
    status = path.parent.stat()
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise EndpointNotPrivate(path.parent)
    path.unlink(missing_ok=True)


class LoopSocket:
    """A ZeroMQ socket whose readable moments arrive as calls in the loop."""

    def __init__(self, socket: zmq.Socket[bytes], on_frames: Callable[[list[bytes]], None]) -> None:
        self._socket = socket
        self._on_frames = on_frames
        self._loop = asyncio.get_running_loop()
        self._descriptor = int(socket.get(zmq.FD))
        self._is_scheduled = False
        self._after_drain: Callable[[], None] | None = None
        self._loop.add_reader(self._descriptor, self._drain)
        self.recheck()

    def after_drain(self, callback: Callable[[], None]) -> None:
        """Call this whenever a drain has received anything."""
        self._after_drain = callback

    def send(self, frames: Sequence[bytes]) -> bool:
        """False when the peer is gone or does not read; raises any other error."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as cause:
            if cause.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        finally:
            self.recheck()
        return True

    def drain_now(self) -> None:
        """Receive everything that has arrived, however much."""
        while not self._socket.closed and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._drain()

    def recheck(self) -> None:
        """Look at EVENTS: sending may have swallowed the edge that announced something to read."""
        if not self._is_scheduled and not self._socket.closed and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._is_scheduled = True
            self._loop.call_soon(self._drain)

    def close(self) -> None:
        if not self._socket.closed:
            self._loop.remove_reader(self._descriptor)
            self._socket.close(linger=0)

    def _drain(self) -> None:
        self._is_scheduled = False
        received = 0
        while received < DRAIN_LIMIT and not self._socket.closed:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            received += 1
            self._on_frames(frames)
        if received and self._after_drain is not None:
            self._after_drain()
        self.recheck()


class Bus:
    """The ROUTER of workers and clients, and which worker is behind which identity."""

    def __init__(
        self, context: ZmqContext, endpoint: str, on_message: Callable[[bytes, Sequence[bytes]], None]
    ) -> None:
        """Bind; the caller holds the home's lock."""
        prepare_endpoint(endpoint)
        self._on_message = on_message
        self._path = Path(endpoint.removeprefix(_IPC))
        router = context.socket(zmq.ROUTER)
        router.set(zmq.LINGER, 0)
        router.set(zmq.ROUTER_MANDATORY, 1)
        router.set(zmq.ROUTER_HANDOVER, 0)
        router.set(zmq.MAXMSGSIZE, ATTACHMENT_LIMIT_BYTES)
        router.set(zmq.SNDHWM, HIGH_WATER_MARK)
        router.set(zmq.RCVHWM, HIGH_WATER_MARK)
        router.bind(endpoint)
        self._identities: dict[str, bytes] = {}
        self._workers: dict[bytes, str] = {}
        self.socket = LoopSocket(router, self._received)

    def _received(self, frames: list[bytes]) -> None:
        self._on_message(frames[0], frames[1:])

    def bind_worker(self, identity: bytes, worker_id: str) -> None:
        """A hello: from now on this connection speaks for that worker, and no other does."""
        earlier = self._identities.pop(worker_id, None)
        if earlier is not None:
            self._workers.pop(earlier, None)
        self.unbind(identity)
        self._identities[worker_id] = identity
        self._workers[identity] = worker_id

    def unbind(self, identity: bytes) -> None:
        worker_id = self._workers.pop(identity, None)
        if worker_id is not None:
            self._identities.pop(worker_id, None)

    def unbind_worker(self, worker_id: str) -> None:
        identity = self._identities.get(worker_id)
        if identity is not None:
            self.unbind(identity)

    def worker_of(self, identity: bytes) -> str | None:
        return self._workers.get(identity)

    def identity_of(self, worker_id: str) -> bytes | None:
        return self._identities.get(worker_id)

    def send(self, identity: bytes, frames: Sequence[bytes]) -> bool:
        return self.socket.send([identity, *frames])

    def close(self) -> None:
        self.socket.close()
        self._path.unlink(missing_ok=True)
