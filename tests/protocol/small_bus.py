"""The three sockets of a sentinel, answered by functions that a test writes: real ZeroMQ, in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import zmq

from casparian_protocol.client import Client
from casparian_protocol.feed import FeedEvent, Metric, encode_event, encode_metric
from casparian_protocol.home import Home, make_home
from casparian_protocol.packing import pack, unpack
from casparian_protocol.wire.messages import Message, Reply, ReplyError, Request, decode, encode

Socket = zmq.Socket[bytes]
#: An answer to a request: the frames behind the identity, or none.
Answer = Callable[[Request], Sequence[bytes] | None]
#: What the projector says to a question: several answers in turn, each the frames behind the identity.
Told = Callable[[Sequence[bytes]], Sequence[Sequence[bytes]]]
_LOOK_MILLISECONDS = 20


def yes(request: Request, result: Mapping[str, Any] | None = None, *, attached: object = None) -> Sequence[bytes]:
    """The reply that says what came of it, in the body or attached."""
    reply = Reply(id=request.id, ok=True, result=dict(result or {}))
    return encode(reply, [pack(attached)] if attached is not None else [])


def no(request: Request, problem: str, remedy: str = "", code: str = "") -> Sequence[bytes]:
    return encode(Reply(id=request.id, ok=False, error=ReplyError(problem=problem, remedy=remedy, code=code)))


def say(message: Message) -> Sequence[bytes]:
    return encode(message)


def head_of(frames: Sequence[bytes]) -> dict[str, Any]:
    """What a client asked the tables."""
    asked: dict[str, Any] = unpack(frames[1], limit_bytes=1 << 20)
    return asked


def rows(frames: Sequence[bytes], seq: int, columns: list[str], values: list[list[Any]]) -> Sequence[bytes]:
    head = {"id": head_of(frames)["id"], "ok": True, "seq": seq, "columns": columns, "is_cut": False}
    return [b"rows", pack(head), pack(values)]


@dataclass
class SmallBus:
    """A sentinel's endpoints. What was asked is kept, in order."""

    home: Home
    answers: dict[str, Answer] = field(default_factory=dict)
    tables: Told = lambda frames: []
    requests: list[Request] = field(default_factory=list)
    questions: list[Sequence[bytes]] = field(default_factory=list)
    problems: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers = {"ping": lambda request: yes(request, {"seq": 0}), **self.answers}
        self._context: zmq.Context[Socket] = zmq.Context()
        self._bus, self._query = (self._context.socket(zmq.ROUTER) for _ in range(2))
        self._feed = self._context.socket(zmq.XPUB)
        self._bus.bind(self.home.bus_endpoint)
        self._query.bind(self.home.query_endpoint)
        self._feed.bind(self.home.feed_endpoint)
        self._is_over = threading.Event()
        self._to_publish: list[Sequence[bytes]] = []
        self._greeting: Sequence[bytes] = encode_metric(Metric("hello", {}))
        self._to_tell: list[Sequence[bytes]] = []
        self._asker = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._context.destroy(linger=0)
        if self.problems and error is None:
            raise self.problems[0]

    def publish(self, *items: FeedEvent | Metric) -> None:
        """To be sent on the feed by the serving thread; events in order."""
        self._to_publish += [encode_event(one) if isinstance(one, FeedEvent) else encode_metric(one) for one in items]

    def tables_say(self, *answers: Sequence[bytes]) -> None:
        """To whoever asked last, from the serving thread."""
        self._to_tell += answers

    def publish_frames(self, *frames: Sequence[bytes]) -> None:
        self._to_publish += frames

    def _serve(self) -> None:
        poller = zmq.Poller()
        for socket in (self._bus, self._query, self._feed):
            poller.register(socket, zmq.POLLIN)
        try:
            while not self._is_over.is_set():
                ready = dict(poller.poll(_LOOK_MILLISECONDS))
                if self._bus in ready:
                    self._answer_request()
                if self._query in ready:
                    self._answer_question()
                if self._feed in ready and self._feed.recv()[:1] == b"\1":
                    self._feed.send_multipart(self._greeting)
                while self._to_tell:
                    self._query.send_multipart([self._asker, *self._to_tell.pop(0)])
                while self._to_publish:
                    self._feed.send_multipart(self._to_publish.pop(0))
        except BaseException as problem:  # noqa: BLE001 - raised in the test's own thread when it ends
            self.problems.append(problem)

    def _answer_request(self) -> None:
        identity, *frames = self._bus.recv_multipart()
        request, _attachments = decode(frames)
        assert isinstance(request, Request)
        self.requests.append(request)
        answer = self.answers[request.op](request)
        if answer is not None:
            self._bus.send_multipart([identity, *answer])

    def _answer_question(self) -> None:
        identity, *frames = self._query.recv_multipart()
        self._asker = identity
        self.questions.append(frames)
        for answer in self.tables(frames):
            self._query.send_multipart([identity, *answer])


@contextmanager
def small_bus(home: Home, *, tables: Told = lambda frames: [], **answers: Answer) -> Iterator[SmallBus]:
    """A sentinel at a new home that answers these operations and questions."""
    make_home(home)
    with SmallBus(home, answers=dict(answers), tables=tables) as bus:
        yield bus


@contextmanager
def talk(
    home: Home, *, actor: str = "", tables: Told = lambda frames: [], **answers: Answer
) -> Iterator[tuple[Client, SmallBus]]:
    """A client that is connected to such a sentinel."""
    with small_bus(home, tables=tables, **answers) as bus, Client.connect(home, actor=actor) as client:
        yield client, bus
