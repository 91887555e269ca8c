"""Bare pyarrow on one core: casts of clean columns, nothing checked. A measured program.

Arguments: `{"path"}`, an Arrow file; the bad rows are taken out before the clock starts. Answers with seconds and counts.
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow as pa

from bench.data.trades import COLUMNS, literal
from casparian_protocol.contract import Contract, arrow_schema
from casparian_worker.validation import OutputValidator


def main() -> None:
    given = json.loads(sys.argv[1])
    pa.set_cpu_count(1)
    contract = Contract.from_literal(literal(COLUMNS))
    schema = arrow_schema(contract)
    with pa.OSFile(given["path"]) as file:
        batches = pa.ipc.open_file(file).read_all().to_batches()
    text = pa.schema([(name, pa.string()) for name in schema.names])
    clean = [OutputValidator("trades", contract).check(batch, 0).valid for batch in batches]
    clean = [_as_text(batch, text) for batch in clean]
    clean[0].slice(0, 100).cast(schema)
    began, began_cpu = time.perf_counter(), time.process_time()
    typed = [batch.cast(schema) for batch in clean]
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}
    print(json.dumps({**times, "valid": sum(batch.num_rows for batch in typed), "bad": 0}))


def _as_text(batch: pa.RecordBatch, text: pa.Schema) -> pa.RecordBatch:
    """Typed columns as the texts that a cast reads back."""
    return batch.cast(text)


if __name__ == "__main__":
    main()
