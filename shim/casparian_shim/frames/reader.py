"""The worker's end of a guest's stream: frames from a connected socket, and which frame is allowed when.

`FrameReader` blocks, with a deadline for each frame, and never closes the socket. `StreamState.accept` is called with every frame
before it is used, and `count_rows` with the rows of each batch after it was read. The worker reads the Arrow data in a batch and
compares schemas with each other and with a contract.
"""

import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames import kinds
from casparian_shim.frames.codec import NAMES, Place, parse_frame
from casparian_shim.frames.kinds import (
    Batch,
    EndOfStream,
    Failure,
    Frame,
    Hello,
    Log,
    OutputEnd,
    OutputKind,
    OutputStart,
    Progress,
    ProtocolBreach,
    StreamCut,
)

FRAME_DEADLINE_SECONDS = 30.0
#: How often to check whether the sender has ended, while nothing arrives.
_LOOK_SECONDS = 0.25
_BIG_BYTES = 64 * 1024


def _allocate(byte_count: int) -> memoryview:
    return memoryview(bytearray(byte_count))


class FrameReader:
    """Reads one guest's stream.

    Small frames come from a receive buffer that is reused. A payload of more than 64 KiB is received directly into one allocation
    of its size from `allocate`, by default fresh memory. A caller that is finished with a batch before it asks for the next frame
    can pass an `allocate` that returns the same memory again; a caller with pyarrow can pass
    `lambda size: memoryview(pa.allocate_buffer(size))`, which is not zeroed first.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        frame_deadline_seconds: float = FRAME_DEADLINE_SECONDS,
        allocate: Callable[[int], memoryview] = _allocate,
        has_ended: Callable[[], bool] = lambda: False,
        also_read: Mapping[int, Callable[[], bool]] | None = None,
    ) -> None:
        """`has_ended` tells whether the sender has ended. Then only received data counts: a child may hold the connection.

        `also_read` are descriptors to be served while nothing arrives here: each function is called when its descriptor is
        readable, and returns whether to continue with it.
        """
        self._sock = sock
        self._frame_deadline_seconds = frame_deadline_seconds
        self._allocate = allocate
        self._has_ended = has_ended
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._also_read = dict(also_read or {})
        self._any_readable = select.poll()
        self._number = sock.fileno()
        for descriptor in (self._number, *self._also_read):
            self._any_readable.register(descriptor, select.POLLIN)
        self._place = Place()
        self._buffer = memoryview(bytearray(_BIG_BYTES))
        self._start = 0
        self._end = 0
        self._consumed = 0

    @property
    def offset(self) -> int:
        """The position in the stream where the current or last frame begins."""
        return self._place.offset

    @property
    def byte_count(self) -> int:
        """How much of the stream has been read as frames."""
        return self._consumed

    def next_frame(self, *, idle_seconds: float | None = None) -> Frame:
        """Read the next frame.

        Waits `idle_seconds` for its first byte (None: forever) and raises TimeoutError if none arrives. After its first byte a
        frame must be complete within the frame deadline, or `ProtocolBreach` is raised. Raises `StreamCut` if the guest is gone.
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
        """Check that only the end of the connection follows the end of stream."""
        self._place.offset = self._consumed
        self._place.frame = None
        try:
            if self._start == self._end:
                self._receive_some(idle_seconds, is_inside=False)
        except StreamCut:
            return
        raise self._place.breach("bytes follow the end of stream")

    def _take(self, byte_count: int, deadline: float) -> memoryview:
        """Exactly `byte_count` bytes: a copy if they are few, otherwise a separate allocation."""
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
        except ConnectionResetError:  # the guest died without reading everything
            count = 0
        if count == 0:
            raise self._cut(is_inside=is_inside)
        return count

    def _is_readable(self, timeout_seconds: float | None, *, is_inside: bool) -> bool:
        """Whether data arrives in time. Raises `StreamCut` if the sender has ended and nothing is left to read."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))
            if self._serve(left):
                return True
            if self._has_ended() and not self._readable.poll(0):
                raise self._cut(is_inside=is_inside)
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def _serve(self, timeout_seconds: float) -> bool:
        """Wait for anything, and serve the other descriptors; returns whether the stream is readable."""
        ready = {descriptor for descriptor, _event in self._any_readable.poll(timeout_seconds * 1000)}
        for descriptor in self._also_read.keys() & ready:
            if not self._also_read[descriptor]():
                self._any_readable.unregister(descriptor)
                del self._also_read[descriptor]
        return self._number in ready

    def _cut(self, *, is_inside: bool) -> StreamCut:
        return StreamCut((self._place.frame or "unknown") if is_inside else None, self._consumed)

    def _stalled(self) -> ProtocolBreach:
        return self._place.breach(f"it was not complete after {self._frame_deadline_seconds:g} seconds")


_NAME_OF_TYPE = {
    Hello: NAMES[kinds.HELLO],
    OutputStart: NAMES[kinds.OUTPUT_START],
    Batch: "batch",
    OutputEnd: NAMES[kinds.OUTPUT_END],
    Log: NAMES[kinds.LOG],
    Progress: NAMES[kinds.PROGRESS],
    Failure: NAMES[kinds.FAILURE],
    EndOfStream: NAMES[kinds.END_OF_STREAM],
}


class BadOutputName(CasparianError):
    """The name of an output is not valid as the name of a table and a directory."""

    code = ErrorCode.OUTPUT_NAME

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!a} is not a valid output name.",
            remedy="Use a lower-case letter, then up to 62 lower-case letters, digits and underscores.",
        )


@dataclass(slots=True)
class OpenOutput:
    """One announced output of a stream."""

    index: int
    name: str
    kind: OutputKind
    row_count: int = 0
    is_ended: bool = False


class StreamState:
    """The state of a stream. Raises `ProtocolBreach` (or `BadOutputName`) for a frame that is not allowed at this point."""

    def __init__(self, *, token: str, outputs_max: int = kinds.OUTPUTS_MAX) -> None:
        self._token = token
        self._outputs_max = outputs_max
        self._is_greeted = False
        self._closed_by: str | None = None
        self.outputs: list[OpenOutput] = []
        self.current: OpenOutput | None = None
        self.failure: Failure | None = None

    @property
    def is_greeted(self) -> bool:
        """Whether a valid hello was received."""
        return self._is_greeted

    @property
    def is_complete(self) -> bool:
        """Whether the end of stream was received, so that everything was sent."""
        return self._closed_by == NAMES[kinds.END_OF_STREAM]

    def accept(self, frame: Frame, offset: int) -> None:
        """Check `frame`, which began at byte `offset`, and advance."""
        name = _NAME_OF_TYPE[type(frame)]
        if self._closed_by is not None:
            raise ProtocolBreach(name, offset, f"it comes after the {self._closed_by} frame")
        if not self._is_greeted and not isinstance(frame, Hello):
            raise ProtocolBreach(name, offset, "it comes before the hello frame")
        reason = self._step(frame, name)
        if reason:
            raise ProtocolBreach(name, offset, reason)

    def count_rows(self, row_count: int) -> None:
        """Add the number of rows in the last accepted batch."""
        assert self.current is not None, "only after a batch was accepted"
        self.current.row_count += row_count

    def _step(self, frame: Frame, name: str) -> str | None:
        match frame:
            case Hello():
                return self._greet(frame)
            case OutputStart():
                return self._start(frame)
            case Batch():
                return "no output is open" if self.current is None else None
            case OutputEnd():
                return self._end(frame)
            case EndOfStream():
                if unended := next((output for output in self.outputs if not output.is_ended), None):
                    return f"output {unended.index} has not ended"
                self._closed_by = name
            case Failure():
                self.failure = frame
                self._closed_by = name
            case Log() | Progress():
                pass
        return None

    def _greet(self, hello: Hello) -> str | None:
        if self._is_greeted:
            return "it comes a second time"
        if hello.protocol != kinds.PROTOCOL_VERSION:
            return f"it speaks version {hello.protocol}, this worker {kinds.PROTOCOL_VERSION}"
        from hmac import compare_digest  # loads OpenSSL, which only the worker needs

        if not compare_digest(hello.token.encode("utf-8", "replace"), self._token.encode()):
            return "its token is not this job's"
        self._is_greeted = True
        return None

    def _start(self, start: OutputStart) -> str | None:
        if start.index < len(self.outputs):
            return self._switch(start, self.outputs[start.index])
        if start.index > len(self.outputs):
            return f"index {start.index} skips {len(self.outputs)}"
        if len(self.outputs) >= self._outputs_max:
            return f"more than {self._outputs_max} outputs are announced"
        if not kinds.OUTPUT_NAME.fullmatch(start.name):
            raise BadOutputName(start.name)
        if any(output.name == start.name and output.kind is start.kind for output in self.outputs):
            return f"output {start.name} is open under another index"
        self.current = OpenOutput(start.index, start.name, start.kind)
        self.outputs.append(self.current)
        return None

    def _switch(self, start: OutputStart, output: OpenOutput) -> str | None:
        if output.is_ended:
            return f"output {start.index} has ended"
        if (start.name, start.kind) != (output.name, output.kind):
            return f"index {start.index} belongs to the {output.kind} of {output.name}"
        self.current = output
        return None

    def _end(self, end: OutputEnd) -> str | None:
        if end.index >= len(self.outputs):
            return f"output {end.index} was never announced"
        output = self.outputs[end.index]
        if output.is_ended:
            return f"output {end.index} has already ended"
        if end.row_count != output.row_count:
            return f"it counts {end.row_count} rows of {output.name}, but {output.row_count} were sent"
        output.is_ended = True
        if self.current is output:
            self.current = None
        return None
