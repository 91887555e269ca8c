"""Frames from a connected socket, blocking, with a deadline for each frame.

Only the bytes: reading Arrow out of a batch, and judging the order of frames (`state`), are for others.
Never closes the socket.
"""

import select
import socket
import time
from collections.abc import Callable

from casparian_shim.frames.codec import Place, parse_frame
from casparian_shim.frames.kinds import Frame, ProtocolBreach, StreamCut

FRAME_DEADLINE_SECONDS = 30.0
#: Between two looks at whether the sender has ended, while nothing comes.
_LOOK_SECONDS = 0.25
_BIG_BYTES = 64 * 1024


def _allocate(byte_count: int) -> memoryview:
    return memoryview(bytearray(byte_count))


class FrameReader:
    """Reads one guest's stream.

    Small frames come out of one receive buffer that is used again and again. A payload beyond 64 KiB is received
    straight into a single allocation of its size from `allocate`, by default fresh memory. A caller that is
    done with a batch before it asks for the next frame passes an `allocate` that hands out the same memory again;
    one with pyarrow passes `lambda size: memoryview(pa.allocate_buffer(size))`, which is not zeroed first.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        frame_deadline_seconds: float = FRAME_DEADLINE_SECONDS,
        allocate: Callable[[int], memoryview] = _allocate,
        has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        """`has_ended`: the sending process has. Whoever still holds its connection is not it: what has come counts, no more."""
        self._sock = sock
        self._frame_deadline_seconds = frame_deadline_seconds
        self._allocate = allocate
        self._has_ended = has_ended
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._place = Place()
        self._buffer = memoryview(bytearray(_BIG_BYTES))
        self._start = 0
        self._end = 0
        self._consumed = 0

    @property
    def offset(self) -> int:
        """Where in the stream the frame last returned, or now being read, begins."""
        return self._place.offset

    @property
    def byte_count(self) -> int:
        """How much of the stream has been read as frames."""
        return self._consumed

    def next_frame(self, *, idle_seconds: float | None = None) -> Frame:
        """The next frame.

        Waits `idle_seconds` (None: for ever) for its first byte: TimeoutError when none comes. From its first byte
        on a frame has the frame deadline: `ProtocolBreach` beyond it. `StreamCut` when the guest is gone.
        """
        self._place.offset = self._consumed
        self._place.frame = None
        if self._start == self._end:
            self._receive_some(idle_seconds, is_inside=False)
        deadline = time.monotonic() + self._frame_deadline_seconds
        parsing = parse_frame(self._place)
        needed = next(parsing)
        while True:
            piece = self._take(needed, deadline)
            self._consumed += needed
            try:
                needed = parsing.send(piece)
            except StopIteration as complete:
                frame: Frame = complete.value
                return frame

    def expect_silence(self, *, idle_seconds: float) -> None:
        """After the end of stream nothing may come but the end of the connection."""
        self._place.offset = self._consumed
        self._place.frame = None
        try:
            if self._start == self._end:
                self._receive_some(idle_seconds, is_inside=False)
        except StreamCut:
            return
        raise self._place.breach("bytes follow the end of stream")

    def _take(self, byte_count: int, deadline: float) -> memoryview:
        """Exactly `byte_count` bytes: a copy of few, or an allocation of their own for many."""
        target = memoryview(bytearray(byte_count)) if byte_count <= _BIG_BYTES else self._allocate(byte_count)
        target = target[:byte_count]
        filled = min(byte_count, self._end - self._start)
        target[:filled] = self._buffer[self._start : self._start + filled]
        self._start += filled
        while filled < byte_count:
            missing = byte_count - filled
            if missing >= _BIG_BYTES:
                filled += self._receive(target[filled:], self._left(deadline), is_inside=True)
            else:
                self._receive_some(self._left(deadline), is_inside=True)
                taken = min(missing, self._end)
                target[filled : filled + taken] = self._buffer[:taken]
                self._start = taken
                filled += taken
        return target

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._stalled()
        return left

    def _receive_some(self, timeout_seconds: float | None, *, is_inside: bool) -> None:
        self._start = self._end = 0
        self._end = self._receive(self._buffer, timeout_seconds, is_inside=is_inside)

    def _receive(self, target: memoryview, timeout_seconds: float | None, *, is_inside: bool) -> int:
        if not self._is_readable(timeout_seconds, is_inside=is_inside):
            raise self._stalled() if is_inside else TimeoutError(f"no frame for {timeout_seconds} seconds")
        try:
            count = self._sock.recv_into(target)
        except ConnectionResetError:  # the guest died with something of ours unread
            count = 0
        if count == 0:
            raise self._cut(is_inside=is_inside)
        return count

    def _is_readable(self, timeout_seconds: float | None, *, is_inside: bool) -> bool:
        """Whether something comes in time. `StreamCut` when the sender has ended and nothing of it is left to read."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))
            if self._readable.poll(left * 1000):
                return True
            if self._has_ended() and not self._readable.poll(0):
                raise self._cut(is_inside=is_inside)
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def _cut(self, *, is_inside: bool) -> StreamCut:
        return StreamCut((self._place.frame or "unknown") if is_inside else None, self._consumed)

    def _stalled(self) -> ProtocolBreach:
        return self._place.breach(f"it was not complete after {self._frame_deadline_seconds:g} seconds")
