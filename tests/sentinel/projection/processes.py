"""A projector in its own process, with the sentinel's end of the control socket and an asker."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pyarrow as pa
import zmq

from casparian_protocol.home import Home
from casparian_protocol.queries import Query, name_of, parameters_of
from casparian_sentinel.log.format import Position

_PATIENCE_SECONDS = 30.0


class RunningProjector:
    def __init__(self, home: Home, batch_events: int = 500) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "casparian_sentinel.projection", "--home", str(home.root)]
            command += ["--control-fd", str(theirs.fileno()), "--batch-events", str(batch_events)]
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
        ours.settimeout(_PATIENCE_SECONDS)
        self.control = ours
        self.heard: list[dict[str, Any]] = []

    def tell(self, watermark: Position, seq: int) -> None:
        self.control.send(msgpack.packb({"watermark": list(watermark), "seq": seq, "asker": b""}))

    def hear(self, key: str, at_least: int | None = None) -> dict[str, Any]:
        """What it says next of this kind (with a number at least so large)."""
        said = self.hear_within(4 * _PATIENCE_SECONDS, key, at_least)
        assert said is not None, f"no {key} was heard, only {self.heard[-3:]}"
        return said

    def hear_within(self, seconds: float, key: str, at_least: int | None = None) -> dict[str, Any] | None:
        """The same; None if it says nothing of this kind in this time, though perhaps something else."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                data = self.control.recv(8192)
            except TimeoutError:
                return None
            assert data, "the projector ended: " + self.errors()
            said: dict[str, Any] = msgpack.unpackb(data)
            self.heard.append(said)
            if key in said and (at_least is None or said[key] >= at_least):
                return said
        return None

    def leave(self) -> int:
        """Hang up, and wait for its end."""
        self.control.close()
        return self.process.wait(_PATIENCE_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(_PATIENCE_SECONDS)
        self.control.close()

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode(errors="replace")

    def close(self) -> None:
        self.control.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_PATIENCE_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def running(home: Home, batch_events: int = 500) -> Iterator[RunningProjector]:
    projector = RunningProjector(home, batch_events)
    try:
        yield projector
    finally:
        projector.close()


class Asker:
    def __init__(self, home: Home) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.set(zmq.LINGER, 0)
        self._dealer.set(zmq.RCVTIMEO, int(_PATIENCE_SECONDS * 1000))
        self._dealer.connect(home.query_endpoint)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._dealer.close()
        self._context.term()

    def send(self, *frames: bytes) -> None:
        self._dealer.send_multipart(list(frames))

    def ask(self, sql: str, params: list[Any] | None = None, **more: Any) -> str:
        id_ = secrets.token_hex(4)
        self.send(b"query", msgpack.packb({"id": id_, "sql": sql, "params": params or [], **more}))
        return id_

    def found(self, query: Query[Any]) -> list[dict[str, Any]]:
        """The rows that answer a named query."""
        self.send(
            b"query",
            msgpack.packb({"id": secrets.token_hex(4), "name": name_of(query), "params": parameters_of(query)}),
        )
        kind, head, body = self.answer()
        assert kind == "rows", head
        return [dict(zip(head["columns"], row, strict=True)) for row in msgpack.unpackb(body, strict_map_key=False)]

    def answer(self) -> tuple[str, dict[str, Any], bytes]:
        kind, head, *body = self._dealer.recv_multipart()
        while kind == b"working":
            kind, head, *body = self._dealer.recv_multipart()
        return kind.decode(), msgpack.unpackb(head), body[0] if body else b""

    def hear_that_it_is_worked_on(self) -> None:
        kind, *_ = self._dealer.recv_multipart()
        assert kind == b"working"

    def rows(self, sql: str, params: list[Any] | None = None, **more: Any) -> list[list[Any]]:
        self.ask(sql, params, **more)
        kind, head, body = self.answer()
        assert kind == "rows", head
        found: list[list[Any]] = msgpack.unpackb(body)
        return found

    def table(self, sql: str, **more: Any) -> pa.Table:
        self.ask(sql, format="arrow", **more)
        kind, head, body = self.answer()
        assert kind == "rows", head
        return pa.ipc.open_stream(body).read_all()

    def problem(self) -> str:
        kind, head, _body = self.answer()
        assert kind == "error", (kind, head)
        return str(head["problem"])


def eventually(condition: Any, seconds: float = _PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
