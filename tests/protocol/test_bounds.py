"""What a stranger may fill into a message: every bound at its edge, on both sides."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from casparian_protocol import bounds
from casparian_protocol.bounds import COUNT_MAX, INT32_MAX, INT64_MAX, INT64_MIN, MICROSECONDS_MAX, sum_within, trusted
from casparian_protocol.packing import pack, unpack
from casparian_protocol.wire.messages import Held


def accepts(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("Count", [0, COUNT_MAX], [-1, COUNT_MAX + 1, 1.0, "1", True, None]),
        ("PositiveCount", [1, COUNT_MAX], [0, -1, COUNT_MAX + 1]),
        ("Int32", [-(2**31), INT32_MAX], [-(2**31) - 1, INT32_MAX + 1]),
        ("SmallCount", [0, INT32_MAX], [-1, INT32_MAX + 1]),
        ("PositiveSmallCount", [1, INT32_MAX], [0, INT32_MAX + 1]),
        ("Microseconds", [0, MICROSECONDS_MAX], [-1, MICROSECONDS_MAX + 1]),
        ("Seconds", [0.0, bounds.SECONDS_MAX], [-0.1, bounds.SECONDS_MAX * 2, math.inf, math.nan]),
        ("Rate", [0.0, 1e300], [-0.1, math.inf, math.nan]),
        ("Int64", [INT64_MIN, INT64_MAX], [INT64_MIN - 1, INT64_MAX + 1]),
        ("Finite", [-1e308, 0.0], [math.inf, -math.inf, math.nan]),
        ("ShortText", ["", "x" * 255], ["x" * 256, "\ud800", 7]),
        ("ReasonText", ["x" * 1024], ["x" * 1025]),
        ("LongText", ["x" * 4096], ["x" * 4097]),
        ("PathText", ["/", "x" * 4096, "a\nb"], ["", "x" * 4097, "/a\0b", "/a\n\0"]),
        ("HashText", ["", "a" * 64], ["a" * 65]),
        ("JobId", ["0123456789abcdef"], ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"]),
        ("WorkerId", ["a", "host.1:w_2-x", "a" * 64], ["", "a b", "a" * 65, "ä", "a/b"]),
        ("Identifier", ["a", "a_1", "a" * 63], ["", "A", "1a", "_a", "a" * 64, "a-b"]),
        ("IdentifierOrNone", ["", "a", "a" * 63], ["A", "1", "a" * 64]),
        ("VersionText", ["", "1.0.0", "x" * 64], ["x" * 65]),
        ("TagText", ["", "x" * 128], ["x" * 129]),
        ("Scalar", ["", "x", 1, 1.5, True, None, INT64_MAX], [10**400, math.inf, "x" * 20_000, [], {}]),
    ],
)
def test_a_bound_holds_at_its_edge(name: str, inside: list[Any], outside: list[Any]) -> None:
    kind = getattr(bounds, name)

    assert [value for value in inside if not accepts(kind, value)] == []
    assert [value for value in outside if accepts(kind, value)] == []


@pytest.mark.parametrize("name", ["JobId", "Identifier", "IdentifierOrNone", "WorkerId"])
def test_a_line_break_behind_a_name_is_not_overlooked(name: str) -> None:
    assert not accepts(getattr(bounds, name), "0123456789abcdef\n" if name == "JobId" else "a\n")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT64_MIN, INT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_a_plain_value_is_taken_and_both_encodings_keep_it(value: Any) -> None:
    assert accepts(bounds.Json, value)
    assert json.loads(json.dumps(value)) == value
    assert unpack(pack(value), limit_bytes=1 << 20) == value


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (nested(17), "nested deeper than 16"),
        (nested(5000), "nested deeper than 16"),
        (2**63, "a number does not fit 64 bits"),
        ([-(2**63) - 1], "a number does not fit 64 bits"),
        ({"a": math.nan}, "a number is not finite"),
        ("x" * (64 * 1024 + 1), "a text has more than 65536 characters"),
        ({"x" * (64 * 1024 + 1): 1}, "a text has more than 65536 characters"),
        (["\ud800"], "a text contains half a character"),
        ({"\udfff": 1}, "a text contains half a character"),
        ({1: "a"}, "a name is not text"),
        (b"bytes", "a bytes is not a plain value"),
        ([object()], "a object is not a plain value"),
        (msgpack.Timestamp(1), "a Timestamp is not a plain value"),
    ],
)
def test_what_is_no_plain_value_is_refused_with_the_reason(value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(bounds.Json).validate_python(value)

    assert words in str(refused.value)


def test_the_deepest_value_and_the_longest_text_are_taken() -> None:
    assert accepts(bounds.Json, nested(16))
    assert accepts(bounds.Json, "é" * 64 * 1024)


@given(st.lists(st.integers(0, COUNT_MAX), max_size=8))
def test_counts_add_up_to_a_count_or_are_refused(counts: list[int]) -> None:
    if sum(counts) <= COUNT_MAX:
        assert sum_within(counts, "rows") == sum(counts)
    else:
        with pytest.raises(ValueError, match="rows add up to more than"):
            sum_within(counts, "rows")


def test_a_sum_is_never_negative() -> None:
    assert sum_within([], "rows") == 0
    with pytest.raises(ValueError):
        sum_within([-1], "rows")


def test_a_trusted_instance_is_as_one_that_was_checked_and_shares_nothing_that_changes() -> None:
    values: dict[str, object] = {"job_id": "0" * 16, "epoch": 1}
    trusted_one, checked = trusted(Held, dict(values)), Held(job_id="0" * 16, epoch=1)

    assert trusted_one == checked
    assert hash(trusted_one) == hash(checked)
    assert trusted_one.model_dump() == checked.model_dump()
    assert trusted_one.model_copy(update={"other": 2}).model_fields_set == {"job_id", "epoch", "other"}
    assert trusted(Held, values).model_fields_set == checked.model_fields_set
    with pytest.raises(ValidationError):
        trusted_one.epoch = 2  # type: ignore[misc]
