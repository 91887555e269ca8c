"""EIO in a real daemon: it stops, non-zero, and nothing that it answered is missing; the next start is clean."""

from __future__ import annotations

import json
import secrets

import pytest

from casparian_protocol.client import Client, NoSentinel, RequestRefused
from tests.crash.site import Site, end

ODD = "tests.crash.odd_daemon"


def ask_until_it_dies(client: Client) -> list[str]:
    """Add sources until nobody answers; the names of those that were acknowledged."""
    acknowledged: list[str] = []
    while True:
        name = secrets.token_hex(8)
        try:
            client.request("add_source", {"name": name, "path": f"/nowhere/{name}"}, timeout_seconds=1.0)
        except (NoSentinel, RequestRefused):
            return acknowledged
        acknowledged.append(name)


LONG = pytest.mark.campaign


@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:40:EIO",
        pytest.param("pwrite:45:EIO", marks=LONG),
        pytest.param("fsync_directory:4:EIO", marks=LONG),
    ],
)
def test_a_disk_error_under_the_log_ends_the_daemon_without_a_false_answer(site: Site, fault: str) -> None:
    site.start("--fault", fault, module=ODD, workers=1)
    with site.client() as client:
        acknowledged = ask_until_it_dies(client)

    assert site.reap() == 1
    site.assert_nothing_runs()
    assert "cannot be written any more" in site.said()
    site.start(workers=1)
    site.until_idle()
    site.stop()

    logged = {json.loads(event["data"])["name"] for event in site.events("SourceAdded")}
    assert set(acknowledged) <= logged
    site.assert_accounted()


@pytest.mark.parametrize("fault", ["rename_new:3:ENOSPC:1", pytest.param("rename_new:3:EIO:1", marks=LONG)])
def test_a_promotion_that_fails_is_done_later_without_a_restart(site: Site, fault: str) -> None:
    site.start("--fault", fault, module=ODD, workers=1)
    site.until_idle()
    site.stop()

    assert "trying again" in site.said()
    site.assert_accounted()


@pytest.mark.campaign
def test_a_clock_that_jumps_by_days_changes_nothing(site: Site) -> None:
    site.start("--jumps", module=ODD)
    site.until_published(4)
    end(site.running("worker")[0])
    site.until_idle()
    site.stop()

    stamps = [row["ts"] for row in site.sql("select ts from cf_audit order by seq")]
    assert stamps != sorted(stamps), "the clock did jump"
    site.assert_accounted()
