"""Frames survive any chunking, and everything a hostile guest may send is refused by name and offset."""

import json
import os
import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim.errors import ErrorCode, ErrorReport, retryable
from casparian_shim.frames import (
    BATCH_BYTES_MAX,
    Batch,
    EndOfStream,
    Failure,
    Frame,
    FrameReader,
    Hello,
    Log,
    LogLevel,
    OutputEnd,
    OutputKind,
    OutputStart,
    Progress,
    ProtocolBreach,
    StreamCut,
    encode_batch_header,
    encode_end_of_stream,
    encode_failure,
    encode_hello,
    encode_log,
    encode_output_end,
    encode_output_start,
    encode_progress,
)
from casparian_shim.safe import COUNT_MAX
from tests.shim.decoding import FrameDecoder

PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
COUNTS = st.integers(0, COUNT_MAX)
FEW = st.integers(0, 2**31 - 1)
#: Their sum is a count too.
PARTS = st.integers(0, COUNT_MAX // 3)


def _reports() -> st.SearchStrategy[ErrorReport]:
    values = (
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    )
    return st.builds(
        lambda code, exception, message, trace, context: ErrorReport(
            code, exception, message, trace, context, retryable(code)
        ),
        st.sampled_from(ErrorCode),
        PLAIN,
        PLAIN,
        PLAIN,
        st.dictionaries(PLAIN, values | PLAIN, max_size=4),
    )


FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, FEW, PLAIN, FEW, PLAIN),
    st.builds(OutputStart, COUNTS, PLAIN, st.sampled_from(OutputKind), st.binary(min_size=1, max_size=200)),
    st.builds(Batch, st.binary(min_size=1, max_size=500)),
    st.builds(OutputEnd, st.integers(0, 2**32 - 1), COUNTS),
    st.builds(Log, st.sampled_from(LogLevel), PLAIN),
    st.builds(
        Progress,
        st.none() | COUNTS,
        st.none() | st.floats(0, 1e15),
        st.none() | PLAIN,
        st.dictionaries(PLAIN, PARTS, max_size=3),
        st.dictionaries(PLAIN, PARTS, max_size=3),
        st.dictionaries(PLAIN, st.floats(-1e9, 1e9), max_size=3),
    ),
    st.builds(Failure, _reports()),
    st.just(EndOfStream()),
)


def encode(frame: Frame) -> bytes:
    match frame:
        case Hello():
            return encode_hello(frame)
        case OutputStart():
            return encode_output_start(frame)
        case Batch(payload):
            return encode_batch_header(len(payload)) + bytes(payload)
        case OutputEnd():
            return encode_output_end(frame)
        case Log():
            return encode_log(frame.level, frame.message)
        case Progress():
            return encode_progress(frame)
        case Failure(report):
            return encode_failure(report)
        case EndOfStream():
            return encode_end_of_stream()


@given(st.lists(FRAMES, max_size=8), st.data())
@settings(max_examples=150, deadline=None)
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = FrameDecoder()

    decoded: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoded += decoder.feed(stream[start:end])

    assert decoded == frames
    assert decoder.is_between_frames


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_frames_or_a_breach_and_nothing_else(noise: bytes) -> None:
    signals = (b"\xff\xff\xff" + bytes([0xFA + noise[0] % 6])) if noise else b""
    for stream in (noise, signals + noise, signals + b"\0\0\0" + noise):
        try:
            FrameDecoder().feed(stream)
        except ProtocolBreach as breach:
            assert breach.code is ErrorCode.PROTOCOL_ERROR


GREETING = encode_hello(Hello(1, "t", 1, "3.11"))


def _json(signal: int, text: bytes) -> bytes:
    return struct.pack(">II", signal, len(text)) + text


