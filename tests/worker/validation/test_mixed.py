"""Columns with kinds from a guest that lies: refused by name, never a crash, never a guess."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.contract import Contract
from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_shim.arrow import FALLBACK_METADATA
from casparian_shim.frames.kinds import ValueKind as K
from casparian_worker.validation import ArrowRefused, Checked, OutputValidator, read_batch, read_schema
from casparian_worker.validation.mixed import MIXED_TYPE, Mixed
from casparian_worker.validation.quarantine import as_text, with_texts
from tests.worker.validation.test_neighbours import KINDS

PAYLOADS = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"",
            b"0",
            b"-1",
            b"0x10",
            b"1e5",
            b"true",
            b"nan",
            b"inf",
            b"9" * 18,
            b"9" * 30,
            b"-" + b"9" * 25,
            b"[]",
            b"{}",
            b"\xff",
        ]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 20) | st.text(max_size=3) | st.just("5"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=8,
    ).map(lambda tree: json.dumps(tree).encode()),
)


def column(kinds: list[int | None], values: list[bytes | None]) -> pa.StructArray:
    return pa.StructArray.from_arrays(
        [pa.array(kinds, pa.uint8()), pa.array(values, pa.binary())], fields=list(MIXED_TYPE)
    )


def sent(array: pa.Array, kind: Any = "string", *, is_rejects: bool = False) -> Checked:
    """One marked column on its way through guard and judge."""
    batch = pa.RecordBatch.from_arrays(
        [array], schema=pa.schema([pa.field("v", array.type, metadata=FALLBACK_METADATA)])
    )
    schema = read_schema(batch.schema.serialize().to_pybytes(), is_rejects=is_rejects)
    contract = Contract.from_literal({"columns": [{"name": "v", "type": kind}]})
    return OutputValidator("o", contract).check(read_batch(batch.serialize(), schema), 0)


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["x"]),
        pa.array([5]),
        pa.array([{"kind": 1, "value": "x"}], pa.struct([("kind", pa.uint8()), ("value", pa.string())])),
        pa.array([{"kind": 1, "value": b"x"}], pa.struct([("kind", pa.int64()), ("value", pa.binary())])),
        pa.array([{"value": b"x", "kind": 1}], pa.struct([("value", pa.binary()), ("kind", pa.uint8())])),
        pa.array([[{"kind": 1, "value": b"x"}]], pa.list_(MIXED_TYPE)),
    ],
    ids=lambda array: str(array.type),
)
def test_the_mark_on_another_type_is_refused(array: pa.Array) -> None:
    with pytest.raises(ArrowRefused, match="marked as mixed"):
        sent(array)


@pytest.mark.parametrize(
    ("kinds", "values", "reason"),
    [
        ([19], [b"x"], "a kind that does not exist"),
        ([255, 1], [b"x", b"x"], "a kind that does not exist"),
        ([None], [b"x"], "a value without a kind"),
        ([0], [b"x"], "that does not match its values"),
        ([1], [None], "that does not match its values"),
        ([K.TEXT], [b"\xff"], "kind TEXT"),
        ([K.OTHER], [b"\xff"], "kind OTHER"),
        ([K.BOOL], [b"True"], "kind BOOL"),
        ([K.INT], [b"0x10"], "kind INT"),
        ([K.INT], [b"+5"], "kind INT"),
        ([K.INT], [b""], "kind INT"),
        ([K.FLOAT], [b"1,5"], "kind FLOAT"),
        ([K.DATE], [b"9999999999"], "kind DATE"),
        ([K.DATETIME], [b"9" * 19], "kind DATETIME"),
        ([K.TIME], [b"86400000000"], "kind TIME"),
        ([K.TIME], [b"-1"], "kind TIME"),
    ],
)
def test_kinds_and_values_that_do_not_belong_together_are_refused(
    kinds: list[int | None], values: list[bytes | None], reason: str
) -> None:
    with pytest.raises(ArrowRefused, match=reason) as caught:
        sent(column(kinds, values))
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "payload",
    [b"", b"x", b"{}", b"[5]", b"[[1]]", b'[[1, "x", 1]]', b'[[true, "x"]]', b"[[19, null]]", b'[[0, "x"]]', b"[[1, null]]",
     b'[[1, "\\ud800"]]', b'[[3, "x"]]', b'[[14, "zz"]]', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_lists_that_are_not_what_their_kind_says_are_refused(payload: bytes) -> None:
    with pytest.raises(ArrowRefused):
        sent(column([K.LIST], [payload]), {"kind": "list", "item": "int64"})


def test_a_struct_null_with_a_mark_and_a_mark_on_rejected_rows_are_refused() -> None:
    with pytest.raises(ArrowRefused, match="without a kind"):
        sent(pa.array([None], MIXED_TYPE))
    with pytest.raises(ArrowRefused, match="marked as mixed"):
        sent(column([1], [b"x"]), is_rejects=True)


def test_an_unmarked_struct_is_a_struct_and_other_metadata_is_dropped() -> None:
    array = column([1], [b"x"])
    field = pa.field("v", array.type, metadata={b"cf.fallback": b"text", b"other": b"x"})
    schema = read_schema(pa.schema([field]).serialize().to_pybytes())

    assert schema.field("v").metadata is None
    batch = read_batch(pa.RecordBatch.from_arrays([array], schema=schema).serialize(), schema)
    contract = Contract.from_literal({"columns": [{"name": "v", "type": "string"}]})
    checked = OutputValidator("o", contract).check(batch, 0)
    assert checked.bad is not None and checked.bad["v"].to_pylist() == ['{"kind": 1, "value": "78"}']


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    pairs=st.lists(st.tuples(st.none() | st.integers(0, 19), PAYLOADS), max_size=6),
    start=st.integers(0, 3),
)
def test_whatever_a_guest_writes_is_judged_or_refused(
    kind: Any, pairs: list[tuple[int | None, bytes | None]], start: int
) -> None:
    array = column([each for each, _ in pairs], [value for _, value in pairs]).slice(min(start, len(pairs)))
    try:
        checked = sent(array, kind)
    except CasparianError as refusal:
        assert refusal.code is ErrorCode.PROTOCOL_ERROR
    else:
        bad = 0 if checked.bad is None else checked.bad.num_rows
        assert checked.valid.num_rows + bad == len(array)


def test_those_who_do_not_judge_see_a_mixed_column_as_its_texts() -> None:
    array = column([K.INT, K.TEXT, K.NULL], [b"5", b"x", None])
    batch = pa.RecordBatch.from_arrays(
        [array, pa.array([1, 2, 3])],
        schema=pa.schema([pa.field("v", array.type, metadata=FALLBACK_METADATA), ("n", pa.int64())]),
    )

    assert with_texts(batch).to_pydict() == {"v": ["5", "x", None], "n": [1, 2, 3]}
    assert with_texts(batch.select(["n"])) is not None and with_texts(batch.select(["n"])).schema.names == ["n"]


def test_texts_in_quarantine_do_not_tell_what_stood_beside_them() -> None:
    mixed = Mixed.of(
        column(
            [K.INT, K.FLOAT, K.DECIMAL, K.DATE, K.DATETIME_NS, K.INSTANT, K.TIME, K.DURATION, K.BYTES, K.LIST, K.OTHER, K.NULL,
             K.DURATION, K.DECIMAL],
            [b"5", b"1.0", b"0E-10", b"0", b"1", b"0", b"60000000", b"-1500000", b"\xff", b'[[3, "5"], [5, "1.50"], [14, "ff"]]',
             b"<set>", None, b"86399999999999999999", b"1.500"],
        )
    )  # fmt: skip

    assert as_text(mixed).to_pylist() == [
        "5", "1.0", "0", "1970-01-01", "1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00Z", "00:01:00", "-PT1.5S", "ff",
        '[5, "1.5", "ff"]', "<set>", None, "PT86399999999999.999999S", "1.5",
    ]  # fmt: skip
    alone = [as_text(mixed.take(pa.array([row], pa.uint64()))).to_pylist() for row in range(len(mixed))]
    assert [text for (text,) in alone] == as_text(mixed).to_pylist()
    typed = pa.array([Decimal("0"), Decimal("1.5")], pa.decimal128(20, 10))
    assert as_text(typed).to_pylist() == ["0", "1.5"]


@pytest.mark.parametrize(("precision", "scale"), [(38, 0), (38, 10), (38, 38), (18, 2), (5, 5)])
def test_a_decimal_never_wraps_around_however_long_it_is(precision: int, scale: int) -> None:
    contract = Contract.from_literal(
        {"columns": [{"name": "v", "type": {"kind": "decimal", "precision": precision, "scale": scale}}]}
    )
    texts = [sign + digits + zeros + tail for sign in ("", "-") for digits in ("1", "9" * 27, "9" * 38, "0." + "0" * 45 + "1")
             for zeros in ("", "0" * 12, "0" * 40, "0" * 200) for tail in ("", "e4", "E-97", ".50")
             if "." not in digits or "." not in tail]  # fmt: skip
    for chunk in (texts, *([text] for text in texts)):
        checked = OutputValidator("o", contract).check(pa.record_batch({"v": pa.array(chunk)}), 0)
        good = iter(checked.valid["v"].to_pylist())
        bad = set() if checked.bad is None else set(checked.bad["_cf_output_row_index"].to_pylist())
        for row, text in enumerate(chunk):
            fits = _fits(Decimal(text), precision, scale)
            assert (row not in bad) == fits, text
            if fits:
                assert next(good) == Decimal(text)
    for given_precision, given_scale in ((38, 0), (27, 0), (38, 38), (37, 10)):
        number = Decimal((0, (9,) * given_precision, -given_scale))
        typed = pa.array([number, Decimal(0)], pa.decimal128(given_precision, given_scale))
        checked = OutputValidator("o", contract).check(pa.record_batch({"v": typed}), 0)
        expected = [number, Decimal(0)] if _fits(number, precision, scale) else [Decimal(0)]
        assert checked.valid["v"].to_pylist() == expected


def _fits(number: Decimal, precision: int, scale: int) -> bool:
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    plain = "".join(map(str, digits)).lstrip("0")
    kept = plain.rstrip("0")
    exponent += len(plain) - len(kept)
    return not kept or (-exponent <= scale and len(kept) + exponent <= precision - scale)
