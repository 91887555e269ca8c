"""Tells what was measured: a table for people, a map for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.measure import Outcome, Verdict, as_map, judge, ratios
from bench.plan import Benchmark, Figure, Setting

FORMAT = 1


def document(
    benchmark: Benchmark, setting: Setting, outcomes: Sequence[Outcome], runs: int, surroundings: dict[str, Any]
) -> dict[str, Any]:
    """Everything, for `--json`."""
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
    """The table, the targets, and what is not alike."""
    ratio_of = ratios(benchmark, outcomes)
    table = Table(title=f"row {benchmark.row}: {benchmark.title}", title_justify="left")
    table.add_column("case")
    for figure in benchmark.figures:
        table.add_column(f"{figure.name}, {figure.unit}", justify="right")
    table.add_column("casparian is", justify="right")
    for outcome in outcomes:
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
