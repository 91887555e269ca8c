"""`timestamp_ns` and `timestamp_tz` with unit ns: nine digits from every source, kept in Parquet and in SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian_protocol.contract import Contract
from casparian_worker.guest import BASE_ENVIRONMENT, Environment
from casparian_worker.validation import OutputValidator
from tests.worker.attempts import Desk

COUNT = 1_704_164_645_123_456_789  # 2024-01-02T03:04:05.123456789
PLAIN: Any = "timestamp_ns"
ZONED: Any = {"kind": "timestamp_tz", "tz": "Europe/Berlin", "unit": "ns"}


def judged(kind: Any, array: pa.Array, **checks: Any) -> list[Any]:
    """The count of each value, or its first code."""
    contract = Contract.from_literal({"columns": [{"name": "v", "type": kind} | checks]})
    checked = OutputValidator("o", contract).check(pa.record_batch({"v": array}), 0)
    bad = {}
    if checked.bad is not None:
        bad = dict(
            zip(
                checked.bad["_cf_output_row_index"].to_pylist(),
                checked.bad["_cf_violation_type"].to_pylist(),
                strict=True,
            )
        )
    good = iter(checked.valid["v"].cast(pa.int64()).to_pylist())
    return [bad[row] if row in bad else next(good) for row in range(len(array))]


def test_text_gives_up_to_nine_digits() -> None:
    texts = ["2024-01-02T03:04:05.123456789", "2024-01-02 03:04:05.1", "2024-01-02", "2024-01-02T03:04:05.1234567890",
             "2024-01-02T03:04:05.1234567891", "2300-01-01", "1600-01-01", "2024-01-02T03:04:05Z", "x"]  # fmt: skip

    assert judged(PLAIN, pa.array(texts)) == [
        COUNT, COUNT - 23_456_789, 1_704_153_600 * 10**9, COUNT, "precision_exceeded", "out_of_range", "out_of_range",
        "type_mismatch", "format_mismatch",
    ]  # fmt: skip
    zoned = [f"{text}+02:00" for text in texts[:2]] + ["2024-01-02T03:04:05.123456789", "2262-04-11T23:47:16.9Z"]
    assert judged(ZONED, pa.array(zoned)) == [
        COUNT - 7200 * 10**9, COUNT - 23_456_789 - 7200 * 10**9, "timezone_required", "out_of_range",
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["%Y%m%d-%H:%M:%S.%f"])
def test_formats_read_nine_digits(pattern: str) -> None:
    texts = [
        "20240102-03:04:05.123456789",
        "20240102-03:04:05.5",
        "20240102-03:04:05.1234567891",
        "20240102 03:04:05.5",
    ]

    assert judged(PLAIN, pa.array(texts), format=pattern) == [
        COUNT, COUNT + 376_543_211, "format_mismatch", "format_mismatch",
    ]  # fmt: skip
    assert judged(ZONED, pa.array(["20240102-03:04:05.123456789+0200"]), format=pattern + "%z") == [
        COUNT - 7200 * 10**9
    ]


def test_typed_values_of_every_unit_are_exact_or_violations() -> None:
    assert judged(PLAIN, pa.array([COUNT, None], pa.timestamp("ns"))) == [COUNT, None]
    assert judged(PLAIN, pa.array([COUNT // 1000], pa.timestamp("us"))) == [COUNT // 1000 * 1000]
    assert judged(PLAIN, pa.array([10**12], pa.timestamp("s"))) == ["out_of_range"]
    assert judged(PLAIN, pa.array([0], pa.timestamp("ns", "UTC"))) == ["type_mismatch"]
    assert judged(ZONED, pa.array([0], pa.timestamp("ns"))) == ["timezone_required"]
    assert judged(ZONED, pa.array([COUNT], pa.timestamp("ns", "Asia/Tokyo"))) == [COUNT]
    assert judged("timestamp", pa.array([COUNT, COUNT - 789], pa.timestamp("ns"))) == [
        "precision_exceeded",
        COUNT // 1000,
    ]


def test_checks_mind_the_ninth_digit() -> None:
    checks = {"min": "2024-01-02T03:04:05.123456789", "max": "2024-01-02T03:04:05.123456790"}
    typed = pa.array([COUNT - 1, COUNT, COUNT + 1, COUNT + 2], pa.timestamp("ns"))

    assert judged(PLAIN, typed, **checks) == ["out_of_range", COUNT, COUNT + 1, "out_of_range"]
    assert judged(PLAIN, typed, values=[checks["min"]]) == ["value_not_allowed", COUNT, *["value_not_allowed"] * 2]
    assert judged(PLAIN, pa.array([COUNT, COUNT + 1, COUNT], pa.timestamp("ns")), unique=True) == [
        COUNT, COUNT + 1, "not_unique",
    ]  # fmt: skip


def test_parquet_and_sql_keep_nanoseconds_from_rows_to_the_table(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.contracts = {"rows": {"columns": [{"name": "n", "type": PLAIN}, {"name": "z", "type": ZONED}]}}
    desk.policies = {"rows": {"max_pct": 100}}
    numpy = pytest.importorskip("numpy")
    numpys_folder = str(Path(numpy.__file__).parent.parent)
    with_numpy = Environment(BASE_ENVIRONMENT.python, (*BASE_ENVIRONMENT.sys_paths, numpys_folder))
    source = (
        "import numpy\n"
        "def parse(path):\n"
        "    yield {'n': '2024-01-02T03:04:05.123456789', 'z': '2024-01-02T03:04:05.123456789Z'}\n"
        "    yield {'n': numpy.datetime64('2024-01-02T03:04:05.123456789'), 'z': '2024-01-02T04:04:05.123456789+01:00'}\n"
        "    yield {'n': numpy.datetime64('2024-01-02T03:04:05.123456789').astype('M8[ps]') + 1, 'z': None}\n"
    )

    desk.finished(source, environment=with_numpy)

    path = desk.staged("data.rows.0.parquet")
    assert pq.read_schema(path).field("n").type == pa.timestamp("ns")
    assert pq.read_schema(path).field("z").type == pa.timestamp("ns", "Europe/Berlin")
    with duckdb.connect() as db:
        told = db.execute(f"select epoch_ns(n), epoch_ns(z), n::varchar from read_parquet('{path}')").fetchall()
    assert told == [(COUNT, COUNT, "2024-01-02 03:04:05.123456789")] * 2
    assert desk.table("quarantine.rows.0.parquet")["_cf_violation_type"].to_pylist() == ["type_mismatch"]
