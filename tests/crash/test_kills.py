"""SIGKILL at random moments under load: sentinel, workers, guests, projector, all at once, and while it boots.

`pytest -m campaign tests/crash` goes on for CRASH_BLOWS blows (default 300), in walks of twenty.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.chaos import Walk, walk
from tests.crash.site import Role, Site, awaited, end

BLOWS_PER_WALK = 20
CAMPAIGN_BLOWS = int(os.environ.get("CRASH_BLOWS", "300"))
CAMPAIGN_SEED = int(os.environ.get("CRASH_SEED", "1000"))


def test_a_walk_of_kills_loses_and_doubles_nothing(site: Site) -> None:
    made = Walk(site, seed=5, blows=7)

    made.run()

    assert sum(made.killed.values()) >= 6


@pytest.mark.campaign
@pytest.mark.parametrize("number", range(max(1, CAMPAIGN_BLOWS // BLOWS_PER_WALK)))
def test_hundreds_of_kills_lose_and_double_nothing(tmp_path: Path, number: int) -> None:
    made = walk(tmp_path, CAMPAIGN_SEED + number, BLOWS_PER_WALK)

    print(made.killed)


@pytest.mark.campaign
def test_a_power_cut_in_the_middle_is_survived(site: Site) -> None:
    site.start()
    site.until_published(5)

    site.kill_everything()
    site.assert_nothing_runs()
    site.start()
    site.until_idle()
    site.stop()

    site.assert_accounted()


def test_the_daemon_keeps_no_descriptor_of_those_who_died(site: Site) -> None:
    site.start()
    site.until_idle()
    site.until_running(worker=2, projector=1)
    before = site.descriptors()

    roles: tuple[Role, ...] = ("worker", "projector")
    for role in roles:
        (victim, *_) = site.running(role)
        end(victim)
        victim.wait(10)
        site.until_idle()
        site.until_running(worker=2, projector=1)

    awaited(lambda: site.descriptors() <= before, "descriptors of dead children are closed")
    site.stop()
    site.assert_accounted()
