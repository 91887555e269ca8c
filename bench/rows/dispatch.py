"""Row 1: durable jobs that do nothing, from queue to commit, with two worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.children import run_own, run_peer
from bench.plan import Benchmark, Case, Figure, Sample, Setting, Size, Target

_RATE = "rate"


def prepare(setting: Setting) -> Sequence[Case]:
    jobs, peer_jobs = setting.sizes["jobs"], setting.sizes["peer_jobs"]

    def ours() -> Sample:
        from bench.system import jobs as system

        return _sample(jobs, system.rate(_fresh(setting), jobs))

    def huey() -> Sample:
        given = {"way": "rate", "jobs": peer_jobs, "directory": str(_fresh(setting))}
        return _sample(peer_jobs, run_peer(setting.peers.require("huey"), "bench.peers.huey_jobs", given).values)

    def bare() -> Sample:
        given = {"way": "rate", "jobs": jobs, "directory": str(_fresh(setting))}
        return _sample(jobs, run_own("bench.bare.bus_loop", given).values)

    return [
        Case("casparian", "casparian", ours, "one request plans all pending files; the projection is kept meanwhile"),
        Case(
            "huey sqlite fsync", "peer", huey, "one call a job; polls once a millisecond; done at the end of the body"
        ),
        Case("zeromq + fsync", "bare", bare, "one message a job, 2,000 under way; no state, leases or recovery"),
    ]


def _fresh(setting: Setting) -> Path:
    return Path(mkdtemp(dir=setting.scratch))


def _sample(jobs: int, values: dict[str, Any]) -> Sample:
    return Sample({_RATE: jobs / values["seconds"]}, {"jobs": jobs, **values})


BENCHMARK = Benchmark(
    name="dispatch",
    row=1,
    title="durable no-op jobs, queue → lease → finish → commit, 2 workers, fsync before every acknowledgement",
    figures=[Figure(_RATE, "jobs/s", is_higher_better=True)],
    sizes=[Size("--jobs", 20_000, "jobs of one run"), Size("--peer-jobs", 3_000, "jobs of one run of a peer")],
    prepare=prepare,
    targets=[
        Target("at least 25,000 jobs/s", _RATE, at_least=25_000),
        Target("at least 10 times the best durable peer", _RATE, at_least=10.0, against="best peer"),
    ],
    notes=[
        "casparian: from the request to the last commit that a worker was told of, four events a job in the log; "
        "its workers speak the bus through the product's codec and stage nothing.",
        "Peers that need a broker of their own (Celery, RQ, Dramatiq, Huey on Redis) are not installed here.",
    ],
)
