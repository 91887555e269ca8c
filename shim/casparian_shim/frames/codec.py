"""Frames to bytes and bytes to frames.

`encode_*` raise ValueError for values that the format cannot express, which is a bug of the caller. Reading is a generator that
yields how many bytes it needs next and receives exactly those; every length is checked against its limit before it is requested.
`reader.StreamState` decides whether a frame is allowed at a point of the stream.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from casparian_shim.errors import ErrorReport, MalformedErrorReport
from casparian_shim.frames import kinds
from casparian_shim.frames.kinds import (
    Batch,
    EndOfStream,
    Failure,
    Frame,
    Hello,
    Log,
    LogLevel,
    OutputEnd,
    OutputKind,
    OutputStart,
    Progress,
    ProtocolBreach,
)
from casparian_shim.safe import COUNT_MAX, INT32_MAX

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_U32 = struct.Struct(">I")
_U32_U32 = struct.Struct(">II")
_LOG_HEADER = struct.Struct(">IBI")
_OUTPUT_END = struct.Struct(">IIQ")


def encode_batch_header(payload_bytes: int) -> bytes:
    """The header for a record-batch message of this size; the message itself follows without a copy."""
    if not 1 <= payload_bytes <= kinds.BATCH_BYTES_MAX:
        raise ValueError(f"a batch message of {payload_bytes} bytes does not fit a frame")
    return _U32.pack(payload_bytes)


def encode_end_of_stream() -> bytes:
    return _U32.pack(kinds.END_OF_STREAM)


def encode_hello(hello: Hello) -> bytes:
    return _with_json(
        kinds.HELLO,
        {
            "protocol": hello.protocol,
            "token": hello.token,
            "pid": hello.pid,
            "python": hello.python,
            "sandbox": hello.sandbox,
            "landlock_abi": hello.landlock_abi,
            "own_network": hello.own_network,
            "sandbox_problem": hello.sandbox_problem[:_NAME_CHARACTERS_MAX],
        },
    )


def encode_failure(report: ErrorReport) -> bytes:
    return _with_json(kinds.FAILURE, report.to_dict())


def encode_progress(progress: Progress) -> bytes:
    fields = {
        "done": progress.done,
        "total": progress.total,
        "unit": progress.unit,
        "skips": dict(progress.skips),
        "rejects": dict(progress.rejects),
        "metrics": dict(progress.metrics),
    }
    return _with_json(
        kinds.PROGRESS, {key: value for key, value in fields.items() if value is not None and value != {}}
    )


def encode_log(level: LogLevel, message: str) -> bytes:
    """One log line; text that exceeds a frame is cut at a character boundary."""
    text = message.encode("utf-8", "backslashreplace")
    if len(text) > kinds.LOG_BYTES_MAX:
        text = text[: kinds.LOG_BYTES_MAX].decode("utf-8", "ignore").encode("utf-8")
    return _LOG_HEADER.pack(kinds.LOG, level, len(text)) + text


def encode_output_start(start: OutputStart) -> bytes:
    if len(start.schema) > kinds.SCHEMA_BYTES_MAX:
        raise ValueError(f"a schema message of {len(start.schema)} bytes does not fit a frame")
    about = {"index": start.index, "name": start.name, "kind": start.kind.value}
    return _with_json(kinds.OUTPUT_START, about) + _U32.pack(len(start.schema)) + start.schema


def encode_output_end(end: OutputEnd) -> bytes:
    return _OUTPUT_END.pack(kinds.OUTPUT_END, end.index, end.row_count)


def _with_json(header: int, value: dict[str, object]) -> bytes:
    written = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate is sent as the six characters of its escape, because the peer refuses the character itself.
    text = _LONE_SURROGATE.sub(lambda found: f"\\\\u{ord(found.group()):04x}", written).encode("utf-8")
    if len(text) > kinds.JSON_BYTES_MAX:
        raise ValueError(f"JSON of {len(text)} bytes does not fit a frame")
    return _U32_U32.pack(header, len(text)) + text


# --- reading ---


_LOG_ABOUT = struct.Struct(">BI")
_END_ABOUT = struct.Struct(">IQ")

NAMES: Final = {
    kinds.END_OF_STREAM: "end of stream",
    kinds.FAILURE: "error",
    kinds.LOG: "log",
    kinds.OUTPUT_START: "output start",
    kinds.OUTPUT_END: "output end",
    kinds.PROGRESS: "progress",
    kinds.HELLO: "hello",
}
_TOKEN_CHARACTERS_MAX = 256
_NAME_CHARACTERS_MAX = 256
#: The most names in one mapping of a progress frame.
_NAMES_MAX = kinds.OUTPUTS_MAX
#: An integer with more digits is not a number of this protocol; Python would refuse to read thousands of digits.
_DIGITS_MAX = 400


def frame_name(header: int) -> str:
    """The name of a frame with this header, for messages."""
    return NAMES.get(header, "batch" if header <= kinds.BATCH_BYTES_MAX else "unknown")


@dataclass(slots=True)
class Place:
    """The position in the stream; the parser sets it, and messages show it."""

    offset: int = 0
    frame: str | None = None

    def breach(self, reason: str) -> ProtocolBreach:
        return ProtocolBreach(self.frame or "unknown", self.offset, reason)


Bytes = bytes | bytearray | memoryview
Parsing = Generator[int, Bytes, Frame]


def parse_frame(place: Place) -> Parsing:
    """Read one frame: yields byte counts, is sent exactly that many bytes, and returns the frame."""
    place.frame = None
    (header,) = _U32.unpack((yield 4))
    place.frame = frame_name(header)
    if header == kinds.END_OF_STREAM:
        return EndOfStream()
    if header <= kinds.BATCH_BYTES_MAX:
        payload = yield header
        return Batch(payload if isinstance(payload, bytes) else memoryview(payload))
    match header:
        case kinds.LOG:
            return (yield from _log(place))
        case kinds.OUTPUT_END:
            index, row_count = _END_ABOUT.unpack((yield _END_ABOUT.size))
            return OutputEnd(index, row_count)
        case kinds.OUTPUT_START:
            about = yield from _json(place)
            schema = yield from _sized(place, kinds.SCHEMA_BYTES_MAX)
            return _output_start(place, about, bytes(schema))
        case kinds.FAILURE:
            return _failure(place, (yield from _json(place, is_failure=True)))
        case kinds.PROGRESS:
            return _progress(place, (yield from _json(place)))
        case kinds.HELLO:
            return _hello(place, (yield from _json(place)))
    raise place.breach(f"the header {header:#010x} is neither a signal nor a length of at most {kinds.BATCH_BYTES_MAX}")


def _sized(place: Place, bytes_max: int) -> Generator[int, Bytes, Bytes]:
    (length,) = _U32.unpack((yield 4))
    if length > bytes_max:
        raise place.breach(f"it announces {length} bytes, at most {bytes_max} are allowed")
    return (yield length) if length else b""


def _log(place: Place) -> Parsing:
    level, length = _LOG_ABOUT.unpack((yield _LOG_ABOUT.size))
    if level > LogLevel.ERROR:
        raise place.breach(f"the log level {level} does not exist")
    if length > kinds.LOG_BYTES_MAX:
        raise place.breach(f"it announces {length} bytes, at most {kinds.LOG_BYTES_MAX} are allowed")
    raw = (yield length) if length else b""
    return Log(LogLevel(level), _utf8(place, raw))


def _utf8(place: Place, raw: Bytes) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError:
        raise place.breach("its text is not UTF-8") from None


def _json(place: Place, *, is_failure: bool = False) -> Generator[int, Bytes, dict[str, object]]:
    """A JSON object. Failure reports are read as leniently as possible: odd numbers and lone surrogates become text."""
    text = _utf8(place, (yield from _sized(place, kinds.JSON_BYTES_MAX)))
    try:
        if is_failure:
            value = json.loads(text, parse_constant=str, parse_int=_integer_or_text)
        else:
            value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # malformed, an endless integer, or nested too deep
        raise place.breach("its JSON cannot be read") from None
    if not isinstance(value, dict):
        raise place.breach("its JSON is not an object")
    if not is_failure and "\\ud" in text.lower() and _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise place.breach("its JSON contains a lone surrogate")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _integer_or_text(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS_MAX else f"{digits[:40]}… ({len(digits):,} digits)"


def _only(place: Place, about: dict[str, object], *names: str) -> None:
    if about.keys() - set(names):
        raise place.breach("its JSON has unknown fields")


def _text(place: Place, about: dict[str, object], name: str, characters_max: int) -> str:
    value = about.get(name)
    if not isinstance(value, str) or len(value) > characters_max:
        raise place.breach(f"{name} is not text of at most {characters_max} characters")
    return value


def _count(place: Place, name: str, value: object, maximum: int = COUNT_MAX) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise place.breach(f"{name} is not a count from 0 to {maximum:,}")
    return value


def _truth(place: Place, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise place.breach(f"{name} is neither true nor false")
    return value


def _counts(place: Place, about: dict[str, object], name: str) -> dict[str, int]:
    """Counts by name; each count and their sum are within bounds."""
    found = {key: _count(place, f"a count of {name}", value) for key, value in _mapping(place, about, name).items()}
    _count(place, f"the sum of {name}", sum(found.values()))
    return found


def _number(place: Place, name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise place.breach(f"{name} is not a number")
    # 1e999 is valid JSON and infinite; an int may exceed every float.
    if abs(value) > COUNT_MAX or not math.isfinite(value):
        raise place.breach(f"{name} is beyond {COUNT_MAX:,}")
    return value


def _amount(place: Place, name: str, value: object) -> float:
    if (number := _number(place, name, value)) < 0:
        raise place.breach(f"{name} is negative")
    return number


def _hello(place: Place, about: dict[str, object]) -> Hello:
    _only(
        place, about, "protocol", "token", "pid", "python", "sandbox", "landlock_abi", "own_network", "sandbox_problem"
    )
    return Hello(
        protocol=_count(place, "protocol", about.get("protocol"), INT32_MAX),
        token=_text(place, about, "token", _TOKEN_CHARACTERS_MAX),
        pid=_count(place, "pid", about.get("pid"), INT32_MAX),
        python=_text(place, about, "python", _NAME_CHARACTERS_MAX),
        sandbox=_text(place, {"sandbox": "none"} | about, "sandbox", _NAME_CHARACTERS_MAX),
        landlock_abi=_count(place, "landlock_abi", about.get("landlock_abi", 0), INT32_MAX),
        own_network=_truth(place, "own_network", about.get("own_network", False)),
        sandbox_problem=_text(place, {"sandbox_problem": ""} | about, "sandbox_problem", _NAME_CHARACTERS_MAX),
    )


def _output_start(place: Place, about: dict[str, object], schema: bytes) -> OutputStart:
    _only(place, about, "index", "name", "kind")
    try:
        kind = OutputKind(_text(place, about, "kind", _NAME_CHARACTERS_MAX))
    except ValueError:
        raise place.breach("its kind is unknown") from None
    if not schema:
        raise place.breach("it has no schema")
    index = _count(place, "index", about.get("index"))
    return OutputStart(index, _text(place, about, "name", _NAME_CHARACTERS_MAX), kind, schema)


def _failure(place: Place, about: dict[str, object]) -> Failure:
    try:
        return Failure(ErrorReport.from_dict(about))
    except MalformedErrorReport as malformed:
        raise place.breach(malformed.problem.rstrip(".")) from None


def _progress(place: Place, about: dict[str, object]) -> Progress:
    _only(place, about, "done", "total", "unit", "skips", "rejects", "metrics")
    return Progress(
        done=_amount(place, "done", about["done"]) if "done" in about else None,
        total=_amount(place, "total", about["total"]) if "total" in about else None,
        unit=_text(place, about, "unit", _NAME_CHARACTERS_MAX) if "unit" in about else None,
        skips=_counts(place, about, "skips"),
        rejects=_counts(place, about, "rejects"),
        metrics={name: _number(place, "a metric", value) for name, value in _mapping(place, about, "metrics").items()},
    )


def _mapping(place: Place, about: dict[str, object], name: str) -> dict[str, object]:
    value = about.get(name, {})
    if not isinstance(value, dict):
        raise place.breach(f"{name} is not an object")
    if len(value) > _NAMES_MAX:
        raise place.breach(f"{name} has {len(value)} names, at most {_NAMES_MAX} are allowed")
    if any(len(key) > _NAME_CHARACTERS_MAX for key in value):
        raise place.breach(f"a name of {name} has more than {_NAME_CHARACTERS_MAX} characters")
    return value
