"""The daemon's sockets: the ROUTER for workers and clients, the messages sent on it, and the feed.

`Bus` owns the ROUTER socket, its limits, and the map of identities to workers. The file descriptor of a ZeroMQ socket is
edge-triggered, so the socket is checked for more messages after every drain and every send. `Outbox` encodes messages, splits
long ones and drops those without a reader; a peer that vanished or does not read never delays the others. `FeedPublisher` is an
XPUB socket: it encodes only what has a subscriber, and drops messages for slow readers. `inbox` reads what arrives.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from casparian_protocol.errors import CasparianError
from casparian_protocol.feed import METRIC_TOPIC, FeedEvent, Metric, encode_event, encode_metric
from casparian_protocol.packing import pack
from casparian_protocol.wire import MessageTooLarge
from casparian_protocol.wire.messages import (
    ATTACHMENT_LIMIT_BYTES,
    Assign,
    Committed,
    Failed,
    Fenced,
    Message,
    Refusal,
    Refused,
    Reply,
    ReplyError,
    encode,
)
from casparian_protocol.wire.operations.daemon import Reading
from casparian_sentinel.core import Decision

_IPC = "ipc://"
HIGH_WATER_MARK = 10_000
#: The most messages in one turn of the loop; the rest waits for the next turn, so that batches and timers get theirs.
DRAIN_LIMIT = 512

#: The frame after the identity holds the message kind.
_KIND_PLACE = 2
_HELLO = b"hello"
FEED_HIGH_WATER_MARK = 50_000
#: The socket keeps every subscribed topic, at about ten bytes of memory for each byte.
_TOPIC_LIMIT_BYTES = 64
#: Leaves room in the body for the reply's own fields.
_RESULT_IN_BODY_BYTES = 60 * 1024
_SPLITTABLE = (Assign, Committed, Fenced, Failed)

logger = logging.getLogger(__name__)

ZmqContext = zmq.Context[zmq.Socket[bytes]]


class EndpointNotPrivate(CasparianError):
    """Other users have access to the directory of the sockets."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory} holds the sentinel's sockets but other users have access to it.",
            remedy=f"chmod 700 {directory} (and check that you own it).",
        )


