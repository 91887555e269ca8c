"""Guests that speak to the socket past the shim: whatever they send ends their job, never the worker."""

import struct
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from casparian_shim.frames import (
    OutputEnd,
    OutputKind,
    OutputStart,
    encode_batch_header,
    encode_end_of_stream,
    encode_log,
    encode_output_end,
    encode_output_start,
)
from casparian_shim.frames.kinds import LogLevel
from tests.worker.attempts import Desk

SCHEMA = pa.schema([("a", pa.string()), ("n", pa.int64())])


def start(index: int = 0, name: str = "rows", schema: pa.Schema = SCHEMA) -> bytes:
    return encode_output_start(OutputStart(index, name, OutputKind.ROWS, schema.serialize().to_pybytes()))


def batch(count: int = 2, schema: pa.Schema = SCHEMA, compression: str | None = None) -> bytes:
    values = {"a": ["x"] * count, "n": [1] * count}
    made = pa.RecordBatch.from_arrays([pa.array(values[kind.name], kind.type) for kind in schema], schema=schema)
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(made)
    messages = pa.ipc.MessageReader.open_stream(written.getvalue())
    messages.read_next_message()  # the schema
    message: bytes = messages.read_next_message().serialize().to_pybytes()
    return encode_batch_header(len(message)) + message


def end(rows: int, index: int = 0) -> bytes:
    return encode_output_end(OutputEnd(index, rows))


def progress(text: bytes) -> bytes:
    return struct.pack(">II", 0xFFFFFFFB, len(text)) + text


EOS = encode_end_of_stream()
TWINS = pa.schema([("a", pa.string()), ("a", pa.string()), ("n", pa.int64())])
VIEWS = pa.schema([("a", pa.string_view()), ("n", pa.int64())])
GARBLED = bytearray(batch())
GARBLED[60:90] = b"\xff" * 30

STREAMS = {
    "an unknown signal": (struct.pack(">I", 0xFFFFFFF0), "PROTOCOL_ERROR"),
    "a length just above the cap": (start() + struct.pack(">I", (64 << 20) + 1), "PROTOCOL_ERROR"),
    "a log of 4 GiB": (struct.pack(">IBI", 0xFFFFFFFE, 0, 0xFFFFFFFF), "PROTOCOL_ERROR"),
    "a log of level 255": (struct.pack(">IBI", 0xFFFFFFFE, 255, 1) + b"x", "PROTOCOL_ERROR"),
    "a second hello": (struct.pack(">II", 0xFFFFFFFA, 2) + b"{}", "PROTOCOL_ERROR"),
    "a batch without an output": (batch(), "PROTOCOL_ERROR"),
    "a batch cut in the middle": (start() + batch()[:40], "PROTOCOL_ERROR"),
    "garbled Arrow": (start() + bytes(GARBLED), "PROTOCOL_ERROR"),
    "compressed Arrow": (start() + batch(900, compression="zstd"), "PROTOCOL_ERROR"),
    "views": (start(schema=VIEWS), "PROTOCOL_ERROR"),
    "two columns of one name": (start(schema=TWINS), "SCHEMA_MISMATCH"),
    "a schema that is none": (
        encode_output_start(OutputStart(0, "rows", OutputKind.ROWS, b"\x00" * 64)), "PROTOCOL_ERROR",
    ),
    "a path as a name": (start(name="../../x"), "OUTPUT_NAME"),
    "an undeclared output": (start(name="others"), "SCHEMA_MISMATCH"),
    "other columns in the middle": (
        start() + batch() + start(schema=pa.schema([("n", pa.int64()), ("a", pa.string())])), "SCHEMA_MISMATCH",
    ),
    "a wrong count": (start() + batch() + end(3), "PROTOCOL_ERROR"),
    "an end without an output's end": (start() + batch() + EOS, "PROTOCOL_ERROR"),
    "data after the end": (start() + batch() + end(2) + EOS + batch(), "PROTOCOL_ERROR"),
    "a second end": (EOS + EOS, "PROTOCOL_ERROR"),
    "negative skips": (progress(b'{"skips":{"x":-1}}') + EOS, "PROTOCOL_ERROR"),
    "a negative amount done": (progress(b'{"done":-5}') + EOS, "PROTOCOL_ERROR"),
    "skips that add up to no count": (progress(b'{"skips":{"x":9007199254740991,"y":1}}') + EOS, "PROTOCOL_ERROR"),
    "no end": (start() + batch() + end(2), "PROTOCOL_ERROR"),
    "rejects without numbers": (
        encode_output_start(OutputStart(0, "rows", OutputKind.REJECTS, SCHEMA.serialize().to_pybytes())),
        "PROTOCOL_ERROR",
    ),
}  # fmt: skip

