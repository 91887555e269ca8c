"""A turn of the assistant: one request to an OpenAI-compatible server, with its answer passed on as it arrives.

The module owns the connection. The sidebar owns the conversation and handles the tool calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from casparian_console.messages import Chat, Ended, Failed, Message, Output, Tag, ToolCalls

#: A model may take long before its first word.
_SILENT_SECONDS = 300.0
_CONNECT_SECONDS = 10.0
_LINE_LIMIT_BYTES = 1024 * 1024
_ANSWER_LIMIT_CHARACTERS = 1_000_000
_REFUSAL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Assistant:
    """The settings `[assistant]`; `endpoint` is without `/chat/completions`."""

    endpoint: str
    model: str | None = None


class ServerRefused(Exception):
    """The server refused the request; the message is the server's."""


@dataclass(eq=False)
class _Turn:
    connection: http.client.HTTPConnection | None = None
    is_stopped: bool = False


class Chats:
    """The running turns. A new turn with a tag ends the previous one."""

    def __init__(self, assistant: Assistant | None, on_answer: Callable[[Message], None]) -> None:
        self._assistant = assistant
        self._on_answer = on_answer
        self._loop = asyncio.get_running_loop()
        self._turns: dict[Tag, _Turn] = {}

    @property
    def running(self) -> int:
        return len(self._turns)

    def start(self, effect: Chat) -> None:
        self.stop(effect.tag)
        if self._assistant is None:
            self._on_answer(Failed(effect.tag, "No assistant is set up.", "Name its endpoint below [assistant]."))
            return
        turn = self._turns[effect.tag] = _Turn()
        arguments = (effect, self._assistant, turn)
        threading.Thread(target=self._work, args=arguments, name="console-chat", daemon=True).start()

    def stop(self, tag: Tag) -> None:
        if (turn := self._turns.pop(tag, None)) is not None:
            turn.is_stopped = True
            if turn.connection is not None and turn.connection.sock is not None:
                with contextlib.suppress(OSError):
                    turn.connection.sock.shutdown(2)  # wakes the thread that is reading

    def close(self) -> None:
        for tag in list(self._turns):
            self.stop(tag)

    # --- on the thread ------------------------------------------------------------------------------------------------

    def _work(self, effect: Chat, assistant: Assistant, turn: _Turn) -> None:
        tag = effect.tag
        try:
            calls = self._converse(effect, assistant, turn)
            if calls:
                self._send(tag, turn, ToolCalls(tag, calls))
            last: Message = Ended(tag, 0)
        except ServerRefused as error:
            last = Failed(tag, f"The assistant's server refused: {error}.", "Check [assistant] endpoint and model.")
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            last = Failed(
                tag, f"The assistant at {assistant.endpoint} does not answer: {why}.", "Is its server running?"
            )
        except Exception as error:  # noqa: BLE001 -- reported to the user: nothing else would show it
            last = Failed(tag, f"The assistant's answer cannot be read: {type(error).__name__}: {error}.")
        finally:
            if turn.connection is not None:
                turn.connection.close()
        self._send(tag, turn, last, is_last=True)

    def _converse(self, effect: Chat, assistant: Assistant, turn: _Turn) -> tuple[tuple[str, str, str], ...]:
        """Send the request and pass on text as it arrives. Returns the model's tool calls."""
        address = urlsplit(assistant.endpoint)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = turn.connection = kind(address.netloc, timeout=_CONNECT_SECONDS)
        asked: dict[str, Any] = {"messages": list(effect.messages), "stream": True}
        if assistant.model:
            asked["model"] = assistant.model
        if effect.tools:
            asked["tools"] = list(effect.tools)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        connection.connect()
        if connection.sock is not None:
            connection.sock.settimeout(_SILENT_SECONDS)
        path = address.path.rstrip("/") + "/chat/completions"
        connection.request("POST", path, json.dumps(asked).encode("utf-8"), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ServerRefused(f"{response.status} {response.reason}: {_words(response.read(_REFUSAL_BYTES))}")
        calls = _Calls()
        length = 0
        for delta in _deltas(response):
            if turn.is_stopped:
                break
            calls.add(delta.get("tool_calls") or [])
            text = delta.get("content") or ""
            if text and length < _ANSWER_LIMIT_CHARACTERS:
                length += len(text)
                self._send(effect.tag, turn, Output(effect.tag, text))
        return calls.whole()

    def _send(self, tag: Tag, turn: _Turn, message: Message, *, is_last: bool = False) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has already ended
            self._loop.call_soon_threadsafe(self._deliver, tag, turn, message, is_last)

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _deliver(self, tag: Tag, turn: _Turn, message: Message, is_last: bool) -> None:
        if turn.is_stopped:
            return
        if is_last and self._turns.get(tag) is turn:
            del self._turns[tag]
        self._on_answer(message)


@dataclass(slots=True)
class _Calls:
    """Tool calls, assembled from their parts."""

    parts: dict[int, list[str]] = field(default_factory=dict)

    def add(self, deltas: list[dict[str, Any]]) -> None:
        for delta in deltas:
            part = self.parts.setdefault(int(delta.get("index", len(self.parts))), ["", "", ""])
            function = delta.get("function") or {}
            part[0] = delta.get("id") or part[0]
            part[1] += function.get("name") or ""
            part[2] += function.get("arguments") or ""

    def whole(self) -> tuple[tuple[str, str, str], ...]:
        return tuple((part[0], part[1], part[2]) for _, part in sorted(self.parts.items()))


def _deltas(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The addition of each event of the stream; a server that does not stream answers with one message."""
    if "application/json" in (response.getheader("Content-Type") or ""):
        yield _choice(json.loads(response.read(_LINE_LIMIT_BYTES))).get("message") or {}
        return
    while line := response.readline(_LINE_LIMIT_BYTES):
        data = line.strip()
        if not data.startswith(b"data:"):
            continue
        data = data.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise ServerRefused(_words(json.dumps(event["error"]).encode()))
        yield _choice(event).get("delta") or {}


def _choice(document: dict[str, Any]) -> dict[str, Any]:
    """The first choice. A last event without choices only counts tokens."""
    choices = document.get("choices") or [{}]
    return choices[0] if isinstance(choices[0], dict) else {}


def _words(body: bytes) -> str:
    """The message of a refusal: its `error.message`, or its text."""
    text = body.decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError, AttributeError):
        found = json.loads(text)
        found = found.get("error", found)
        text = found.get("message", text) if isinstance(found, dict) else str(found)
    return text[:300]
