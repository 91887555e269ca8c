"""Runs the cases of a benchmark in turns and makes medians, ratios and verdicts of their samples.

Cases take turns (a, b, c, a, b, c) so that whatever else the machine does meets them alike.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.plan import Benchmark, Case, Figure, Sample, Setting, Target, Unavailable

BEST_PEER = "best peer"


@dataclass(slots=True)
class Outcome:
    """All samples of one case, or why there are none."""

    case: Case
    samples: list[Sample] = field(default_factory=list)
    unavailable: str = ""

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
    outcomes = [Outcome(case) for case in benchmark.prepare(setting)]
    for number in range(1, runs + 1):
        for outcome in outcomes:
            if outcome.unavailable:
                continue
            print(f"{benchmark.name}: run {number} of {runs}: {outcome.case.name} …", file=sys.stderr)
            try:
                outcome.samples.append(outcome.case.run())
            except Unavailable as reason:
                outcome.unavailable = str(reason)
    return outcomes


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
    found["median"] = {figure.name: outcome.median(figure.name) for figure in figures}
    found["samples"] = [{"figures": dict(sample.figures), "facts": dict(sample.facts)} for sample in outcome.samples]
    return found
