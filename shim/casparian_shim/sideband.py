"""The guest's end of the socket: sends frames, including prints and log records.

Any thread may print. A print while the same thread is sending (in a finaliser or a signal handler) waits until that frame is
complete. Nothing is read, since the worker never sends on this socket.

Only the guest itself sends. Prints and logs of a process that the parser forked go to descriptors 1 and 2, which the worker reads
too. The same happens to all text after a frame was cut short, because anything that followed would be read as the rest of that
frame.
"""

import contextlib
import io
import logging
import os
import socket
import threading
import weakref
from collections import deque

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames.codec import encode_batch_header, encode_log
from casparian_shim.frames.kinds import LogLevel

_JOINED_BYTES_MAX = 64 * 1024
_LINE_BYTES_MAX = 32 * 1024


class FrameTorn(CasparianError):
    """An exception interrupted the sending of a frame: a signal handler raised it, as some do to limit the time per record."""

    code = ErrorCode.PARSER_ERROR

    def __init__(self, cause: BaseException) -> None:
        super().__init__(
            f"A {type(cause).__name__} was raised while rows were being sent, so the rows are incomplete.",
            remedy="Let signal handlers set a variable that the parser checks, instead of raising.",
        )


class NotTheGuest(RuntimeError):
    """A process that the parser forked yielded rows, called ctx, or reached the end of parse()."""

    def __init__(self) -> None:
        super().__init__(
            "A forked child continued with parse(), which only the original process may; end the child with os._exit."
        )


class FrameSender:
    """Sends encoded frames over a connected socket, each complete; after one was cut short, no more are sent."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.RLock()
        self._waiting: deque[tuple[bytes | memoryview, ...]] = deque()
        self._is_sending = False
        self._is_holding = False
        self._held_bytes = 0
        self._is_copy = False
        #: The exception that cut a frame short.
        self._tear: BaseException | None = None
        _forked.add(self)

    def send(self, *parts: bytes | memoryview) -> None:
        """Send one frame, given in consecutive parts."""
        with self._lock:
            if self._is_copy:
                raise NotTheGuest
            if self._tear is not None:
                raise self._tear if isinstance(self._tear, ConnectionError) else FrameTorn(self._tear)
            self._waiting.append(parts)
            if self._is_sending:  # this thread is in the middle of sending a frame, and will send this one next
                return
            if self._is_holding:
                self._held_bytes += sum(map(len, parts))
                if self._held_bytes <= _JOINED_BYTES_MAX:
                    return
            self._send_waiting()

    def hold(self) -> None:
        """From now on frames wait until there are many bytes, or `release` is called: nothing but the end follows soon."""
        with self._lock:
            self._is_holding = True

    def release(self) -> None:
        with self._lock:
            self._is_holding = False
            if self._waiting and self._tear is None and not self._is_sending:
                self._send_waiting()

    def _send_waiting(self) -> None:
        held, self._held_bytes = self._held_bytes, 0
        self._is_sending = True  # a frame that is sent by a signal's handler meanwhile waits
        try:
            if 0 < held <= 2 * _JOINED_BYTES_MAX:
                self._join_waiting()
            try:
                while self._waiting:
                    for part in self._waiting.popleft():
                        self._sock.sendall(part)
            except BaseException as tear:
                self._tear = tear
                raise
        finally:
            self._is_sending = False

    def _join_waiting(self) -> None:
        """Make one part of all that waits. Without memory for that, all waits as it is."""
        frames = list(self._waiting)
        joined = b"".join(part for parts in frames for part in parts)
        for _ in frames:
            self._waiting.popleft()
        self._waiting.appendleft((joined,))

    def after_fork(self) -> None:
        """Handle a fork in the child: another thread may have held the lock, and a frame may be half sent."""
        self._is_copy = True
        self._lock = threading.RLock()
        self._waiting.clear()
        self._sock.close()  # closes only this process's copy

    def send_batch(self, message: memoryview, before: bytes = b"") -> None:
        """Send one record-batch message, after the frames `before`; a large one is not copied."""
        header = before + encode_batch_header(len(message))
        if len(message) <= _JOINED_BYTES_MAX:
            self.send(header + message)
        else:
            self.send(header, message)

    def send_log(self, level: LogLevel, message: str) -> None:
        """Send text for the job's log, in as many frames as its length needs."""
        if self._is_copy or self._tear is not None:
            _write_line(1 if level is LogLevel.STDOUT else 2, message)
            return
        pieces = max(1, -(-len(message) // (_LINE_BYTES_MAX // 4)))
        size = _LINE_BYTES_MAX // 4
        for piece in range(pieces):
            self.send(encode_log(level, message[piece * size : (piece + 1) * size]))


#: The senders of this process, which must be notified in a forked child.
_forked: weakref.WeakSet["FrameSender | _SidebandRaw"] = weakref.WeakSet()


def _after_fork() -> None:
    if _forked:  # in the process that forks guests there is none
        for each in list(_forked):
            each.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _write_line(descriptor: int, message: str) -> None:
    rest = memoryview((message + "\n").encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError):  # the parser closed it
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class _SidebandRaw(io.RawIOBase):
    """Turns bytes written to stdout or stderr into lines."""

    def __init__(self, sender: FrameSender | None, level: LogLevel) -> None:
        self.sender = sender
        self._level = level
        self._rest = b""
        self._guard = threading.RLock()
        if sender is not None:
            _forked.add(self)

    def send_by(self, sender: FrameSender) -> None:
        self.sender = sender
        _forked.add(self)

    def after_fork(self) -> None:
        """Drop the beginning of a line, which the parent will send."""
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
            self._send(line)
        return len(written)

    def finish(self) -> None:
        """Send a last line without a newline."""
        with self._guard:
            rest, self._rest = self._rest, b""
        if rest:
            self._send(rest)

    def _send(self, line: bytes) -> None:
        assert self.sender is not None, "nothing is printed before there is a job"
        self.sender.send_log(self._level, line.decode("utf-8", "backslashreplace"))


class SidebandStream(io.TextIOWrapper):
    """A text stream for `sys.stdout` or `sys.stderr` whose lines become log frames, once it has a sender."""

    def __init__(self, sender: FrameSender | None, level: LogLevel) -> None:
        self._raw = _SidebandRaw(sender, level)
        super().__init__(
            self._raw,  # type: ignore[arg-type]
            encoding="utf-8",
            errors="backslashreplace",
            newline="\n",
            write_through=True,
        )

    def send_by(self, sender: FrameSender) -> None:
        self._raw.send_by(sender)

    def finish(self) -> None:
        """Send text that still has no newline. A stream that the parser has closed or broken does not end the job."""
        with contextlib.suppress(
            ValueError
        ):  # closed or detached, possibly by a garbage-collected wrapper of its buffer
            self.flush()
        self._raw.finish()


_LEVELS = ((logging.ERROR, LogLevel.ERROR), (logging.WARNING, LogLevel.WARNING), (logging.INFO, LogLevel.INFO))


class SidebandHandler(logging.Handler):
    """Sends log records as log frames, once it has a sender."""

    def __init__(self, sender: FrameSender | None = None) -> None:
        super().__init__()
        self.sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        if self.sender is None:
            return
        level = next((ours for theirs, ours in _LEVELS if record.levelno >= theirs), LogLevel.DEBUG)
        try:
            self.sender.send_log(level, self.format(record))
        except OSError:
            raise  # the worker is gone, so the job is over
        except Exception:  # noqa: BLE001 - logging's own way: report, never raise into the parser
            self.handleError(record)
