"""Tells what was measured and on what machine: a table for people, a map for programs.

The machine's facts are those that a figure depends on and cannot say itself: cores, versions, the disk, and who else was busy.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.measure import Benchmark, Figure, Outcome, Setting, Verdict, as_map, judge, ratios

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


# --- the machine ---


_PACKAGES = ("casparian", "pyarrow", "duckdb", "pyzmq", "uvloop", "msgpack", "pydantic", "blake3")
_SYNCS = 200


def facts(directory: Path) -> dict[str, Any]:
    """Measured where the benchmark writes."""
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
    """Of the last minute: above the benchmark's own share, somebody else was working too."""
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
