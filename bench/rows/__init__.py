"""The benchmarks, one for each row of the performance page; `BENCHMARKS` has them by name."""

from bench.measure import Benchmark
from bench.rows.console import CONSOLE
from bench.rows.files import END_TO_END, FIX, TINY_FILES
from bench.rows.jobs import DISPATCH, LATENCY
from bench.rows.projection import PROJECTION
from bench.rows.readers import READERS
from bench.rows.scale import SCALE
from bench.rows.scan import SCAN
from bench.rows.validation import VALIDATION

BENCHMARKS: dict[str, Benchmark] = {
    each.name: each
    for each in (
        DISPATCH,
        LATENCY,
        TINY_FILES,
        VALIDATION,
        END_TO_END,
        FIX,
        CONSOLE,
        SCALE,
        PROJECTION,
        READERS,
        SCAN,
    )
}
