"""Files through a real casparian: registered parser, scanned directory, local workers, published Parquet.

The clock runs from the request that queues the files to the event that ends the last job, by the log's own times; starting
the daemon, registering and scanning come before it. Rows are counted in the projection afterwards.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from bench.system.processes import children_cpu_seconds_of, cpu_seconds_of, peak_rss_bytes
from bench.system.world import casparian, cpu_seconds, daemon, new_home, register
from casparian_protocol.client import Client
from casparian_protocol.home import Home

WORKERS = 2
_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 600.0
_TOTALS = """
select count(*), coalesce(sum(rows_valid), 0)::bigint, coalesce(sum(quarantine_rows), 0)::bigint,
    epoch_us(max(end_time))
from cf_processing_queue where status in ('COMPLETED', 'PARTIAL_SUCCESS')
"""


def process(scratch: Path, parser: Path, name: str, inputs: Path, tag: str) -> dict[str, Any]:
    """Seconds and counts of one run in a fresh home, which is removed."""
    home = new_home(scratch / "home")
    try:
        with daemon(home, WORKERS) as client:
            register(client, home, parser, name)
            casparian(home, ["scan", str(inputs), "--tag", tag])
            pids = _wait_for_workers(client)
            spent = _cpu_seconds(home, pids)
            began_at = time.time()
            queued = client.request("queue", {"parser": name}, timeout_seconds=_PATIENCE_SECONDS)
            _wait_until_idle(client)
            totals = _totals(client)
            answer = {
                "seconds": totals.pop("ended_at") / 1e6 - began_at,
                "queued": int(queued["queued"]),
                "worker_peak_rss_mib": round(max(map(peak_rss_bytes, pids)) / 2**20),
                "cpu_seconds": {key: round(value - spent[key], 2) for key, value in _cpu_seconds(home, pids).items()},
                "sandbox": client.request("status")["workers"][0]["sandbox"],
                **totals,
            }
    finally:
        shutil.rmtree(scratch)
    if answer["jobs"] != answer["queued"]:
        raise RuntimeError(f"{answer['jobs']} of {answer['queued']} jobs were completed")
    return answer


def _cpu_seconds(home: Home, workers: list[int]) -> dict[str, float]:
    """Of each kind of process; guests count when their worker has waited for them."""
    return {
        **cpu_seconds(home),
        "workers": sum(map(cpu_seconds_of, workers)),
        "guests": sum(map(children_cpu_seconds_of, workers)),
    }


def _wait_for_workers(client: Client) -> list[int]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        workers = client.request("status")["workers"]
        if len(workers) == WORKERS:
            return [worker["pid"] for worker in workers]
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError("the workers did not join")


def _wait_until_idle(client: Client) -> None:
    """Look at the daemon's own counts, seldom: looking is work too, and the log knows when the end was."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        queue = client.request("status")["queue"]
        if not (queue["queued"] or queue["running"] or queue["retrying"]):
            return
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError("the queue did not become empty")


def _totals(client: Client) -> dict[str, int]:
    seq = int(client.request("ping")["seq"])
    jobs, valid, bad, ended_at = client.query(_TOTALS, at_least_seq=seq).rows[0]
    return {"jobs": jobs, "valid": valid, "bad": bad, "ended_at": ended_at}
