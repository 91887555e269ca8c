"""DuckDB's TRY_CAST over Arrow in memory. A measured program.

Arguments: `{"path", "threads"}`; answers with seconds and counts. A regular expression stands before the decimal cast,
which would round. The first reason of a row is kept, not all.
"""

from __future__ import annotations

import json
import sys
import time

import duckdb
import pyarrow as pa

CHECKS = {
    "id": ("try_cast(id as bigint)", "int64"),
    "qty": ("try_cast(qty as bigint)", "int64"),
    "price": ("try_cast(price as double)", "float64"),
    "amount": (
        r"case when regexp_full_match(amount, '-?[0-9]{1,14}(\.[0-9]{1,4})?') then try_cast(amount as decimal(18, 4)) end",
        "decimal(18,4)",
    ),
    "day": ("try_cast(day as date)", "date"),
    "ts": ("try_cast(ts as timestamptz)", "timestamp_tz"),
    "side": ("case when side in ('BUY', 'SELL', 'SHORT', 'COVER') then side end", "one of its values"),
    "acct": ("case when regexp_full_match(acct, '[A-Z]{2}-[0-9]{6}') then acct end", "like its pattern"),
    "note": ("note", "text"),
}


def main() -> None:
    given = json.loads(sys.argv[1])
    with pa.OSFile(given["path"]) as file:
        source = pa.ipc.open_file(file).read_all()
    database = duckdb.connect()
    database.execute(f"set threads = {given['threads']}; set TimeZone = 'UTC'")
    database.register("source", source)
    typed = ", ".join(f"{check} as {name}_t" for name, (check, _) in CHECKS.items())
    whens = " ".join(
        f"when {name}_t is null then case when {name} is null then '{name}: null' else '{name}: not {kind}' end"
        for name, (_, kind) in CHECKS.items()
    )
    judged = f"select *, case {whens} end as reason from (select *, {typed} from source)"
    began, began_cpu = time.perf_counter(), time.process_time()
    database.execute(f"create temp table judged as {judged}")
    good = database.sql(
        f"select {', '.join(f'{name}_t as {name}' for name in CHECKS)} from judged where reason is null"
    ).to_arrow_table()
    bad = database.sql(f"select {', '.join(CHECKS)}, reason from judged where reason is not null").to_arrow_table()
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}
    print(json.dumps({**times, "valid": good.num_rows, "bad": bad.num_rows}))


if __name__ == "__main__":
    main()
