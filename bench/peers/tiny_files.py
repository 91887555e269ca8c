"""Tiny files without casparian: a Python process for each, or a fork of a warm one for each. A measured program.

Arguments: `{"way": "process" | "fork", "inputs", "out", "files"}`. Two at a time. Each reads its file, casts, writes Parquet
beside a temporary name, syncs, renames, syncs the directory: what somebody careful would write by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_AT_ONCE = 2


def convert(source: Path, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    types = {"id": pa.int64(), "word": pa.string()}
    table = pyarrow.csv.read_csv(source, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    aside = target.with_suffix(".new")
    with aside.open("wb") as file:
        pyarrow.parquet.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def spawn(source: Path, target: Path) -> int:
    command = [sys.executable, "-m", "bench.peers.tiny_files", json.dumps([str(source), str(target)])]
    return subprocess.Popen(command).pid


def fork(source: Path, target: Path) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            convert(source, target)
            status = 0
        finally:
            os._exit(status)
    return pid


def all_of(sources: list[Path], out: Path, start: Callable[[Path, Path], int]) -> None:
    """Start, two at a time, and wait; an end other than 0 ends everything."""
    running = 0
    for source in sources:
        if running == _AT_ONCE:
            _wait()
            running -= 1
        start(source, out / f"{source.stem}.parquet")
        running += 1
    for _ in range(running):
        _wait()


def _wait() -> None:
    _pid, status = os.wait()
    if status != 0:
        raise RuntimeError(f"a converter ended with {os.waitstatus_to_exitcode(status)}")


def main() -> None:
    given = json.loads(sys.argv[1])
    if isinstance(given, list):
        convert(Path(given[0]), Path(given[1]))
        return
    import pyarrow.parquet

    out = Path(given["out"])
    sources = sorted(Path(given["inputs"]).iterdir())[: given["files"]]
    if given["way"] == "fork":
        convert(sources[0], out / "warm.parquet")
        (out / "warm.parquet").unlink()
    began = time.perf_counter()
    all_of(sources, out, fork if given["way"] == "fork" else spawn)
    seconds = time.perf_counter() - began
    rows = sum(pyarrow.parquet.read_metadata(path).num_rows for path in out.iterdir())
    print(json.dumps({"seconds": seconds, "valid": rows}))


if __name__ == "__main__":
    main()
