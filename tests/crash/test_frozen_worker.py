"""A worker stopped for longer than its lease: its work is done by another, once; what it still holds is taken from it."""

from __future__ import annotations

import json

import psutil

from tests.crash.load import slow_file
from tests.crash.site import Site
from tests.end_to_end.world import wait_for

FIRST_ID = 1_000_000
GUEST_SECONDS = 2.0


def test_a_worker_frozen_beyond_its_lease_loses_its_job_which_is_done_once(site: Site) -> None:
    slow = slow_file(site.root / "more" / "slow.txt", GUEST_SECONDS, FIRST_ID)
    (path,) = slow
    site.add(slow)
    site.start()
    job, pid = site.leased(path)
    frozen = psutil.Process(pid)

    frozen.suspend()
    site.until_idle()  # the other worker does all of it
    frozen.resume()

    def is_back() -> bool:
        with site.client() as client:
            return pid in [one["pid"] for one in client.request("status")["workers"]]

    wait_for(is_back, "the frozen worker joins again")
    site.stop()
    attempts = [event["data"] for event in site.events("LeaseExpired", "JobOutputsCommitted", about=job["job_id"])]
    expired, committed = map(json.loads, attempts)
    assert (expired["epoch"], expired["reason"]) == (job["epoch"], "lost")
    assert committed["epoch"] > expired["epoch"]
    site.assert_accounted()
