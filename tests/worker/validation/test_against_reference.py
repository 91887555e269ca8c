"""The vectorised judge says what the slow reference says, for every type and for texts made to deceive it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casparian_protocol.contract import Contract
from casparian_worker.validation import Checked, OutputValidator
from tests.worker.validation.reference import Spec, Verdict, judge_text

KINDS: list[Any] = [
    "string",
    "boolean",
    "int64",
    "float64",
    "date",
    "time",
    "timestamp",
    "timestamp_ns",
    "duration",
    "binary",
    {"kind": "decimal", "precision": 5, "scale": 2},
    {"kind": "decimal", "precision": 38, "scale": 10},
    {"kind": "decimal", "precision": 3, "scale": 3},
    {"kind": "decimal", "precision": 38, "scale": 38},
    {"kind": "decimal", "precision": 38, "scale": 37},
    {"kind": "timestamp_tz", "tz": "Europe/Berlin"},
    {"kind": "timestamp_tz", "tz": "UTC"},
    {"kind": "timestamp_tz", "tz": "America/New_York", "unit": "ns"},
]
NASTY = [
    "", " ", "0", "-0", "+0", "1", "+1", "-1", "++1", "+-1", "007", "0x10", "1_000", "1,234", "1.0", "1.", ".5", ".", "5.",
    "1e5", "1E+5", "1e-5", "1e400", "-1e400", "1e-400", "0e500", "0.0e-999", "e5", "1e", "1e+", "nan", "NaN", "-nan", "nan(1)",
    "inf", "-Inf", "Infinity", "infinit", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "00000000000000000000000000000009", "9007199254740992", "9007199254740993", "-9007199254740993",
    "4", "7.5", "-9",
    "9007199254740993.0", "123.45", "123.450", "123.456", "999.99", "1000", "99999", "0.001", "0.0001", "12345e-2",
    "1" + "0" * 40, "0." + "0" * 50 + "1", "1." + "0" * 60, "1." + "0" * 60 + "e0", "²", "٣", "１２", "1\n", "\n1", "1\x00",
    "true", "TRUE", "T", "t", "yes", "Yes", "y", "no", "n", "f", "F", "ſ", "tr", "truе",
    "2024-02-29", "2023-02-29", "2024-02-30", "2024-1-1", "0000-01-01", "0001-01-01", "9999-12-31", "20240101", "2024-13-45",
    " 2024-01-01", "2024-01-01 ", "2024-01-01\n", "+2024-01-01", "12024-01-01",
    "12", "12:34", "12:34:56", "12:34:56.7", "12:34:56.123456", "12:34:56.1234567", "12:34:56.1234560", "12:34:60", "24:00:00",
    "23:59:60", "12:34:56.", "12:34:56,5", "1:02:03", "12:34.5", "12:34:56Z", "12:34:56.000000000000",
    "2024-01-01T12", "2024-01-01T12Z", "2024-01-01 12:34", "2024-01-01T12:34:56", "2024-01-01t12:34:56", "2024-01-01  12:34",
    "2024-01-01T12:34:56Z", "2024-01-01T12:34:56z", "2024-01-01T12:34:56 Z", "2024-01-01Z", "2024-01-01+01:00",
    "2024-01-01T12:34:56+01", "2024-01-01T12:34:56+0130", "2024-01-01T12:34:56-09:30", "2024-01-01T12:34:56+24:00",
    "2024-01-01T12:34:56+09:60", "2024-01-01T12:34:56.1234567Z", "2024-01-01T12:34:56.123456000Z", "2024-01-01T12:34:60Z",
    "2024-01-01T12:34:56.1234567", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2024-02-30T00:00:00Z",
    "2024-01-01T12:34:56.123456789", "2024-01-01 12:34:56.123456789Z", "2024-01-01T12:34:56.1234567890+01:00",
    "2024-01-01T12:34:56.1234567891", "2262-04-11T23:47:16.854775806", "2262-04-11T23:47:16.854775807", "2262-04-12",
    "1677-09-21T00:12:43.145224194", "1677-09-21T00:12:43.145224193Z", "1677-09-21T00:12:43.145224193", "1677-09-20",
    "2262-04-11T23:47:16.854775807+05:00", "1677-09-21T00:12:43.145224193-05:00", "2300-01-01T00:00:00.1234567891Z",
    "2024-01-01T12:34:56.1234560.1234560", "2024-01-01T12:34:56.1234567+24:00", "2024-03-31T02:30:00+01:00",
    "P1D", "PT1S", "-PT1.5S", "P1W", "P1Y", "P", "PT", "P1DT", "P1DT2H3M4.5S", "PT1.1234567S", "PT1.1234560S", "P999999999999D",
    "P99999999W", "+P1D", "P1.5D", "PT1M1H", "1 day, 2:03:04", "-1 day, 23:59:59.999999", "2 days, 0:00:00", "100:00:00",
    "-0:00:01.5", "0:60:00", "1 days, 1:00:00.1234567", "999999999999:00:00", "9999999999999:00:00", "PT9223372036S",
]  # fmt: skip

plausible = st.one_of(
    st.sampled_from(NASTY),
    st.text(alphabet="0123456789+-.eE", max_size=24),
    st.text(alphabet="0123456789:-TZ+. ", max_size=30),
    st.text(alphabet="PTDHMSW0123456789.+-", max_size=16),
    st.integers().map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.dates().map(str),
    st.times().map(str),
    st.datetimes().map(lambda each: each.isoformat()),
    st.builds(
        lambda moment, offset: moment.isoformat() + offset,
        st.datetimes(),
        st.sampled_from(["Z", "+00:00", "-0730", "+05", "+14:00", "+25:00", "+01:75", " +01:00"]),
    ),
    st.timedeltas().map(str),
    st.text(max_size=8),
)
columns_of_text = st.lists(st.none() | plausible, max_size=80)


def check_text(kind: Any, texts: list[str | None], **checks: Any) -> list[Verdict]:
    """What the vectorised judge makes of each text; the batch is a slice, so offsets count."""
    contract = Contract.from_literal({"columns": [{"name": "v", "type": kind} | checks]})
    padded = pa.record_batch({"v": pa.array(["x", None, *texts, "y"], pa.string())})
    checked = OutputValidator("o", contract).check(padded.slice(2, len(texts)), 0)
    return verdicts(checked, len(texts))


def verdicts(checked: Checked, count: int) -> list[Verdict]:
    bad: dict[int, set[str]] = {}
    if checked.bad is not None:
        for row in checked.bad.to_pylist():
            bad[row["_cf_output_row_index"]] = {each["code"] for each in row["_cf_violations"]}
    good = iter(plain(checked.valid.column("v")))
    return [(None, bad[row]) if row in bad else (next(good), set()) for row in range(count)]


def plain(values: pa.Array) -> list[Any]:
    """Temporal values as integers, decimals as fractions."""
    kind = values.type
    if pa.types.is_date32(kind):
        return list(values.view(pa.int32()).to_pylist())
    if pa.types.is_temporal(kind):
        return list(values.view(pa.int64()).to_pylist())
    if pa.types.is_decimal(kind):
        return [None if each is None else Fraction(each) for each in values.to_pylist()]
    return list(values.to_pylist())


def same(mine: Verdict, reference: Verdict) -> bool:
    value, codes = reference
    if codes:
        return mine[1] == codes
    both_nan = isinstance(value, float) and isinstance(mine[0], float) and math.isnan(value) and math.isnan(mine[0])
    is_signed_alike = not isinstance(value, float) or math.copysign(1, value) == math.copysign(1, mine[0])
    return not mine[1] and (both_nan or (mine[0] == value and type(mine[0]) is type(value) and is_signed_alike))


def assert_alike(kind: Any, texts: list[str | None], **checks: Any) -> None:
    mine = check_text(kind, texts, **checks)
    spec = Spec(kind, **checks)
    for text, verdict in zip(texts, mine, strict=True):
        assert same(verdict, judge_text(spec, text)), (kind, text, verdict, judge_text(spec, text))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nasty_texts_get_the_reference_verdict_together(kind: Any) -> None:
    assert_alike(kind, [None, *NASTY])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nasty_texts_get_the_reference_verdict_one_by_one(kind: Any) -> None:
    for text in NASTY:
        assert_alike(kind, [text])


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(max_examples=60, deadline=None)
@given(texts=columns_of_text)
@example(texts=["2024-02-30"] * 40 + ["2024-02-29"] * 40)
def test_generated_texts_get_the_reference_verdict(kind: Any, texts: list[str | None]) -> None:
    assert_alike(kind, texts)


@settings(max_examples=60, deadline=None)
@given(texts=columns_of_text)
def test_checks_of_numbers_agree_with_the_reference(texts: list[str | None]) -> None:
    assert_alike("int64", texts, min=-5, max=100, nullable=False, null_values=["", "nan"])
    assert_alike("float64", texts, values=[0.0, 1.5, math.nan, math.inf])
    assert_alike("float64", texts, min=-5.0, max=1e9)


@settings(max_examples=40, deadline=None)
@given(numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_typed_integers_are_exact_or_violations(numbers: list[int | None]) -> None:
    for kind in ("int64", "float64", {"kind": "decimal", "precision": 18, "scale": 4}):
        contract = Contract.from_literal({"columns": [{"name": "v", "type": kind}]})
        batch = pa.record_batch({"v": pa.array([7, *numbers], pa.int64())}).slice(1)
        mine = verdicts(OutputValidator("o", contract).check(batch, 0), len(numbers))
        for value, verdict in zip(numbers, mine, strict=True):
            expected = judge_text(Spec(kind), None if value is None else str(value))
            assert verdict[1] == expected[1]
            assert verdict[0] == expected[0] or verdict[1]


@settings(max_examples=40, deadline=None)
@given(
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    counts=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**34), 2**34), max_size=30),
    is_zoned=st.booleans(),
    is_fine=st.booleans(),
)
@example(unit="ns", counts=[-(2**63), 2**63 - 1, -(2**63) + 1, 2**63 - 2, -(2**63) + 2], is_zoned=True, is_fine=True)
def test_typed_instants_are_exact_or_violations(
    unit: str, counts: list[int | None], is_zoned: bool, is_fine: bool
) -> None:
    zoned: Any = {"kind": "timestamp_tz", "tz": "Asia/Tokyo"} | ({"unit": "ns"} if is_fine else {})
    kind: Any = zoned if is_zoned else "timestamp_ns" if is_fine else "timestamp"
    contract = Contract.from_literal({"columns": [{"name": "v", "type": kind}]})
    batch = pa.record_batch({"v": pa.array(counts, pa.timestamp(unit, "UTC" if is_zoned else None))})
    mine = verdicts(OutputValidator("o", contract).check(batch, 0), len(counts))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    first, last = -62135596800 * 10**6, 253402300800 * 10**6
    for count, (value, codes) in zip(counts, mine, strict=True):
        if count is None:
            assert (value, codes) == (None, set())
            continue
        exact = Fraction(count * 10 ** (9 if is_fine else 6), per_second)
        if exact.denominator != 1:
            assert codes == {"precision_exceeded"}
        elif not (-(2**63) + 1 < exact < 2**63 - 1 if is_fine else first <= exact < last):
            assert codes == {"out_of_range"}
        else:
            assert (value, codes) == (exact, set())


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.none() | st.lists(st.none() | plausible, max_size=5), max_size=20))
def test_list_items_are_judged_like_values(rows: list[list[str | None] | None]) -> None:
    contract = Contract.from_literal({"columns": [{"name": "v", "type": {"kind": "list", "item": "int64"}}]})
    batch = pa.record_batch({"v": pa.array([["1"], None, *rows], pa.list_(pa.string()))}).slice(2)
    mine = verdicts(OutputValidator("o", contract).check(batch, 0), len(rows))
    for row, (value, codes) in zip(rows, mine, strict=True):
        items = [] if row is None else [judge_text(Spec("int64"), each) for each in row]
        assert codes == set().union(*(each[1] for each in items))
        if not codes:
            assert value == (None if row is None else [each[0] for each in items])
