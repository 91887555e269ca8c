"""Which frame may come when: the order of one guest's stream, judged without Arrow, sockets or clocks.

`accept` is called with every frame before it is acted on, `count_rows` with the rows of each batch once it was
read. Comparing schemas, with each other and with a contract, is the worker's.
"""

from dataclasses import dataclass

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames import kinds
from casparian_shim.frames.codec import NAMES
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
)

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
    """An output is called something that could never name a table or a directory."""

    code = ErrorCode.OUTPUT_NAME

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!a} is not a name for an output.",
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
    """Where a stream stands. Raises `ProtocolBreach` (or `BadOutputName`) for a frame that may not come here."""

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
        """Whether a valid hello has come."""
        return self._is_greeted

    @property
    def is_complete(self) -> bool:
        """Whether everything was sent: the end of stream has come."""
        return self._closed_by == NAMES[kinds.END_OF_STREAM]

    def accept(self, frame: Frame, offset: int) -> None:
        """Judge `frame`, which began at byte `offset`, and move on."""
        name = _NAME_OF_TYPE[type(frame)]
        if self._closed_by is not None:
            raise ProtocolBreach(name, offset, f"it comes after the {self._closed_by} frame")
        if not self._is_greeted and not isinstance(frame, Hello):
            raise ProtocolBreach(name, offset, "it comes before the hello frame")
        reason = self._step(frame, name)
        if reason:
            raise ProtocolBreach(name, offset, reason)

    def count_rows(self, row_count: int) -> None:
        """The batch accepted last had this many rows."""
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
        from hmac import compare_digest  # loads OpenSSL: the worker's need, never a guest's

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
            return f"output {end.index} has ended already"
        if end.row_count != output.row_count:
            return f"it counts {end.row_count} rows of {output.name}, {output.row_count} have come"
        output.is_ended = True
        if self.current is output:
            self.current = None
        return None
