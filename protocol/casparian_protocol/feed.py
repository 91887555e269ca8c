"""The feed for its reader: a snapshot, then every event in order, or a `Gap` when some were missed.

`FeedOrder` decides, without sockets, whether an event continues what the reader knows. `Feed` reads a SUB socket; functions
that the caller passes fetch snapshots and check the daemon when nothing comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import zmq
from pydantic import ValidationError

from casparian_protocol.events import Event, EventData
from casparian_protocol.events import decode as decode_fact
from casparian_protocol.packing import MalformedMessage, pack, unpack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES
from casparian_protocol.wire.operations.daemon import READINGS, Reading, Snapshot

EVENT_TOPIC = "event."
METRIC_TOPIC = "metric."
#: Events are at most 16 KiB; metrics of many jobs may be more.
FRAME_LIMIT_BYTES = 1024 * 1024
#: Metrics come once a second: after this time without a message the daemon is gone or stuck.
SILENCE_SECONDS = 3.0
#: How long to wait for the subscription to take effect.
_SUBSCRIBED_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """A durable event, exactly the next one."""

    seq: int
    ts: int
    type: str
    v: int
    actor: str
    data: EventData

    def decoded(self) -> Event:
        """The event itself, of its own class. Raises `MalformedEvent`."""
        return decode_fact(self.type, self.v, self.data)


@dataclass(frozen=True, slots=True)
class Metric:
    """A live reading, published once a second; the next one replaces it."""

    name: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, reading: Reading) -> Metric:
        return cls(reading.name, reading.model_dump())

    def decoded(self) -> Reading | None:
        """The reading itself, of its own class; None for one of a later program. Raises `MalformedMessage`."""
        reading = READINGS.get(self.name)
        try:
            return reading.model_validate(self.values) if reading is not None else None
        except ValidationError as invalid:
            raise MalformedMessage(f"metric.{self.name}: {invalid.errors()[0]['msg']}") from invalid


@dataclass(frozen=True, slots=True)
class Gap:
    """Events after `last_seq` were missed (this reader was too slow); a new `Snapshot` follows."""

    last_seq: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Silence:
    """No message for this time: the daemon is gone or stuck."""

    seconds: float


FeedItem = Snapshot | FeedEvent | Metric | Gap | Silence


def encode_event(event: FeedEvent) -> list[bytes]:
    """The frames of an event on the feed."""
    body = [event.seq, event.ts, event.type, event.v, event.actor, event.data]
    return [f"{EVENT_TOPIC}{event.type}".encode(), pack(body)]


def encode_metric(metric: Metric) -> list[bytes]:
    return [f"{METRIC_TOPIC}{metric.name}".encode(), pack(metric.values)]


def decode(frames: Sequence[bytes]) -> FeedEvent | Metric:
    """One message of the feed; raises `MalformedMessage`."""
    if len(frames) != 2:
        raise MalformedMessage("expected the frames topic and body")
    topic = frames[0].decode("utf-8", errors="replace")
    body = unpack(frames[1], limit_bytes=FRAME_LIMIT_BYTES)
    if topic.startswith(METRIC_TOPIC) and isinstance(body, dict):
        return Metric(topic.removeprefix(METRIC_TOPIC), body)
    if topic.startswith(EVENT_TOPIC) and isinstance(body, list) and [type(part) for part in body] == _EVENT_SHAPE:
        return FeedEvent(*body)
    raise MalformedMessage(f"not a message of the feed: {topic[:80]!r}")


_EVENT_SHAPE = [int, int, str, int, str, dict]


@dataclass(slots=True)
class FeedOrder:
    """Decides which events continue what the reader knows. `Feed` and the console's loop both use it."""

    #: The last event that the reader knows; None before the first snapshot.
    seq: int | None = None
    _is_broken: bool = field(default=True)

    @property
    def needs_snapshot(self) -> bool:
        return self._is_broken

    def on_snapshot(self, seq: int) -> None:
        self.seq = seq
        self._is_broken = False

    def judge(self, item: FeedEvent | Metric) -> FeedItem | None:
        """The item itself, a `Gap`, or None for an event that the snapshot contains already."""
        if isinstance(item, Metric):
            published = item.values.get("seq")
            if not self._is_broken and isinstance(published, int) and self.seq is not None and published > self.seq:
                return self._gap(published + 1)  # the feed is in order, so events counted before this reading are lost
            return item
        if self._is_broken or self.seq is None or item.seq <= self.seq:
            return None
        if item.seq != self.seq + 1:
            return self._gap(item.seq)
        self.seq = item.seq
        return item

    def _gap(self, next_seq: int) -> Gap:
        self._is_broken = True
        return Gap(self.seq or 0, next_seq)


class Feed:
    """Iterates forever: first a `Snapshot`, then the items after it. Close it to end."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        snapshot: Callable[[], Snapshot],
        on_silence: Callable[[], None],
        *,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """`on_silence` is called before a `Silence` is returned, and may raise."""
        self._snapshot = snapshot
        self._on_silence = on_silence
        self._silence_seconds = silence_seconds
        self._order = FeedOrder()
        self._last_heard = time.monotonic()
        self._socket = context.socket(zmq.SUB)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVHWM, 100_000)
        self._socket.set(zmq.MAXMSGSIZE, ATTACHMENT_LIMIT_BYTES)
        self._socket.subscribe(EVENT_TOPIC)
        # Answered at once with a metric, which shows that both subscriptions are in force.
        self._socket.subscribe(METRIC_TOPIC)
        self._socket.connect(endpoint)
        self._socket.poll(int(_SUBSCRIBED_SECONDS * 1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[FeedItem]:
        while not self._socket.closed:
            item = self.next(self._silence_seconds)
            if item is not None:
                yield item

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The descriptor for a poller; when it is readable, call `next(0)` until it returns None."""
        return self._socket

    @property
    def seq(self) -> int:
        """The last event that this feed has reported."""
        return self._order.seq or 0

    def next(self, timeout_seconds: float) -> FeedItem | None:
        """The next item, or None after this time. Raises the errors of fetching a snapshot and of `on_silence`."""
        if self._order.needs_snapshot:
            taken = self._snapshot()
            self._order.on_snapshot(taken.seq)
            self._last_heard = time.monotonic()
            return taken
        deadline = time.monotonic() + timeout_seconds
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            if not self._socket.poll(int(remaining * 1000)):
                return self._silence()
            self._last_heard = time.monotonic()
            item = self._order.judge(decode(self._socket.recv_multipart(zmq.NOBLOCK)))
            if item is not None:
                return item

    def close(self) -> None:
        self._socket.close(linger=0)

    def _silence(self) -> Silence | None:
        silent_seconds = time.monotonic() - self._last_heard
        if silent_seconds < self._silence_seconds:
            return None
        self._on_silence()
        return Silence(silent_seconds)
