"""The definition of a benchmark, its medians, ratios and verdicts, and the report.

A benchmark has figures, sizes, cases and targets; each case is a way of doing the same work. Cases take turns (a, b, c, a, b, c),
so that other load on the machine affects them equally. A case that fails loses only its own samples. The report includes facts
about the machine, which are needed to interpret the figures.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.children import PeerEnvironment, Unavailable

Kind = Literal["casparian", "peer", "bare"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of every sample. Ratios are computed from the first figure of a benchmark."""

    name: str
    unit: str
    is_higher_better: bool
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one run of one case: figures by name, and facts that explain them."""

    figures: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One way of doing the work. `differs` says how the work differs from casparian's."""

    name: str
    kind: Kind
    run: Callable[[], Sample]
    differs: str = ""
    #: Cases are only compared with cases of the same work.
    work: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What casparian's case should reach: a value of a figure, or a ratio to another case of the same run."""

    text: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None
    #: The case that the figure is divided by; "best peer" is the fastest peer. None: the value itself.
    against: str | None = None
    case: str = "casparian"


@dataclass(frozen=True, slots=True)
class Size:
    """An option for the amount of work."""

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
    #: A function that makes inputs and returns the cases; called once.
    prepare: Callable[[Setting], Sequence[Case]]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    #: A function that draws the JSON document as an SVG.
    plot: Callable[[dict[str, Any]], str] | None = None


# --- running and comparing --


BEST_PEER = "best peer"


@dataclass(slots=True)
class Outcome:
    """All samples of one case, or why there are none."""

    case: Case
    samples: list[Sample] = field(default_factory=list)
    unavailable: str = ""
    #: The error of its last run; it is not run again.
    failed: str = ""

    def median(self, figure: str) -> float | None:
        values = [sample.figures[figure] for sample in self.samples if figure in sample.figures]
        return statistics.median(values) if values else None

    def spread(self, figure: str) -> tuple[float, float]:
        values = [sample.figures[figure] for sample in self.samples if figure in sample.figures]
        return min(values), max(values)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a target; `value` is None if it could not be computed."""

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
    """All samples of all cases. The outcome of a case that fails or cannot run has the reason."""
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
    """One line for a report: the error, and its place in the code."""
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{type(problem).__name__}: {problem} ({Path(last.filename).name}:{last.lineno})"


def ratios(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """How many times better casparian's first case is than each other case of the same work, by the first figure of both."""
    found = {}
    for work in dict.fromkeys(outcome.case.work for outcome in outcomes):
        alike = [outcome for outcome in outcomes if outcome.case.work == work]
        ours = next(outcome for outcome in alike if outcome.case.kind == "casparian")
        figure = next((each for each in benchmark.figures if ours.median(each.name) is not None), benchmark.figures[0])
        for other in alike:
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
    alike = [outcome for outcome in outcomes if outcome.case.work == ours.case.work]
    other = best_peer(alike, figure) if target.against == BEST_PEER else _named(outcomes, target.against)
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
    if case.work:
        found["work"] = case.work
    if outcome.unavailable:
        return {**found, "unavailable": outcome.unavailable}
    if outcome.failed:
        found["failed"] = outcome.failed
    found["median"] = {figure.name: outcome.median(figure.name) for figure in figures}
    found["samples"] = [{"figures": dict(sample.figures), "facts": dict(sample.facts)} for sample in outcome.samples]
    return found


FORMAT = 1


