"""A measured program of the peers' environment: polars alone and with pandera casts valid cells and gives a reason for bad ones.

Arguments: `{"way": "memory", "path", "threads"}` validates an Arrow file that was read before the clock started; `{"way":
"files",
"files", "out", "is_synced"}` reads CSV files one by one and writes Parquet beside quarantine. A regular expression guards the
decimal cast, which would round; only the first reason of a row is kept. `{"way": "pandera", "path", "threads"}`: a
lazy schema of patterns names every bad cell, then the good rows are cast.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

GIVEN: dict[str, Any] = json.loads(sys.argv[1])
if "threads" in GIVEN:
    os.environ["POLARS_MAX_THREADS"] = str(GIVEN["threads"])  # read once, at import

import polars as pl  # type: ignore[import-not-found, unused-ignore]  # noqa: E402

TYPES = {
    "id": "int64",
    "qty": "int64",
    "price": "float64",
    "amount": "decimal(18,4)",
    "day": "date",
    "ts": "timestamp_tz",
    "side": "one of its values",
    "acct": "like its pattern",
    "note": "text",
}
SIDES = ["BUY", "SELL", "SHORT", "COVER"]


def checks() -> dict[str, Any]:
    """Column → expression that is null for bad text."""
    column = pl.col
    is_decimal = column("amount").str.contains(r"^-?[0-9]{1,14}(\.[0-9]{1,4})?$")
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    return {
        "id": column("id").cast(pl.Int64, strict=False),
        "qty": column("qty").cast(pl.Int64, strict=False),
        "price": column("price").cast(pl.Float64, strict=False),
        "amount": pl.when(is_decimal).then(column("amount").cast(pl.Decimal(18, 4), strict=False)),
        "day": column("day").str.to_date("%Y-%m-%d", strict=False),
        "ts": column("ts").str.to_datetime(stamp, time_unit="us", time_zone="UTC", strict=False),
        "side": pl.when(column("side").is_in(SIDES)).then(column("side")),
        "acct": pl.when(column("acct").str.contains(r"^[A-Z]{2}-[0-9]{6}$")).then(column("acct")),
        "note": column("note"),
    }


def split(frame: Any, extra: dict[str, Any]) -> tuple[Any, Any]:
    """Typed valid rows, and unchanged bad rows with a reason."""
    names = [name for name in TYPES if name in frame.columns]
    expressions = checks()
    typed = [expressions[name].alias(f"{name}_t") for name in names]
    reasons = [
        pl.when(pl.col(f"{name}_t").is_null()).then(
            pl.when(pl.col(name).is_null())
            .then(pl.lit(f"{name}: null"))
            .otherwise(pl.lit(f"{name}: not {TYPES[name]}"))
        )
        for name in names
    ]
    more = [value.alias(name) for name, value in extra.items()]
    judged = frame.with_columns(typed).with_columns(pl.coalesce(reasons).alias("reason"), *more)
    good = judged.filter(pl.col("reason").is_null()).select(
        [pl.col(f"{name}_t").alias(name) for name in names] + list(extra)
    )
    return good, judged.filter(pl.col("reason").is_not_null()).select([*names, *extra, "reason"])


def memory() -> dict[str, Any]:
    frame = pl.read_ipc(GIVEN["path"])
    split(frame.head(100), {})
    began, began_cpu = time.perf_counter(), time.process_time()
    good, bad = split(frame, {})
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}
    return {**times, "valid": good.height, "bad": bad.height}


def files() -> dict[str, Any]:
    out = Path(GIVEN["out"])
    out.mkdir(parents=True)
    valid = wrong = 0
    began = time.perf_counter()
    for number, path in enumerate(GIVEN["files"]):
        good, bad = split(pl.read_csv(path, infer_schema=False), {"_source": pl.lit(path)})
        for kind, frame in (("good", good), ("bad", bad)):
            target = out / f"{kind}_{number:04d}.parquet"
            frame.write_parquet(target, compression="zstd")
            if GIVEN["is_synced"]:
                sync(target)
        valid, wrong = valid + good.height, wrong + bad.height
    if GIVEN["is_synced"]:
        sync(out)
    return {"seconds": time.perf_counter() - began, "valid": valid, "bad": wrong}


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


def under_pandera() -> dict[str, Any]:
    import pandera.polars as pandera  # type: ignore[import-not-found, unused-ignore]
    from pandera.errors import SchemaErrors  # type: ignore[import-not-found, unused-ignore]

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


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


WAYS = {"memory": memory, "files": files, "pandera": under_pandera}
print(json.dumps(WAYS[GIVEN["way"]]()))
