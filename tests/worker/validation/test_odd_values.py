"""Odd values one by one: what contracts.md makes of each, alone and beside one of every other kind."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from casparian_protocol.contract import Contract
from casparian_worker.validation import LimitExceeded, OutputValidator
from tests.worker.validation.test_neighbours import codes_of, judged

MISMATCH, FORMAT, PRECISION, RANGE = "type_mismatch", "format_mismatch", "precision_exceeded", "out_of_range"
NOT_ALLOWED, ZONE = "value_not_allowed", "timezone_required"
MONEY: Any = {"kind": "decimal", "precision": 18, "scale": 2}
BERLIN: Any = {"kind": "timestamp_tz", "tz": "Europe/Berlin"}
NUMBERS: Any = {"kind": "list", "item": "int64"}
PAIR: Any = {"kind": "struct", "fields": [{"name": "a", "type": "int64"}, {"name": "b", "type": "string"}]}
ZONED = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
DAY_S = 86_400

#: type, value, and what becomes of it: a code, or ("valid", the value with times as counts)
ODD: list[tuple[Any, Any, Any]] = [
    ("int64", "١٢", MISMATCH),  # Arabic digits
    ("int64", "１２", MISMATCH),  # full width
    ("int64", "1_000", MISMATCH),
    ("int64", "1,000", MISMATCH),
    ("int64", "+5", ("valid", 5)),
    ("int64", "-0", ("valid", 0)),
    ("int64", "007", ("valid", 7)),
    ("int64", "0x10", MISMATCH),
    ("int64", " 5 ", MISMATCH),
    ("int64", "5\u00a0", MISMATCH),
    ("int64", "5.0", MISMATCH),
    ("int64", "1e3", MISMATCH),
    ("int64", "", MISMATCH),
    ("int64", "−5", MISMATCH),  # U+2212
    ("int64", 5.0, MISMATCH),
    ("int64", Decimal("5"), MISMATCH),
    ("int64", True, MISMATCH),
    ("int64", 2**63, RANGE),
    ("int64", "9" * 400, RANGE),
    ("int64", float("nan"), MISMATCH),
    ("float64", "5.", ("valid", 5.0)),
    ("float64", ".5", ("valid", 0.5)),
    ("float64", ".", MISMATCH),
    ("float64", "1e400", RANGE),
    ("float64", "1e-400", PRECISION),
    ("float64", "Infinity", NOT_ALLOWED),
    ("float64", "NaN", NOT_ALLOWED),
    ("float64", float("inf"), NOT_ALLOWED),
    ("float64", "1,5", MISMATCH),
    ("float64", "0x1p3", MISMATCH),
    ("float64", 2**53, ("valid", float(2**53))),
    ("float64", 2**53 + 1, PRECISION),
    ("float64", Decimal("1.5"), MISMATCH),
    ("float64", True, MISMATCH),
    (MONEY, "19.999999999999999", PRECISION),
    (MONEY, "1e2", ("valid", 100)),
    (MONEY, "0.10", ("valid", Decimal("0.1"))),
    (MONEY, "-0", ("valid", 0)),
    (MONEY, 0.1, MISMATCH),
    (MONEY, Decimal("NaN"), MISMATCH),
    (MONEY, Decimal("Infinity"), MISMATCH),
    (MONEY, "NaN", MISMATCH),
    (MONEY, Decimal("1e400"), PRECISION),
    (MONEY, Decimal("0E+400"), ("valid", 0)),
    (MONEY, "1" + "0" * 39, PRECISION),
    (MONEY, 10**400, PRECISION),
    (MONEY, True, MISMATCH),
    ("boolean", "TRUE", ("valid", True)),
    ("boolean", "Yes", ("valid", True)),
    ("boolean", "y", MISMATCH),
    ("boolean", "on", MISMATCH),
    ("boolean", " true", MISMATCH),
    ("boolean", "2", MISMATCH),
    ("boolean", 1, MISMATCH),
    ("boolean", 0.0, MISMATCH),
    ("date", "0000-01-01", FORMAT),
    ("date", "10000-01-01", FORMAT),
    ("date", "9999-12-31", ("valid", 2_932_896)),
    ("date", "2023-02-29", FORMAT),
    ("date", "2024-1-2", FORMAT),
    ("date", "2024-01-02T00:00:00", FORMAT),
    ("date", dt.datetime(2024, 1, 2), MISMATCH),
    ("time", "23:59:60", FORMAT),  # a leap second
    ("time", "24:00:00", FORMAT),
    ("time", "12:00:00.1234567", PRECISION),
    ("time", dt.time(1, tzinfo=dt.UTC), MISMATCH),
    ("timestamp", "2024-01-02T24:00:00", FORMAT),
    ("timestamp", "2024-01-02T03:04:05Z", MISMATCH),
    ("timestamp", "2024-01-02", ("valid", 19_724 * DAY_S * 10**6)),
    ("timestamp", dt.date(2024, 1, 2), MISMATCH),
    ("timestamp", ZONED, MISMATCH),
    (BERLIN, "2024-01-02T03:04:05", ZONE),
    (BERLIN, "2024-01-02T03:04:05+25:00", FORMAT),
    (BERLIN, "1970-01-01T00:00:00Z", ("valid", 0)),
    (BERLIN, "1970-01-01T00:00:00+00:00", ("valid", 0)),
    (BERLIN, "1970-01-01T00:00:00-00:00", ("valid", 0)),
    (BERLIN, dt.datetime(2024, 1, 2), ZONE),
    (BERLIN, ZONED, ("valid", 1_729_989_000 * 10**6)),
    (BERLIN, ZONED.replace(fold=1), ("valid", 1_729_992_600 * 10**6)),
    (BERLIN, dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-1))), RANGE),
    ("timestamp_ns", "2262-04-12", RANGE),
    ("timestamp_ns", "2024-01-02T03:04:05.1234567891", PRECISION),
    ("timestamp_ns", dt.datetime(1600, 1, 1), RANGE),
    ("duration", dt.timedelta.max, RANGE),
    ("duration", "P1Y", FORMAT),
    ("duration", "P999999999999D", RANGE),
    ("duration", 5, MISMATCH),
    ("string", "", ("valid", "")),
    ("string", "a\x00b", ("valid", "a\x00b")),
    ("string", "\ufeffx", ("valid", "\ufeffx")),
    ("string", "e\u0301", ("valid", "e\u0301")),  # not normalised
    ("string", "\ud800x", MISMATCH),
    ("string", b"x", MISMATCH),
    ("string", dt.date(2024, 1, 2), MISMATCH),
    ("string", None, ("valid", None)),
    ("binary", "ä", ("valid", "ä".encode())),
    ("binary", b"", ("valid", b"")),
    ("binary", 5, MISMATCH),
    (NUMBERS, [], ("valid", [])),
    (NUMBERS, [None, "5", 5], ("valid", [None, 5, 5])),
    (NUMBERS, [[5]], MISMATCH),
    (NUMBERS, "[1, 2]", ("valid", [1, 2])),
    (NUMBERS, "[1, 2", MISMATCH),
    (NUMBERS, {"0": 1}, MISMATCH),
    (PAIR, {"b": "x", "a": 1}, ("valid", {"a": 1, "b": "x"})),
    (PAIR, {"a": 1}, MISMATCH),
    (PAIR, {"a": 1, "b": 2}, MISMATCH),
    (PAIR, '{"a": 1, "a": 2, "b": "x"}', MISMATCH),
    (PAIR, {}, MISMATCH),
]  # fmt: skip
BESIDE = [None, "x", 5, 0.5, True, Decimal("1.5"), b"\xff", dt.date(2024, 1, 2), [1], {"a": 1}, object]


@pytest.mark.parametrize(
    ("kind", "value", "becomes"), ODD, ids=[f"{number}-{ascii(value)[:30]}" for number, (_, value, _) in enumerate(ODD)]
)
def test_an_odd_value_has_its_verdict_whatever_stands_beside_it(kind: Any, value: Any, becomes: Any) -> None:
    (alone,) = judged(kind, [[value]])
    among = judged(kind, [[*BESIDE, value]])[-1]

    assert alone == among
    if isinstance(becomes, tuple):
        assert (alone.value, codes_of(alone)) == (becomes[1], set())
        assert type(alone.value) is not bool or becomes[1] is alone.value
    else:
        assert codes_of(alone) == {becomes}


def test_the_empty_text_is_null_only_where_the_contract_says_so() -> None:
    assert codes_of(judged("string", [[""]], nullable=False)[0]) == set()
    assert codes_of(judged("string", [["", 5]], nullable=False, null_values=[""])[0]) == {"null_not_allowed"}
    assert judged("int64", [[0, "", "0"]], null_values=["", "0"]) == judged("int64", [[0], [None], [None]])


def test_lists_of_any_depth_are_judged_and_never_too_deep_to_be_told() -> None:
    deep: Any = 1
    for _ in range(1_000):
        deep = [deep]

    (alone,) = judged(NUMBERS, [[deep]])
    assert (codes_of(alone), alone.text and "nested deeper than 16" in alone.text) == ({MISMATCH}, True)
    assert judged(NUMBERS, [[deep, "x", [1]]])[0] == alone
    for depth in (2, 11, 12, 13, 15):
        kind: Any = "int64"
        value: Any = 7
        for _ in range(depth):
            kind, value = {"kind": "list", "item": kind}, [value]
        assert judged(kind, [[value]])[0].value == value == judged(kind, [[value, 5, [None]]])[0].value


def test_a_text_of_ten_megabytes_passes_and_a_cell_beyond_the_limit_is_refused_in_either_route() -> None:
    long = "ä" * 5_000_000

    assert judged("string", [[long]])[0].value == long
    (first, second) = judged("string", [[long, 5]])
    assert (first.value, codes_of(second)) == (long, {MISMATCH})
    for rows in ([["x" * 17_000_000]], [["x" * 17_000_000, 5]]):
        with pytest.raises(LimitExceeded, match="longest cell"):
            judged("string", rows)


HOSTILE: dict[str, pa.Array] = {
    "sliced": pa.array(["x", "5", None, "6", "y"]).slice(1, 3),
    "sliced twice": pa.array([0, 5, None, 6]).slice(1).slice(0, 3),
    "sliced lists": pa.array([["9"], ["5"], None, ["6"]]).slice(1, 3),
    "sliced structs": pa.array([{"a": 1, "b": "x"}, {"a": 5, "b": None}, None, {"a": 6, "b": ""}]).slice(1, 3),
    "nulls under a validity bit": pa.Array.from_buffers(
        pa.int64(), 3, [pa.py_buffer(bytes([0b101])), pa.array([5, 2**62, 6]).buffers()[1]]
    ),
    "unsigned": pa.array([5, None, 6], pa.uint64()),
    "narrow": pa.array([5, None, 6], pa.int8()),
    "single": pa.array([5, None, 6], pa.float32()),
    "decimals": pa.array([Decimal(5), None, Decimal(6)], pa.decimal128(38, 20)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["int64", "float64", "string", MONEY, NUMBERS, PAIR, "timestamp_ns"], ids=str)
def test_arrow_arrays_of_any_layout_are_judged_row_by_row_as_together(name: str, kind: Any) -> None:
    array = HOSTILE[name]
    contract = Contract.from_literal({"columns": [{"name": "v", "type": kind}]})

    def verdicts(part: pa.Array) -> list[Any]:
        checked = OutputValidator("o", contract).check(pa.record_batch({"v": part}), 0)
        bad = {} if checked.bad is None else {row["_cf_output_row_index"]: row for row in checked.bad.to_pylist()}
        good = iter(checked.valid["v"].cast(pa.int64()) if kind == "timestamp_ns" else checked.valid["v"])
        return [
            (bad[row]["_cf_violations"], bad[row]["v"]) if row in bad else next(good).as_py()
            for row in range(len(part))
        ]

    assert verdicts(array) == [verdicts(array.slice(row, 1))[0] for row in range(len(array))]
    assert verdicts(pa.concat_arrays([array, array])) == verdicts(array) * 2
