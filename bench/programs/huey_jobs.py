"""Huey with SQLite and fsync: no-op jobs, two consumer processes of one thread. A measured program.

Arguments: `{"way": "rate" | "latency", "jobs", "directory"}`. The storage syncs every commit; consumers poll
once a millisecond. A job counts as done at the end of its body, before Huey's acknowledgement, which favours Huey.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.stamps import Stamps, percentile

CONSUMERS = 2
_WARM_JOBS = 50
_POLL_SECONDS = "0.001"
_PATIENCE_SECONDS = 300.0
_GAP_SECONDS = 0.002


def main() -> None:
    given = json.loads(sys.argv[1])
    directory = Path(given["directory"])
    os.environ["BENCH_HUEY"] = str(directory)
    bodies = Stamps(directory / "bodies")
    from bench.programs.huey_tasks import no_op

    consumers = [_consumer() for _ in range(CONSUMERS)]
    try:
        rate(no_op, bodies, _WARM_JOBS)
        bodies.rebase()
        measure = {"rate": rate, "latency": latency}[given["way"]]
        print(json.dumps(measure(no_op, bodies, given["jobs"])))
    finally:
        for consumer in consumers:
            consumer.kill()
            consumer.wait()


def _consumer() -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name("huey_consumer")
    options = ["-w", "1", "-k", "thread", "-n", "-q", "-d", _POLL_SECONDS, "-m", _POLL_SECONDS]
    return subprocess.Popen([str(program), "bench.programs.huey_tasks.queue", *options], stdout=subprocess.DEVNULL)


def rate(no_op: Callable[[], Any], bodies: Stamps, jobs: int) -> dict[str, Any]:
    """The time from the first enqueue to the last body, with one call for each job."""
    began = time.monotonic()
    for _ in range(jobs):
        no_op()
    return {"seconds": bodies.wait(jobs, _PATIENCE_SECONDS) - began}


def latency(no_op: Callable[[], Any], bodies: Stamps, jobs: int) -> dict[str, Any]:
    """The milliseconds from before the call to the body, on an idle queue."""
    took = []
    for number in range(jobs):
        began = time.monotonic()
        no_op()
        took.append((bodies.wait(number + 1, _PATIENCE_SECONDS) - began) * 1000)
        time.sleep(_GAP_SECONDS)
    return {"p50": percentile(took, 0.5), "p99": percentile(took, 0.99)}


if __name__ == "__main__":
    main()
