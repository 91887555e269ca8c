"""One rendering of values: every type, nothing raises, JSON is valid, and every mode and format says the same."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import duckdb
import msgpack
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.values import as_texts, cell_texts, flat_table, parquet_table, plain_rows, plain_values
from casparian_sentinel.projection import answers

#: SQL expression → (text of the cell, JSON value)
SAID: dict[str, tuple[str | None, Any]] = {
    "true": ("true", True),
    "1::tinyint": ("1", 1),
    "18446744073709551615::ubigint": ("18446744073709551615", 18446744073709551615),
    "170141183460469231731687303715884105727::hugeint": ("170141183460469231731687303715884105727",) * 2,
    "99999999999999999999999999999999999999::decimal(38,0)": ("99999999999999999999999999999999999999",) * 2,
    "0::decimal(18,10)": ("0.0000000000", "0.0000000000"),
    "1.50::decimal(38,10)": ("1.5000000000", "1.5000000000"),
    "1.0::double": ("1", 1.0),
    "1e22::double": ("1e+22", 1e22),
    "'nan'::float": ("nan", "nan"),
    "'-inf'::double": ("-inf", "-inf"),
    "'2024-01-02'::date": ("2024-01-02", "2024-01-02"),
    "'10000-01-01'::date": ("10000-01-01", "10000-01-01"),
    "'5000000-12-31'::date": ("5000000-12-31", "5000000-12-31"),
    "'0044-03-15 (BC)'::date": ("-0043-03-15", "-0043-03-15"),
    "'infinity'::date": ("infinity", "infinity"),
    "'2024-01-02 03:04:05.123400'::timestamp": ("2024-01-02T03:04:05.1234",) * 2,
    "'2024-01-02 03:04:05'::timestamp_s": ("2024-01-02T03:04:05",) * 2,
    "'2024-01-02 03:04:05.123'::timestamp_ms": ("2024-01-02T03:04:05.123",) * 2,
    "'2024-01-02 03:04:05.123456789'::timestamp_ns": ("2024-01-02T03:04:05.123456789",) * 2,
    "'2024-01-02 03:04:05.123456789+02'::timestamptz_ns": ("2024-01-02T01:04:05.123456789Z",) * 2,
    "'2024-01-02 03:04:05+02'::timestamptz": ("2024-01-02T01:04:05Z",) * 2,
    "'200000-01-01 10:00:00.5'::timestamp": ("200000-01-01T10:00:00.5",) * 2,
    "'0044-03-15 (BC) 01:00:00'::timestamp": ("-0043-03-15T01:00:00",) * 2,
    "'infinity'::timestamp": ("infinity", "infinity"),
    "'-infinity'::timestamptz": ("-infinity", "-infinity"),
    "'03:04:05.123'::time": ("03:04:05.123",) * 2,
    "'03:04:05.123456789'::time_ns": ("03:04:05.123456789",) * 2,
    "'24:00:00'::time": ("24:00:00",) * 2,
    "interval '1 month 2 days 3 microseconds'": ("P1M2DT0.000003S",) * 2,
    "interval '-90 seconds'": ("PT-90S",) * 2,
    "interval '0 seconds'": ("PT0S",) * 2,
    r"'\xFF\x00'::blob": ("ff00", "ff00"),
    "'5243aa4e-0d95-4f5a-b6f0-e44716448f75'::uuid": ("5243aa4e-0d95-4f5a-b6f0-e44716448f75",) * 2,
    "'a'::enum('a', 'b')": ("a", "a"),
    "[1, null]": ("[1, null]", [1, None]),
    "['2024-01-02 03:04:05.123456789'::timestamp_ns]": ('["2024-01-02T03:04:05.123456789"]', ["2024-01-02T03:04:05.123456789"]),
    "{'a': 1, 'b': 'ä'}": ('{"a": 1, "b": "ä"}', {"a": 1, "b": "ä"}),
    "map {'k': 1.5, 'l': 2.5}": ('[["k", "1.5"], ["l", "2.5"]]', [["k", "1.5"], ["l", "2.5"]]),
    "union_value(num := 2)": ("2", 2),
    "[1, 2]::int[2]": ("[1, 2]", [1, 2]),
    "null": (None, None),
    "[{'a': [0::decimal(10, 5)]}]": ('[{"a": ["0.00000"]}]', [{"a": ["0.00000"]}]),
    "['nan'::double]": ('["nan"]', ["nan"]),
    "''": ("", ""),
}  # fmt: skip


def asked(expression: str) -> pa.Table:
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        return db.sql(f"select {expression} as v union all select null").to_arrow_reader(10).read_all()


@pytest.mark.parametrize("expression", SAID)
def test_every_type_of_sql_has_its_text_and_its_json(expression: str) -> None:
    text, value = SAID[expression]
    table = asked(expression)

    assert cell_texts(table["v"]) == [text, None]
    rows = plain_rows(table)
    assert rows == [{"v": value}, {"v": None}]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    buffer = BytesIO()
    pyarrow.csv.write_csv(flat_table(table), buffer)
    assert ("" if text is None else text) in buffer.getvalue().decode().replace('""', '"')


@pytest.mark.parametrize("expression", SAID)
def test_a_daemon_answers_what_local_mode_answers(expression: str) -> None:
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        sql = f"select {expression} as v union all select null"
        kind, _head, body = answers.answer(db.cursor(), answers.Question(id="q", sql=sql), 0)
        local = answers.plain_rows(db.sql(sql).to_arrow_reader(10).read_all())

    assert kind == b"rows"
    assert msgpack.unpackb(body, use_list=True) == [list(row) for row in local]
    json.dumps(local, allow_nan=False)


@pytest.mark.parametrize("expression", SAID)
def test_every_answer_can_be_written_to_parquet(expression: str) -> None:
    table, sink = asked(expression), BytesIO()

    pq.write_table(parquet_table(table), sink)

    read = pq.read_table(sink)
    kind = table.schema.field("v").type
    assert pa.types.is_null(kind) or cell_texts(read["v"]) == cell_texts(table["v"])


ODD: dict[str, pa.Array] = {
    "dictionary": pa.array(["x", None, "y"]).dictionary_encode(),
    "dictionary of times": pa.array([1, None, 2], pa.timestamp("ns")).dictionary_encode(),
    "run ends": pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([Decimal("0E-5"), None])),
    "string view": pa.array(["x", None, "y"], pa.string_view()),
    "binary view": pa.array([b"x", None, b"y"], pa.binary_view()),
    "large": pa.array(["x", None, "y"], pa.large_string()),
    "fixed size": pa.array([b"xy", None, b"yz"], pa.binary(2)),
    "half": pa.array([1.5, None, math.nan], pa.float16()),
    "decimal 256": pa.array([Decimal("1." + "1" * 60), None, Decimal(0)], pa.decimal256(76, 60)),
    "list view": pa.array([[1], None, []], pa.list_view(pa.int64())),
    "fixed list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "struct": pa.array([{"a": 1}, None, {"a": None}]),
    "empty struct": pa.array([{}, None, {}], pa.struct([])),
    "dense union": pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["x"])]
    ),
    "date in milliseconds": pa.array([0, None, 10**17], pa.date64()),
    "ends of int64": pa.array([-(2**63), None, 2**63 - 1], pa.timestamp("s", "UTC")),
    "duration": pa.array([-1, None, 2**63 - 1], pa.duration("ns")),
    "interval": pa.array([pa.MonthDayNano([1, -2, 3]), None, pa.MonthDayNano([0, 0, 0])]),
    "nulls": pa.nulls(3),
}


@pytest.mark.parametrize("name", ODD)
def test_every_arrow_type_is_rendered_whole_sliced_and_in_chunks(name: str) -> None:
    array = ODD[name]
    values, texts = plain_values(array), as_texts(array).to_pylist()

    json.dumps(values, allow_nan=False)
    assert len(values) == len(texts) == 3
    assert plain_values(array.slice(1)) == values[1:] and as_texts(array.slice(1, 1)).to_pylist() == texts[1:2]
    assert plain_values(array.slice(0, 0)) == []
    assert [each for row in range(3) for each in plain_values(array.slice(row, 1))] == values
    chunked = pa.chunked_array([array, array.slice(2)])
    assert plain_values(chunked) == [*values, values[2]] and cell_texts(chunked) == [*texts, texts[2]]


@settings(max_examples=200, deadline=None)
@given(count=st.integers(-(2**63), 2**63 - 1), unit=st.sampled_from(["s", "ms", "us", "ns"]))
def test_no_instant_is_beyond_rendering_and_what_python_knows_it_reads_back(count: int, unit: str) -> None:
    (text,) = as_texts(pa.array([count], pa.timestamp(unit))).to_pylist()
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
    micros = count * 10**6 // 10**digits
    if -62135596800 * 10**6 <= micros < 253402300800 * 10**6:
        moment = datetime(1970, 1, 1) + timedelta(microseconds=micros)
        whole, _, fraction = text.partition(".")
        assert whole == moment.replace(microsecond=0).isoformat()
        assert int((fraction or "0").ljust(9, "0")) == count * 10**9 // 10**digits % 10**9
    else:
        assert not text.startswith("<")


@settings(max_examples=200, deadline=None)
@given(days=st.integers(-(2**31), 2**31 - 1) | st.integers(-719162, 2932896))
def test_no_date_is_beyond_rendering(days: int) -> None:
    (text,) = as_texts(pa.array([days], pa.date32())).to_pylist()

    if -719162 <= days <= 2932896:
        assert text == (date(1970, 1, 1) + timedelta(days)).isoformat()
    elif abs(days) < 2**31 - 1:
        year, month, day = text.rsplit("-", 2)
        assert (1 <= int(month) <= 12 and 1 <= int(day) <= 31 and abs(int(year)) > 0) or text.startswith("0000")


def test_instants_are_written_in_utc_whatever_their_zone() -> None:
    at = datetime(2024, 7, 1, 12, tzinfo=UTC)

    assert as_texts(pa.array([at], pa.timestamp("us", "Asia/Tokyo"))).to_pylist() == ["2024-07-01T12:00:00Z"]
