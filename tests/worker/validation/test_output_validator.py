"""Outputs as a whole: modes, quarantined rows, keys, rejects, limits, accounting."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from casparian_protocol.contract import Contract, ViolationCode
from casparian_worker.validation import (
    LimitExceeded,
    OutputFailed,
    OutputValidator,
    ReservedColumn,
    ValidationLimits,
    quarantine_schema,
)

TWO: list[dict[str, Any]] = [{"name": "a", "type": "int64", "nullable": False}, {"name": "b", "type": "string"}]


def validator(*columns: dict[str, Any], **rest: Any) -> OutputValidator:
    return OutputValidator("orders", Contract.from_literal({"columns": list(columns), **rest}))


def codes(bad: pa.RecordBatch | None) -> list[list[str]]:
    return [] if bad is None else [[each["code"] for each in row] for row in bad.column("_cf_violations").to_pylist()]


def test_a_clean_batch_comes_back_typed_in_the_contracts_order() -> None:
    judge = validator(*TWO)
    checked = judge.check(pa.record_batch({"b": ["x"], "a": ["7"], "__cf_row_id": [41]}), 0)

    assert checked.valid.schema.equals(judge.schema)
    assert checked.valid.to_pylist() == [{"a": 7, "b": "x"}]
    assert checked.source_row.to_pylist() == [41]
    assert checked.bad is None
    assert judge.finish().rows_without_source_row == 0


def test_a_bad_row_keeps_its_text_and_every_violation() -> None:
    judge = validator(
        {"name": "price", "type": {"kind": "decimal", "precision": 6, "scale": 2}, "min": 0, "max": 10},
        {"name": "side", "type": "string", "values": ["BUY"], "pattern": "^[A-Z]+$"},
        {"name": "day", "type": "date"},
    )
    batch = pa.record_batch(
        {
            "price": ["1.00", " -3.999", "-5"],
            "side": ["BUY", "x" * 300, "SELL"],
            "day": [dt.date(2024, 1, 1)] * 3,
            "__cf_row_id": [10, 11, None],
            "_cf_raw": ["r0", "r1", "r2"],
        }
    )
    checked = judge.check(batch, 1000)

    assert checked.valid.to_pylist() == [{"price": Decimal("1.00"), "side": "BUY", "day": dt.date(2024, 1, 1)}]
    assert checked.bad is not None
    assert checked.bad.schema.equals(quarantine_schema(["price", "side", "day"]))
    first, second = checked.bad.to_pylist()
    assert (first["price"], first["side"], first["day"]) == (" -3.999", "x" * 300, "2024-01-01")
    assert [(each["code"], each["column"]) for each in first["_cf_violations"]] == [
        ("type_mismatch", "price"),
        ("format_mismatch", "side"),
        ("value_not_allowed", "side"),
    ]
    assert first["_cf_violations"][1]["got"] == "x" * 199 + "…"
    assert first["_cf_violation_type"] == "type_mismatch"
    assert first["_cf_error_msg"].startswith("price: type_mismatch, expected decimal(6,2), got  -3.999; side: ")
    assert (first["_cf_source_row"], first["_cf_output_row_index"], first["_cf_raw"]) == (11, 1001, "r1")
    assert codes(checked.bad)[1] == ["out_of_range", "value_not_allowed"]
    assert (second["_cf_source_row"], second["_cf_output_row_index"]) == (None, 1002)
    counts = judge.finish()
    assert (counts.received, counts.valid, counts.quarantined, counts.rows_without_source_row) == (3, 1, 2, 1)
    assert counts.violations[ViolationCode.VALUE_NOT_ALLOWED, "side"] == 2


def test_row_numbers_may_have_gaps() -> None:
    numbers = pa.array([3, 5, 9], pa.int64())
    checked = validator(*TWO).check(pa.record_batch({"a": ["1", "x", "y"], "b": ["", "", ""]}), numbers)
    assert checked.bad is not None
    assert checked.bad.column("_cf_output_row_index").to_pylist() == [5, 9]


@pytest.mark.parametrize(
    ("mode", "names", "fails"),
    [
        ("strict", ["a"], "column_missing"),
        ("strict", ["b"], "column_missing"),
        ("strict", ["a", "b", "c"], "column_extra"),
        ("strict", ["b", "a"], None),
        ("allow_missing_optional", ["a"], None),
        ("allow_missing_optional", ["b"], "column_missing"),
        ("allow_missing_optional", ["a", "c"], "column_extra"),
        ("allow_extra", ["a"], None),
        ("allow_extra", ["b"], "column_missing"),
        ("allow_extra", ["a", "b", "c"], None),
    ],
)
def test_modes_say_which_columns_may_be_missing_or_extra(mode: str, names: list[str], fails: str | None) -> None:
    judge = validator(*TWO, mode=mode)
    batch = pa.record_batch({name: ["1"] for name in names})
    if fails is None:
        assert judge.check(batch, 0).valid.to_pylist() == [{"a": 1, "b": "1" if "b" in names else None}]
        return
    with pytest.raises(OutputFailed) as failed:
        judge.check(batch, 0)
        judge.finish()
    assert failed.value.violation == fails
    assert failed.value.expected_columns == ("a", "b")
    assert failed.value.actual_columns == tuple(names)


def test_extra_columns_are_kept_out_of_the_table_and_counted_and_kept_in_quarantine() -> None:
    judge = validator(*TWO, mode="allow_extra")
    batch = pa.record_batch({"a": ["1", "x"], "b": ["", ""], "c": [1.5, 2.5]})
    assert judge.begin(batch.schema) == ["c"]
    assert judge.begin(batch.schema) == []
    checked = judge.check(batch, 0)
    assert checked.valid.schema.names == ["a", "b"]
    assert checked.bad is not None
    assert checked.bad.column("c").to_pylist() == ["2.5"]
    assert judge.finish().extra_columns == {"c": 2}


def test_reserved_names_are_refused() -> None:
    with pytest.raises(ReservedColumn, match="_cf_job_id"):
        validator(*TWO).begin(pa.schema([("a", pa.string()), ("b", pa.string()), ("_cf_job_id", pa.string())]))


def test_the_later_of_two_equal_values_is_the_violation_across_batches_and_types() -> None:
    judge = validator({"name": "a", "type": "int64", "unique": True})
    first = judge.check(pa.record_batch({"a": ["1", "2", None, "01"]}), 0)
    second = judge.check(pa.record_batch({"a": pa.array([2, 3, None, 3])}), 4)
    assert first.bad is not None and second.bad is not None
    assert first.bad.column("a").to_pylist() == ["01"]
    assert second.bad.column("_cf_output_row_index").to_pylist() == [4, 7]


@pytest.mark.parametrize("size", [3, 15, 16, 17, 400])
def test_texts_of_any_length_are_unique_by_value(size: int) -> None:
    judge = validator({"name": "a", "type": "string", "unique": True})
    texts = ["x" * size + str(number % 3) for number in range(6)]
    checked = judge.check(pa.record_batch({"a": texts}), 0)
    assert checked.valid.num_rows == 3


def test_a_primary_key_is_unique_together_and_not_null() -> None:
    judge = validator(*TWO, primary_key=["a", "b"])
    checked = judge.check(pa.record_batch({"a": ["1", "1", "1", "2"], "b": ["x", "y", "x", None]}), 0)
    assert codes(checked.bad) == [["not_unique"], ["null_not_allowed"]]
    assert checked.bad is not None
    assert checked.bad.column("_cf_violations").to_pylist()[0][0]["column"] == "a, b"


def test_rows_the_parser_rejected_take_the_shape_of_the_quarantine() -> None:
    judge = validator(*TWO)
    rejected = judge.reject(
        pa.record_batch(
            {
                "_cf_output_row_index": pa.array([7], pa.int64()),
                "__cf_row_id": pa.array([3], pa.int64()),
                "_cf_reject_reason": ["checksum"],
                "_cf_raw": ["8=FIX"],
                "a": ["nonsense"],
                "odd": ["kept"],
            }
        )
    )
    assert rejected.schema.equals(quarantine_schema(["a", "b", "odd"]))
    (row,) = rejected.to_pylist()
    assert row["_cf_violations"] == [
        {"code": "parser_rejected", "column": None, "expected": "accepted by the parser", "got": "checksum"}
    ]
    assert (row["a"], row["b"], row["odd"]) == ("nonsense", None, "kept")
    assert (row["_cf_source_row"], row["_cf_output_row_index"], row["_cf_raw"]) == (3, 7, "8=FIX")
    assert (judge.finish().received, judge.finish().quarantined) == (1, 1)


def test_null_values_mean_null_and_the_empty_text_does_not_unless_listed() -> None:
    judge = validator({"name": "a", "type": "int64", "null_values": ["NA"]}, {"name": "b", "type": "string"})
    checked = judge.check(pa.record_batch({"a": ["NA", "", "5"], "b": ["NA", "", "z"]}), 0)
    assert checked.valid.to_pylist() == [{"a": None, "b": "NA"}, {"a": 5, "b": "z"}]
    assert codes(checked.bad) == [["type_mismatch"]]


@pytest.mark.parametrize(
    ("kind", "array", "code"),
    [
        ("string", pa.array([1]), "type_mismatch"),
        ("int64", pa.array([1.0]), "type_mismatch"),
        ("int64", pa.array([True]), "type_mismatch"),
        ("int64", pa.array([2**63], pa.uint64()), "out_of_range"),
        ("float64", pa.array([2**53 + 1]), "precision_exceeded"),
        ("float64", pa.array([-(2**63)]), "precision_exceeded"),
        ("float64", pa.array([float("nan")]), "value_not_allowed"),
        ("boolean", pa.array([1]), "type_mismatch"),
        ("date", pa.array([86_400_001], pa.date64()), "precision_exceeded"),
        ("date", pa.array([dt.datetime(2024, 1, 1)]), "type_mismatch"),
        ("timestamp", pa.array([0], pa.timestamp("us", "UTC")), "type_mismatch"),
        ("timestamp", pa.array([1], pa.timestamp("ns")), "precision_exceeded"),
        ({"kind": "timestamp_tz", "tz": "UTC"}, pa.array([0], pa.timestamp("us")), "timezone_required"),
        ("time", pa.array([1], pa.time64("ns")), "precision_exceeded"),
        ("duration", pa.array([1], pa.duration("ns")), "precision_exceeded"),
        ("duration", pa.array([2**62], pa.duration("s")), "out_of_range"),
        ({"kind": "decimal", "precision": 4, "scale": 2}, pa.array([Decimal("1.234")]), "precision_exceeded"),
        ({"kind": "decimal", "precision": 4, "scale": 2}, pa.array([1.5]), "type_mismatch"),
        ({"kind": "decimal", "precision": 4, "scale": 2}, pa.array([100]), "precision_exceeded"),
        ({"kind": "list", "item": "int64"}, pa.array([["1", "x"]]), "type_mismatch"),
        ({"kind": "list", "item": {"kind": "list", "item": "int64"}}, pa.array([[["x"]]]), "type_mismatch"),
        ({"kind": "list", "item": {"kind": "list", "item": "int64"}}, pa.array([["[1]"]]), "type_mismatch"),
        ({"kind": "list", "item": "int64"}, pa.array(["[1, 2"]), "type_mismatch"),
        ({"kind": "struct", "fields": [{"name": "x", "type": "int64"}]}, pa.array([{"y": 1}]), "type_mismatch"),
        ({"kind": "struct", "fields": [{"name": "x", "type": "int64"}]}, pa.array([{"x": 1, "y": 1}]), "type_mismatch"),
        (
            {"kind": "struct", "fields": [{"name": "x", "type": "int64", "nullable": False}]},
            pa.array([{"x": None}], pa.struct([("x", pa.int64())])),
            "null_not_allowed",
        ),
    ],
)
def test_typed_values_are_never_rounded_or_reinterpreted(kind: Any, array: pa.Array, code: str) -> None:
    checked = validator({"name": "v", "type": kind}).check(pa.record_batch({"v": array}), 0)
    assert codes(checked.bad) == [[code]]


@pytest.mark.parametrize(
    ("kind", "array", "value"),
    [
        ("float64", pa.array([-(2**53)]), -(2.0**53)),
        ("int64", pa.array([7], pa.uint8()), 7),
        ("timestamp", pa.array([1000], pa.timestamp("ns")), dt.datetime(1970, 1, 1, 0, 0, 0, 1)),
        ({"kind": "decimal", "precision": 4, "scale": 2}, pa.array([99]), Decimal("99.00")),
        ({"kind": "decimal", "precision": 4, "scale": 2}, pa.array([Decimal("1.2300")]), Decimal("1.23")),
        ({"kind": "list", "item": "int64"}, pa.array(['[1, "2", null]']), [1, 2, None]),
        ({"kind": "list", "item": {"kind": "list", "item": "int64"}}, pa.array([[[1]], None])[:1], [[1]]),
        ({"kind": "struct", "fields": [{"name": "x", "type": "int64"}]}, pa.array([{"x": "5"}]), {"x": 5}),
    ],
)
def test_typed_values_that_fit_exactly_pass(kind: Any, array: pa.Array, value: Any) -> None:
    checked = validator({"name": "v", "type": kind}).check(pa.record_batch({"v": array}), 0)
    assert checked.valid.column("v").to_pylist() == [value]


def test_a_lossy_decimal_takes_floats_through_their_shortest_text_and_never_rounds() -> None:
    judge = validator({"name": "v", "type": {"kind": "decimal", "precision": 8, "scale": 2}, "lossy": True})
    checked = judge.check(pa.record_batch({"v": [0.1, 1.25, 1.005, float("nan"), 1e20]}), 0)
    assert checked.valid.column("v").to_pylist() == [Decimal("0.10"), Decimal("1.25")]
    assert codes(checked.bad) == [["precision_exceeded"], ["type_mismatch"], ["precision_exceeded"]]


@pytest.mark.parametrize(
    ("kind", "formats", "text", "value"),
    [
        ("date", "%d/%m/%y", "31/05/24", dt.date(2024, 5, 31)),
        ("date", "%d/%m/%y", "31/05/69", dt.date(1969, 5, 31)),
        ("date", "%d/%m/%y", "1/5/24", "format_mismatch"),
        ("date", "%-d/%-m/%Y", "1/5/2024", dt.date(2024, 5, 1)),
        ("date", "%Y%m%d", "20240230", "format_mismatch"),
        ("date", "%Y%m%d", "2024-02-28", "format_mismatch"),
        ("date", ["%Y%m%d", "%d %B %Y"], "29 February 2024", dt.date(2024, 2, 29)),
        ("date", "%Y-%j", "2024-366", dt.date(2024, 12, 31)),
        ("date", "%Y-%j", "2023-366", "format_mismatch"),
        ("date", "%a %d %b %Y", "Mon 01 Jan 2024", dt.date(2024, 1, 1)),
        ("date", "%a %d %b %Y", "Tue 01 Jan 2024", "format_mismatch"),
        ("time", "%H%M%S", "235959", dt.time(23, 59, 59)),
        ("time", "%H%M%S", "240000", "format_mismatch"),
        ("time", "%I:%M %p", "12:30 AM", dt.time(0, 30)),
        ("time", "%I:%M %p", "13:30 AM", "format_mismatch"),
        ("timestamp", "%Y%m%d-%H:%M:%S.%f", "20240115-12:30:01.123", dt.datetime(2024, 1, 15, 12, 30, 1, 123000)),
        ("timestamp", "%Y%m%d-%H:%M:%S.%f", "20240115-12:30:01.123456700", "precision_exceeded"),
        ("timestamp", "%Y%m%d-%H:%M:%S.%f", "20240115-12:30:01.123456000", dt.datetime(2024, 1, 15, 12, 30, 1, 123456)),
        ("timestamp", "%Y-%m-%d", "2024-01-15", dt.datetime(2024, 1, 15)),
        ("utc", "%Y-%m-%d %H:%M %z", "2024-01-15 12:00 +0200", dt.datetime(2024, 1, 15, 10, tzinfo=dt.UTC)),
        ("utc", "%Y-%m-%d %H:%M %z", "2024-01-15 12:00", "timezone_required"),
        ("utc", "%Y-%m-%d %H:%M%z", "2024-01-15 12:00+24:00", "format_mismatch"),
    ],
)
def test_formats_are_read_strictly(kind: str, formats: Any, text: str, value: Any) -> None:
    spelled: Any = {"kind": "timestamp_tz", "tz": "UTC"} if kind == "utc" else kind
    checked = validator({"name": "v", "type": spelled, "format": formats}).check(
        pa.record_batch({"v": [None, text]}), 0
    )
    if isinstance(value, str):
        assert codes(checked.bad) == [[value]]
    else:
        assert checked.valid.column("v").to_pylist() == [None, value]


def test_typed_values_are_rendered_in_one_way() -> None:
    instant = dt.datetime(2024, 1, 1, 12, 0, 0, 500000, tzinfo=dt.UTC)
    columns: dict[str, pa.Array] = {
        "f": pa.array([1.0]),
        "d": pa.array([Decimal("0.0000000001")]),
        "b": pa.array([True]),
        "t": pa.array([dt.time(1, 2, 3)]),
        "n": pa.array([dt.datetime(2024, 1, 1)]),
        "z": pa.array([instant], pa.timestamp("ms", "Europe/Berlin")),
        "u": pa.array([dt.timedelta(hours=-1, microseconds=1)]),
        "y": pa.array([b"\x00\xff"]),
        "l": pa.array([[1, None]]),
        "s": pa.array([{"x": dt.date(2024, 1, 1), "y": "ü"}]),
    }
    judge = validator({"name": "k", "type": "int64", "nullable": False}, mode="allow_extra")
    checked = judge.check(pa.record_batch({"k": pa.nulls(1, pa.int64())} | columns), 0)
    assert checked.bad is not None
    (row,) = checked.bad.to_pylist()
    assert {name: row[name] for name in columns} == {
        "f": "1.0",
        "d": "0.0000000001",
        "b": "true",
        "t": "01:02:03",
        "n": "2024-01-01T00:00:00",
        "z": "2024-01-01T12:00:00.5Z",
        "u": "-PT3599.999999S",
        "y": "00ff",
        "l": "[1, null]",
        "s": '{"x": "2024-01-01", "y": "ü"}',
    }


def test_limits_end_the_output() -> None:
    contract = Contract.from_literal({"columns": TWO})
    judge = OutputValidator("o", contract, ValidationLimits(cell_bytes=10))
    with pytest.raises(LimitExceeded, match="column 'b'") as exceeded:
        judge.check(pa.record_batch({"a": ["1"], "b": ["x" * 11]}), 0)
    assert exceeded.value.code == "LIMIT_EXCEEDED"
    assert judge.check(pa.record_batch({"a": ["1"] * 20, "b": ["x" * 10] * 20}), 0).valid.num_rows == 20
    few = OutputValidator("o", contract, ValidationLimits(batch_rows_count=1))
    with pytest.raises(LimitExceeded):
        few.check(pa.record_batch({"a": ["1"] * 2, "b": ["1"] * 2}), 0)


def test_an_empty_batch_and_an_output_of_bad_rows_only_add_up() -> None:
    judge = validator(*TWO)
    empty = judge.check(pa.record_batch({"a": pa.array([], pa.string()), "b": pa.array([], pa.string())}), 0)
    assert (empty.valid.num_rows, empty.bad) == (0, None)
    checked = judge.check(pa.record_batch({"a": ["x"] * 1000, "b": ["y"] * 1000}), 0)
    assert checked.valid.num_rows == 0 and checked.valid.schema.equals(judge.schema)
    assert judge.finish().quarantined == 1000