def document(
    benchmark: Benchmark, setting: Setting, outcomes: Sequence[Outcome], runs: int, surroundings: dict[str, Any]
) -> dict[str, Any]:
    """The whole report, for `--json`."""
    return {
        "format": FORMAT,
        "benchmark": benchmark.name,
        "row": benchmark.row,
        "title": benchmark.title,
        "sizes": dict(setting.sizes),
        "runs": runs,
        **surroundings,
        "figures": [
            {"name": f.name, "unit": f.unit, "is_higher_better": f.is_higher_better} for f in benchmark.figures
        ],
        "cases": [as_map(outcome, benchmark.figures) for outcome in outcomes],
        "casparian_times_better_than": ratios(benchmark, outcomes),
        "targets": [
            {"text": v.target.text, "value": v.value, "against": v.against, "verdict": v.word}
            for v in judge(benchmark, outcomes)
        ],
        "notes": list(benchmark.notes),
    }


def show(console: Console, benchmark: Benchmark, outcomes: Sequence[Outcome], surroundings: dict[str, Any]) -> None:
    """Print the table, the targets and the differences of the cases."""
    ratio_of = ratios(benchmark, outcomes)
    table = Table(title=f"row {benchmark.row}: {benchmark.title}", title_justify="left")
    table.add_column("case")
    for figure in benchmark.figures:
        table.add_column(f"{figure.name}, {figure.unit}", justify="right")
    table.add_column("casparian is", justify="right")
    for before, outcome in zip([None, *outcomes], outcomes, strict=False):
        if before is not None and before.case.work != outcome.case.work:
            table.add_section()
        ratio = ratio_of.get(outcome.case.name)
        cells = [_cell(outcome, figure) for figure in benchmark.figures]
        name = Text(f"{outcome.case.name} ({outcome.case.kind})")
        table.add_row(name, *cells, "" if ratio is None else f"{ratio:.2f}×")
    console.print(table)
    for verdict in judge(benchmark, outcomes):
        console.print(f"target: {verdict.target.text}: {_value(verdict)}{verdict.word}")
    for outcome in outcomes:
        if outcome.unavailable:
            console.print(f"{outcome.case.name}: not measured: {outcome.unavailable}")
        elif outcome.failed:
            console.print(f"{outcome.case.name}: failed: {outcome.failed}")
        elif outcome.case.differs:
            console.print(f"{outcome.case.name}: {outcome.case.differs}")
    for note in benchmark.notes:
        console.print(f"note: {note}")
    machine = surroundings["machine"]
    console.print(
        f"{machine['cores']} cores, {machine['processor']}, Python {machine['python']}, fdatasync "
        f"{machine['fdatasync_milliseconds']} ms; load before {surroundings['load_before']}"
    )


def _cell(outcome: Outcome, figure: Figure) -> str:
    median = outcome.median(figure.name)
    if median is None:
        return "–"
    lowest, highest = outcome.spread(figure.name)
    text = f"{median:,.{figure.digits}f}"
    return text if len(outcome.samples) == 1 else f"{text} ({lowest:,.{figure.digits}f}..{highest:,.{figure.digits}f})"


def _value(verdict: Verdict) -> str:
    if verdict.value is None:
        return ""
    return f"{verdict.value:,.2f}{f'× {verdict.against}' if verdict.against else ''}, "


# --- the machine ------------------------------------------------------------------------------------------------------


_PACKAGES = ("casparian", "pyarrow", "duckdb", "pyzmq", "uvloop", "msgpack", "pydantic", "blake3")
_SYNCS = 200


def facts(directory: Path) -> dict[str, Any]:
    """Facts about the machine; the disk is measured where the benchmark writes."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "fdatasync_milliseconds": fdatasync_milliseconds(directory),
    }


def load_average() -> float:
    """The load average of the last minute. If it is above the benchmark's own share, other programs ran too."""
    return round(os.getloadavg()[0], 2)


def fdatasync_milliseconds(directory: Path) -> float:
    """Median of appending 200 bytes to a preallocated file and syncing it."""
    path = directory / "fdatasync.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    took: list[float] = []
    try:
        os.write(descriptor, bytes(1 << 20))
        os.fsync(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.write(descriptor, b"x" * 200)
            os.fdatasync(descriptor)
            took.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return round(statistics.median(took) * 1000, 3)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
