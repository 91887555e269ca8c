"""The order of frames: every rule of the stream, each broken once."""

import pytest

from casparian_shim.errors import ErrorCode, ErrorReport
from casparian_shim.frames import (
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
    ProtocolBreach,
    StreamState,
)
from casparian_shim.frames.reader import BadOutputName

HELLO = Hello(1, "token", 7, "3.11")
ORDERS = OutputStart(0, "orders", OutputKind.ROWS, b"schema")
TRADES = OutputStart(1, "trades", OutputKind.ROWS, b"schema")
BATCH = Batch(b"batch")
END = EndOfStream()
ERROR = Failure(ErrorReport(ErrorCode.INVALID_DATA, "ValueError", "m"))
LINE = Log(LogLevel.INFO, "m")


def play(*frames: Frame) -> StreamState:
    """Every batch has two rows."""
    state = StreamState(token="token")
    for offset, frame in enumerate(frames):
        state.accept(frame, offset)
        if isinstance(frame, Batch):
            state.count_rows(2)
    return state


def test_outputs_interleave_and_each_keeps_its_own_count() -> None:
    state = play(HELLO, ORDERS, BATCH, TRADES, BATCH, LINE, ORDERS, BATCH, OutputEnd(0, 4), OutputEnd(1, 2), END)

    assert state.is_complete
    assert [(output.name, output.row_count, output.is_ended) for output in state.outputs] == [
        ("orders", 4, True),
        ("trades", 2, True),
    ]


def test_rejects_are_a_stream_beside_the_rows_of_the_same_output() -> None:
    rejects = OutputStart(1, "orders", OutputKind.REJECTS, b"schema")

    assert play(HELLO, ORDERS, rejects, BATCH, OutputEnd(1, 2), OutputEnd(0, 0), END).is_complete


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ((ORDERS,), "before the hello"),
        ((HELLO, HELLO), "a second time"),
        ((Hello(2, "token", 7, ""),), "speaks version 2"),
        ((Hello(1, "tokem", 7, ""),), "token is not this job's"),
        ((HELLO, BATCH), "no output is open"),
        ((HELLO, TRADES), "index 1 skips 0"),
        ((HELLO, ORDERS, OutputStart(1, "orders", OutputKind.ROWS, b"s")), "open under another index"),
        ((HELLO, ORDERS, OutputStart(0, "trades", OutputKind.ROWS, b"s")), "belongs to the rows of orders"),
        ((HELLO, ORDERS, OutputEnd(0, 0), ORDERS), "output 0 has ended"),
        ((HELLO, ORDERS, OutputEnd(0, 0), OutputEnd(0, 0)), "has already ended"),
        ((HELLO, ORDERS, OutputEnd(0, 0), BATCH), "no output is open"),
        ((HELLO, ORDERS, BATCH, OutputEnd(0, 3)), "counts 3 rows of orders, but 2 were sent"),
        ((HELLO, OutputEnd(0, 0)), "never announced"),
        ((HELLO, ORDERS, END), "output 0 has not ended"),
        ((HELLO, END, END), "after the end of stream frame"),
        ((HELLO, END, LINE), "after the end of stream frame"),
        ((HELLO, ERROR, END), "after the error frame"),
    ],
)
def test_a_frame_out_of_order_is_a_breach_at_its_offset(frames: tuple[Frame, ...], reason: str) -> None:
    with pytest.raises(ProtocolBreach, match=reason) as caught:
        play(*frames)

    assert caught.value.offset == len(frames) - 1


@pytest.mark.parametrize(
    "name", ["../../x", "/abs", "a\0b", "CON", "x" * 64, ".staging", "Orders", "", "ördërs", "a\n"]
)
def test_a_name_that_could_be_a_path_is_no_output_name(name: str) -> None:
    with pytest.raises(BadOutputName) as caught:
        play(HELLO, OutputStart(0, name, OutputKind.ROWS, b"s"))

    assert caught.value.code is ErrorCode.OUTPUT_NAME


def test_outputs_are_limited_in_number() -> None:
    state = StreamState(token="token", outputs_max=1)
    state.accept(HELLO, 0)
    state.accept(ORDERS, 1)

    with pytest.raises(ProtocolBreach, match="more than 1 outputs"):
        state.accept(TRADES, 2)
