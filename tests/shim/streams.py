"""A guest's end of a socket inside the test, and what the worker's end hears of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from casparian_shim.frames import Frame, Hello, StreamState
from casparian_shim.frames.codec import encode_end_of_stream, encode_hello
from casparian_shim.frames.kinds import PROTOCOL_VERSION
from casparian_shim.sideband import FrameSender
from tests.shim.guests import Heard, _listen


@contextmanager
def heard_from_sender(*, is_whole: bool = True) -> Iterator[tuple[FrameSender, Heard]]:
    """A sender, and after the block what arrived: judged frame by frame, batches read. A stream may be left unfinished."""
    ours, theirs = socket.socketpair()
    found: list[Heard] = []
    problems: list[BaseException] = []

    def listen() -> None:
        try:
            found.append(_listen(ours))
        except BaseException as problem:  # noqa: BLE001 - raised in the test's own thread
            problems.append(problem)

    with ours, theirs:
        listener = threading.Thread(target=listen)
        listener.start()
        sender = FrameSender(theirs)
        sender.send(encode_hello(Hello(PROTOCOL_VERSION, "t", 1, "3.11")))
        told = Heard(state=StreamState(token="t"))
        try:
            yield sender, told
            if is_whole:
                sender.send(encode_end_of_stream())
        finally:
            theirs.shutdown(socket.SHUT_WR)
            listener.join(30)
    if problems:
        raise problems[0]
    told.frames, told.batches, told.state = found[0].frames, found[0].batches, found[0].state


def of_kind(heard: Heard, kind: type[Frame]) -> list[Frame]:
    return [frame for frame in heard.frames if isinstance(frame, kind)]
