"""One module a row of the performance page; `BENCHMARKS` has them by name."""

from bench.plan import Benchmark
from bench.rows import console, dispatch, end_to_end, fix_logs, latency, tiny_files, validation

_ROWS = (dispatch, latency, tiny_files, validation, end_to_end, fix_logs, console)
BENCHMARKS: dict[str, Benchmark] = {each.BENCHMARK.name: each.BENCHMARK for each in _ROWS}
