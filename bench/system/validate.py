"""Our own validation on one core: Arrow in memory, split into valid and quarantined rows. A measured program.

Arguments: `{"path", "columns"}`; answers with seconds and counts.
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow as pa

from bench.data.trades import COLUMNS, literal
from casparian_protocol.contract import Contract
from casparian_worker.validation import OutputValidator


def main() -> None:
    given = json.loads(sys.argv[1])
    pa.set_cpu_count(1)
    with pa.OSFile(given["path"]) as file:
        batches = pa.ipc.open_file(file).read_all().to_batches()
    judge = OutputValidator("trades", Contract.from_literal(literal(COLUMNS)))
    judge.check(batches[0].slice(0, 100), 0)  # kernels are looked up before the clock starts
    judge = OutputValidator("trades", Contract.from_literal(literal(COLUMNS)))
    began, began_cpu = time.perf_counter(), time.process_time()
    index = 0
    kept = []
    for batch in batches:
        checked = judge.check(batch, index)
        index += batch.num_rows
        kept.append(checked)
    counts = judge.finish()
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}
    violations = sum(counts.violations.values())
    print(json.dumps({**times, "valid": counts.valid, "bad": counts.quarantined, "violations": violations}))


if __name__ == "__main__":
    main()
