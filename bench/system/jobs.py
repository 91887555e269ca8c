"""No-op jobs through a real daemon: how many a second, and how long one takes alone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.stamps import Stamps, percentile
from bench.system.world import bus_workers, cpu_seconds, daemon, new_home, pretend_files, register_no_op
from casparian_protocol.client import Client
from casparian_protocol.home import Home

WORKERS = 2
_PATIENCE_SECONDS = 300.0
_WARM_JOBS = 50
_GAP_SECONDS = 0.002


@contextmanager
def _world(scratch: Path) -> Iterator[tuple[Home, Client, Stamps, Stamps]]:
    """A daemon with two bus workers; stamps of bodies and of commits. All is removed afterwards."""
    home = new_home(scratch / "home")
    bodies, committed = Stamps(scratch / "bodies"), Stamps(scratch / "committed")
    try:
        with daemon(home, 0) as client, bus_workers(home, scratch / "bodies", WORKERS):
            register_no_op(client, home, scratch)
            pretend_files(client, home, scratch / "warm", _WARM_JOBS)
            queue(client, scratch / "warm")
            committed.wait(_WARM_JOBS, _PATIENCE_SECONDS)
            committed.rebase()
            yield home, client, bodies, committed
    finally:
        shutil.rmtree(scratch)


def queue(client: Client, path: Path) -> int:
    answer = client.request("queue", {"parser": "no_op", "path": str(path)}, timeout_seconds=_PATIENCE_SECONDS)
    return int(answer["queued"])


def rate(scratch: Path, jobs: int) -> dict[str, Any]:
    """From one request that queues all pending files to the last commit that a worker knows is durable."""
    with _world(scratch) as (home, client, _bodies, committed):
        pretend_files(client, home, scratch / "files", jobs)
        before = cpu_seconds(home)
        began = time.monotonic()
        queued = queue(client, scratch / "files")
        replied = time.monotonic()
        last = committed.wait(jobs, _PATIENCE_SECONDS)
        seq = int(client.request("ping")["seq"])
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


def latency(scratch: Path, jobs: int) -> dict[str, Any]:
    """One job at a time: a request that needs no table (`rescan`), and one that plans a file (`queue`, a fifth as many)."""
    planned = max(1, jobs // 5)
    with _world(scratch) as (home, client, bodies, committed):
        pretend_files(client, home, scratch / "files", planned)
        client.request("add_source", {"name": "bench", "path": str(scratch), "poll_seconds": 0})
        files = [scratch / "files" / f"file_{number:07d}.txt" for number in range(planned)]
        scans = _one_by_one(
            bodies, committed, jobs, lambda _: not client.request("rescan", {"source": "bench"})["already"]
        )
        plans = _one_by_one(bodies, committed, planned, lambda number: queue(client, files[number]) == 1)
    return {"rescan": scans, "queue": plans}


def _one_by_one(
    bodies: Stamps, committed: Stamps, jobs: int, ask: Callable[[int], bool]
) -> dict[str, dict[str, float]]:
    """Milliseconds from before the request to the job's body, and to its commit known at the worker.

    `ask` says whether a job was queued: a worker knows of a commit a moment before the job counts as completed, and until
    then a source is not scanned again.
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
        time.sleep(_GAP_SECONDS)  # the queue is idle again, and so are the peers between two jobs
    return {
        "body": {"p50": percentile(started, 0.5), "p99": percentile(started, 0.99)},
        "committed": {"p50": percentile(ended, 0.5), "p99": percentile(ended, 0.99)},
    }
