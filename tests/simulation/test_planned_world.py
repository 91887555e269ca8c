"""Whatever happens to sentinel, projector, workers and disk: what a scan finds is planned and processed in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.faults import CALM
from tests.simulation.invariants import Violated
from tests.simulation.machine import undisturbed
from tests.simulation.mutants import planted
from tests.simulation.planned_world import PlannedWorld

_SEEDS = 4
_CAMPAIGN_SEEDS = 1000


def _play(folder: Path, seed: int) -> PlannedWorld:
    place = folder / str(seed)
    place.mkdir()
    world = PlannedWorld(seed, place)
    try:
        world.run()
    except (Exception, Violated) as broken:
        raise Violated(f"planned world {seed}: {type(broken).__name__}: {broken}") from broken
    return world


def test_every_file_is_found_planned_and_processed_without_anybody_asking_for_it(tmp_path: Path) -> None:
    scans = parses = remembered = 0
    with undisturbed():
        for seed in range(_SEEDS):
            world = _play(tmp_path, seed)
            scans += world.scans
            remembered += world.remembered
            queued = [event.data["job"]["work"]["kind"] for event in world.platter.events if event.type == "JobQueued"]
            parses += queued.count("PARSE")
    assert scans >= 3 * _SEEDS, "files change while others are processed"
    assert parses >= _SEEDS
    assert remembered >= _SEEDS, "plans are made from memory too"


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_long_campaign_finds_nothing(tmp_path: Path) -> None:
    with undisturbed():
        for seed in range(1000, 1000 + _CAMPAIGN_SEEDS):
            _play(tmp_path, seed)


def test_in_a_calm_world_the_first_plan_is_enough(tmp_path: Path) -> None:
    world = PlannedWorld(4, tmp_path, CALM)
    world.run()
    assert not world.unhandled
    assert world.boots == 2  # the last one after the power cut that ends each history


def test_the_mutant_that_plans_once_whatever_it_hears_meanwhile_is_caught(tmp_path: Path) -> None:
    with planted("planner_hears_once"), pytest.raises(Violated, match="I4"):
        for seed in range(182, 246, 2):  # the first one catches it, as long as worlds are made in the same way
            _play(tmp_path, seed)
