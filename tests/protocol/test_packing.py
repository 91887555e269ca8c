"""Plain values as msgpack: what goes in comes out, and what a stranger sends is a value or one error."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.packing import MalformedMessage, pack, unpack

LIMIT = 1 << 16
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_packed_is_what_is_read(value: Any) -> None:
    assert unpack(pack(value), limit_bytes=LIMIT) == value


@given(VALUES)
def test_text_stays_text_and_bytes_stay_bytes(value: Any) -> None:
    def kinds(part: Any) -> Any:
        if isinstance(part, list):
            return [kinds(each) for each in part]
        if isinstance(part, dict):
            return {name: kinds(each) for name, each in part.items()}
        return type(part)

    assert kinds(unpack(pack(value), limit_bytes=LIMIT)) == kinds(value)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_or_malformed_and_nothing_worse(data: bytes) -> None:
    try:
        unpack(data, limit_bytes=LIMIT)
    except MalformedMessage as malformed:
        assert malformed.reason


@given(VALUES, st.data())
def test_a_cut_value_is_never_taken_for_a_whole_one(value: Any, data: st.DataObject) -> None:
    packed = pack(value)
    end = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(MalformedMessage):
        unpack(packed[:end], limit_bytes=LIMIT)


@given(VALUES)
def test_bytes_behind_a_value_are_refused(value: Any) -> None:
    with pytest.raises(MalformedMessage, match="ExtraData"):
        unpack(pack(value) + b"\0", limit_bytes=LIMIT)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (pack({1: "a"}), "not msgpack"),  # a key that is not text
        (msgpack.packb({b"a": 1}), None),
        (msgpack.packb("\ud800", unicode_errors="surrogatepass"), "UnicodeDecodeError"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "extension type 5"),
        (b"\xc7\x04\xff" + bytes(4), "extension type -1"),
        (b"\xc7\x08\xff" + bytes(8), "extension type -1"),
        (b"\xc8\x00\x0c\xff" + bytes(12), "extension type -1"),
        (b"\xc9\x00\x00\x00\x04\xff" + bytes(4), "extension type -1"),
        (msgpack.packb(msgpack.Timestamp(1)), "extension type -1"),
        (msgpack.packb([{"at": msgpack.Timestamp(1, 1)}]), "extension type -1"),
        (msgpack.packb({"at": [0, msgpack.Timestamp(2**40, 1)]}), "extension type -1"),
        (b"\x81" * 2000, "not msgpack"),  # nested beyond any sense
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),  # four thousand million elements, none of them there
    ],
)
def test_what_is_no_plain_value_is_refused(data: bytes, words: str | None) -> None:
    if words is None:
        assert unpack(data, limit_bytes=LIMIT) == {b"a": 1}
        return
    with pytest.raises(MalformedMessage, match=words):
        unpack(data, limit_bytes=LIMIT)


@pytest.mark.parametrize("value", [b"\xd6\xff\xd7\xff", ["\u0000", b"\xc7\x0c\xff"], {"n": 0xD6FF}])
def test_bytes_that_look_like_a_timestamp_are_only_bytes(value: Any) -> None:
    assert unpack(pack(value), limit_bytes=LIMIT) == value


def test_a_size_is_checked_before_anything_is_read() -> None:
    data = pack("x" * 100)

    assert unpack(data, limit_bytes=len(data)) == "x" * 100
    with pytest.raises(MalformedMessage, match=rf"^malformed message: {len(data)} bytes exceed the limit of 101"):
        unpack(data, limit_bytes=101)
    assert unpack(memoryview(data), limit_bytes=len(data)) == "x" * 100


@pytest.mark.parametrize("value", [dt.datetime.now(dt.UTC), Decimal(1), {1, 2}, object(), 2**64])
def test_what_msgpack_cannot_hold_is_our_own_mistake(value: object) -> None:
    with pytest.raises((TypeError, OverflowError)):
        pack(value)


def test_an_error_names_the_kind_of_message_when_it_is_known() -> None:
    error = MalformedMessage("seq: not a number", of_kind="hello")

    assert (error.problem, error.reason, error.of_kind) == (
        "malformed message: seq: not a number",
        "seq: not a number",
        "hello",
    )
