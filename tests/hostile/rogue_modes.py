"""What a program on a guest's socket can say: every frame, with every field wrong in every way, in every order and pace.

Each mode is the bytes to send, the way to send them, and the codes that the attempt may end with.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from casparian_shim.errors import ErrorCode, ErrorReport
from casparian_shim.frames import (
    Hello,
    OutputEnd,
    OutputKind,
    OutputStart,
    Progress,
    encode_batch_header,
    encode_end_of_stream,
    encode_failure,
    encode_hello,
    encode_log,
    encode_output_end,
    encode_output_start,
    encode_progress,
)
from casparian_shim.frames.kinds import FAILURE, HELLO, LOG, OUTPUT_END, OUTPUT_START, PROGRESS, LogLevel

SCHEMA = pa.schema([("a", pa.string()), ("n", pa.int64())])
BREACH = frozenset({"PROTOCOL_ERROR"})
#: A report of a failure is read if it can be.
REPORTED = BREACH | {"INVALID_DATA", "UNKNOWN_ERROR"}


def frame_of(header: int, text: bytes) -> bytes:
    """A frame as a stranger makes it: no length and no content is checked."""
    return struct.pack(">II", header, len(text)) + text


@dataclass(frozen=True, slots=True)
class Mode:
    """One attack. `codes` are those that it may fail with; empty: it is none, and the attempt succeeds."""

    name: str
    data: bytes
    codes: frozenset[str] = BREACH
    how: dict[str, str] = field(default_factory=dict)


def start(index: int = 0, name: str = "rows", kind: OutputKind = OutputKind.ROWS) -> bytes:
    return encode_output_start(OutputStart(index, name, kind, SCHEMA.serialize().to_pybytes()))


def batch(rows: int = 2) -> bytes:
    made = pa.RecordBatch.from_arrays([pa.array(["x"] * rows), pa.array([1] * rows, pa.int64())], schema=SCHEMA)
    message: bytes = made.serialize().to_pybytes()
    return encode_batch_header(len(message)) + message


def end(rows: int, index: int = 0) -> bytes:
    return encode_output_end(OutputEnd(index, rows))


EOS = encode_end_of_stream()
WHOLE = start() + batch() + end(2) + EOS
LINE = encode_log(LogLevel.INFO, "a line")

#: The rogue puts its job's token here.
TOKEN = "@" * 32
#: JSON texts in the place of a value.
WRONG = {
    "null": "null",
    "true": "true",
    "a text": '"x"',
    "a digit as text": '"1"',
    "empty text": '""',
    "minus one": "-1",
    "minus zero": "-0.0",
    "a half": "0.5",
    "2^53": "9007199254740992",
    "2^63": "9223372036854775808",
    "2^64": "18446744073709551616",
    "10^30": "1000000000000000000000000000000",
    "-10^30": "-1000000000000000000000000000000",
    "10^5000": "1" + "0" * 5000,
    "1e999": "1e999",
    "-1e999": "-1e999",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "a list": "[1, 2]",
    "an object": '{"a": 1}',
    "nested without end": "[" * 3000 + "]" * 3000,
    "half a character": '"\\ud800"',
    "NUL and escapes": '"\\u0000\\u001b]0;x\\u0007\\u202e\\n"',
    "a long text": json.dumps("x" * 100_000),
    "wide characters": json.dumps("\U0001f40d" * 20_000, ensure_ascii=False),
    "many names": json.dumps({f"n{number}": number for number in range(2000)}),
    "counts whose sum is none": '{"a": 9007199254740991, "b": 9007199254740991}',
    "a name without end": json.dumps({"n" * 100_000: 1}),
    "a name of escapes": '{"\\u001b[31m\\n\\u202e": 1}',
}


def sent(frame: bytes) -> dict[str, object]:
    """The JSON of a frame that begins with its header and a length."""
    fields: dict[str, object] = json.loads(frame[8 : 8 + struct.unpack(">I", frame[4:8])[0]])
    return fields


_REPORT = ErrorReport(ErrorCode.INVALID_DATA, "E", "m", trace="t", context={"k": 1}, retryable=False)
#: As the shim sends them, with every field filled.
GOOD = {
    "progress": sent(encode_progress(Progress(1, 2, "rows", {"a": 1}, {"rows": 1}, {"m": 1}))),
    "error": sent(encode_failure(_REPORT)),
    "output start": sent(start()),
    "hello": sent(encode_hello(Hello(1, TOKEN, 1, "3"))),
}
_HEADERS = {"progress": PROGRESS, "error": FAILURE, "output start": OUTPUT_START, "hello": HELLO}


def _edited(frame: str, name: str, text: str) -> bytes:
    """The frame's JSON with this text as the value of one field."""
    fields = {key: json.dumps(value) for key, value in GOOD[frame].items()} | {name: text}
    return ("{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in fields.items()) + "}").encode()


