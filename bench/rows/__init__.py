"""The benchmarks, one for each row of the performance page; `BENCHMARKS` has them by name."""

from bench.measure import Benchmark
from bench.rows.console import CONSOLE
from bench.rows.files import END_TO_END, FIX, TINY_FILES
from bench.rows.frames import FRAMES
from bench.rows.growth import GROWTH
from bench.rows.jobs import DISPATCH, LATENCY
from bench.rows.log import LOG
from bench.rows.projection import PROJECTION
from bench.rows.readers import READERS
from bench.rows.scale import SCALE
from bench.rows.scan import SCAN
from bench.rows.validation import VALIDATION

_ALL = (
    DISPATCH, LATENCY, LOG, PROJECTION, TINY_FILES, FRAMES, VALIDATION, END_TO_END, FIX, SCAN, CONSOLE, SCALE, GROWTH,
    READERS,
)  # fmt: skip
BENCHMARKS: dict[str, Benchmark] = {each.name: each for each in _ALL}
