"""A cancelled file stays cancelled, whatever is scanned, tagged, approved or planned after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.invariants import Violated
from tests.simulation.mutants import planted
from tests.simulation.planned_again import PlanningWalk

_SEEDS = 3
_CAMPAIGN_SEEDS = 60
_STEPS = 14


@pytest.mark.parametrize("seeds", [_SEEDS, pytest.param(_CAMPAIGN_SEEDS, marks=pytest.mark.campaign)])
def test_a_cancelled_file_is_queued_again_only_when_somebody_asks(tmp_path: Path, seeds: int) -> None:
    cancels = plans = 0
    for seed in range(seeds):
        (tmp_path / str(seed)).mkdir()
        walk = PlanningWalk(tmp_path / str(seed), seed)
        walk.run(_STEPS)
        cancels += walk.cancels
        plans += walk.plans_beside_cancelled

    assert cancels >= seeds, "it does happen"
    assert plans >= 3 * seeds


def test_the_mutant_that_takes_a_cancelled_file_for_a_pending_one_is_caught(tmp_path: Path) -> None:
    with planted("cancelled_file_requeued"), pytest.raises(Violated, match="a cancelled file is queued again"):
        for seed in range(_SEEDS):
            (tmp_path / str(seed)).mkdir()
            PlanningWalk(tmp_path / str(seed), seed).run(_STEPS)