BREACHES = {
    "a batch above the cap": (struct.pack(">I", BATCH_BYTES_MAX + 1), "unknown"),
    "an unknown signal": (struct.pack(">I", 0xFFFFFFF9), "unknown"),
    "a log level that does not exist": (struct.pack(">IBI", 0xFFFFFFFE, 255, 1) + b"x", "log"),
    "a log line of 4 GiB": (struct.pack(">IBI", 0xFFFFFFFE, 0, 0xFFFFFFFF), "log"),
    "log text that is not UTF-8": (struct.pack(">IBI", 0xFFFFFFFE, 0, 1) + b"\xff", "log"),
    "JSON of 4 GiB": (struct.pack(">II", 0xFFFFFFFB, 0xFFFFFFFF), "progress"),
    "JSON that is none": (_json(0xFFFFFFFB, b"{"), "progress"),
    "JSON nested without end": (_json(0xFFFFFFFB, b"[" * 100_000), "progress"),
    "an integer without end": (_json(0xFFFFFFFB, b'{"done":' + b"9" * 5_000 + b"}"), "progress"),
    "an infinite number": (_json(0xFFFFFFFB, b'{"done":1e999}'), "progress"),
    "NaN": (_json(0xFFFFFFFB, b'{"done":NaN}'), "progress"),
    "names without end": (
        _json(0xFFFFFFFB, json.dumps({"metrics": {str(n): n for n in range(1025)}}).encode()),
        "progress",
    ),
    "a name of a thousand characters": (
        _json(0xFFFFFFFB, json.dumps({"rejects": {"x" * 1000: 1}}).encode()),
        "progress",
    ),
    "half a character": (_json(0xFFFFFFFB, b'{"unit":"\\uD800"}'), "progress"),
    "a truth as a count": (_json(0xFFFFFFFB, b'{"skips":{"a":true}}'), "progress"),
    "a negative count": (_json(0xFFFFFFFB, b'{"rejects":{"a":-1}}'), "progress"),
    "a negative amount done": (_json(0xFFFFFFFB, b'{"done":-5}'), "progress"),
    "a negative total": (_json(0xFFFFFFFB, b'{"total":-0.5}'), "progress"),
    "a count beyond 2**53 - 1": (_json(0xFFFFFFFB, b'{"skips":{"a":9223372036854775807}}'), "progress"),
    "counts whose sum is none": (
        _json(0xFFFFFFFB, b'{"skips":{"a":9007199254740991,"b":1}}'),
        "progress",
    ),
    "a metric beyond 2**53 - 1": (_json(0xFFFFFFFB, b'{"metrics":{"a":-1e300}}'), "progress"),
    "a process id beyond 32 bits": (
        _json(0xFFFFFFFA, b'{"protocol":1,"token":"t","pid":4294967296,"python":""}'),
        "hello",
    ),
    "an unknown field": (_json(0xFFFFFFFA, b'{"protocol":1,"token":"t","pid":1,"python":"","x":1}'), "hello"),
    "an error report that is a list": (_json(0xFFFFFFFF, b"[]"), "error"),
    "an error code of its own": (_json(0xFFFFFFFF, b'{"code":"NICE"}'), "error"),
    "an output of an unknown kind": (
        _json(0xFFFFFFFD, b'{"index":0,"name":"a","kind":"x"}') + struct.pack(">I", 1) + b"s",
        "output start",
    ),
    "an output without schema": (
        _json(0xFFFFFFFD, b'{"index":0,"name":"a","kind":"rows"}') + struct.pack(">I", 0),
        "output start",
    ),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_names_its_frame_and_its_offset(name: str) -> None:
    stream, frame = BREACHES[name]

    with pytest.raises(ProtocolBreach) as caught:
        FrameDecoder().feed(GREETING + stream)

    assert (caught.value.frame, caught.value.offset) == (frame, len(GREETING))


def test_a_guest_cannot_burn_retries_by_calling_its_failure_retryable() -> None:
    told = _json(0xFFFFFFFF, b'{"code":"INVALID_DATA","exception":"ValueError","message":"m","retryable":true}')

    assert FrameDecoder().feed(told) == [Failure(ErrorReport(ErrorCode.INVALID_DATA, "ValueError", "m"))]


def test_a_reader_gives_small_and_large_frames_from_a_real_socket() -> None:
    ours, theirs = socket.socketpair()
    big = bytes(range(256)) * 20_000
    stream = GREETING + struct.pack(">I", len(big)) + big + encode_log(LogLevel.INFO, "héllo") + encode_end_of_stream()
    sender = threading.Thread(target=theirs.sendall, args=(stream,))
    sender.start()
    reader = FrameReader(ours)

    frames = [reader.next_frame(idle_seconds=5) for _ in range(4)]
    sender.join()
    theirs.close()

    assert frames == [Hello(1, "t", 1, "3.11"), Batch(big), Log(LogLevel.INFO, "héllo"), EndOfStream()]
    assert reader.byte_count == len(stream)
    reader.expect_silence(idle_seconds=5)
    ours.close()


def test_large_batches_are_received_into_memory_of_the_callers_choice() -> None:
    ours, theirs = socket.socketpair()
    memory = memoryview(bytearray(BATCH_BYTES_MAX // 8))
    asked: list[int] = []

    def reuse(size: int) -> memoryview:
        asked.append(size)
        return memory

    reader = FrameReader(ours, allocate=reuse)
    for letter in (b"a", b"b"):
        sender = threading.Thread(target=theirs.sendall, args=(encode_batch_header(200_000) + letter * 200_000,))
        sender.start()
        assert reader.next_frame(idle_seconds=5) == Batch(letter * 200_000)
        sender.join()

    assert asked == [200_000, 200_000]
    ours.close()
    theirs.close()


def test_descriptors_that_come_with_the_frames_are_not_kept() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader, before = FrameReader(ours), set(os.listdir("/proc/self/fd"))
        for _ in range(20):
            socket.send_fds(theirs, [encode_log(LogLevel.INFO, "take these")], [0, theirs.fileno()])
            assert reader.next_frame(idle_seconds=5) == Log(LogLevel.INFO, "take these")
        assert set(os.listdir("/proc/self/fd")) == before


def test_other_descriptors_are_served_while_a_reader_waits_and_left_when_it_ends() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    served: list[bytes] = []

    def serve() -> bool:
        served.append(os.read(reading, 100))
        if served[-1] == b"go on":
            theirs.sendall(encode_log(LogLevel.INFO, "one"))
            os.close(writing)
        elif not served[-1]:
            theirs.sendall(encode_log(LogLevel.INFO, "two"))
        return bool(served[-1])

    with ours, theirs:
        reader = FrameReader(ours, also_read={reading: serve})
        os.write(writing, b"go on")
        assert [reader.next_frame(idle_seconds=5) for _ in range(2)] == [
            Log(LogLevel.INFO, text) for text in ("one", "two")
        ]
        os.close(reading)
        assert served == [b"go on", b""]
        with pytest.raises(TimeoutError):
            reader.next_frame(idle_seconds=0.01)


def test_a_frame_that_stalls_is_a_breach_and_an_idle_guest_is_not() -> None:
    ours, theirs = socket.socketpair()
    reader = FrameReader(ours, frame_deadline_seconds=0.05)
    with pytest.raises(TimeoutError):
        reader.next_frame(idle_seconds=0.01)

    theirs.sendall(encode_batch_header(100_000) + b"x" * 70_000)

    with pytest.raises(ProtocolBreach, match=r"batch frame at byte 0 .* not complete after 0.05 seconds"):
        reader.next_frame(idle_seconds=5)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("sent", "is_inside"), [(b"", False), (b"\xff\xff", True), (encode_batch_header(9) + b"x", True)]
)
def test_a_stream_without_its_end_is_cut(sent: bytes, is_inside: bool) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(sent)
    theirs.close()

    with pytest.raises(StreamCut) as caught:
        FrameReader(ours).next_frame(idle_seconds=5)

    assert caught.value.is_inside_frame is is_inside
    ours.close()


def test_bytes_after_the_end_of_stream_are_a_breach() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(encode_end_of_stream() + b"\0")
    reader = FrameReader(ours)
    assert reader.next_frame(idle_seconds=5) == EndOfStream()

    with pytest.raises(ProtocolBreach, match="follow the end of stream"):
        reader.expect_silence(idle_seconds=5)
    ours.close()
    theirs.close()


def test_lone_surrogates_travel_as_their_escapes() -> None:
    report = ErrorReport(ErrorCode.FILE_NOT_FOUND, "E", "no file a\udc80 é 😀")

    (frame,) = FrameDecoder().feed(encode_failure(report))

    assert isinstance(frame, Failure)
    assert frame.report.message == "no file a\\udc80 é 😀"


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (b"-1000000000000000000000000000000", "-1000000000000000000000000000000"),
        (b"1e999", "inf"),
        (b"NaN", "NaN"),
        (b"9" * 5_000, "9" * 40 + "\u2026 (5,000 digits)"),
        (b'"\\ud800"', "\ud800"),
        (b"7", 7),
    ],
    ids=["far", "infinite", "nan", "endless", "half a character", "fine"],
)
def test_an_odd_value_in_a_report_costs_neither_its_code_nor_its_message(said: bytes, read: object) -> None:
    report = b'{"code":"INVALID_DATA","exception":"E","message":"own words","context":{"n":' + said + b"}}"
    (failure,) = FrameDecoder().feed(_json(0xFFFFFFFF, report))

    assert isinstance(failure, Failure)
    assert (failure.report.code, failure.report.message) == (ErrorCode.INVALID_DATA, "own words")
    assert failure.report.context == {"n": read}
