"""Row 5: the whole life of a tiny file: a fresh isolated process, a contract, Parquet, syncs, a commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.children import run_own
from bench.data.parsers import write_tiny_files, write_tiny_parser
from bench.plan import Benchmark, Case, Figure, Sample, Setting, Size, Target

_RATE = "rate"


def prepare(setting: Setting) -> Sequence[Case]:
    files, peer_files = setting.sizes["files"], setting.sizes["peer_files"]
    inputs = setting.scratch / "tiny"
    write_tiny_files(inputs, files)
    parser = write_tiny_parser(setting.scratch / "parser")

    def ours() -> Sample:
        from bench.system.files import process

        values = process(Path(mkdtemp(dir=setting.scratch)), parser, "tiny", inputs, "tiny")
        return _sample(files, values)

    def others(way: str, count: int) -> Sample:
        given = {"way": way, "inputs": str(inputs), "out": mkdtemp(dir=setting.scratch), "files": count}
        return _sample(count, run_own("bench.peers.tiny_files", given).values)

    return [
        Case("casparian", "casparian", ours),
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


def _sample(files: int, values: dict[str, Any]) -> Sample:
    if values["valid"] != 2 * files:
        raise RuntimeError(f"{values['valid']} rows where there are {2 * files}")
    return Sample({_RATE: files / values["seconds"]}, values)


BENCHMARK = Benchmark(
    name="tiny-files",
    row=5,
    title="tiny files, whole life: fresh process, contract, Parquet, fsync, commit; 2 workers",
    figures=[Figure(_RATE, "files/s", is_higher_better=True, digits=1)],
    sizes=[Size("--files", 400, "files"), Size("--peer-files", 40, "files for the process a file")],
    prepare=prepare,
    targets=[
        Target("at least 200 files/s", _RATE, at_least=200),
        Target("faster than a process a file", _RATE, at_least=1.0, against="best peer"),
    ],
    notes=["casparian: from the request that queues the files until no job is open; they are scanned already."],
)