class EndpointRefused(CasparianError):
    """The endpoint is not an ipc:// address."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"The endpoint {endpoint} is not an ipc:// address.",
            remedy="Only processes of this user on this host can connect; leave the endpoint out.",
        )


def prepare_endpoint(endpoint: str) -> None:
    """Prepare for binding: check that the directory is private, and remove a socket file left by a killed sentinel.

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
    """A ZeroMQ socket that calls back in the event loop when it can be read."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        on_frames: Callable[[list[bytes]], None],
        receive: Callable[[zmq.Socket[bytes]], list[bytes]] = lambda socket: socket.recv_multipart(zmq.NOBLOCK),
    ) -> None:
        """`receive` reads one message and raises `zmq.Again` if there is none."""
        self._socket = socket
        self._receive = receive
        self._on_frames = on_frames
        self._loop = asyncio.get_running_loop()
        self._descriptor = int(socket.get(zmq.FD))
        self._is_scheduled = False
        self._after_drain: Callable[[], None] | None = None
        self._loop.add_reader(self._descriptor, self._drain)
        self.recheck()

    def after_drain(self, callback: Callable[[], None]) -> None:
        """Register a function to call after every drain that received something."""
        self._after_drain = callback

    def send(self, frames: Sequence[bytes]) -> bool:
        """Send a message. Returns False if the peer is gone or does not read; raises any other error."""
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
        """Receive every message that has arrived, without a limit."""
        while not self._socket.closed and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._drain()

    def recheck(self) -> None:
        """Check EVENTS: sending may have consumed the edge that announced a message to read."""
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
                frames = self._receive(self._socket)
            except zmq.Again:
                break
            received += 1
            self._on_frames(frames)
        if received and self._after_drain is not None:
            self._after_drain()
        self.recheck()


class Bus:
    """The ROUTER of workers and clients, and the map of identities to workers."""

    def __init__(
        self,
        context: ZmqContext,
        endpoint: str,
        on_message: Callable[[bytes, Sequence[bytes]], None],
        on_gone: Callable[[str], None] = lambda worker_id: None,
    ) -> None:
        """Bind the socket; the caller holds the home's lock. `on_gone` is called when a bound worker's process has ended."""
        prepare_endpoint(endpoint)
        self._on_gone = on_gone
        self._watched: dict[bytes, int] = {}
        #: The process that sent the hello being handled, as the kernel reports it; 0 if it does not.
        self.peer_pid = 0
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
        self.socket = LoopSocket(router, self._received, self._receive)

    def _receive(self, router: zmq.Socket[bytes]) -> list[bytes]:
        """Receive one message, and for a hello also the sender's pid."""
        frames = [router.recv(zmq.NOBLOCK)]
        self.peer_pid = 0
        while router.get(zmq.RCVMORE):
            frame = router.recv(copy=False)
            frames.append(frame.bytes)
            if len(frames) == _KIND_PLACE and frames[-1] == _HELLO:
                self.peer_pid = _pid_of(frame)
        return frames

    def _received(self, frames: list[bytes]) -> None:
        self._on_message(frames[0], frames[1:])

    def bind_worker(self, identity: bytes, worker_id: str, pid: int) -> None:
        """Bind a connection to a worker after its hello: from now on only this connection speaks for the worker."""
        earlier = self._identities.pop(worker_id, None)
        if earlier is not None:
            self._workers.pop(earlier, None)
            self._unwatch(earlier)
        self.unbind(identity)
        self._identities[worker_id] = identity
        self._workers[identity] = worker_id
        self._watch(identity, pid)

    def unbind(self, identity: bytes) -> None:
        worker_id = self._workers.pop(identity, None)
        self._unwatch(identity)
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
        for identity in list(self._watched):
            self._unwatch(identity)
        self.socket.close()
        self._path.unlink(missing_ok=True)

    def _watch(self, identity: bytes, pid: int) -> None:
        """Notice the end of the process at once if the kernel reports it; otherwise its silence shows it."""
        if not pid or pid == os.getpid() or not hasattr(os, "pidfd_open"):
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # already ended, or not visible to this process
            return
        self._watched[identity] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._process_ended, identity)

    def _unwatch(self, identity: bytes) -> None:
        descriptor = self._watched.pop(identity, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _process_ended(self, identity: bytes) -> None:
        worker_id = self._workers.get(identity)
        self._unwatch(identity)
        if worker_id is not None:
            self._on_gone(worker_id)


def _pid_of(frame: zmq.Frame) -> int:
    """The process at the other end of an ipc connection, which libzmq got from the kernel on connecting."""
    try:
        pid = str(frame.get("Peer-Address")).rpartition(":")[2]
    except zmq.ZMQError:  # not ipc, or the system does not support this
        return 0
    return int(pid) if pid.isascii() and pid.isdigit() and len(pid) < 10 else 0


def encode_parts(message: Message, attachments: Sequence[bytes] = ()) -> list[list[bytes]]:
    """The frames of a message, as several messages if a list of jobs does not fit into one."""
    try:
        return [encode(message, attachments)]
    except MessageTooLarge:
        if not isinstance(message, _SPLITTABLE) or len(message.jobs) < 2:
            raise
        half = len(message.jobs) // 2
        first = message.model_copy(update={"jobs": message.jobs[:half]})
        second = message.model_copy(update={"jobs": message.jobs[half:]})
        return [*encode_parts(first), *encode_parts(second)]


def reply_frames(request_id: str, result: dict[str, object]) -> list[bytes]:
    """The frames of a reply; a result too large for the body becomes the first attachment."""
    packed = pack(result)
    if len(packed) <= _RESULT_IN_BODY_BYTES:
        return encode(Reply(id=request_id, ok=True, result=result))
    if len(packed) > ATTACHMENT_LIMIT_BYTES:
        too_large = CasparianError(f"The answer has {len(packed):,} bytes.", remedy="Ask for less at once.")
        return error_frames(request_id, too_large, "TOO_LARGE")
    return encode(Reply(id=request_id, ok=True), [packed])


def error_frames(request_id: str, error: CasparianError, code: str) -> list[bytes]:
    reply_error = ReplyError(problem=error.problem[:8000], remedy=error.remedy[:8000], code=code)
    return encode(Reply(id=request_id, ok=False, error=reply_error))


class Outbox:
    """Sends messages on the bus; reports a worker that does not read as gone."""

    def __init__(self, bus: Bus, on_not_reading: Callable[[str], None]) -> None:
        self._bus = bus
        self._on_not_reading = on_not_reading
        self.dropped = 0

    def to_worker(self, worker_id: str, message: Message, attachments: Sequence[bytes] = ()) -> None:
        identity = self._bus.identity_of(worker_id)
        if identity is None:
            self.dropped += 1  # it is away; the answer to its next `hello` has everything it needs
            return
        for frames in encode_parts(message, attachments):
            if not self._bus.send(identity, frames):
                self.dropped += 1
                self._bus.unbind(identity)
                logger.warning("Worker %s does not read its messages.", worker_id)
                self._on_not_reading(worker_id)
                return

    def to_identity(self, identity: bytes, frames: Sequence[bytes]) -> None:
        if not self._bus.send(identity, frames):
            self.dropped += 1

    def refuse(self, identity: bytes, code: Refusal, reason: str, of_kind: str) -> None:
        self.to_identity(identity, encode(Refused(reason=reason[:1000], code=code, of_kind=of_kind[:32])))


class FeedPublisher:
    def __init__(
        self,
        context: ZmqContext,
        endpoint: str,
        readings: Callable[[], Sequence[Reading]],
        on_error: Callable[[str, Exception], None],
    ) -> None:
        """Bind the socket; `readings` computes the current readings. `on_error(place, error)` is called when it fails."""
        prepare_endpoint(endpoint)
        self._readings, self._on_error = readings, on_error
        self._path = Path(endpoint.removeprefix(_IPC))
        self._topics: set[bytes] = set()
        #: Sequence number of the newest event that was published, or skipped because it has no subscribers.
        self.seq = 0
        publisher = context.socket(zmq.XPUB)
        publisher.set(zmq.LINGER, 0)
        publisher.set(zmq.SNDHWM, FEED_HIGH_WATER_MARK)
        publisher.set(zmq.MAXMSGSIZE, _TOPIC_LIMIT_BYTES)
        publisher.set(zmq.XPUB_VERBOSE, 1)
        publisher.bind(endpoint)
        self._socket = LoopSocket(publisher, self._subscription)

    @property
    def has_readers(self) -> bool:
        return bool(self._topics)

    def publish(self, decision: Decision) -> None:
        """Send the events of a durable decision."""
        first = decision.first_seq
        if self._topics:
            for offset, (ts, kind, version, actor, data, *_cause) in enumerate(decision.facts()):
                self._socket.send(encode_event(FeedEvent(first + offset, ts, kind, version, actor, data)))
        if decision.events:
            self.seq = max(self.seq, first + len(decision.events) - 1)

    def publish_metrics(self) -> None:
        """Send the current readings. An error in one of them affects neither the sentinel nor the subscriber."""
        if not self._topics:
            return
        try:
            for reading in self._readings():
                self._socket.send(encode_metric(Metric.of(reading)))
        except Exception as error:  # noqa: BLE001 -- called by a tick, and when a console subscribes
            self._on_error("publishing metrics", error)

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _subscription(self, frames: list[bytes]) -> None:
        word = frames[0]
        topic = word[1:]
        if word[:1] == b"\x01":
            self._topics.add(topic)
            if METRIC_TOPIC.encode().startswith(topic) or topic.startswith(METRIC_TOPIC.encode()):
                self.publish_metrics()
        elif word[:1] == b"\x00":
            self._topics.discard(topic)
