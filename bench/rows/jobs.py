"""Rows 1 and 2: no-op jobs through a real daemon, their rate and the latency of one, compared with other job queues."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.children import run_own, run_peer
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.stamps import Stamps, percentile
from bench.world import (
    bus_workers,
    cpu_seconds,
    daemon,
    new_home,
    pretend_files,
    queue_no_op,
    register_no_op,
    wait_for_tables,
    wait_until_idle,
)
from casparian_protocol.client import Client
from casparian_protocol.home import Home

WORKERS = 2
_PATIENCE_SECONDS = 300.0
_WARM_JOBS = 50
_LOOK_SECONDS = 0.002
_RATE = "rate"
_BARE = "zeromq + fsync"
_MIDDLE, _TAIL = "p50", "p99"
_PLANNED = "casparian, planned"


@contextmanager
def _world(scratch: Path) -> Iterator[tuple[Home, Client, Stamps, Stamps]]:
    """A daemon with two bus workers, and the stamps of bodies and commits. Everything is removed afterwards."""
    home = new_home(scratch / "home")
    bodies, committed = Stamps(scratch / "bodies"), Stamps(scratch / "committed")
    try:
        with daemon(home, 0) as client, bus_workers(home, scratch / "bodies", WORKERS):
            register_no_op(client, home, scratch)
            pretend_files(client, home, scratch / "warm", _WARM_JOBS)
            queue_no_op(client, scratch / "warm")
            committed.wait(_WARM_JOBS, _PATIENCE_SECONDS)
            committed.rebase()
            yield home, client, bodies, committed
    finally:
        shutil.rmtree(scratch)


def rate(scratch: Path, jobs: int) -> dict[str, Any]:
    """The rate from one request that queues all pending files to the last commit that a worker knows to be durable."""
    with _world(scratch) as (home, client, _bodies, committed):
        pretend_files(client, home, scratch / "files", jobs)
        before = cpu_seconds(home)
        began = time.monotonic()
        queued = queue_no_op(client, scratch / "files")
        replied = time.monotonic()
        last = committed.wait(jobs, _PATIENCE_SECONDS)
        wait_until_idle(client, _LOOK_SECONDS)  # a worker knows of a commit before its job counts as completed
        seq = int(client.request("ping")["seq"])
        wait_for_tables(
            client, seq
        )  # a question waits only 30 s for its event, and a busy machine's tables are further behind
        rows = client.query(
            "select count(*) from cf_processing_queue where status = 'COMPLETED'", at_least_seq=seq
        ).rows
        projected = time.monotonic()
        cpu = {name: round(spent - before[name], 2) for name, spent in cpu_seconds(home).items()}
        if queued != jobs or rows[0][0] != jobs + _WARM_JOBS:
            raise RuntimeError(f"{queued} jobs queued, {rows[0][0]} completed, {jobs} wanted")
    return {
        "seconds": last - began,
        "queue_reply_seconds": replied - began,
        "projection_lag_seconds": projected - last,
        "events": seq,
        "cpu_seconds": cpu,
    }


def latency(scratch: Path, jobs: int, sources: int, gap_seconds: float) -> dict[str, Any]:
    """The latency of one job at a time: by a request that plans nothing (`rescan`), and by one that plans a file (`queue`, a
    fifth as many). The sources take turns, and between two jobs the queue is idle for a while, so that caches are as cold as in
    a daemon that waits for its next file.
    """
    planned = max(1, jobs // 5)
    with _world(scratch) as (home, client, bodies, committed):
        pretend_files(client, home, scratch / "files", planned)
        for number in range(sources):
            (scratch / f"source_{number}").mkdir()
            source = {"name": f"bench_{number}", "path": str(scratch / f"source_{number}"), "poll_seconds": 0}
            client.request("add_source", source)
        files = [scratch / "files" / f"file_{number:07d}.txt" for number in range(planned)]

        def rescan(number: int) -> bool:
            return not client.request("rescan", {"source": f"bench_{number % sources}"})["already"]

        def plan(number: int) -> bool:
            return queue_no_op(client, files[number]) == 1

        scans = _one_by_one(bodies, committed, jobs, rescan, gap_seconds)
        plans = _one_by_one(bodies, committed, planned, plan, gap_seconds)
    return {"rescan": scans, "queue": plans}


def _one_by_one(
    bodies: Stamps, committed: Stamps, jobs: int, ask: Callable[[int], bool], gap_seconds: float
) -> dict[str, dict[str, float]]:
    """The milliseconds from before the request to the job's body, and until the worker knows its commit.

    `ask` returns whether a job was queued: a worker knows a commit a moment before the job counts as completed, and until then
    a source is not scanned again.
    """
    started: list[float] = []
    ended: list[float] = []
    committed.rebase()
    for number in range(jobs):
        is_queued = False
        while not is_queued:
            began = time.monotonic()
            is_queued = ask(number)
        ended.append((committed.wait(number + 1, _PATIENCE_SECONDS) - began) * 1000)
        started.append((bodies.read()[1] - began) * 1000)
        time.sleep(gap_seconds)  # the queue is idle again, and so are the peers between two jobs
    return {
        "body": {"p50": percentile(started, 0.5), "p99": percentile(started, 0.99)},
        "committed": {"p50": percentile(ended, 0.5), "p99": percentile(ended, 0.99)},
    }


def _fresh(setting: Setting) -> Path:
    return Path(mkdtemp(dir=setting.scratch))


# --- row 1: dispatch --------------------------------------------------------------------------------------------------


def _prepare_dispatch(setting: Setting) -> Sequence[Case]:
    jobs, peer_jobs = setting.sizes["jobs"], setting.sizes["peer_jobs"]

    def ours() -> Sample:
        return _rate_of(jobs, rate(_fresh(setting), jobs))

    def huey() -> Sample:
        given = {"way": "rate", "jobs": peer_jobs, "directory": str(_fresh(setting))}
        return _rate_of(peer_jobs, run_peer(setting.peers.require("huey"), "bench.programs.huey_jobs", given).values)

    def bare() -> Sample:
        given = {"way": "rate", "jobs": jobs, "directory": str(_fresh(setting))}
        return _rate_of(jobs, run_own("bench.programs.bus_loop", given).values)

    return [
        Case("casparian", "casparian", ours, "one request plans all pending files; the projection is kept meanwhile"),
        Case(
            "huey sqlite fsync", "peer", huey, "one call a job; polls once a millisecond; done at the end of the body"
        ),
        Case(_BARE, "bare", bare, "one message a job, 2,000 under way; no state, leases or recovery"),
    ]


def _rate_of(jobs: int, values: dict[str, Any]) -> Sample:
    return Sample({_RATE: jobs / values["seconds"]}, {"jobs": jobs, **values})


DISPATCH = Benchmark(
    name="dispatch",
    row=1,
    title="durable no-op jobs, queue → lease → finish → commit, 2 workers, fsync before every acknowledgement",
    figures=[Figure(_RATE, "jobs/s", is_higher_better=True)],
    sizes=[Size("--jobs", 100_000, "jobs of one run"), Size("--peer-jobs", 3_000, "jobs of one run of a peer")],
    prepare=_prepare_dispatch,
    targets=[
        Target("at least 30,000 jobs/s", _RATE, at_least=30_000),
        Target("at least half the rate of the bare loop", _RATE, at_least=0.5, against=_BARE),
        Target("at least 10 times the best durable peer", _RATE, at_least=10.0, against="best peer"),
    ],
    notes=[
        "casparian: from the request to the last commit that a worker knows of, four events a job in the log; "
        "its workers speak the bus through the product's codec and stage nothing.",
        "Peers that need a broker of their own (Celery, RQ, Dramatiq, Huey on Redis) are not installed here.",
    ],
)


# --- row 2: latency ---------------------------------------------------------------------------------------------------


def _prepare_latency(setting: Setting) -> Sequence[Case]:
    jobs, sources, gap_seconds = setting.sizes["jobs"], setting.sizes["sources"], setting.sizes["gap"] / 1000
    found: dict[str, Any] = {}

    def ours() -> Sample:
        found.update(latency(_fresh(setting), jobs, sources, gap_seconds))
        return _times_of(found["rescan"]["committed"], {"to_body": found["rescan"]["body"]})

    def planned() -> Sample:
        return _times_of(found["queue"]["committed"], {"to_body": found["queue"]["body"]})

    def huey() -> Sample:
        given = {"way": "latency", "jobs": jobs, "directory": str(_fresh(setting))}
        return _times_of(run_peer(setting.peers.require("huey"), "bench.programs.huey_jobs", given).values, {})

    def bare() -> Sample:
        given = {"way": "latency", "jobs": jobs, "directory": str(_fresh(setting)), "gap_seconds": gap_seconds}
        values = run_own("bench.programs.bus_loop", given).values
        return _times_of(values["committed"], {"to_body": values["body"]})

    return [
        Case("casparian", "casparian", ours, "`rescan`: a job queued by name; until the worker knows of its commit"),
        Case(_PLANNED, "casparian", planned, "`queue --path`: one pending file is found and queued"),
        Case("huey sqlite fsync", "peer", huey, "until the end of the body: its commit is not waited for"),
        Case(_BARE, "bare", bare, "no state; until the worker knows of its commit"),
    ]


def _times_of(values: dict[str, float], facts: dict[str, Any]) -> Sample:
    return Sample({_MIDDLE: values["p50"], _TAIL: values["p99"]}, facts)


LATENCY = Benchmark(
    name="latency",
    row=2,
    title="one no-op job on an idle queue, enqueue → committed, fsync before every acknowledgement",
    figures=[
        Figure(_MIDDLE, "ms", is_higher_better=False, digits=2),
        Figure(_TAIL, "ms", is_higher_better=False, digits=2),
    ],
    sizes=[
        Size("--jobs", 500, "jobs, one after another"),
        Size("--sources", 64, "sources that take turns"),
        Size("--gap", 10, "milliseconds of idleness between two jobs"),
    ],
    prepare=_prepare_latency,
    targets=[
        Target("median at most 1.5 times the bare loop's", _MIDDLE, at_least=1 / 1.5, against=_BARE),
        Target("p99 at most 3 times the bare loop's", _TAIL, at_least=1 / 3, against=_BARE),
        Target("with planning, median at most 3 ms", _MIDDLE, at_most=3.0, case=_PLANNED),
        Target("with planning, p99 at most 15 ms", _TAIL, at_most=15.0, case=_PLANNED),
        Target("median better than the best peer", _MIDDLE, at_least=1.0, against="best peer"),
    ],
    notes=["The JSON has the time to the job's body too, which is what peers' figures end with."],
)