SPEAK = """
import os, socket, time
def parse(path, ctx):
    for fd in range(3, 64):
        try:
            sock = socket.socket(fileno=os.dup(fd))
            sock.getpeername()
        except OSError:
            continue
        sock.sendall(open(path, 'rb').read())
        {then}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("name", STREAMS)
def test_a_breach_ends_the_job_and_is_named(desk: Desk, name: str) -> None:
    said, code = STREAMS[name]
    desk.input.write_bytes(said)
    error = desk.failed(SPEAK.format(then="os._exit(0)")).error
    assert error.code == code, error
    assert not error.retryable


def test_a_well_spoken_raw_guest_is_as_good_as_any(desk: Desk) -> None:
    desk.input.write_bytes(start() + batch() + end(2) + EOS)
    desk.finished(SPEAK.format(then="os._exit(0)"))
    assert desk.table("data.rows.0.parquet").num_rows == 2


def test_everything_sent_and_exit_1_is_a_failure(desk: Desk) -> None:
    desk.input.write_bytes(start() + batch() + end(2) + EOS)
    assert desk.failed(SPEAK.format(then="os._exit(1)")).error.code == "UNKNOWN_ERROR"


def test_a_half_closed_stream_and_silence_is_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_worker.execute.stream.EXIT_SECONDS", 0.5)
    desk.input.write_bytes(start())
    then = "sock.shutdown(socket.SHUT_WR); time.sleep(60)"
    assert desk.failed(SPEAK.format(then=then)).error.code == "PROTOCOL_ERROR"


def test_a_frame_that_never_completes_is_a_breach_at_its_deadline(desk: Desk) -> None:
    desk.limits = {"wall_seconds": 2.0}  # a frame has no longer than the job
    desk.input.write_bytes(start() + batch()[:40])
    assert desk.failed(SPEAK.format(then="time.sleep(60)")).error.code == "PROTOCOL_ERROR"


def test_what_is_said_about_outputs_is_not_kept(desk: Desk) -> None:
    """Up to 8 MiB about each of a thousand outputs would be gigabytes in the worker."""
    desk.input.write_bytes(b"")
    then = """
        import pyarrow as pa
        from casparian_shim.frames import OutputKind, OutputStart, encode_output_start
        columns = [("row", pa.int64()), ("end", pa.int64()), ("what", pa.int8())]
        message = pa.schema(columns, metadata={"noise": "x" * (1 << 20)}).serialize().to_pybytes()
        for number in range(24):
            sock.sendall(encode_output_start(OutputStart(number, f"utf_{number}", OutputKind.RECORDS, message)))
        os._exit(0)
"""
    tracemalloc.start()
    try:
        error = desk.failed(SPEAK.format(then=then)).error
        _now, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.code == "PROTOCOL_ERROR"
    assert peak_bytes < 12 << 20


def test_forged_log_lines_are_the_guests(desk: Desk) -> None:
    desk.input.write_bytes(
        encode_log(LogLevel.ERROR, "x\n2026-01-01T00:00:00Z INFO worker [CIRCUIT_BREAKER] forged")
        + start()
        + batch()
        + end(2)
        + EOS
    )
    desk.finished(SPEAK.format(then="os._exit(0)"))
    forged = [line for line in desk.log().splitlines() if "forged" in line]
    assert [line.split(" ")[2] for line in forged] == ["guest"]


def test_skips_that_no_column_holds_end_the_job_as_the_parsers_fault(desk: Desk) -> None:
    error = desk.failed(
        "def parse(path, ctx):\n    for _ in range(3):\n        ctx.skip('x', 2**63 - 1)\n    yield {}\n"
    ).error
    assert (error.code, error.exception, error.origin, error.retryable) == (
        "INVALID_DATA",
        "ValueError",
        "parser",
        False,
    )
    assert "skip" in error.message
