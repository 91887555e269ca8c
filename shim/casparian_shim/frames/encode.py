"""Frames to bytes. Raises ValueError for what the format cannot carry: that is our mistake, never the peer's."""

import json
import re
import struct

from casparian_shim.errors import ErrorReport
from casparian_shim.frames import kinds
from casparian_shim.frames.kinds import Hello, LogLevel, OutputEnd, OutputStart, Progress

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_U32 = struct.Struct(">I")
_U32_U32 = struct.Struct(">II")
_LOG_HEADER = struct.Struct(">IBI")
_OUTPUT_END = struct.Struct(">IIQ")


def encode_batch_header(payload_bytes: int) -> bytes:
    """What goes before a record-batch message of this size; the message follows uncopied."""
    if not 1 <= payload_bytes <= kinds.BATCH_BYTES_MAX:
        raise ValueError(f"a batch message of {payload_bytes} bytes does not fit a frame")
    return _U32.pack(payload_bytes)


def encode_end_of_stream() -> bytes:
    return _U32.pack(kinds.END_OF_STREAM)


def encode_hello(hello: Hello) -> bytes:
    return _with_json(
        kinds.HELLO,
        {"protocol": hello.protocol, "token": hello.token, "pid": hello.pid, "python": hello.python},
    )


def encode_failure(report: ErrorReport) -> bytes:
    return _with_json(kinds.FAILURE, report.to_dict())


def encode_progress(progress: Progress) -> bytes:
    told = {
        "done": progress.done,
        "total": progress.total,
        "unit": progress.unit,
        "skips": dict(progress.skips),
        "rejects": dict(progress.rejects),
        "metrics": dict(progress.metrics),
    }
    return _with_json(kinds.PROGRESS, {key: value for key, value in told.items() if value is not None and value != {}})


def encode_log(level: LogLevel, message: str) -> bytes:
    """One log line; what exceeds a frame is cut at a character boundary."""
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
    # A lone surrogate arrives as the six characters of its escape: the peer refuses the thing itself.
    text = _LONE_SURROGATE.sub(lambda found: f"\\\\u{ord(found.group()):04x}", written).encode("utf-8")
    if len(text) > kinds.JSON_BYTES_MAX:
        raise ValueError(f"JSON of {len(text)} bytes does not fit a frame")
    return _U32_U32.pack(header, len(text)) + text
