"""Which rows are live, with the real commands: files that grow, come back, have copies, fail; reruns; sources to append to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.world import World, advice, lines


@pytest.fixture
def ready(world: World) -> World:
    """Registered, approved, and one file of 50 lines processed."""
    world.run("init")
    world.register(advice())
    world.write("day.txt", lines(50))
    process(world)
    return world


def process(world: World, status: int = 0) -> Any:
    world.scan()
    return world.ask("process", "--workers", "1", status=status)


def rows_of(world: World) -> int:
    return int(world.sql("select count(*) as n from advices")[0]["n"])


def test_a_file_that_grows_has_its_rows_once(ready: World) -> None:
    assert rows_of(ready) == 50
    ready.write("day.txt", lines(51))
    process(ready)
    assert rows_of(ready) == 51
    (output,) = ready.ask("outputs", "list")
    assert (output["rows"], output["superseded_rows"]) == (51, 50)
