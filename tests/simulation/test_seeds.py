"""Seeded histories with every kind of trouble keep every promise. A seed that fails prints the command that replays it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from tests.simulation.faults import CALM, Faults
from tests.simulation.invariants import Violated
from tests.simulation.machine import undisturbed
from tests.simulation.mutants import planted
from tests.simulation.replay import COMMAND
from tests.simulation.world import World

SEEDS = 500
_CHUNK = 250
CAMPAIGN_SEEDS = 100_000
#: Seeds that once failed stay here.
REGRESSIONS: tuple[int, ...] = ()


def failure_of(seed: int, heard: Callable[[World], None] | None = None) -> str:
    """What went wrong and how to see it again; empty when nothing did."""
    world = World(seed)
    try:
        world.run()
    except (Exception, Violated) as broken:  # noqa: BLE001 -- whatever it is, it is this seed's
        return f"seed {seed}: {type(broken).__name__}: {broken}\nreplay it with: {COMMAND} {seed}"
    if heard is not None:
        heard(world)
    return ""


def play(seeds: Iterable[int], heard: Callable[[World], None] | None = None) -> None:
    """Fails with what the first broken seed says. `heard` is given every world that kept its promises, after its history."""
    with undisturbed():
        for seed in seeds:
            if failure := failure_of(seed, heard):
                pytest.fail(failure, pytrace=False)


@pytest.fixture(scope="module")
def happened() -> Counter[str]:
    """What the first seeds draw, and that they keep every promise."""
    seen: Counter[str] = Counter()

    def count(world: World) -> None:
        seen[f"{world.shape.workers} workers"] += 1
        seen.update(field.name for field in fields(world.faults) if getattr(world.faults, field.name))
        seen.update(event.type for event in world.platter.events)
        for event in world.platter.events:
            if event.type == "JobOutputsCommitted":
                seen["manifest in a blob"] += bool(event.data.get("manifest_blob"))
                seen[f"{len(event.data['versions'])} outputs"] += 1

    play(range(_CHUNK), count)
    return seen


@pytest.mark.parametrize("first", range(_CHUNK, SEEDS, _CHUNK))
def test_whatever_happens_every_promise_is_kept(first: int) -> None:
    play(range(first, first + _CHUNK))


def test_everything_that_a_history_may_hold_does_happen(happened: Counter[str]) -> None:
    """A kind of work or of trouble that no seed draws would be a check of nothing."""
    wanted = {"10 workers", "manifest in a blob", "1 outputs", "2 outputs", "FilesObserved", "JobCancelled"}
    wanted |= {"QuarantineRecorded", "JobDeadLettered", "JobProgressed", "WorkerLeft", "TornTailCut", "IntakePaused"}
    wanted |= {field.name for field in fields(Faults)}
    assert not wanted - {name for name, count in happened.items() if count}


def test_what_once_failed_does_not_fail_again() -> None:
    play(REGRESSIONS)


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_long_campaign_finds_nothing() -> None:
    began_s = time.process_time()
    failures: list[str] = []
    for first in range(0, CAMPAIGN_SEEDS, _CHUNK):
        with undisturbed():
            failures += filter(None, map(failure_of, range(first, first + _CHUNK)))
    print(f"{CAMPAIGN_SEEDS:,} seeds, {CAMPAIGN_SEEDS / (time.process_time() - began_s):.0f} a second")
    assert not failures, "\n".join(failures)


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


def test_a_broken_promise_names_the_command_that_tells_how_it_was_broken() -> None:
    """With a mutant planted on both sides: in the suite that finds it, and where somebody looks at the story."""
    mutant = "ack_before_fsync"
    with (
        planted(mutant),
        pytest.raises(pytest.fail.Exception, match=rf"I7: .*\nreplay it with: {COMMAND} \d+$") as caught,
    ):
        play(range(100))
    said, _, command = str(caught.value).partition("\nreplay it with: ")

    argv = [sys.executable, *command.split()[1:], "--mutant", mutant]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=60)

    assert told.returncode, told.stdout
    assert said in told.stdout
    assert "the sentinel starts at event 0" in told.stdout
