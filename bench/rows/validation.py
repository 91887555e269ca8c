"""Row 7: validation of nine text columns on one core, one bad row in a hundred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.children import Answer, require_counts, run_own, run_peer
from bench.data import write_arrow
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target

_RATE, _OF_CPU = "rate", "of CPU time"
_FIRST_REASON = "keeps the first reason of a row, not all; keeps no source line"


def _prepare(setting: Setting) -> Sequence[Case]:
    rows = setting.sizes["rows"]
    same, distinct = setting.scratch / "same.arrow", setting.scratch / "distinct.arrow"
    bad = write_arrow(same, rows, seed=7, is_distinct=False)
    write_arrow(distinct, rows, seed=7, is_distinct=True)
    more_bad = [_MoreBad(setting.scratch, rows // 10, percent) for percent in (10, 100)]

    def ours(path: Path) -> Answer:
        return run_own("bench.programs.validation", {"way": "casparian", "path": str(path)})

    def polars() -> Answer:
        python = setting.peers.require("polars")
        return run_peer(python, "bench.programs.polars_trades", {"way": "memory", "path": str(same), "threads": 1})

    def pandera() -> Answer:
        python = setting.peers.require("polars", "pandera[polars]")
        return run_peer(python, "bench.programs.polars_trades", {"way": "pandera", "path": str(same), "threads": 1})

    def duckdb() -> Answer:
        return run_own("bench.programs.validation", {"way": "duckdb", "path": str(same)})

    def bare() -> Answer:
        return run_own("bench.programs.validation", {"way": "pyarrow", "path": str(same)})

    sample = partial(_sample, rows, bad)
    return [
        Case("casparian", "casparian", lambda: sample(lambda: ours(same))),
        Case("casparian, distinct bad values", "casparian", lambda: sample(lambda: ours(distinct))),
        *(Case(each.name, "casparian", partial(each.sample, ours), "not judged by the target") for each in more_bad),
        Case("polars", "peer", lambda: sample(polars), f"{_FIRST_REASON}; a pattern guards the decimal"),
        Case("duckdb TRY_CAST", "peer", lambda: sample(duckdb), f"{_FIRST_REASON}; a pattern guards the decimal"),
        Case("pandera[polars]", "peer", lambda: sample(pandera), "checks dates and times by pattern only"),
        Case("pyarrow casts", "bare", lambda: _sample(rows, 0, bare, bad), "clean rows only, nothing checked"),
    ]


class _MoreBad:
    """A table with more bad rows, all of them distinct: what a row in quarantine costs."""

    def __init__(self, scratch: Path, rows: int, percent: int) -> None:
        self.name = f"casparian, {percent} % bad rows"
        self._rows = rows
        self._path = scratch / f"bad{percent}.arrow"
        self._bad = write_arrow(self._path, rows, seed=7, is_distinct=True, bad_percent=percent)

    def sample(self, run: Callable[[Path], Answer]) -> Sample:
        return _sample(self._rows, self._bad, lambda: run(self._path))


def _sample(rows: int, bad: int, run: Callable[[], Answer], left_out: int = 0) -> Sample:
    answer = run()
    require_counts(answer.values, valid=rows - bad - left_out, bad=bad)
    million_rows = (rows - left_out) / 1e6
    facts = {"peak_rss_mib": round(answer.peak_rss_bytes / 2**20), **answer.values}
    figures = {
        _RATE: million_rows / answer.values["seconds"],
        _OF_CPU: million_rows / answer.values["cpu_seconds"],
    }
    return Sample(figures, facts)


VALIDATION = Benchmark(
    name="validation",
    row=7,
    title="validation of 9 text columns, 1 % bad rows, one core",
    figures=[
        Figure(_RATE, "M rows/s", is_higher_better=True, digits=2),
        Figure(_OF_CPU, "M rows/s", is_higher_better=True, digits=2),
    ],
    sizes=[Size("--rows", 2_000_000, "rows of the table")],
    prepare=_prepare,
    targets=[
        Target("at least 3 M rows/s a core", _RATE, at_least=3.0),
        Target(
            "at least 2 M rows/s with distinct bad values",
            _RATE,
            at_least=2.0,
            case="casparian, distinct bad values",
        ),
        Target("faster than the best peer on one core", _RATE, at_least=1.0, against="best peer"),
    ],
    notes=[
        'All use one thread; "of CPU time" shows it, and is what a busy machine blurs least.',
        "All start from text columns in memory and end with typed good rows and bad rows with a reason, in memory.",
    ],
)
