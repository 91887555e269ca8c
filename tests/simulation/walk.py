"""A walk through every state of a small world: depth first, alike states once, the judges at each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from tests.simulation.exhaustive import Small
from tests.simulation.invariants import Violated
from tests.simulation.likeness import likeness

#: In every so many states the whole log is folded from its beginning.
_CHECK_AGAIN_EVERY = 128
#: The steps that led somewhere, newest first.
Path: TypeAlias = "tuple[str, Path] | None"


@dataclass(slots=True)
class Walk:
    """How much was seen."""

    states: int = 1
    steps: int = 0
    #: The longest way that was taken to a new state.
    depth: int = 0
    #: States in which nothing but a fault could happen: all work is done there. By likeness.
    ends: set[bytes] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.states:,} states, {self.steps:,} steps, {len(self.ends):,} ends, depth {self.depth}"


def walk(world: Small, limit: int | None = None, *, leaves_nothing_out: bool = False) -> Walk:
    """To every end, or until so many states were seen; raises `Violated` with the steps that lead to it."""
    seen = {likeness(world)}
    waiting: list[tuple[Small, Path, int]] = [(world, None, 0)]
    found = Walk()
    while waiting and (limit is None or found.states < limit):
        here, path, depth = waiting.pop()
        step: Path = path
        try:
            if here.is_over():
                found.ends.add(likeness(here))
                here.check_end()
            for name, action in here.actions(are_all_wanted=leaves_nothing_out):
                step = (name, path)
                there = here.copied()
                action(there)
                found.steps += 1
                there.check()
                key = likeness(there)
                if key in seen:
                    continue
                seen.add(key)
                found.states += 1
                if not found.states % _CHECK_AGAIN_EVERY:
                    there.check_again()
                found.depth = max(found.depth, depth + 1)
                waiting.append((there, step, depth + 1))
        except (Exception, Violated) as broken:
            raise Violated(f"{type(broken).__name__}: {broken}\nafter {_told(step)}") from broken
    return found


def _told(path: Path) -> list[str]:
    steps: list[str] = []
    while path is not None:
        name, path = path
        steps.append(name)
    return steps[::-1]
