"""What the console talks to, as small as a test needs it: a bus that answers ping and snapshot, and a feed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import zmq

from casparian_protocol.feed import FeedEvent, Metric, encode_event, encode_metric
from casparian_protocol.home import Home, make_home
from casparian_protocol.wire.messages import Reply, Request, decode, encode


class Peer:
    """Runs on a thread of its own between `with` and its end; what it says is told from the test's."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "h")
        make_home(self.home)
        self.seq = 5
        #: Snapshots are answered; while not, they wait.
        self.is_answering = threading.Event()
        self.is_answering.set()
        self.snapshots = 0
        self.was_asked = threading.Event()
        #: Somebody's subscription is in force.
        self.is_subscribed = threading.Event()
        self._has_feed = True
        self._said: SimpleQueue[list[bytes]] = SimpleQueue()
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._is_over.clear()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def without_feed(self) -> Self:
        self._has_feed = False
        return self

    def publish(self, *, skipping: int = 0, kind: str = "JobProgressed") -> int:
        """The next event, or one behind those that are left out; its sequence."""
        self.seq += 1 + skipping
        self._said.put(encode_event(FeedEvent(self.seq, 1_700_000_000_000_000, kind, 1, "sentinel", {})))
        return self.seq

    def measure(self, name: str, values: dict[str, Any]) -> None:
        self._said.put(encode_metric(Metric(name, {"seq": self.seq, **values})))

    def _work(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        bus, feed = context.socket(zmq.ROUTER), context.socket(zmq.XPUB)
        bus.bind(self.home.bus_endpoint)
        feed.bind(self.home.feed_endpoint if self._has_feed else "inproc://nobody")
        feed.set(zmq.XPUB_VERBOSE, 1)
        waiting: list[Callable[[], None]] = []
        while not self._is_over.is_set():
            if bus.poll(1):
                self._heed(bus, waiting)
            while feed.poll(0):
                if feed.recv() == b"\x01metric.":
                    self.is_subscribed.set()
                    feed.send_multipart(encode_metric(Metric("queue", {"seq": self.seq})))
            if self.is_answering.is_set():
                while waiting:
                    waiting.pop(0)()
            try:
                while True:
                    feed.send_multipart(self._said.get_nowait())
            except Empty:
                pass
        context.destroy(linger=0)

    def _heed(self, bus: Any, waiting: list[Callable[[], None]]) -> None:
        identity, *frames = bus.recv_multipart()
        request, _ = decode(frames)
        assert isinstance(request, Request)
        result: dict[str, Any] = {"seq": self.seq}
        if request.op == "snapshot":
            self.snapshots += 1
            self.was_asked.set()
            result |= {"jobs": [], "groups": [], "workers": [], "totals": {}}
        reply = encode(Reply(id=request.id, ok=True, result=result))
        waiting.append(lambda: bus.send_multipart([identity, *reply]))
        if request.op != "snapshot":
            waiting.pop()()
