"""Whatever else goes wrong: a paused parser gets no job, one job at a time probes, and in the end every job has ended."""

from __future__ import annotations

import pytest

from casparian_sentinel.core.state import HALF_OPEN, State
from tests.simulation.failing_parsers import COOLDOWN_SECONDS, FailingWorld
from tests.simulation.faults import CALM
from tests.simulation.invariants import Violated

SEEDS = 30
CAMPAIGN_SEEDS = 600


@pytest.mark.parametrize("seeds", [SEEDS, pytest.param(CAMPAIGN_SEEDS, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("cooldown_seconds", [COOLDOWN_SECONDS, 0.0], ids=["probed", "resumed by hand"])
def test_a_failing_parser_is_held_back_through_every_trouble(cooldown_seconds: float, seeds: int) -> None:
    tripped = 0
    for seed in range(seeds):
        world = FailingWorld(seed, cooldown_seconds=cooldown_seconds)
        try:
            world.run()
        except Exception as broken:
            raise AssertionError(f"seed {seed}: {broken}") from broken
        tripped += world.has_tripped
    assert tripped > seeds // 2


def test_in_a_calm_world_the_breaker_opens_probes_and_closes_by_itself() -> None:
    world = FailingWorld(1, CALM)
    world.run()

    turns = {"ParserPaused", "ParserHalfOpened", "ParserResumed"}
    kinds = [event.type for event in world.platter.events if event.type in turns]
    assert kinds.count("ParserPaused") == kinds.count("ParserHalfOpened") > 1
    assert kinds[-1] == "ParserResumed"
    assert world.platter.judge.completed


def _is_caught() -> bool:
    for seed in range(20):
        try:
            FailingWorld(seed).run()
        except Violated:
            return True
    return False


def test_a_core_that_lets_all_jobs_probe_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(state: State) -> set[str]:
        return {b.lane for b in state.breakers.values() if b.state != HALF_OPEN}

    monkeypatch.setattr(State, "blocked_lanes", all_of_them)
    monkeypatch.setattr(State, "probing_lanes", lambda state: set())
    assert _is_caught()


def test_a_core_that_leases_while_paused_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "blocked_lanes", lambda state: set())
    assert _is_caught()