def fields_gone_wrong() -> Iterator[Mode]:
    """Every field of every frame with JSON, with every wrong value."""
    for frame, fields in GOOD.items():
        for name, (label, text) in itertools.product([*fields, "an unknown field"], WRONG.items()):
            said = _edited(frame, name, text)
            title = f"{frame}: {name} is {label}"
            if frame == "hello":
                codes = BREACH | {"", "SANDBOX_UNAVAILABLE"}
                yield Mode(title, frame_of(HELLO, said) + EOS, codes, {"hello": "none"})
            elif frame == "error":
                yield Mode(title, frame_of(FAILURE, said), REPORTED)
            elif frame == "output start":
                schema = SCHEMA.serialize().to_pybytes()
                sized = struct.pack(">I", len(schema)) + schema
                codes = frozenset({"PROTOCOL_ERROR", "OUTPUT_NAME", "SCHEMA_MISMATCH"})
                yield Mode(title, frame_of(OUTPUT_START, said) + sized, codes)
            else:  # whether it is wrong depends on field and value; without it the stream is good
                yield Mode(title, frame_of(PROGRESS, said) + EOS, BREACH | {""})
        if frame == "error":
            for label, text in WRONG.items():
                said = _edited("error", "context", f'{{"kept": 1, "odd": {text}}}')
                yield Mode(f"error: a value of its context is {label}", frame_of(FAILURE, said), REPORTED)


def texts_gone_wrong() -> Iterator[Mode]:
    """Frames with JSON that is none."""
    for frame, header in _HEADERS.items():
        how = {"hello": "none"} if frame == "hello" else {}
        for label, text in {
            "nothing": b"",
            "half an object": b'{"a": ',
            "a number": b"7",
            "a list": b"[]",
            "no UTF-8": b'{"a": "\xff"}',
            "a byte order mark": b"\xef\xbb\xbf{}",
            "an object of nothing": b"{}",
            "two objects": b"{}{}",
            "nested without end": b"[" * 100_000,
            "nested objects": b'{"a":' * 50_000,
        }.items():
            codes = BREACH | {""} if (frame, label) == ("progress", "an object of nothing") else REPORTED
            more = EOS if frame == "progress" else b""
            yield Mode(f"{frame} with {label}", frame_of(header, text) + more, codes, how)
        for length in (256 * 1024 + 1, 2**31, 2**32 - 1):
            yield Mode(f"{frame} that announces {length} bytes", struct.pack(">II", header, length), BREACH, how)


def headers_gone_wrong() -> Iterator[Mode]:
    for header in (64 * 1024 * 1024 + 1, 2**31 - 1, 2**31, 0xFFFFFFF9, 0xFFFFFFF0, 0xFFFF0000):
        yield Mode(f"the header {header:#x}", start() + struct.pack(">I", header))
    for level, length in itertools.product((0, 5, 6, 255), (0, 1, 64 * 1024 + 1, 2**32 - 1)):
        said = struct.pack(">IBI", LOG, level, length) + (b"x" if length == 1 else b"") + EOS
        is_good = level <= 5 and length <= 1
        yield Mode(f"a log of level {level} and {length} bytes", said, frozenset() if is_good else BREACH)
    yield Mode("a log that is no UTF-8", struct.pack(">IBI", LOG, 0, 2) + b"\xff\xfe" + EOS)
    for index, rows in itertools.product((0, 1, 2**31, 2**32 - 1), (0, 1, 2, 3, 2**63, 2**64 - 1)):
        said = start() + batch() + struct.pack(">IIQ", OUTPUT_END, index, rows) + EOS
        yield Mode(
            f"an end of output {index} with {rows} rows", said, frozenset() if (index, rows) == (0, 2) else BREACH
        )
    for length in (0, 8 * 1024 * 1024 + 1, 2**32 - 1):
        about = frame_of(OUTPUT_START, b'{"index": 0, "name": "rows", "kind": "rows"}')
        yield Mode(f"a schema of {length} bytes", about + struct.pack(">I", length))
    for length in (1, 8, 64):
        yield Mode(f"a batch of {length} zeros", start() + struct.pack(">I", length) + bytes(length))
        yield Mode(f"a batch of {length} ones", start() + struct.pack(">I", length) + b"\xff" * length)


