"""The judges follow a history step by step; what they carry along must not make them blind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

import pytest

from casparian_sentinel.ports import write_all
from tests.simulation.faults import CALM
from tests.simulation.invariants import Violated
from tests.simulation.simfs import File
from tests.simulation.world import World, _as_the_running_loop


def _played(world: World, until: Callable[[], bool]) -> None:
    world._begin()
    for _ in range(2000):
        if until():
            return
        world.step()
    raise AssertionError("that never came")


def _log(world: World) -> File:
    file = world.fs.on_platter(world.home.log)["00000000000000000001.caslog"]
    assert isinstance(file, File)
    return file


def _cut_short(log: File) -> None:
    del log.platter[-10:]


def _forget_all(log: File) -> None:
    log.platter.clear()


def _flip_a_bit(log: File) -> None:
    log.platter[len(log.platter) // 2] ^= 1


@pytest.mark.parametrize("damage", [_cut_short, _forget_all, _flip_a_bit])
def test_a_disk_that_loses_what_was_durable_is_not_believed(damage: Callable[[File], None]) -> None:
    world = World(1, CALM)
    with _as_the_running_loop(world):
        _played(world, lambda: world.platter.seq > 10)
        damage(_log(world))
        world._cut_power()
        with pytest.raises(
            Violated, match=r"I7: event \d+ .* was durable and is gone|calls what a crash left corrupt|I7: rec"
        ):
            for _ in range(200):
                world.step()


def test_a_published_file_that_changes_where_it_lies_is_seen() -> None:
    world = World(1, CALM)
    with _as_the_running_loop(world):
        _played(world, lambda: bool(world.platter.judge.completed))
        path = next(iter(world.platter.judge.published))
        place = world.home.root / PurePath(path)
        descriptor = world.fs.open_write(place)
        write_all(world.fs, descriptor, b"other rows", 0)
        with pytest.raises(Violated, match=r"I3: .* has not the content that was committed"):
            world.step()


@pytest.mark.parametrize("of_every", [0, 8, 16])
def test_some_histories_are_judged_again_from_the_beginning(of_every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[int] = []
    judged_again = World._judge_again

    def noted(world: World) -> None:
        again.append(world.seed)
        judged_again(world)

    monkeypatch.setattr(World, "_judge_again", noted)
    World(of_every).run()
    World(of_every + 1).run()

    assert again == [of_every]
