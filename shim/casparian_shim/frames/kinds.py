"""The vocabulary of guest and worker: the job of a guest, the kinds of frames and their limits, the kinds of values in a mixed
column, and the two ways in which a stream can be wrong.

All classes are frozen values; `codec` writes and reads the bytes of frames.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from typing import Any

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
#: The form of an output's name.
OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class LogLevel(IntEnum):
    """The origin or the level of a log line."""

    STDOUT = 0
    STDERR = 1
    DEBUG = 2
    INFO = 3
    WARNING = 4
    ERROR = 5


class OutputKind(StrEnum):
    """Rows that the parser accepts, rows that it rejects, or the record tape of the SDK's readers."""

    ROWS = "rows"
    REJECTS = "rejects"
    #: The record tape (`casparian_shim.readers.tape`); the stream is named by the encoding of the text.
    RECORDS = "records"


@dataclass(frozen=True, slots=True)
class Hello:
    """The guest has started and sends its token; the parser is not imported yet."""

    protocol: int
    token: str
    pid: int
    python: str
    #: The level of the sandbox that is on, and the Landlock ABI version in it.
    sandbox: str = "none"
    landlock_abi: int = 0
    #: Whether it has a network of its own, without any interface that is up.
    own_network: bool = False
    #: Why the planned sandbox is not on; nothing was run then.
    sandbox_problem: str = ""


@dataclass(frozen=True, slots=True)
class OutputStart:
    """An output opens, or an open one becomes the current output again. `schema` is an Arrow schema message."""

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
    """A line for the job's log. The text is as the guest sent it, so `scrub` it before showing it."""

    level: LogLevel
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The parser's progress; all counts are cumulative."""

    done: float | None = None
    total: float | None = None
    unit: str | None = None
    skips: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """The job failed inside the guest, with this report."""

    report: ErrorReport


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """Everything was sent. This is the only successful end."""


Frame = Hello | OutputStart | Batch | OutputEnd | Log | Progress | Failure | EndOfStream


class ProtocolBreach(CasparianError):
    """A guest broke the protocol. The message names the frame and where in the stream it began."""

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
    """The stream ended without an end of stream. The guest's exit status says why."""

    code = ErrorCode.PROTOCOL_ERROR

    def __init__(self, frame: str | None, offset: int) -> None:
        place = f"inside the {frame} frame" if frame else "between frames"
        super().__init__(
            f"The guest's stream ended at byte {offset}, {place}, without an end of stream.",
            remedy="`casparian job logs ID` shows what the parser printed last.",
        )
        self.is_inside_frame = frame is not None
        self.offset = offset


#: Marks a field with values that fit no single Arrow type (`ValueKind`). Only the schema in the frames says so.
MIXED_METADATA = {b"cf.fallback": b"kinds"}
MIXED_FIELDS = (("kind", "uint8"), ("value", "binary"))
#: Deeper lists and dicts are `OTHER`; no type of a contract nests deeper.
NESTED_DEPTH_MAX = 16


class ValueKind(IntEnum):
    """The kind of one value in a mixed column, whatever its neighbours.

    The field has the Arrow type `struct<kind: uint8, value: binary>`; the struct and `kind` are never NULL, and `value` is NULL
    only for the kind `NULL`. The content of `value`, in ASCII unless the table says otherwise:

    | kind | value |
    |---|---|
    | `TEXT` | the text itself, UTF-8 |
    | `BOOL` | `true` or `false` |
    | `INT` | digits, a `-` before them if negative; any length |
    | `FLOAT`, `FLOAT32` | the shortest digits that read back to it in that width, or `nan`, `inf`, `-inf` |
    | `DECIMAL` | its digits as Python writes them, or `NaN`, `Infinity`, … |
    | `DATE` | days since 1970-01-01 |
    | `DATETIME`, `INSTANT` | microseconds since 1970-01-01T00:00, without a zone and in UTC |
    | `DATETIME_NS`, `INSTANT_NS` | the same in nanoseconds, for times finer than microseconds |
    | `TIME` | microseconds since midnight |
    | `DURATION`, `DURATION_NS` | microseconds, nanoseconds |
    | `BYTES` | the bytes |
    | `LIST` | a JSON array of `[kind, value]`, bytes in it as hexadecimal, lists and dicts as their arrays and objects |
    | `DICT` | a JSON object of name → `[kind, value]` |
    | `OTHER` | a description for people of what was given instead of a value (UTF-8) |

    `casparian_shim.arrow.kinds` writes the values; the worker reads and judges them.
    """

    NULL = 0
    TEXT = 1
    BOOL = 2
    INT = 3
    FLOAT = 4
    DECIMAL = 5
    DATE = 6
    DATETIME = 7
    DATETIME_NS = 8
    INSTANT = 9
    INSTANT_NS = 10
    TIME = 11
    DURATION = 12
    DURATION_NS = 13
    BYTES = 14
    LIST = 15
    DICT = 16
    OTHER = 17
    #: As a double it would look different: 0.1 would be 0.10000000149011612.
    FLOAT32 = 18


PRODUCTION = "production"
DEV = "dev"


def plain_fields(of: Any) -> dict[str, Any]:
    """The fields of a dataclass, whose values are plain already: `dataclasses.asdict` copies each of them deeply."""
    return {each.name: getattr(of, each.name) for each in fields(of)}


@dataclass(frozen=True, slots=True)
class GuestJob:
    """One job for one guest, written by the worker, which is trusted, and read once."""

    token: str
    #: The connected socket, inherited.
    socket_fd: int
    #: The parser: a file, or a directory together with `entry`.
    parser_path: str
    input_path: str
    #: The input, opened by the worker (exactly the file that it hashed); if None, open `input_path`.
    input_fd: int | None = None
    #: The module of the bundle that is the parser, such as `fix_parser.py`.
    entry: str | None = None
    #: Declared outputs. If empty, any valid name is accepted.
    outputs: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Import paths in addition to the interpreter's own library: the environment's site-packages.
    sys_paths: tuple[str, ...] = ()
    #: Arrow IPC files with reference data, by name.
    context_paths: Mapping[str, str] = field(default_factory=dict)
    scratch_path: str = ""
    job_id: str = ""
    source_hash: str = ""
    #: In mode `production`, prints and logging become frames; in mode `dev` they go to the terminal.
    mode: str = PRODUCTION
    #: The size limit of one batch on the wire (`limits.batch_bytes`).
    batch_bytes: int = BATCH_BYTES_MAX
    #: The author's path of the parser, if it runs elsewhere; tracebacks show this directory.
    shown_path: str = ""

    @property
    def bundle_path(self) -> str:
        """The parser's directory."""
        return self.parser_path if self.entry is not None else os.path.dirname(os.path.abspath(self.parser_path))

    @property
    def parser_file(self) -> str:
        """The parser's main file."""
        if self.entry is None:
            return self.parser_path
        return os.path.join(self.parser_path, self.entry if self.entry.endswith(".py") else f"{self.entry}.py")

    def to_json(self) -> bytes:
        return json.dumps(plain_fields(self)).encode("ascii")

    @classmethod
    def from_json(cls, text: bytes) -> "GuestJob":
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> "GuestJob":
        """The job with these fields, as `plain_fields` gives them."""
        unknown = raw.keys() - cls.__slots__
        if unknown:
            raise ValueError(f"the job has unknown fields: {sorted(unknown)}")
        return cls(**{**raw, "outputs": tuple(raw.get("outputs", ())), "sys_paths": tuple(raw.get("sys_paths", ()))})
