"""pandera over polars: a lazy schema of patterns names the bad cells, then the good rows are cast. A measured program.

Arguments: `{"path", "threads"}`; answers with seconds and counts. The failure cases name every bad cell.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

GIVEN: dict[str, Any] = json.loads(sys.argv[1])
os.environ["POLARS_MAX_THREADS"] = str(GIVEN["threads"])  # read once, at import

import pandera.polars as pandera  # type: ignore[import-not-found, unused-ignore]  # noqa: E402
import polars as pl  # type: ignore[import-not-found, unused-ignore]  # noqa: E402
from pandera.errors import SchemaErrors  # type: ignore[import-not-found, unused-ignore]  # noqa: E402

STAMP = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$"
PATTERNS = {
    "id": r"^-?[0-9]{1,18}$",
    "qty": r"^-?[0-9]{1,18}$",
    "price": r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$",
    "amount": r"^-?[0-9]{1,14}(\.[0-9]{1,4})?$",
    "day": r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
    "ts": STAMP,
    "acct": r"^[A-Z]{2}-[0-9]{6}$",
}


def main() -> dict[str, Any]:
    column, check = pandera.Column, pandera.Check
    columns = {name: column(str, check.str_matches(pattern), nullable=False) for name, pattern in PATTERNS.items()}
    columns["side"] = column(str, check.isin(["BUY", "SELL", "SHORT", "COVER"]), nullable=False)
    columns["note"] = column(str, nullable=False)
    schema = pandera.DataFrameSchema(columns)
    frame = pl.read_ipc(GIVEN["path"])
    began, began_cpu = time.perf_counter(), time.process_time()
    wrong = frame.clear()
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as failed:
        rows = failed.failure_cases["index"].drop_nulls().unique().cast(pl.Int64)
        is_bad = pl.int_range(0, frame.height, eager=True).is_in(rows.implode())
        wrong, frame = frame.filter(is_bad), frame.filter(~is_bad)
    typed = frame.with_columns(
        pl.col("id", "qty").cast(pl.Int64),
        pl.col("price").cast(pl.Float64),
        pl.col("amount").cast(pl.Decimal(18, 4)),
        pl.col("day").str.to_date(),
        pl.col("ts").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"),
    )
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}
    return {**times, "valid": typed.height, "bad": wrong.height}


print(json.dumps(main()))
