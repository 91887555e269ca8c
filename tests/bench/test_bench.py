"""Each benchmark runs at its smallest size and says what it found. Nothing here looks at a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.__main__ import main
from bench.children import ROOT, ChildFailed, Unavailable, own_environment, require_counts, run_own
from bench.measure import BEST_PEER, Benchmark, Case, Figure, Outcome, Sample, Target, judge, ratios
from bench.plots import bars
from bench.rows import BENCHMARKS
from bench.rows.growth import growth, parts

_SVG = "{http://www.w3.org/2000/svg}"
SMALLEST = {
    "dispatch": ["--jobs", "20"],
    "latency": ["--jobs", "3", "--sources", "2", "--gap", "1"],
    "log": ["--events", "1024", "--group", "128"],
    "tiny-files": ["--files", "4", "--peer-files", "3"],
    "frames": ["--batches", "1", "--times", "2"],
    "validation": ["--rows", "2000"],
    "end-to-end": ["--files", "2", "--rows", "1000"],
    "fix": ["--files", "2", "--messages", "400"],
    "console": ["--jobs", "20", "--events", "2", "--keys", "4", "--rest", "1", "--queries", "1"],
    "scale": ["--jobs", "50"],
    "growth": ["--files", "9", "--jobs", "9", "--parts", "9", "--rows", "9"],
    "projection": ["--jobs", "200"],
    "readers": ["--files", "20", "--megabytes", "1", "--huge-megabytes", "1", "--line-megabytes", "70"],
    "scan": ["--files", "20"],
}


def test_every_benchmark_has_a_smallest_size() -> None:
    assert SMALLEST.keys() == BENCHMARKS.keys()


#: As `tiny-files`, through the same harness, with other files and parsers; twenty programs, which `test_readers` tests; and
#: several daemons one after another, of which `test_parts_are_published_and_drawn` needs none.
ALIKE = {"end-to-end", "fix", "readers", "growth"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.campaign] if name in ALIKE else []) for name in SMALLEST]
)
def test_a_benchmark_runs_and_tells_what_it_measured(name: str, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    options = ["--runs", "1", "--no-peers", "--scratch", str(tmp_path), "--json", str(told)]

    assert main([name, *SMALLEST[name], *options, "--plots", str(tmp_path / "plots")]) == 0

    document = json.loads(told.read_text())
    assert (document["format"], document["benchmark"], document["runs"]) == (1, name, 1)
    assert document["machine"]["cores"] >= 1
    ours = [case for case in document["cases"] if case["kind"] == "casparian"]
    assert ours and all(any(case["median"].values()) for case in ours if "unavailable" not in case)
    assert all(case.get("unavailable") or case["samples"] for case in document["cases"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plots", "told.json"]  # nothing is left behind
    picture = tmp_path / "plots" / f"{name}.svg"
    assert "casparian" in picture.read_text() or name in ("scale", "growth")
    assert main(["draw", str(told), str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / picture.name).read_bytes() == picture.read_bytes()


def test_bars_are_as_long_as_their_medians_and_names_are_escaped() -> None:
    def case(name: str, kind: str, *values: float) -> dict[str, Any]:
        samples = [{"figures": {"rate": value}} for value in values]
        return {"name": name, "kind": kind, "median": {"rate": values[len(values) // 2]}, "samples": samples}

    cases = [case("casparian", "casparian", 10, 20, 40), case("a < b", "peer", 10), {"name": "c", "kind": "bare"}]
    figures = [{"name": "rate", "unit": "jobs/s", "is_higher_better": True}]
    root = ElementTree.fromstring(bars({"benchmark": "one", "figures": figures, "cases": cases}))
    lengths = [float(bar.attrib["width"]) for bar in root.iter(f"{_SVG}rect") if bar.attrib["height"] == "18"]
    assert lengths[0] == pytest.approx(2 * lengths[1])
    assert {"a < b", "20 (10..40)", "10", "one: rate, jobs/s (more is better)"} <= {
        each.text for each in root.iter(f"{_SVG}text")
    }


def test_parts_are_published_and_drawn(tmp_path: Path) -> None:
    cases = []
    for size in (3, 30):
        (tmp_path / str(size)).mkdir()
        figures = parts(tmp_path / str(size), size)
        assert figures.keys() == {"cost", "publish", "count"} and min(figures.values()) > 0
        facts = {"work": "parts", "size": size}
        cases.append({"work": "parts", "median": figures, "samples": [{"figures": figures, "facts": facts}]})
    drawn = {each.text for each in ElementTree.fromstring(growth({"cases": cases})).iter(f"{_SVG}text")}
    assert {"3", "30", "the catalogue after 10 more jobs: CPU ms"} <= drawn


@pytest.mark.parametrize("content", ["", "[]x", "3", "[3]", '{"benchmark": "unknown"}', '{"benchmark": "fix"}'])
def test_what_is_no_result_is_not_drawn(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "told.json").write_text(content)
    assert main(["draw", str(tmp_path / "told.json"), str(tmp_path / "plots")]) == 1
    assert "is not a result of `bench NAME --json`" in capsys.readouterr().err


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


def test_only_cases_of_the_same_work_are_compared() -> None:
    def working(name: str, kind: Any, work: str, value: float) -> Outcome:
        return Outcome(Case(name, kind, _works, work=work), [Sample({"rate": value})])

    outcomes = [
        working("casparian", "casparian", "reading", 90),
        working("quick", "peer", "reading", 30),
        working("casparian writes", "casparian", "writing", 8),
        working("quicker", "peer", "writing", 16),
    ]
    target = Target("as the best peer", "rate", at_least=1, against=BEST_PEER, case="casparian writes")

    assert ratios(_benchmark(target), outcomes) == {"quick": 3, "quicker": 0.5}
    (verdict,) = judge(_benchmark(target), outcomes)
    assert (verdict.word, verdict.value, verdict.against) == ("missed", 0.5, "quicker")


def _row(name: str, cases: Callable[[], list[Case]]) -> Benchmark:
    return Benchmark(name, 0, name, [Figure("rate", "a second", is_higher_better=True)], [], lambda _: cases())


def _told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *rows: Benchmark) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and documents of `all`, with these rows."""
    monkeypatch.setattr("bench.__main__.BENCHMARKS", {row.name: row for row in rows})
    told = tmp_path / "told.json"
    status = main(["all", "--runs", "2", "--no-peers", "--scratch", str(tmp_path), "--json", str(told)])
    return status, json.loads(told.read_text())


