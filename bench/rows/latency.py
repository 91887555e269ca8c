"""Row 2: how long one job takes on an idle queue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.children import run_own, run_peer
from bench.plan import Benchmark, Case, Figure, Sample, Setting, Size, Target

_MIDDLE, _TAIL = "p50", "p99"


def prepare(setting: Setting) -> Sequence[Case]:
    jobs = setting.sizes["jobs"]
    found: dict[str, Any] = {}

    def fresh() -> str:
        return mkdtemp(dir=setting.scratch)

    def ours() -> Sample:
        from bench.system import jobs as system

        found.update(system.latency(Path(fresh()), jobs))
        return _sample(found["rescan"]["committed"], {"to_body": found["rescan"]["body"]})

    def planned() -> Sample:
        return _sample(found["queue"]["committed"], {"to_body": found["queue"]["body"]})

    def huey() -> Sample:
        given = {"way": "latency", "jobs": jobs, "directory": fresh()}
        return _sample(run_peer(setting.peers.require("huey"), "bench.peers.huey_jobs", given).values, {})

    def bare() -> Sample:
        values = run_own("bench.bare.bus_loop", {"way": "latency", "jobs": jobs, "directory": fresh()}).values
        return _sample(values["committed"], {"to_body": values["body"]})

    return [
        Case("casparian", "casparian", ours, "`rescan`: a job queued by name; until the worker knows of its commit"),
        Case("casparian, planned", "casparian", planned, "`queue --path`: the projection is asked which files wait"),
        Case("huey sqlite fsync", "peer", huey, "until the end of the body: its commit is not waited for"),
        Case("zeromq + fsync", "bare", bare, "no state; until the worker knows of its commit"),
    ]


def _sample(values: dict[str, float], facts: dict[str, Any]) -> Sample:
    return Sample({_MIDDLE: values["p50"], _TAIL: values["p99"]}, facts)


BENCHMARK = Benchmark(
    name="latency",
    row=2,
    title="one no-op job on an idle queue, enqueue → committed, fsync before every acknowledgement",
    figures=[
        Figure(_MIDDLE, "ms", is_higher_better=False, digits=2),
        Figure(_TAIL, "ms", is_higher_better=False, digits=2),
    ],
    sizes=[Size("--jobs", 500, "jobs, one after another")],
    prepare=prepare,
    targets=[
        Target("median at most 0.7 ms", _MIDDLE, at_most=0.7),
        Target("p99 at most 2 ms", _TAIL, at_most=2.0),
        Target("median better than the best peer", _MIDDLE, at_least=1.0, against="best peer"),
    ],
    notes=["The JSON has the time to the job's body too, which is what peers' figures end with."],
)
