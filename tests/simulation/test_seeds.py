"""Seeded histories with every kind of trouble keep every promise. A seed that fails prints the command that replays it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulation.faults import CALM
from tests.simulation.invariants import Violated
from tests.simulation.replay import COMMAND
from tests.simulation.world import World

#: As many as fit into 20 s of a busy core; 100 to 125 are played a second.
SEEDS = 1500
_CHUNK = 250
CAMPAIGN_SEEDS = 100_000
#: Seeds that once failed stay here.
REGRESSIONS: tuple[int, ...] = ()


def play(seeds: range | tuple[int, ...]) -> None:
    for seed in seeds:
        try:
            World(seed).run()
        except Exception as broken:
            raise AssertionError(f"seed {seed}: {broken}\nreplay it with: {COMMAND} {seed}") from broken


@pytest.mark.parametrize("first", range(0, SEEDS, _CHUNK))
def test_whatever_happens_every_promise_is_kept(first: int) -> None:
    play(range(first, first + _CHUNK))


def test_what_once_failed_does_not_fail_again() -> None:
    play(REGRESSIONS)


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_long_campaign_finds_nothing() -> None:
    began_s = time.process_time()
    play(range(CAMPAIGN_SEEDS))
    print(f"{CAMPAIGN_SEEDS / (time.process_time() - began_s):.0f} seeds/s")


def test_a_calm_world_ends_every_job() -> None:
    world = World(1, CALM)
    world.run()

    assert world.platter.judge.completed
    assert not world.platter.judge.losses


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    """Neither hashes nor this machine may matter, or a failing seed could not be shown to anybody."""
    seeds = ("3", "40")
    stories = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path.cwd())}
        argv = [sys.executable, "-m", "tests.simulation.replay", *seeds]
        told = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
        assert told.returncode == 0, told.stdout + told.stderr
        stories.append(told.stdout)
    assert stories[0] == stories[1]
    assert "trouble ends" in stories[0]


def test_a_broken_promise_names_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(world: World) -> None:
        raise Violated("I1: twice")

    monkeypatch.setattr(World, "run", broken)
    with pytest.raises(AssertionError, match=r"I1: twice\nreplay it with: python -m tests.simulation.replay 5"):
        play((5,))
