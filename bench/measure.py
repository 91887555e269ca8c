"""What a benchmark is, and how its cases become medians, ratios and verdicts.

A benchmark has figures, sizes, cases and targets; each case is a way of doing the same work. Cases take turns (a, b, c, a, b, c),
so that whatever else the machine does meets them alike. A case that fails loses its own samples, never those of others.
"""

from __future__ import annotations

import statistics
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.children import PeerEnvironment, Unavailable

Kind = Literal["casparian", "peer", "bare"]


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


# --- running and judging ---


BEST_PEER = "best peer"


@dataclass(slots=True)
class Outcome:
    """All samples of one case, or why there are none."""

    case: Case
    samples: list[Sample] = field(default_factory=list)
    unavailable: str = ""
    #: What went wrong in its last run; it is not run again.
    failed: str = ""

    def median(self, figure: str) -> float | None:
        values = [sample.figures[figure] for sample in self.samples if figure in sample.figures]
        return statistics.median(values) if values else None

    def spread(self, figure: str) -> tuple[float, float]:
        values = [sample.figures[figure] for sample in self.samples if figure in sample.figures]
        return min(values), max(values)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a target fared; `value` is None when there was nothing to judge it by."""

    target: Target
    value: float | None
    against: str = ""

    @property
    def word(self) -> str:
        if self.value is None:
            return "not judged"
        is_low = self.target.at_least is not None and self.value < self.target.at_least
        is_high = self.target.at_most is not None and self.value > self.target.at_most
        return "missed" if is_low or is_high else "met"


def run(benchmark: Benchmark, setting: Setting, runs: int) -> list[Outcome]:
    """All samples of all cases; a case that cannot run, or fails, says why in its outcome."""
    outcomes = [Outcome(case) for case in benchmark.prepare(setting)]
    for number in range(1, runs + 1):
        for outcome in outcomes:
            if outcome.unavailable or outcome.failed:
                continue
            print(f"{benchmark.name}: run {number} of {runs}: {outcome.case.name} …", file=sys.stderr)
            try:
                outcome.samples.append(outcome.case.run())
            except Unavailable as reason:
                outcome.unavailable = str(reason)
            except Exception as problem:  # noqa: BLE001 - whatever it is, the other cases' samples are kept
                outcome.failed = described(problem)
    return outcomes


def described(problem: Exception) -> str:
    """One line for a report: what went wrong, and where in the code."""
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{type(problem).__name__}: {problem} ({Path(last.filename).name}:{last.lineno})"


def ratios(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """How many times better casparian's first case is than each other, by the first figure."""
    figure = benchmark.figures[0]
    ours = next(outcome for outcome in outcomes if outcome.case.kind == "casparian")
    found = {}
    for other in outcomes:
        if other is not ours and (ratio := _times_better(ours, other, figure)) is not None:
            found[other.case.name] = round(ratio, 3)
    return found


def judge(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> list[Verdict]:
    figures = {figure.name: figure for figure in benchmark.figures}
    return [_verdict(target, figures, outcomes) for target in benchmark.targets]


def _verdict(target: Target, figures: Mapping[str, Figure], outcomes: Sequence[Outcome]) -> Verdict:
    figure = figures[target.figure]
    ours = next((outcome for outcome in outcomes if outcome.case.name == target.case), None)
    if ours is None:
        return Verdict(target, None)
    if target.against is None:
        return Verdict(target, ours.median(figure.name))
    other = best_peer(outcomes, figure) if target.against == BEST_PEER else _named(outcomes, target.against)
    if other is None:
        return Verdict(target, None)
    return Verdict(target, _times_better(ours, other, figure), other.case.name)


def best_peer(outcomes: Sequence[Outcome], figure: Figure) -> Outcome | None:
    peers = [one for one in outcomes if one.case.kind == "peer" and one.median(figure.name) is not None]
    if not peers:
        return None
    sign = 1 if figure.is_higher_better else -1
    return max(peers, key=lambda one: sign * (one.median(figure.name) or 0.0))


def _named(outcomes: Sequence[Outcome], name: str) -> Outcome | None:
    return next((outcome for outcome in outcomes if outcome.case.name == name), None)


def _times_better(ours: Outcome, other: Outcome, figure: Figure) -> float | None:
    mine, theirs = ours.median(figure.name), other.median(figure.name)
    if not mine or not theirs:
        return None
    return mine / theirs if figure.is_higher_better else theirs / mine


def as_map(outcome: Outcome, figures: Sequence[Figure]) -> dict[str, Any]:
    """One case for the JSON report."""
    case = outcome.case
    found: dict[str, Any] = {"name": case.name, "kind": case.kind, "differs": case.differs}
    if outcome.unavailable:
        return {**found, "unavailable": outcome.unavailable}
    if outcome.failed:
        found["failed"] = outcome.failed
    found["median"] = {figure.name: outcome.median(figure.name) for figure in figures}
    found["samples"] = [{"figures": dict(sample.figures), "facts": dict(sample.facts)} for sample in outcome.samples]
    return found
