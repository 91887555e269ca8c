"""A measured program: validation of an Arrow file on one core by casparian, DuckDB's TRY_CAST, or bare pyarrow.

The file is read before the clock starts. Arguments: `{"way": "casparian" | "duckdb" | "pyarrow", "path"}`; answers with seconds
and counts. For DuckDB a regular expression guards the decimal cast, which would round; only the first reason of a row is kept.
pyarrow casts
clean columns and checks nothing: the bad rows are removed first.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from bench.data import COLUMNS, literal
from casparian_protocol.contract import Contract, arrow_schema
from casparian_shim.process import prepare_arrow
from casparian_worker.validation import OutputValidator

Answer = dict[str, float]

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


@contextmanager
def timed(answer: Answer) -> Iterator[None]:
    """Put the seconds of the block into `answer`: wall-clock and CPU time."""
    began, began_cpu = time.perf_counter(), time.process_time()
    yield
    answer |= {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}


def casparian(table: pa.Table) -> Answer:
    batches, answer = table.to_batches(), Answer()
    # Look up the kernels before the clock starts.
    OutputValidator("trades", Contract.from_literal(literal(COLUMNS))).check(batches[0].slice(0, 100), 0)
    judge = OutputValidator("trades", Contract.from_literal(literal(COLUMNS)))
    with timed(answer):
        index, kept = 0, []
        for batch in batches:
            kept.append(judge.check(batch, index))
            index += batch.num_rows
        counts = judge.finish()
    violations = sum(counts.violations.values())
    return {**answer, "valid": counts.valid, "bad": counts.quarantined, "violations": violations}


def pyarrow(table: pa.Table) -> Answer:
    contract, answer = Contract.from_literal(literal(COLUMNS)), Answer()
    schema = arrow_schema(contract)
    text = pa.schema([(name, pa.string()) for name in schema.names])
    clean = [OutputValidator("trades", contract).check(batch, 0).valid.cast(text) for batch in table.to_batches()]
    clean[0].slice(0, 100).cast(schema)
    with timed(answer):
        typed = [batch.cast(schema) for batch in clean]
    return {**answer, "valid": sum(batch.num_rows for batch in typed), "bad": 0}


def duckdb_try_cast(source: pa.Table) -> Answer:
    database, answer = duckdb.connect(), Answer()
    database.execute("set threads = 1; set TimeZone = 'UTC'")
    database.register("source", source)
    typed = ", ".join(f"{check} as {name}_t" for name, (check, _) in CHECKS.items())
    whens = " ".join(
        f"when {name}_t is null then case when {name} is null then '{name}: null' else '{name}: not {kind}' end"
        for name, (_, kind) in CHECKS.items()
    )
    judged = f"select *, case {whens} end as reason from (select *, {typed} from source)"
    columns = ", ".join(f"{name}_t as {name}" for name in CHECKS)
    with timed(answer):
        database.execute(f"create temp table judged as {judged}")
        good = database.sql(f"select {columns} from judged where reason is null").to_arrow_table()
        bad = database.sql(f"select {', '.join(CHECKS)}, reason from judged where reason is not null").to_arrow_table()
    return {**answer, "valid": good.num_rows, "bad": bad.num_rows}


def main() -> None:
    given = json.loads(sys.argv[1])
    pa.set_cpu_count(1)
    prepare_arrow()  # as every worker does
    with pa.OSFile(given["path"]) as file:
        table = pa.ipc.open_file(file).read_all()
    ways = {"casparian": casparian, "duckdb": duckdb_try_cast, "pyarrow": pyarrow}
    print(json.dumps(ways[given["way"]](table)))


if __name__ == "__main__":
    main()
