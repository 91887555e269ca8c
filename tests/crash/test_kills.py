"""SIGKILL at random moments under load: sentinel, workers, guests, projector, all at once, and while it boots.

`pytest -m campaign tests/crash` goes on for CRASH_BLOWS blows (default 300), in walks of twenty.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.chaos import walk
from tests.crash.site import Site

BLOWS_PER_WALK = 20
CAMPAIGN_BLOWS = int(os.environ.get("CRASH_BLOWS", "300"))
CAMPAIGN_SEED = int(os.environ.get("CRASH_SEED", "1000"))
ONE_OF_EACH = ("worker", "sentinel", "guest", "projector", "boot", "power")


def test_a_walk_of_kills_loses_and_doubles_nothing_and_keeps_no_descriptor(tmp_path: Path, calm: Site) -> None:
    made = walk(tmp_path, seed=6, blows=len(ONE_OF_EACH), kinds=ONE_OF_EACH, calm=calm.calm)

    assert sum(made.killed.values()) >= len(ONE_OF_EACH) - 1


@pytest.mark.campaign
@pytest.mark.parametrize("number", range(max(1, CAMPAIGN_BLOWS // BLOWS_PER_WALK)))
def test_hundreds_of_kills_lose_and_double_nothing(tmp_path: Path, calm: Site, number: int) -> None:
    made = walk(tmp_path, CAMPAIGN_SEED + number, BLOWS_PER_WALK, calm=calm.calm)

    print(made.killed)


@pytest.mark.campaign
def test_a_power_cut_in_the_middle_is_survived(site: Site) -> None:
    site.start()
    site.until_published(3)

    site.kill_everything()
    site.assert_nothing_runs()
    site.start()
    site.until_idle()
    site.stop()

    site.assert_accounted()
