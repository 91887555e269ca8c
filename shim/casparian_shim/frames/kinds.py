"""The kinds of frames, their limits, and the two ways in which a stream can be wrong.

Frozen values only; bytes are made in `encode` and read in `decode`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from casparian_shim.errors import CasparianError, ErrorCode, ErrorReport

PROTOCOL_VERSION = 1

BATCH_BYTES_MAX = 64 * 1024 * 1024
LOG_BYTES_MAX = 64 * 1024
SCHEMA_BYTES_MAX = 8 * 1024 * 1024
JSON_BYTES_MAX = 256 * 1024
OUTPUTS_MAX = 1024

END_OF_STREAM = 0
FAILURE = 0xFFFFFFFF
LOG = 0xFFFFFFFE
OUTPUT_START = 0xFFFFFFFD
OUTPUT_END = 0xFFFFFFFC
PROGRESS = 0xFFFFFFFB
HELLO = 0xFFFFFFFA

#: What an output may be called.
OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class LogLevel(IntEnum):
    """Where a log line comes from, or how grave it is."""

    STDOUT = 0
    STDERR = 1
    DEBUG = 2
    INFO = 3
    WARNING = 4
    ERROR = 5


class OutputKind(StrEnum):
    """Rows the parser vouches for, rows it calls bad itself, or what the SDK's readers gave out."""

    ROWS = "rows"
    REJECTS = "rejects"
    #: The record tape (`casparian_shim.sdk.records`); the stream is named by the encoding of the text.
    RECORDS = "records"


@dataclass(frozen=True, slots=True)
class Hello:
    """The guest lives and knows its token; the parser is not imported yet."""

    protocol: int
    token: str
    pid: int
    python: str


@dataclass(frozen=True, slots=True)
class OutputStart:
    """An output opens, or an open one becomes the current one again. `schema` is an Arrow schema message."""

    index: int
    name: str
    kind: OutputKind
    schema: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """One Arrow record-batch message of the current output."""

    payload: memoryview | bytes


@dataclass(frozen=True, slots=True)
class OutputEnd:
    """An output is complete and had this many rows."""

    index: int
    row_count: int


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the job's log. The text is as the guest sent it: `scrub` before showing."""

    level: LogLevel
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the parser is; all counts are cumulative."""

    done: float | None = None
    total: float | None = None
    unit: str | None = None
    skips: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """The job failed inside the guest, and this is why."""

    report: ErrorReport


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """Everything was sent. The only good end."""


Frame = Hello | OutputStart | Batch | OutputEnd | Log | Progress | Failure | EndOfStream


class ProtocolBreach(CasparianError):
    """A guest broke the protocol. Names the frame and where in the stream it began."""

    code = ErrorCode.PROTOCOL_ERROR

    def __init__(self, frame: str, offset: int, reason: str) -> None:
        super().__init__(
            f"The {frame} frame at byte {offset} of the guest's stream breaks the protocol: {reason}.",
            remedy="A parser must not write to file descriptors that it did not open.",
        )
        self.frame = frame
        self.offset = offset
        self.reason = reason
        self.facts = {"frame": frame}


class StreamCut(CasparianError):
    """The stream ended before its end of stream. Why, the guest's exit status tells, not the stream."""

    code = ErrorCode.PROTOCOL_ERROR

    def __init__(self, frame: str | None, offset: int) -> None:
        place = f"inside the {frame} frame" if frame else "between frames"
        super().__init__(
            f"The guest's stream ended at byte {offset}, {place}, without an end of stream.",
            remedy="`casparian job logs ID` shows what the parser printed last.",
        )
        self.is_inside_frame = frame is not None
        self.offset = offset
