"""What the daemon says: messages to workers and clients, and the feed.

Messages are encoded, split when too long, and dropped when nobody is there to read them. The feed is an XPUB socket: it
tells who subscribes, so that nothing is encoded without a reader, and it drops messages for slow readers instead of
waiting. A new subscriber of metrics gets one at once: the sign that its subscriptions are in force.
"""

from __future__ import annotations

import logging
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
from casparian_sentinel.core.decision import Decision
from casparian_sentinel.daemon.bus.socket import Bus, LoopSocket, ZmqContext, prepare_endpoint

#: Leaves room for the reply's own fields within a body.
_RESULT_IN_BODY_BYTES = 60 * 1024
_SPLITTABLE = (Assign, Committed, Fenced, Failed)

logger = logging.getLogger(__name__)


def encode_parts(message: Message, attachments: Sequence[bytes] = ()) -> list[list[bytes]]:
    """The frames of a message, in several messages when a list of jobs does not fit one."""
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
    """A reply; a result too large for a body is its first attachment."""
    packed = pack(result)
    if len(packed) <= _RESULT_IN_BODY_BYTES:
        return encode(Reply(id=request_id, ok=True, result=result))
    if len(packed) > ATTACHMENT_LIMIT_BYTES:
        too_large = CasparianError(f"The answer has {len(packed):,} bytes.", remedy="Ask for less at once.")
        return error_frames(request_id, too_large, "TOO_LARGE")
    return encode(Reply(id=request_id, ok=True), [packed])


def error_frames(request_id: str, error: CasparianError, code: str) -> list[bytes]:
    said = ReplyError(problem=error.problem[:8000], remedy=error.remedy[:8000], code=code)
    return encode(Reply(id=request_id, ok=False, error=said))


class Outbox:
    """Sends on the bus; a worker that does not read any more is reported as gone."""

    def __init__(self, bus: Bus, on_deaf: Callable[[str], None]) -> None:
        self._bus = bus
        self._on_deaf = on_deaf
        self.dropped = 0

    def to_worker(self, worker_id: str, message: Message, attachments: Sequence[bytes] = ()) -> None:
        identity = self._bus.identity_of(worker_id)
        if identity is None:
            self.dropped += 1  # it is away; on its return `hello` tells what it needs to know
            return
        for frames in encode_parts(message, attachments):
            if not self._bus.send(identity, frames):
                self.dropped += 1
                self._bus.unbind(identity)
                logger.warning("Worker %s does not read its messages.", worker_id)
                self._on_deaf(worker_id)
                return

    def to_identity(self, identity: bytes, frames: Sequence[bytes]) -> None:
        if not self._bus.send(identity, frames):
            self.dropped += 1

    def refuse(self, identity: bytes, code: Refusal, reason: str, of_kind: str) -> None:
        self.to_identity(identity, encode(Refused(reason=reason[:1000], code=code, of_kind=of_kind[:32])))


FEED_HIGH_WATER_MARK = 50_000
#: Each byte of a topic that somebody subscribes to is kept: some ten bytes of ours.
_TOPIC_LIMIT_BYTES = 64
_IPC = "ipc://"


class FeedPublisher:
    def __init__(self, context: ZmqContext, endpoint: str, metrics: Callable[[], Sequence[Metric]]) -> None:
        """Bind; `metrics` computes the readings of this moment."""
        prepare_endpoint(endpoint)
        self._metrics = metrics
        self._path = Path(endpoint.removeprefix(_IPC))
        self._topics: set[bytes] = set()
        #: Sequence of the newest published (or skipped for want of readers) event.
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
        """Send the decision's events; they are durable."""
        first = decision.first_seq
        if self._topics:
            for offset, (ts, kind, version, actor, data, *_cause) in enumerate(decision.facts()):
                self._socket.send(encode_event(FeedEvent(first + offset, ts, kind, version, actor, data)))
        if decision.events:
            self.seq = max(self.seq, first + len(decision.events) - 1)

    def publish_metrics(self) -> None:
        if self._topics:
            for metric in self._metrics():
                self._socket.send(encode_metric(metric))

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
