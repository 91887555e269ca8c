"""A disk that fills under load and is freed again: work waits, then goes on without a restart, and nothing is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import pytest

from casparian_protocol.client import NoSentinel, RequestRefused
from tests.crash.load import CONFIG, slow_file
from tests.crash.mounts import filled, move_onto_tmpfs
from tests.crash.site import Site
from tests.end_to_end.world import wait_for

#: The disk stays full for so long that every retry within meets it again.
FULL_SECONDS = 1.5
PATIENT = CONFIG.replace("[retry]", "[retry]\nmax_retries = 100")


@pytest.fixture
def stack(site: Site) -> Iterator[ExitStack]:
    (site.home / "config.toml").write_text(PATIENT)
    with ExitStack() as stack:
        stack.callback(site.kill_everything)
        yield stack


def pinged(site: Site) -> int:
    with site.client() as client:
        return int(client.request("ping")["pid"])


def hold_full(site: Site, place: Path) -> None:
    """Full for a while; the sentinel answers all the time."""
    with filled(place):
        until = time.monotonic() + FULL_SECONDS
        while time.monotonic() < until:
            assert pinged(site) == site.pid
            time.sleep(0.1)


def test_a_full_disk_under_the_log_stops_intake_and_heals(site: Site, stack: ExitStack) -> None:
    move_onto_tmpfs(stack, site.home / "log", "1m")
    site.start()
    site.until_published(2)
    with filled(site.home / "log"):
        numbers = count()
        wait_for(lambda: is_paused_by_writing(site, next(numbers)), "intake is paused")
        wait_for(lambda: not (site.home / "log" / "reserve").exists(), "the reserve is given back")
        with pytest.raises(NoSentinel), site.client() as client:
            for number in range(2_000):  # until the reserve is used up as well: decided, never durable, never answered
                place = {"name": f"s{number}", "path": f"/nowhere/{'x' * 2000}/{number}"}
                client.request("add_source", place, timeout_seconds=1.0)
        assert pinged(site) == site.pid
    site.until_idle()
    assert pinged(site) == site.pid
    site.stop()
    assert {event["type"] for event in site.events("IntakePaused", "IntakeResumed")} == {
        "IntakePaused",
        "IntakeResumed",
    }
    site.assert_accounted()


def is_paused_by_writing(site: Site, number: int) -> bool:
    """Have something written, in case that all files are done already: who writes nothing does not notice a full disk."""
    with suppress(NoSentinel, RequestRefused), site.client() as client:
        client.request("add_source", {"name": f"w{number}", "path": f"/nowhere/w{number}"}, timeout_seconds=1.0)
    return intake(site).startswith("disk: ")


def intake(site: Site) -> str:
    with site.client() as client:
        return str(client.request("status")["intake"])


def test_a_full_disk_under_staging_outputs_and_tables_heals(site: Site, stack: ExitStack) -> None:
    for number in range(6):  # the others may be done before the disk is full
        site.add(slow_file(site.root / "slow" / f"{number}.txt", FULL_SECONDS / 3, 1_000_000 + 10 * number))
    move_onto_tmpfs(stack, site.home, "48m")
    move_onto_tmpfs(stack, site.home / "log", "8m")
    site.start()
    site.until_published(2)

    hold_full(site, site.home)

    site.until_idle()
    assert pinged(site) == site.pid
    site.stop()
    retried = [json.loads(event["data"])["error"]["code"] for event in site.events("JobRetryScheduled")]
    assert set(retried) == {"DISK_FULL"}
    site.assert_accounted()


@pytest.mark.campaign
def test_a_full_disk_under_the_tables_alone_heals(site: Site, stack: ExitStack) -> None:
    move_onto_tmpfs(stack, site.home, "48m")
    move_onto_tmpfs(stack, site.home / "log", "8m")
    site.start(workers=0)
    with filled(site.home), site.client() as client:
        for number in range(300):
            client.request("add_source", {"name": f"s{number}", "path": f"/nowhere/{'x' * 2000}/{number}"})
        assert client.request("ping")["pid"] == site.pid
        last = client.request("ping")["seq"]

    def shows_all() -> bool:
        try:
            with site.client() as client:
                shown = client.query("select count(*) from scout_sources where name like 's%'", at_least_seq=last)
        except (NoSentinel, RequestRefused):
            return False
        return bool(shown.rows[0][0] == 300)

    wait_for(shows_all, "the tables caught up")
    assert pinged(site) == site.pid
    site.stop()
    site.run("log", "verify")
