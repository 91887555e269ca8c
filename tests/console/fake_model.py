"""An OpenAI-compatible server on this machine that says what a test tells it to, piece by piece."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Turn:
    """One answer: pieces of text, then tools that it wants; or a refusal; or a silence that lasts until `close`."""

    texts: Sequence[str] = ()
    #: (id, name, arguments as JSON text); sent in two pieces each, as servers do.
    calls: Sequence[tuple[str, str, str]] = ()
    refusal: str = ""
    is_stalled: bool = False


@dataclass
class FakeModel:
    turns: list[Turn]
    endpoint: str = ""
    #: The bodies of the requests so far.
    asked: list[dict[str, Any]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(*turns: Turn) -> Iterator[FakeModel]:
    model = FakeModel(list(turns))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model.asked.append({**body, "path": self.path})
            turn = model.turns.pop(0) if model.turns else Turn(refusal="the fake model has no more turns")
            if turn.refusal:
                self._refuse(turn.refusal)
            else:
                self._stream(turn)

        def _refuse(self, why: str) -> None:
            content = json.dumps({"error": {"message": why}}).encode()
            self.send_response(400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _stream(self, turn: Turn) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for text in turn.texts:
                self._delta({"content": text})
            for index, (call, name, arguments) in enumerate(turn.calls):
                half = len(arguments) // 2
                begun = {"index": index, "id": call, "function": {"name": name, "arguments": arguments[:half]}}
                self._delta({"tool_calls": [begun]})
                self._delta({"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]})
            if turn.is_stalled:
                model.closing.wait()
                return
            self.wfile.write(b"data: [DONE]\n\n")

        def _delta(self, delta: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n")
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        model.endpoint = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-model")
        thread.start()
        try:
            yield model
        finally:
            model.closing.set()
            server.shutdown()
            thread.join()
