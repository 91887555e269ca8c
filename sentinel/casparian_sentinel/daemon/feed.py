"""The feed's publisher: durable events and live readings to whoever subscribed, at the subscriber's own risk.

An XPUB socket: it tells who subscribes, so that nothing is encoded for nobody, and it drops for slow readers instead of
waiting. A new subscriber of metrics gets one at once: the sign that its subscriptions are in force.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from casparian_protocol.feed import METRIC_TOPIC, FeedEvent, Metric, encode_event, encode_metric
from casparian_sentinel.core.decision import Decision
from casparian_sentinel.daemon.bus import LoopSocket, ZmqContext, prepare_endpoint

HIGH_WATER_MARK = 50_000
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
        publisher.set(zmq.SNDHWM, HIGH_WATER_MARK)
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
