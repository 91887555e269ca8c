"""What work costs in CPU, where a test must know that twice the input does not cost four times as much.

The machine is shared, and a collection of the whole test process' garbage takes longer than most of what is measured: the
collector is off meanwhile, and the least of several runs counts. Figures are for `bench`; here only the shape of the curve is.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object], limit: float = 0.0) -> float:
    """CPU seconds of `work`: the least of three runs, or the first that is below `limit`."""
    least = float("inf")
    was_on = gc.isenabled()
    gc.disable()
    try:
        for _ in range(3):
            began = time.process_time()
            work()
            least = min(least, time.process_time() - began)
            if least < limit:
                break
    finally:
        if was_on:
            gc.enable()
    return least


def assert_linear(work: Callable[[int], object], size: int) -> None:
    """`work` of eight times the size costs about eight times the CPU; what is quadratic costs 64 times."""
    work(size)  # imports and caches are not counted
    small = cpu_seconds(lambda: work(size))
    limit = 30 * small + 0.1
    large = cpu_seconds(lambda: work(8 * size), limit)
    assert large < limit, f"{small:.4f} s for {size:,}, {large:.4f} s for {8 * size:,}"
