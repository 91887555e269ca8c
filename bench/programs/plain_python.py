"""A measured program as one would write it by hand: a process or a fork for each tiny file, a dict for each FIX message.

`{"way": "process" | "fork", "inputs", "out", "files"}`: two files at a time; each is read, cast and written as Parquet under a
temporary name, synced, renamed, and its directory synced. `{"way": "fix", "files", "processes"}`: a dict of tags for every line;
the files are distributed to the processes, and nothing is typed, checked or kept.
"""

from __future__ import annotations

import json
import multiprocessing
import os
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
    """Start a process and return its id. `Popen` is not used, because it reaps dropped children, which `os.wait` would then
    miss."""
    arguments = [sys.executable, "-m", "bench.programs.plain_python", json.dumps([str(source), str(target)])]
    return os.posix_spawn(sys.executable, arguments, os.environ)


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
    """Run all, two at a time; an exit status other than 0 ends the program."""
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


def tiny_files(way: str, inputs: Path, out: Path, files: int) -> dict[str, float]:
    import pyarrow.parquet

    sources = sorted(inputs.iterdir())[:files]
    if way == "fork":
        convert(sources[0], out / "warm.parquet")
        (out / "warm.parquet").unlink()
    began = time.perf_counter()
    all_of(sources, out, fork if way == "fork" else spawn)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "valid": sum(pyarrow.parquet.read_metadata(path).num_rows for path in out.iterdir())}


def read(path: str) -> int:
    """The number of lines with a message type."""
    found = 0
    with open(path, "rb") as log:
        for line in log:
            tags = dict(field.split(b"=", 1) for field in line.rstrip(b"\x01\n").split(b"\x01"))
            found += b"35" in tags
    return found


def fix_dicts(paths: list[str], processes: int) -> dict[str, float]:
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        pool.map(read, [])
        began = time.perf_counter()
        found = sum(pool.imap_unordered(read, paths))
        return {"seconds": time.perf_counter() - began, "valid": found}


def main() -> None:
    given = json.loads(sys.argv[1])
    if isinstance(given, list):  # one converter of many
        convert(Path(given[0]), Path(given[1]))
    elif given["way"] == "fix":
        print(json.dumps(fix_dicts(given["files"], given["processes"])))
    else:
        print(json.dumps(tiny_files(given["way"], Path(given["inputs"]), Path(given["out"]), given["files"])))


if __name__ == "__main__":
    main()
