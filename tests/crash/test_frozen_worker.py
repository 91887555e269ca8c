"""A worker stopped for longer than its lease: its work is done by another, once; what it still holds is taken from it.

The worker that is stopped was started by hand: a local one would be ended by its sentinel and started again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.crash.load import CONFIG, slow_file
from tests.crash.odd_worker import FENCED, LATE
from tests.crash.site import Site, awaited
from tests.end_to_end.world import wait_for

FIRST_ID = 1_000_000
GUEST_SECONDS = 2.0
SHORT_LEASE = CONFIG.replace("lease_timeout_seconds = 3.0", "lease_timeout_seconds = 1.5")


def ends(site: Site, job_id: str) -> list[dict[str, Any]]:
    """How the job's attempts ended, in order."""
    found = site.events("LeaseExpired", "JobOutputsCommitted", about=job_id)
    return [{"type": event["type"], **json.loads(event["data"])} for event in found]


@contextmanager
def by_hand(site: Site, *module: str, name: str = "by-hand") -> Iterator[subprocess.Popen[bytes]]:
    """A worker that nobody watches."""
    command = [sys.executable, "-m", *module, "--home", str(site.home), "--worker-id", name, "--no-managed"]
    with subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def until_back(site: Site, pid: int) -> None:
    def is_back() -> bool:
        with site.client() as client:
            return pid in [one["pid"] for one in client.request("status")["workers"]]

    wait_for(is_back, "the frozen worker joins again")


def test_a_finish_that_leaves_after_its_lease_is_fenced_and_its_rows_are_there_once(site: Site, tmp_path: Path) -> None:
    (site.home / "config.toml").write_text(SHORT_LEASE)
    folder = tmp_path / "odd"
    folder.mkdir()
    site.start(workers=1)
    with by_hand(site, "tests.crash.odd_worker", "late", str(folder)):
        awaited((folder / LATE).exists, "a worker stops itself with its finish in hand")
        late = json.loads((folder / LATE).read_text())

        site.until_idle()  # the other worker does all of it
        os.kill(late["pid"], signal.SIGCONT)

        def is_refused() -> bool:
            told = json.loads((folder / FENCED).read_text()) if (folder / FENCED).exists() else []
            return all(lease in told for lease in late["jobs"])

        awaited(is_refused, "its finish is refused")
        until_back(site, late["pid"])
        site.stop()
    for job_id, epoch in late["jobs"]:
        expired, *also_expired, committed = ends(site, job_id)
        assert (expired["type"], expired["epoch"], expired["reason"]) == ("LeaseExpired", epoch, "lost")
        assert all(
            one["type"] == "LeaseExpired" for one in also_expired
        )  # a busy machine makes the other one late, too
        assert (committed["type"], committed["epoch"] > epoch) == ("JobOutputsCommitted", True)
    site.assert_accounted()


@pytest.mark.campaign
def test_a_worker_frozen_beyond_its_lease_loses_its_job_which_is_done_once(site: Site) -> None:
    slow = slow_file(site.root / "more" / "slow.txt", GUEST_SECONDS, FIRST_ID)
    (path,) = slow
    site.add(slow)
    site.start(workers=0)
    with by_hand(site, "casparian_worker"):
        job, pid = site.leased(path)
        frozen = psutil.Process(pid)

        frozen.suspend()
        with by_hand(site, "casparian_worker", name="other"):
            site.until_idle()  # the other worker does all of it
        frozen.resume()

        until_back(site, pid)
        site.stop()
    expired, committed = ends(site, job["job_id"])
    assert (expired["epoch"], expired["reason"]) == (job["epoch"], "lost")
    assert committed["epoch"] > expired["epoch"]
    site.assert_accounted()
