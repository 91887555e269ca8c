"""The guest's end of the socket: sends frames, among them prints and log records.

Any thread may print. A print while the same thread is sending (in a finaliser or a signal handler) waits until that
frame is complete. Reads nothing, since the worker never sends on this socket.
"""

import contextlib
import io
import logging
import socket
import threading
from collections import deque

from casparian_shim.frames.codec import encode_batch_header, encode_log
from casparian_shim.frames.kinds import LogLevel

_JOINED_BYTES_MAX = 64 * 1024
_LINE_BYTES_MAX = 32 * 1024


class FrameSender:
    """Sends encoded frames over a connected socket, each whole."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.RLock()
        self._waiting: deque[tuple[bytes | memoryview, ...]] = deque()
        self._is_sending = False

    def send(self, *parts: bytes | memoryview) -> None:
        """One frame, in parts that follow each other."""
        with self._lock:
            self._waiting.append(parts)
            if self._is_sending:  # this very thread is in the middle of a frame; it will find ours
                return
            self._is_sending = True
            try:
                while self._waiting:
                    for part in self._waiting.popleft():
                        self._sock.sendall(part)
            finally:
                self._is_sending = False

    def send_batch(self, message: memoryview) -> None:
        """One record-batch message, uncopied when it is large."""
        header = encode_batch_header(len(message))
        if len(message) <= _JOINED_BYTES_MAX:
            self.send(header + message)
        else:
            self.send(header, message)

    def send_log(self, level: LogLevel, message: str) -> None:
        """Text for the job's log, in as many frames as its length needs."""
        pieces = max(1, -(-len(message) // (_LINE_BYTES_MAX // 4)))
        size = _LINE_BYTES_MAX // 4
        for piece in range(pieces):
            self.send(encode_log(level, message[piece * size : (piece + 1) * size]))


class _SidebandRaw(io.RawIOBase):
    """Bytes written to stdout or stderr, cut into lines."""

    def __init__(self, sender: FrameSender, level: LogLevel) -> None:
        self._sender = sender
        self._level = level
        self._rest = b""
        self._guard = threading.RLock()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        written = bytes(data)  # type: ignore[call-overload]
        with self._guard:
            *lines, self._rest = (self._rest + written).split(b"\n")
            if len(self._rest) > _LINE_BYTES_MAX:
                lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._sender.send_log(self._level, line.decode("utf-8", "backslashreplace"))
        return len(written)

    def finish(self) -> None:
        """Send a last line that has no newline."""
        with self._guard:
            rest, self._rest = self._rest, b""
        if rest:
            self._sender.send_log(self._level, rest.decode("utf-8", "backslashreplace"))


class SidebandStream(io.TextIOWrapper):
    """A text stream for `sys.stdout` or `sys.stderr` whose lines become log frames."""

    def __init__(self, sender: FrameSender, level: LogLevel) -> None:
        self._raw = _SidebandRaw(sender, level)
        super().__init__(
            self._raw,  # type: ignore[arg-type]
            encoding="utf-8",
            errors="backslashreplace",
            newline="\n",
            write_through=True,
        )

    def finish(self) -> None:
        """Send what is still waiting for its newline. What a parser did to the stream, closing it say, ends no job."""
        with contextlib.suppress(ValueError):  # closed or detached, also by a wrapper of its buffer that was collected
            self.flush()
        self._raw.finish()


_LEVELS = ((logging.ERROR, LogLevel.ERROR), (logging.WARNING, LogLevel.WARNING), (logging.INFO, LogLevel.INFO))


class SidebandHandler(logging.Handler):
    """Log records as log frames."""

    def __init__(self, sender: FrameSender) -> None:
        super().__init__()
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        level = next((ours for theirs, ours in _LEVELS if record.levelno >= theirs), LogLevel.DEBUG)
        try:
            self._sender.send_log(level, self.format(record))
        except OSError:
            raise  # the worker is gone: the job is over
        except Exception:  # noqa: BLE001 - logging's own way: report, never raise into the parser
            self.handleError(record)
