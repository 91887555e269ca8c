"""Row 8: CSV files, one bad row in a hundred, to typed Parquet and quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.children import run_peer
from bench.data.parsers import WITH_PYARROW, WITH_READ_CSV, write_trades_parser
from bench.data.trades import write_files
from bench.plan import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.rows.agreement import require_counts

_RATE, _MEMORY = "rate", "memory"


def prepare(setting: Setting) -> Sequence[Case]:
    files, rows = setting.sizes["files"], setting.sizes["rows"]
    inputs = setting.scratch / "csv"
    bad = write_files(inputs, files, rows, seed=8)
    shell = setting.scratch / "parsers"
    with_read_csv = write_trades_parser(shell / "read_csv", WITH_READ_CSV)
    with_pyarrow = write_trades_parser(shell / "pyarrow", WITH_PYARROW)

    def sample(values: dict[str, Any], peak_rss_mib: float) -> Sample:
        require_counts(values, valid=files * rows - bad, bad=bad)
        return Sample({_RATE: files * rows / values["seconds"] / 1e6, _MEMORY: peak_rss_mib}, values)

    def ours(parser: Path) -> Sample:
        from bench.system.files import process

        values = process(Path(mkdtemp(dir=setting.scratch)), parser, "trades", inputs, "trades")
        return sample(values, values["worker_peak_rss_mib"])

    def polars(is_synced: bool) -> Sample:
        python = setting.peers.require("polars")
        out = Path(mkdtemp(dir=setting.scratch)) / "out"
        paths = [str(path) for path in sorted(inputs.iterdir())]
        given = {"way": "files", "files": paths, "out": str(out), "is_synced": is_synced}
        answer = run_peer(python, "bench.peers.polars_trades", given)
        return sample(answer.values, answer.peak_rss_bytes / 2**20)

    differs = "both cores; no isolation, lineage, accounting or commit; the first reason of a row"
    return [
        Case("casparian", "casparian", lambda: ours(with_read_csv), "the parser yields the rows of the SDK's read_csv"),
        Case("casparian, pyarrow parser", "casparian", lambda: ours(with_pyarrow), "the parser yields Arrow batches"),
        Case("polars file by file", "peer", lambda: polars(False), f"{differs}; nothing is synced"),
        Case("polars, synced", "peer", lambda: polars(True), f"{differs}; each file is synced"),
    ]


BENCHMARK = Benchmark(
    name="end-to-end",
    row=8,
    title="CSV files with 1 % bad rows → typed Parquet, quarantine, lineage, isolated and committed, 2 workers",
    figures=[
        Figure(_RATE, "M rows/s", is_higher_better=True, digits=2),
        Figure(_MEMORY, "MiB peak of a worker", is_higher_better=False),
    ],
    sizes=[Size("--files", 20, "CSV files"), Size("--rows", 50_000, "rows of a file")],
    prepare=prepare,
    targets=[
        Target(
            "at least 0.8 times polars file by file",
            _RATE,
            at_least=0.8,
            against="polars file by file",
            case="casparian, pyarrow parser",
        ),
        Target(
            "the same with the SDK's read_csv", _RATE, at_least=0.8, against="polars file by file", case="casparian"
        ),
        Target("a worker peaks at 300 MiB at most", _MEMORY, at_most=300, case="casparian, pyarrow parser"),
    ],
    notes=[
        "casparian: from the request that queues the files until no job is open; daemon and workers run already, files "
        "are scanned already.",
    ],
)
