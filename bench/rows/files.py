"""Rows 5, 8 and 9: files through a real casparian, from registered parser to published Parquet, compared with hand-written
programs.

The clock runs from the request that queues the files to the event that ends the last job, by the log's times. Starting the
daemon, registering and scanning come before it. Rows are counted in the projection afterwards.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.children import ROOT, require_counts, run_own, run_peer
from bench.data import (
    WITH_PYARROW,
    WITH_READ_CSV,
    write_files,
    write_tiny_files,
    write_tiny_parser,
    write_trades_parser,
)
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.world import (
    casparian,
    cpu_seconds,
    cpu_seconds_of,
    daemon,
    descendants_cpu_seconds_of,
    new_home,
    peak_rss_bytes,
    register,
    wait_until_idle,
)
from casparian.demo.fix_logs import write_big_log
from casparian_protocol.client import Client
from casparian_protocol.home import Home

WORKERS = 2
_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 600.0
_TOTALS = """
select count(*), coalesce(sum(rows_valid), 0)::bigint, coalesce(sum(quarantine_rows), 0)::bigint,
    epoch_us(max(end_time))
from cf_processing_queue where status in ('COMPLETED', 'PARTIAL_SUCCESS')
"""
_RATE, _MEMORY = "rate", "memory"


def process(scratch: Path, parser: Path, name: str, inputs: Path, tag: str, settings: str = "") -> dict[str, Any]:
    """The seconds and counts of one run in a new home, which is removed."""
    home = new_home(scratch / "home", settings)
    try:
        with daemon(home, WORKERS) as client:
            register(client, home, parser, name)
            casparian(home, ["scan", str(inputs), "--tag", tag])
            pids = _wait_for_workers(client)
            spent = _cpu_seconds(home, pids)
            began_at = time.time()
            queued = client.request("queue", {"parser": name}, timeout_seconds=_PATIENCE_SECONDS)
            wait_until_idle(client, _LOOK_SECONDS)
            totals = _totals(client)
            answer = {
                "seconds": totals.pop("ended_at") / 1e6 - began_at,
                "queued": int(queued["queued"]),
                "worker_peak_rss_mib": round(max(map(peak_rss_bytes, pids)) / 2**20),
                "cpu_seconds": {key: round(value - spent[key], 2) for key, value in _cpu_seconds(home, pids).items()},
                "sandbox": client.request("status")["workers"][0]["sandbox"],
                **totals,
            }
    finally:
        shutil.rmtree(scratch)
    if answer["jobs"] != answer["queued"]:
        raise RuntimeError(f"{answer['jobs']} of {answer['queued']} jobs were completed")
    return answer


def _cpu_seconds(home: Home, workers: list[int]) -> dict[str, float]:
    """The CPU seconds of each kind of process; guests with the processes that fork them."""
    return {
        **cpu_seconds(home),
        "workers": sum(map(cpu_seconds_of, workers)),
        "guests": sum(map(descendants_cpu_seconds_of, workers)),
    }


def _wait_for_workers(client: Client) -> list[int]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        workers = client.request("status")["workers"]
        if len(workers) == WORKERS:
            return [worker["pid"] for worker in workers]
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError("the workers did not join")


def _totals(client: Client) -> dict[str, int]:
    seq = int(client.request("ping")["seq"])
    jobs, valid, bad, ended_at = client.query(_TOTALS, at_least_seq=seq).rows[0]
    return {"jobs": jobs, "valid": valid, "bad": bad, "ended_at": ended_at}


# --- row 5: tiny files ------------------------------------------------------------------------------------------------


def _prepare_tiny_files(setting: Setting) -> Sequence[Case]:
    files, peer_files = setting.sizes["files"], setting.sizes["peer_files"]
    inputs, few = setting.scratch / "tiny", setting.scratch / "few"
    write_tiny_files(inputs, files)
    write_tiny_files(few, peer_files)
    parser = write_tiny_parser(setting.scratch / "parser")

    def ours(folder: Path, count: int, settings: str = "") -> Sample:
        return _tiny_sample(
            count, process(Path(mkdtemp(dir=setting.scratch)), parser, "tiny", folder, "tiny", settings)
        )

    def others(way: str, count: int) -> Sample:
        given = {"way": way, "inputs": str(inputs), "out": mkdtemp(dir=setting.scratch), "files": count}
        return _tiny_sample(count, run_own("bench.programs.plain_python", given).values)

    return [
        Case("casparian", "casparian", lambda: ours(inputs, files)),
        Case(
            "casparian, cold guests",
            "casparian",
            lambda: ours(few, peer_files, "[warm]\nenabled = false\n"),
            "a new interpreter for each file: `warm.enabled = false`",
        ),
        Case(
            "process a file, pyarrow",
            "peer",
            lambda: others("process", peer_files),
            "two at a time; no contract beyond a cast, no lineage, no record; Parquet and its directory synced",
        ),
        Case(
            "fork from a warm process",
            "bare",
            lambda: others("fork", files),
            "two at a time; pyarrow imported before the fork; no record; Parquet and its directory synced",
        ),
    ]


def _tiny_sample(files: int, values: dict[str, Any]) -> Sample:
    if values["valid"] != 2 * files:
        raise RuntimeError(f"{values['valid']} rows where there are {2 * files}")
    return Sample({_RATE: files / values["seconds"]}, values)


TINY_FILES = Benchmark(
    name="tiny-files",
    row=5,
    title="tiny files, whole life: fresh contained process, contract, Parquet, fsync, commit; 2 workers",
    figures=[Figure(_RATE, "files/s", is_higher_better=True, digits=1)],
    sizes=[Size("--files", 400, "files"), Size("--peer-files", 40, "files for the process a file")],
    prepare=_prepare_tiny_files,
    targets=[
        Target("at least 200 files/s", _RATE, at_least=200),
        Target("at least 0.75 times the bare fork loop", _RATE, at_least=0.75, against="fork from a warm process"),
        Target("faster than a process a file", _RATE, at_least=1.0, against="best peer"),
    ],
    notes=["casparian: from the request that queues the files until no job is open; they are scanned already."],
)


# --- row 8: CSV files -------------------------------------------------------------------------------------------------


def _prepare_end_to_end(setting: Setting) -> Sequence[Case]:
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
        values = process(Path(mkdtemp(dir=setting.scratch)), parser, "trades", inputs, "trades")
        return sample(values, values["worker_peak_rss_mib"])

    def polars(is_synced: bool) -> Sample:
        python = setting.peers.require("polars")
        out = Path(mkdtemp(dir=setting.scratch)) / "out"
        paths = [str(path) for path in sorted(inputs.iterdir())]
        given = {"way": "files", "files": paths, "out": str(out), "is_synced": is_synced}
        answer = run_peer(python, "bench.programs.polars_trades", given)
        return sample(answer.values, answer.peak_rss_bytes / 2**20)

    differs = "both cores; no isolation, lineage, accounting or commit; the first reason of a row"
    return [
        Case("casparian", "casparian", lambda: ours(with_read_csv), "the parser yields the rows of the SDK's read_csv"),
        Case("casparian, pyarrow parser", "casparian", lambda: ours(with_pyarrow), "the parser yields Arrow batches"),
        Case("polars file by file", "peer", lambda: polars(False), f"{differs}; nothing is synced"),
        Case("polars, synced", "peer", lambda: polars(True), f"{differs}; each file is synced"),
    ]


END_TO_END = Benchmark(
    name="end-to-end",
    row=8,
    title="CSV files with 1 % bad rows → typed Parquet, quarantine, lineage, isolated and committed, 2 workers",
    figures=[
        Figure(_RATE, "M rows/s", is_higher_better=True, digits=2),
        Figure(_MEMORY, "MiB peak of a worker", is_higher_better=False),
    ],
    sizes=[Size("--files", 20, "CSV files"), Size("--rows", 50_000, "rows of a file")],
    prepare=_prepare_end_to_end,
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


# --- row 9: FIX logs --------------------------------------------------------------------------------------------------


def _prepare_fix(setting: Setting) -> Sequence[Case]:
    files, messages = setting.sizes["files"], setting.sizes["messages"]
    inputs = setting.scratch / "fix"
    inputs.mkdir()
    for number in range(files):
        write_big_log(inputs / f"venue_{number:03d}.fix", seed=number, messages=messages)

    def sample(values: dict[str, Any]) -> Sample:
        if values["valid"] != files * messages:
            raise RuntimeError(f"{values['valid']} rows where there are {files * messages} messages")
        return Sample({_RATE: files * messages / values["seconds"] / 1e6}, values)

    def ours() -> Sample:
        scratch = Path(mkdtemp(dir=setting.scratch))
        return sample(process(scratch, ROOT / "parsers" / "fix", "fix_parser", inputs, "fix"))

    def plain(processes: int) -> Sample:
        given = {"way": "fix", "files": [str(path) for path in sorted(inputs.iterdir())], "processes": processes}
        return sample(run_own("bench.programs.plain_python", given).values)

    differs = "a dict a message and nothing else: no types, no checksum, no table, nothing is kept"
    return [
        Case("casparian", "casparian", ours, "orders typed, checksums verified, raw message kept, Parquet committed"),
        Case("plain Python dicts, two processes", "peer", lambda: plain(2), differs),
        Case("plain Python dicts, one process", "peer", lambda: plain(1), differs),
    ]


FIX = Benchmark(
    name="fix",
    row=9,
    title="FIX logs through the premade parser, governed, 2 workers",
    figures=[Figure(_RATE, "M messages/s", is_higher_better=True, digits=3)],
    sizes=[Size("--files", 4, "logs"), Size("--messages", 250_000, "messages of a log")],
    prepare=_prepare_fix,
    targets=[
        Target("at least 0.4 M messages/s on two cores", _RATE, at_least=0.4),
        Target(
            "faster than one process of plain Python",
            _RATE,
            at_least=1.0,
            against="plain Python dicts, one process",
        ),
    ],
    notes=["casparian: from the request that queues the files until no job is open; they are scanned already."],
)
