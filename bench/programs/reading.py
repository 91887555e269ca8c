"""A measured program: how fast a reader reads a clean file into record batches on one core, and that memory stays flat.

Arguments: `{"reader", "path", "bytes"}`; answers with seconds, records and rejected records. `pyarrow` is pyarrow.csv alone, all
columns as text, without lines and offsets. With `endless` instead of a path, the reader gets that many bytes of generated input
from a stream: records without end, or a file with one record of that size (`kind`).
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv

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


class Endless(NamedTuple):
    """Generated input for one reader: records without end, or a record of any size between two short ones."""

    reader: str
    options: dict[str, Any]
    head: bytes
    record: bytes
    #: What stands around a long record.
    around: tuple[bytes, bytes]
    tail: bytes = b""
    #: What the long record consists of.
    filler: bytes = b"x"
    #: The records and rejected records of a file with a long one.
    expected: tuple[int, int] = (2, 1)


_TRADE = b"1000001,500,12.345,1.2345,2024-05-01,2024-05-01T12:00:00Z,BUY,AC-000001\n"
_ENTRY = b"2024-05-01 12:00:00 ERROR it failed\n  at one line\n  at another line\n"
_ORDER = b'<o id="1000001"><side>BUY</side><qty>500</qty></o>\n'
_FLAT = b'{"id": 1000001, "side": "BUY", "price": 12.50}'
_ISA = (
    b"ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240101*1200*^*00501*000000001*0*P*:~"
    b"GS*PO*S*R*20240101*1200*1*X*005010~ST*850*0001~"
)
_MSH = b"MSH|^~\\&|A|B|C|D|2024||ORU^R01|1|P|2.5\r"
_IEA = b"SE*5*0001~GE*1*1~IEA*1*000000001~"
#: What is read endlessly → how.
ENDLESS: dict[str, Endless] = {
    "csv": Endless("read_csv", {}, (",".join(_COLUMNS) + "\n").encode(), _TRADE, (b"", b"\n")),
    "csv, a quoted cell": Endless("read_csv", {}, b"a,b\n", b'1,"x"\n', (b'2,"', b'"\n')),
    "lines": Endless("read_lines", {}, b"", _TRADE, (b"", b"\n")),
    "records, one line": Endless("read_records", {"start": "[0-9]{4}-"}, b"", _ENTRY, (b"2024-", b"\n")),
    "records, many lines": Endless(
        "read_records", {"start": "[0-9]{4}-"}, b"", _ENTRY, (b"2024-\n", b"\n"), filler=b"  at a line\n"
    ),
    "JSON lines": Endless("read_jsonl", {}, b"", _FLAT + b"\n", (b'{"id": "', b'"}\n')),
    "JSON": Endless("read_json", {}, b"[\n", _FLAT + b",\n", (b'{"id": "', b'"},\n'), b'{"id": 2}]', expected=(3, 1)),
    "JSON, nested": Endless(
        "read_json", {}, b"[\n", _FLAT + b",\n", (b'{"id": [', b'{}]},\n'), b'{"id": 2}]', b'{"x": [1, "y"]},', (3, 1)
    ),
    "XML": Endless("read_xml", {"element": "o"}, b"<r>\n", _ORDER, (b"<o>", b"</o>\n"), b"</r>"),
    "XML, an attribute": Endless("read_xml", {"element": "o"}, b"<r>\n", _ORDER, (b'<o a="', b'"/>\n'), b"</r>", expected=(1, 1)),
    "HL7": Endless("read_segments", {"format": "hl7"}, _MSH, b"NTE|1||text\r", (b"NTE|2||", b"\r"), expected=(3, 1)),
    "X12": Endless("read_segments", {"format": "x12"}, _ISA, b"N3*1 Main Street~", (b"N3*", b"~"), _IEA, expected=(8, 1)),
    "fixed width": Endless(
        "read_fixed_width", {"fields": {"a": (0, 10), "b": (10, 19)}}, b"", b"0123456789012345678\n", (b"", b"\n")
    ),
}  # fmt: skip


def read_endless(name: str, kind: str, size: int, **more: Any) -> dict[str, Any]:
    """Read generated input: `records`, or `long` with a record of `size` bytes between two short ones. `more` are options."""
    what = ENDLESS[name]
    if kind == "records":
        stream = Generated(what.head, what.record * (1_000_000 // len(what.record)), size, what.tail)
    else:
        head = what.head + what.record + what.around[0]
        tail = what.around[1] + what.record + what.tail
        stream = Generated(head, what.filler * ((1 << 20) // len(what.filler)), size, tail)
    read = reader(what.reader)
    answer = _counted(lambda: read(io.BufferedReader(stream, 1 << 20), **what.options, **more))
    if kind == "long" and (answer["records"], answer["rejected"]) != what.expected:
        answer["unexpected"] = (
            f"{answer['records']} records and {answer['rejected']} rejected ones, not {what.expected}"
        )
    return answer


def _counted(start: Callable[[], Any]) -> dict[str, Any]:
    with quietly():
        took = Clock()
        made = start()
        records = sum(batch.num_rows for batch in made.batches())
        return {**took.times(), "records": records, "rejected": made.rejected.count}


def answer_to(given: dict[str, Any]) -> dict[str, Any]:
    if "endless" in given:
        return read_endless(given["endless"], given["kind"], given["bytes"])
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
