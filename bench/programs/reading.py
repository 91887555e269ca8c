"""A measured program: how fast a reader reads a clean file into record batches on one core, and that memory stays flat.

Arguments: `{"reader", "path", "bytes"}`; answers with seconds, records and rejected records. `pyarrow` is pyarrow.csv alone, all
columns as text, without lines and offsets. With `endless` instead of a path, the reader gets that many bytes of generated input
from a stream: records without end, or a file with one line of that size.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

import casparian_shim
from bench.damage.own import quietly, reader

_COLUMNS = ("id", "qty", "price", "amount", "day", "ts", "side", "acct")
#: Reader → its options on the files that `bench.rows.readers` writes.
OPTIONS: dict[str, dict[str, Any]] = {
    "read_csv": {"offsets": True},
    "read_lines": {},  # its rows have the offset anyway
    "read_jsonl": {"offsets": True},
    "read_segments": {"format": "hl7", "offsets": True},
    "read_fixed_width": {
        "fields": {f"field_{place}": (place * 10, place * 10 + 10) for place in range(10)},
        "unit": "bytes",
        "offsets": True,
    },
}


class Clock:
    """Seconds since it was made, of the clock on the wall and of processors, all threads together."""

    def __init__(self) -> None:
        self._began, self._began_cpu = time.perf_counter(), time.process_time()

    def times(self) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self._began, time.process_time() - self._began_cpu
        return {"seconds": wall, "cpu_seconds": cpu}


class Generated(io.RawIOBase):
    """A stream of a head, one block again and again, and a tail."""

    def __init__(self, head: bytes, block: bytes, size: int, tail: bytes = b"") -> None:
        self._pieces = self._made(head, block, size, tail)
        self._rest = memoryview(b"")

    @staticmethod
    def _made(head: bytes, block: bytes, size: int, tail: bytes) -> Iterator[bytes]:
        yield head
        for _ in range(max(1, size // len(block))):
            yield block
        if tail:
            yield tail

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def read_whole(name: str, path: str) -> dict[str, Any]:
    """Read a file by its reader, with lines and offsets, in record batches."""
    return _counted(lambda: reader(name)(path, **OPTIONS[name]))


def read_pyarrow(path: str) -> dict[str, Any]:
    options = pyarrow.csv.ReadOptions(use_threads=False, block_size=1 << 20)
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string()))
    took = Clock()
    batches = pyarrow.csv.open_csv(path, read_options=options, convert_options=convert)
    records = sum(batch.num_rows for batch in batches)
    return {**took.times(), "records": records, "rejected": 0}


def read_endless(kind: str, size: int) -> dict[str, Any]:
    """Read generated input with read_csv: `records`, or `line` with a line of `size` bytes between two short ones."""
    line = b"1000001,500,12.345,1.2345,2024-05-01,2024-05-01T12:00:00Z,BUY,AC-000001\n"
    head = (",".join(_COLUMNS) + "\n").encode()
    if kind == "records":
        stream = Generated(head, line * 14_000, size)
    else:
        stream = Generated(head + line, b"x" * (1 << 20), size, b"\n" + line)
    return _counted(lambda: casparian_shim.read_csv(io.BufferedReader(stream, 1 << 20)))


def _counted(start: Callable[[], Any]) -> dict[str, Any]:
    with quietly():
        took = Clock()
        made = start()
        records = sum(batch.num_rows for batch in made.batches())
        return {**took.times(), "records": records, "rejected": made.rejected.count}


def answer_to(given: dict[str, Any]) -> dict[str, Any]:
    if "endless" in given:
        return read_endless(given["endless"], given["bytes"])
    if given["reader"] == "pyarrow":
        return read_pyarrow(given["path"])
    return read_whole(given["reader"], given["path"])


def main() -> None:
    given = json.loads(sys.argv[1])
    pa.set_cpu_count(1)
    try:
        answer = answer_to(given)
    except NotImplementedError as missing:
        answer = {"unavailable": str(missing)}
    print(json.dumps({**answer, "peak_rss_bytes": peak_rss_bytes()}))


def peak_rss_bytes() -> int:
    """The peak of this program alone; the kernel's usage of a child begins with its parent's peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