def orders_gone_wrong() -> Iterator[Mode]:
    """All sequences of up to three frames; good ones are those that a shim could send."""
    frames = {
        "start": start(), "batch": batch(), "end": end(2), "eos": EOS, "log": LINE,
        "failure": frame_of(FAILURE, json.dumps(GOOD["error"]).encode()),
    }  # fmt: skip
    for count in (1, 2, 3):
        for names in itertools.product(frames, repeat=count):
            said = b"".join(frames[name] for name in names)
            plain = [name for name in names if name != "log"]
            is_good = names[-1] == "eos" and plain == ["eos"]
            codes = REPORTED if "failure" in names else BREACH
            yield Mode(f"frames {', '.join(names)}", said, frozenset() if is_good else codes)
    rejects = start(kind=OutputKind.REJECTS)
    yield Mode("an output started twice under two indexes", start() + start(1) + EOS)
    yield Mode("an index that skips one", start(1) + EOS)
    yield Mode("rejected rows of another form", rejects + batch() + end(2) + EOS)
    yield Mode("a whole stream twice", WHOLE + WHOLE)
    yield Mode("a whole stream", WHOLE, frozenset())
    yield Mode("no stream at all", b"")
    yield Mode("no hello", WHOLE, BREACH, {"hello": "none"})
    yield Mode("a flood of lines", LINE * 60_000 + EOS, frozenset())
    yield Mode(
        "a flood of progress", frame_of(PROGRESS, json.dumps(GOOD["progress"]).encode()) * 5_000 + EOS, frozenset()
    )
    yield Mode(
        "a flood of starts",
        b"".join(start(number, f"o{number}") for number in range(1100)),
        BREACH | {"SCHEMA_MISMATCH"},
    )


ENDINGS = {
    "exit 0": BREACH,
    "exit 1": frozenset({"UNKNOWN_ERROR"}),
    "exit 2": frozenset({"CONNECTION_RESET"}),
    "exit 255": frozenset({"UNKNOWN_ERROR"}),
    "signal 6": frozenset({"UNKNOWN_ERROR"}),
    "signal 9": frozenset({"OOM_RISK"}),
    "signal 11": frozenset({"UNKNOWN_ERROR"}),
    "signal 15": frozenset({"CONNECTION_RESET"}),
    "signal 13": frozenset({"UNKNOWN_ERROR"}),
    "signal 64": frozenset({"UNKNOWN_ERROR"}),
    "reset": BREACH,
    "shut": BREACH,
    "noise": BREACH,
}


def endings() -> Iterator[Mode]:
    """A stream cut at each place, and each way to leave there; whole, only a good end is good."""
    places = {
        "before hello": (b"", {"hello": "none"}),
        "after hello": (b"", {}),
        "inside a frame": (start() + batch()[:40], {}),
        "before the end of stream": (start() + batch() + end(2), {}),
    }
    for (place, (said, how)), (then, codes) in itertools.product(places.items(), ENDINGS.items()):
        yield Mode(f"it ends by {then} {place}", said, codes, {**how, "then": then})
    for then, codes in ENDINGS.items():
        is_good = then in ("exit 0", "reset", "shut", "noise")
        yield Mode(f"it ends by {then} after a whole stream", WHOLE, frozenset() if is_good else codes, {"then": then})
    for then in ("child", "leaves a daemon"):
        yield Mode(f"it leaves a {then.split()[-1]} behind after a whole stream", WHOLE, frozenset(), {"then": then})
        yield Mode(f"it leaves a {then.split()[-1]} behind in the middle", start() + batch(), BREACH, {"then": then})


def paces() -> Iterator[Mode]:
    for pace in ("byte by byte", "in two"):
        yield Mode(f"a whole stream {pace}", WHOLE, frozenset(), {"pace": pace})
        yield Mode(f"a wrong count {pace}", start() + batch() + end(3) + EOS, BREACH, {"pace": pace})
        yield Mode(f"a batch and no more {pace}", start() + batch(), BREACH, {"pace": pace})


def all_modes() -> list[Mode]:
    parts = (fields_gone_wrong, texts_gone_wrong, headers_gone_wrong, orders_gone_wrong, endings, paces)
    return [mode for part in parts for mode in part()]
