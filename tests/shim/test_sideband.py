"""What a parser prints and logs: whole frames, whole lines, whoever writes and however it is cut."""

from __future__ import annotations

import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim.frames import Log, LogLevel
from casparian_shim.sideband import _LINE_BYTES_MAX, FrameSender, FrameTorn, SidebandHandler, SidebandStream
from tests.shim.guests import Heard
from tests.shim.streams import heard_from_sender

OUT, ERR = LogLevel.STDOUT, LogLevel.STDERR


def printed(*pieces: str) -> list[str]:
    with heard_from_sender() as (sender, heard):
        stream = SidebandStream(sender, OUT)
        for piece in pieces:
            stream.write(piece)
        stream.finish()
    return heard.log(OUT)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=8))
def test_however_text_is_cut_its_lines_arrive(pieces: list[str]) -> None:
    lines = "".join(pieces).split("\n")

    assert printed(*pieces) == lines[:-1] + lines[-1:] * bool(lines[-1])


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([""], []),
        (["a\n\nb"], ["a", "", "b"]),
        (["a", "b", "\n"], ["ab"]),
        (["a\r\nb\rc"], ["a\r", "b\rc"]),
        (["\ud800\n"], ["\\ud800"]),
        (["tab\tand é\n"], ["tab\tand é"]),
    ],
)
def test_what_a_print_becomes(pieces: list[str], lines: list[str]) -> None:
    assert printed(*pieces) == lines


def test_a_line_without_an_end_is_sent_in_frames_that_fit() -> None:
    text = "é" * (3 * _LINE_BYTES_MAX)
    lines = printed(text, "\nlast\n")

    assert "".join(lines) == text + "last"
    assert lines[-1] == "last"
    assert all(len(line.encode()) <= _LINE_BYTES_MAX for line in lines)


def test_bytes_that_are_no_text_are_shown_as_escapes() -> None:
    with heard_from_sender() as (sender, heard):
        stream = SidebandStream(sender, ERR)
        stream.buffer.write(b"\xff\xfe ok\n")
        stream.finish()
    assert heard.log(ERR) == ["\\xff\\xfe ok"]


@pytest.mark.parametrize("way", ["close", "detach"])
def test_what_a_parser_did_to_the_stream_ends_no_job(way: str) -> None:
    with heard_from_sender() as (sender, heard):
        stream = SidebandStream(sender, OUT)
        stream.write("before\nrest")
        stream.flush()
        getattr(stream, way)()
        stream.finish()
    assert heard.log(OUT)[0] == "before"


def test_many_threads_print_whole_lines_beside_frames() -> None:
    with heard_from_sender() as (sender, heard):
        streams = [SidebandStream(sender, OUT), SidebandStream(sender, ERR)]

        def chatter(name: int) -> None:
            for number in range(50):
                streams[name % 2].write(f"{name}:{number}\n")
                sender.send_log(LogLevel.DEBUG, f"{name}:{number}")

        threads = [threading.Thread(target=chatter, args=(name,)) for name in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = {f"{name}:{number}" for name in range(6) for number in range(50)}
    assert set(heard.log(LogLevel.DEBUG)) == expected
    said = heard.log(OUT) + heard.log(ERR)
    assert sorted("".join(said)) == sorted("".join(expected))


def test_a_print_in_the_middle_of_a_frame_waits_until_it_is_out() -> None:
    """A finaliser or a signal handler may print while its thread is sending."""

    class Interrupted:
        def __init__(self) -> None:
            self.sent: list[bytes] = []

        def sendall(self, part: bytes) -> None:
            self.sent.append(part[:5])
            if len(self.sent) == 1:
                sender.send(b"from inside")
            self.sent.append(part[5:])

    socket = Interrupted()
    sender = FrameSender(socket)  # type: ignore[arg-type]
    sender.send(b"first", b"frame")
    sender.send(b"then another")

    assert b"".join(socket.sent) == b"firstframefrom insidethen another"


@pytest.mark.parametrize(
    ("level", "frame"),
    [
        (logging.CRITICAL, LogLevel.ERROR),
        (logging.ERROR, LogLevel.ERROR),
        (logging.WARNING, LogLevel.WARNING),
        (35, LogLevel.WARNING),
        (logging.INFO, LogLevel.INFO),
        (logging.DEBUG, LogLevel.DEBUG),
        (1, LogLevel.DEBUG),
    ],
)
def test_a_log_record_keeps_its_gravity(level: int, frame: LogLevel) -> None:
    with heard_from_sender() as (sender, heard):
        logger = logging.Logger("parser")
        logger.addHandler(SidebandHandler(sender))
        logger.log(level, "n = %d", 7)
    assert [(one.level, one.message) for one in logs(heard)] == [(frame, "n = 7")]


def test_a_record_that_cannot_be_formatted_raises_nothing_into_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with heard_from_sender() as (sender, heard):
        logger = logging.Logger("parser")
        logger.addHandler(SidebandHandler(sender))
        logger.info("%d", "seven")
        logger.info("still here")
    assert heard.log(LogLevel.INFO) == ["still here"]
    assert "Logging error" in capsys.readouterr().err


def logs(heard: Heard) -> list[Log]:
    return [frame for frame in heard.frames if isinstance(frame, Log)]


def test_nothing_is_sent_behind_half_a_frame() -> None:
    class Interrupted:
        def __init__(self) -> None:
            self.sent = b""

        def sendall(self, part: bytes) -> None:
            self.sent += part[:3]
            raise TimeoutError("the handler of SIGALRM")

    socket = Interrupted()
    sender = FrameSender(socket)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        sender.send(b"first")
    for _ in range(2):
        with pytest.raises(FrameTorn, match="A TimeoutError was raised while rows were being sent"):
            sender.send(b"second")
    assert socket.sent == b"fir"


def test_text_behind_half_a_frame_goes_to_the_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    class Interrupted:
        def sendall(self, part: bytes) -> None:
            raise KeyboardInterrupt

    sender = FrameSender(Interrupted())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        sender.send(b"frame")
    sender.send_log(OUT, "printed")
    sender.send_log(LogLevel.WARNING, "logged")
    assert capfd.readouterr() == ("printed\n", "logged\n")


def test_a_worker_that_is_gone_is_said_each_time() -> None:
    class Closed:
        def sendall(self, part: bytes) -> None:
            raise BrokenPipeError

    sender = FrameSender(Closed())  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            sender.send(b"frame")
