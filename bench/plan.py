"""The words of a benchmark: figures, cases, samples, targets. Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.venv import PeerEnvironment

Kind = Literal["casparian", "peer", "bare"]


class Unavailable(Exception):
    """A case cannot run here (its program cannot be installed); the reason goes into the report."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of every sample. The first figure of a benchmark is the one that ratios are made of."""

    name: str
    unit: str
    is_higher_better: bool
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of one case gave: figures by name, and facts that explain them."""

    figures: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One way of doing the work. `differs` says in what this is not the same work as casparian's."""

    name: str
    kind: Kind
    run: Callable[[], Sample]
    differs: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What casparian's case should reach: a value of a figure, or a ratio to another case of the same run."""

    text: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None
    #: The case that the figure is divided by; "best peer" means whichever peer did best. None: the value itself.
    against: str | None = None
    case: str = "casparian"


@dataclass(frozen=True, slots=True)
class Size:
    """A flag that says how much work there is."""

    flag: str
    default: int
    text: str

    @property
    def name(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a benchmark may use: a directory on a real disk that is removed afterwards, sizes, and the peers."""

    scratch: Path
    sizes: Mapping[str, int]
    peers: PeerEnvironment


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One row of the performance page."""

    name: str
    row: int
    title: str
    figures: Sequence[Figure]
    sizes: Sequence[Size]
    #: Makes inputs and returns the cases; called once.
    prepare: Callable[[Setting], Sequence[Case]]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