def _works() -> Sample:
    return Sample({"rate": 7})


def _breaks() -> Sample:
    raise ChildFailed("it ended with 3")


def test_a_row_that_fails_loses_nothing_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmade() -> list[Case]:
        raise OSError("no space")

    whole = _row("whole", lambda: [Case("casparian", "casparian", _works)])
    status, documents = _told(tmp_path, monkeypatch, _row("unmade", unmade), whole)

    assert status == 1
    assert documents[0]["failed"].startswith("OSError: no space (test_bench.py:")
    assert documents[1]["cases"][0]["median"] == {"rate": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]


def test_a_case_that_fails_is_not_run_again_and_loses_nothing_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [Case("casparian", "casparian", _works), Case("peer", "peer", _breaks)]
    status, (document,) = _told(tmp_path, monkeypatch, _row("half", lambda: cases))

    assert status == 1
    assert [len(case["samples"]) for case in document["cases"]] == [2, 0]
    assert document["cases"][1]["failed"].startswith("ChildFailed: it ended with 3 (test_bench.py:")
    said = capsys.readouterr()
    assert "peer: failed: ChildFailed: it ended with 3" in said.out
    assert said.err.count("peer …") == 1


def test_a_case_that_cannot_run_here_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Sample:
        raise Unavailable("no network")

    cases = [Case("casparian", "casparian", _works), Case("peer", "peer", absent)]
    status, (document,) = _told(tmp_path, monkeypatch, _row("alone", lambda: cases))

    assert status == 0
    assert document["cases"][1] == {"name": "peer", "kind": "peer", "differs": "", "unavailable": "no network"}


# --- measured programs


CONVERTERS_THAT_ENDED = """
import os, sys
from pathlib import Path
from bench.programs.plain_python import all_of, spawn

started = []

def start(source, target):
    for pid in started[-1:]:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended and nobody has been told
    pid = spawn(source, target)
    started.append(pid)
    return pid

inputs, out = map(Path, sys.argv[1:])
all_of(sorted(inputs.iterdir()), out, start)
print(len(list(out.iterdir())))
"""


def test_a_converter_that_ended_before_the_next_began_is_still_waited_for(tmp_path: Path) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    out.mkdir()
    for number in range(3):
        (inputs / f"{number}.csv").write_text("id,word\n1,left\n")
    command = [sys.executable, "-c", CONVERTERS_THAT_ENDED, str(inputs), str(out)]
    done = subprocess.run(command, env=own_environment(), cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_program_that_ends_badly_is_told_with_its_last_words() -> None:
    with pytest.raises(ChildFailed, match=r"^bench.programs.plain_python ended with 1: KeyError: 'way'$"):
        run_own("bench.programs.plain_python", {})


def test_a_case_that_finds_other_rows_than_there_are_is_not_counted() -> None:
    require_counts({"valid": 9, "bad": 1}, valid=9, bad=1)
    with pytest.raises(ChildFailed, match="found 8 valid and 1 bad rows where there are 9 and 1"):
        require_counts({"valid": 8, "bad": 1}, valid=9, bad=1)
