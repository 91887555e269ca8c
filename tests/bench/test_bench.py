"""Each benchmark runs at its smallest size and says what it found. Nothing here looks at a clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.measure import BEST_PEER, Outcome, judge, ratios
from bench.plan import Benchmark, Case, Figure, Sample, Target, Unavailable
from bench.rows import BENCHMARKS

SMALLEST = {
    "dispatch": ["--jobs", "20"],
    "latency": ["--jobs", "3"],
    "tiny-files": ["--files", "4", "--peer-files", "2"],
    "validation": ["--rows", "2000"],
    "end-to-end": ["--files", "2", "--rows", "1000"],
    "fix": ["--files", "2", "--messages", "400"],
    "console": ["--jobs", "20", "--events", "2", "--keys", "4", "--rest", "1"],
}


def test_every_benchmark_has_a_smallest_size() -> None:
    assert SMALLEST.keys() == BENCHMARKS.keys()


#: As `tiny-files`, through the same harness, with other files and another parser.
ALIKE = {"end-to-end", "fix"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.campaign] if name in ALIKE else []) for name in SMALLEST]
)
def test_a_benchmark_runs_and_tells_what_it_measured(name: str, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    options = ["--runs", "1", "--no-peers", "--scratch", str(tmp_path), "--json", str(told)]

    assert main([name, *SMALLEST[name], *options]) == 0

    document = json.loads(told.read_text())
    assert (document["format"], document["benchmark"], document["runs"]) == (1, name, 1)
    assert document["machine"]["cores"] >= 1
    ours = [case for case in document["cases"] if case["kind"] == "casparian"]
    first = document["figures"][0]["name"]
    assert ours and all(case["median"][first] > 0 for case in ours)
    assert all(case.get("unavailable") or case["samples"] for case in document["cases"])
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]  # nothing is left behind


# --- the harness


def _case(name: str, kind: Any, *values: float, unavailable: str = "") -> Outcome:
    def never() -> Sample:
        raise Unavailable(name)

    return Outcome(Case(name, kind, never), [Sample({"rate": value}) for value in values], unavailable)


def _benchmark(*targets: Target, is_higher_better: bool = True) -> Benchmark:
    return Benchmark(
        name="one",
        row=0,
        title="one",
        figures=[Figure("rate", "a second", is_higher_better)],
        sizes=[],
        prepare=lambda _: [],
        targets=targets,
    )


def test_medians_are_compared_and_the_better_peer_counts() -> None:
    outcomes = [
        _case("casparian", "casparian", 90, 300, 100),
        _case("slow", "peer", 10),
        _case("quick", "peer", 50),
        _case("absent", "peer", unavailable="no network"),
        _case("limit", "bare", 1000),
    ]
    benchmark = _benchmark(
        Target("twice", "rate", at_least=2, against=BEST_PEER),
        Target("thrice", "rate", at_least=3, against=BEST_PEER),
        Target("as the absent", "rate", at_least=1, against="absent"),
        Target("a hundred", "rate", at_least=100),
    )

    assert ratios(benchmark, outcomes) == {"slow": 10, "quick": 2, "limit": 0.1}
    verdicts = judge(benchmark, outcomes)
    assert [(one.word, one.value) for one in verdicts] == [
        ("met", 2),
        ("missed", 2),
        ("not judged", None),
        ("met", 100),
    ]
    assert verdicts[0].against == "quick"


def test_where_less_is_better_a_ratio_above_one_still_means_better() -> None:
    outcomes = [_case("casparian", "casparian", 2), _case("slow", "peer", 8), _case("quick", "peer", 4)]
    benchmark = _benchmark(Target("better", "rate", at_least=1, against=BEST_PEER), is_higher_better=False)

    assert ratios(benchmark, outcomes) == {"slow": 4, "quick": 2}
    assert judge(benchmark, outcomes)[0].against == "quick"
