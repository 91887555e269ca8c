"""Messages to frames and back, and everything a stranger can do wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.packing import MalformedMessage, unpack
from casparian_protocol.wire import MessageTooLarge, Progress, describe
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode
from casparian_protocol.wire.operations import OPERATIONS, BadArguments, UnknownOperation, parse_args

JOB = "00112233aabbccdd"
EXAMPLES: list[m.Message] = [
    m.Hello(protocol=m.PROTOCOL_VERSION, worker_id="w", host="h", pid=2, slots=1, version="1", sandbox="none"),
    m.Heartbeat(seq=1, jobs=[m.Beat(job_id=JOB, epoch=3, progress=Progress(items_done=1, unit="rows"))]),
    m.Sinks(since=5, sinks=[m.SinkCounts(uri="parquet://outputs", output="orders", rows=2, latency=[0, 3])]),
    m.Want(credit=4),
    m.Started(jobs=[m.StartedJob(job_id=JOB, epoch=3)]),
    m.Bye(),
    m.Refused(reason="no"),
    m.Request(id="1", op="ping", args={"a": [1, 2.5, None, {"b": True}]}),
    m.Reply(id="1", ok=False, error=m.ReplyError(problem="p", remedy="r", code="C")),
]
json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: message.kind)
def test_a_message_survives_the_wire(message: m.Message) -> None:
    assert decode(encode(message)) == (message, [])


@given(args=st.dictionaries(st.text(max_size=8), json_like, max_size=5))
def test_any_arguments_survive_the_wire(args: dict[str, Any]) -> None:
    request = m.Request(id="1", op="x", args=args)
    assert decode(encode(request))[0] == request


@given(kind=st.sampled_from([*m.KINDS, "", "nonsense"]), frames=st.lists(st.binary(max_size=80), max_size=3))
def test_random_frames_are_malformed_or_a_message_and_nothing_worse(kind: str, frames: list[bytes]) -> None:
    try:
        message, _ = decode([kind.encode(), *frames])
    except MalformedMessage:
        return
    assert message.kind == kind


@given(cut=st.integers(0, 200), flip=st.integers(0, 2000))
def test_a_damaged_body_is_refused_or_still_a_message(cut: int, flip: int) -> None:
    body = bytearray(encode(EXAMPLES[1])[1])
    body[flip % len(body)] ^= 1 << (flip % 8)
    try:
        message, _ = decode([b"heartbeat", bytes(body[: len(body) - cut % len(body)])])
    except MalformedMessage as malformed:
        assert malformed.of_kind == "heartbeat"
    else:
        assert isinstance(message, m.Heartbeat)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "kind and body"),
        ([b"want"], "kind and body"),
        ([b"x" * 1000, b"\x80"], "kind and body"),
        ([b"fly", b"\x80"], "unknown kind 'fly'"),
        ([b"want", msgpack.packb({"credit": "4"})], "credit"),
        ([b"want", msgpack.packb({"credit": -1})], "credit"),
        ([b"want", msgpack.packb({"credit": True})], "credit"),
        ([b"want", msgpack.packb([4])], "body"),
        ([b"want", msgpack.packb({"credit": 1}), b"attached"], "no attachments"),
        ([b"want", msgpack.packb({1: 1})], "not msgpack"),
        ([b"want", msgpack.packb({"credit": msgpack.ExtType(5, b"x")})], "extension"),
        ([b"want", msgpack.packb({"credit": msgpack.Timestamp(1)})], "extension|credit|not msgpack"),
        ([b"want", b"\xdd\xff\xff\xff\xff"], "not msgpack"),
        ([b"want", b"\x91" * 60_000], "not msgpack"),
        ([b"want", b"\x80" * (m.BODY_LIMIT_BYTES + 1)], "exceed the limit"),
    ],
)
def test_what_is_wrong_is_named(frames: list[bytes], words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        decode(frames)


def test_a_newer_peer_may_say_more() -> None:
    assert decode([b"want", msgpack.packb({"credit": 1, "mood": "fine"})])[0] == m.Want(credit=1)


def test_our_own_message_may_not_be_too_large() -> None:
    with pytest.raises(MessageTooLarge, match="request"):
        encode(m.Request(id="1", op="x", args={"a": "x" * 60_000, "b": "x" * 6_000}))


def test_a_length_is_believed_only_within_the_limit() -> None:
    with pytest.raises(MalformedMessage):
        unpack(b"\xc6\xff\xff\xff\xff", limit_bytes=100)


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_operation_refuses_arguments_it_does_not_know(op: str) -> None:
    with pytest.raises(BadArguments, match=op):
        parse_args(op, {"surprise": 1})


def test_bad_arguments_name_the_field() -> None:
    with pytest.raises(BadArguments, match="queue: limit"):
        parse_args("queue", {"limit": 0})
    with pytest.raises(UnknownOperation, match="fly"):
        parse_args("fly", {})


def test_the_protocol_page_is_what_the_models_say() -> None:
    page = Path(__file__).parents[3] / "docs" / "protocol.md"
    assert page.read_text(encoding="utf-8") == describe.page(), "run: python -m casparian_protocol.wire.describe"
