"""The target of the fuzzers: any bytes through any reader. `python -m tests.shim.readers.fuzzing NAME SECONDS CORPUS` fuzzes.

A reader may refuse a file by name (a `CasparianError`). It may not fail in another way, and when it reaches the end, its
account must cover each byte once. What it says may not depend on the size of blocks. The detector may not fail at all. The first
bytes of an input choose the options, so that the fuzzer does too.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from bench.damage import FORMATS, Case, Format, Returned, cases_of, sample
from bench.damage.case import Document
from bench.damage.own import read_with, reader
from casparian_shim import Field, copybook
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers import source

_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1", "cp500", "shift_jis", "gb18030", "utf-32-be")


#: How many bytes choose: three the options, the last one the size of blocks.
CHOICES = 4
_BLOCK_BYTES = (1, 2, 3, 7, 16, 64, 255, 1024)


class Wrong(Exception):
    """What a reader said of an input cannot be."""


class Unusable(CasparianError):
    """The options do not go together."""

    code = ErrorCode.INVALID_DATA


def read_any(name: str, data: bytes) -> None:
    """Read `data` with the reader `name`; raises `Wrong` if what it says is."""
    choice, body = data[:CHOICES].ljust(CHOICES, b"\0"), data[CHOICES:]
    if name in TEXTS:
        TEXTS[name](body)
        return
    options = OPTIONS[name](choice[:3])
    said = _said(name, body, options)
    if name not in ("open_member", "read_excel"):  # a workbook is not read in order of bytes
        for problem in account(said, len(body)):
            raise Wrong(f"{name} with {options}: {problem}")
    if name in ("open_member", "read_excel") or len(body) > _COMPARED_MAX:
        return
    size = max(_BLOCK_BYTES[choice[3] % len(_BLOCK_BYTES)], len(body) // _BLOCKS_MAX)
    usual, source.BLOCK_BYTES = source.BLOCK_BYTES, size
    try:
        again = _said(name, body, options)
    finally:
        source.BLOCK_BYTES = usual
    for problem in account(again, len(body)):
        raise Wrong(f"{name} with {options} in blocks of {size}: {problem}")
    for what, one, other in zip(("rows", "rejects", "end"), _facts(said), _facts(again), strict=True):
        if one != other:
            raise Wrong(f"{name} with {options} has other {what} in blocks of {size}: {other!r:.500}, not {one!r:.500}")


_COMPARED_MAX = 1 << 14
#: A block costs about as much as a thousand bytes.
_BLOCKS_MAX = 40


def _said(name: str, body: bytes, options: dict[str, Any]) -> Returned:
    def opened(file: Any) -> Any:
        try:
            if name == "open_member":
                return reader("read_lines")(reader(name)(file, **options))
            return reader(name)(file, **options)
        except ValueError as cause:
            raise Unusable(str(cause)) from None

    return read_with(body, opened, lambda row: tuple(map(repr, row.items())))


def _facts(said: Returned) -> tuple[object, object, object]:
    """What may not depend on blocks. A file that is refused may be refused earlier or later."""
    if said.failed is not None:
        return (), (), said.failed
    return said.rows, [(bad.line, bad.offset, bad.reason) for bad in said.rejects], None


def account(said: Returned, size: int) -> Iterator[str]:
    """What is wrong with the bytes that a reader accounted for."""
    at = 0
    for part in said.accounted or ():
        if part.begin != at or part.end < at:
            yield f"the account goes from byte {at} to {part.begin}..{part.end}"
        at = part.end
    if said.failed is None and at != size:
        yield f"{at} of {size} bytes are accounted for"
    if said.failed is not None and at > size:
        yield f"{at} bytes of {size} are accounted for"


def _detect(data: bytes) -> None:
    from casparian_worker.detection import Sample, detect

    detect(Sample.of_bytes(data))


def _copybook(data: bytes) -> None:
    """A copybook from these bytes, and the layouts that it describes, read or refused by name."""
    for columns in (None, (7, 72)):
        with suppress(CasparianError):
            book = copybook(data.decode("latin-1"), columns=columns)
            for record in book.records:
                with suppress(ValueError):  # a layout that no reader takes
                    fields = book.layout(record)
                    _said("read_fixed_width", data, {"fields": fields, "encoding": "cp037", "framing": "rdw"})


def _csv(choice: bytes) -> dict[str, Any]:
    first, second, third = choice
    return {
        "delimiter": (",", ";", "\t", "|", "||", "ab", " ", "~")[first % 8],
        "quote": ('"', "'", None, '"')[first >> 3 & 3],
        "escape": (None, "\\", None, "^")[first >> 5 & 3],
        "header": (True, False, 2, True)[second & 3],
        "comment": (None, "#", "//", None)[second >> 2 & 3],
        "skip_lines": (0, 1, 0, 3)[second >> 4 & 3],
        "ragged": ("reject", "pad")[second >> 6 & 1],
        "encoding": _ENCODINGS[third % len(_ENCODINGS)],
        "line_ends": ("any", "lf")[second >> 7],
        "record_bytes_max": 1 << 12 if third & 128 else 64 << 20,
        "offsets": True,
    }


_KINDS: tuple[Any, ...] = ("text", "zoned", "packed", "binary", "bytes")


def _fixed_width(choice: bytes) -> dict[str, Any]:
    first, second, third = choice
    encoding = _ENCODINGS[third % len(_ENCODINGS)]
    options: dict[str, Any] = {
        "unit": ("chars", "bytes", None, "bytes")[second & 3],
        "encoding": encoding,
        "framing": ("lines", "lines", "none", "rdw", "bdw", "lines", "none", "rdw")[second >> 2 & 7],
        "trailing_blanks": ("exact", "free")[second >> 5 & 1],
        "skip_lines": second >> 6 & 1,
        "footer_lines": second >> 7,
        "length": (None, None, "any", 12)[first & 3],
        "strip": not third & 64,
        "empty": ("null", "text")[third >> 7],
        "offsets": True,
    }
    kind = _KINDS[first % 5]
    fields = {
        "a": Field(0, 1),
        "b": Field(1, 4, kind, first >> 4 & 1 if kind in ("zoned", "packed", "binary") else 0),
        "c": Field(6, 9, _KINDS[first // 5 % 5]),
    }
    if first < 200:
        return {"fields": fields, **options}
    types = {"1": ("one", fields), "2": ("two", {"d": Field(1, 5), "e": Field(5, 9)}), "9": None}
    return {"record_types": types, "type_at": (0, 1), **options}


def _lines(choice: bytes) -> dict[str, Any]:
    return {"encoding": _encodings(choice[2]), "line_ends": ("any", "lf")[choice[1] & 1], **_limit(choice)}


def _records(choice: bytes) -> dict[str, Any]:
    starts, ends = (None, "[0-9]", "a", r"\S", "", '"', "^MSH"), (None, "b$", ";", ",", "")
    start, end = starts[choice[0] % len(starts)], ends[choice[1] % len(ends)]
    return {"start": start or (None if end else "a"), "end": end, "encoding": _encodings(choice[2]), **_limit(choice)}


def _encodings(choice: int) -> str | list[str]:
    encoding = _ENCODINGS[choice % len(_ENCODINGS)]
    return ["utf-8", "cp1252"] if choice & 64 else encoding


def _limit(choice: bytes) -> dict[str, Any]:
    return {"record_bytes_max": 40 if choice[2] & 128 else 64 << 20}


def _segments(choice: bytes) -> dict[str, Any]:
    return {"format": ("hl7", "x12", "edifact", None)[choice[0] & 3], "offsets": True, **_limit(choice)}


def _json_lines(choice: bytes) -> dict[str, Any]:
    columns = (None, ["a", "id"], None, ["name"])[choice[0] & 3]
    numbers = ("text", "exact")[choice[1] & 1]
    return {
        "columns": columns,
        "numbers": numbers,
        "encoding": _encodings(choice[2]),
        "offsets": True,
        **_limit(choice),
    }


def _json(choice: bytes) -> dict[str, Any]:
    return {**_json_lines(choice), "at": ("", "data.items", "a", "")[choice[0] >> 2 & 3]}


def _xml(choice: bytes) -> dict[str, Any]:
    encoding = (None, "utf-8", "latin-1", "utf-16")[choice[2] & 3]
    lists = ((), ("b", "name"))[choice[1] & 1]
    return {"element": ("order", "a", "b", "x")[choice[0] & 3], "lists": lists, "encoding": encoding, **_limit(choice)}


def _member(choice: bytes) -> dict[str, Any]:
    return {"name": (None, "orders.csv")[choice[0] & 1], "bytes_max": 1 << 20}


def _excel(choice: bytes) -> dict[str, Any]:
    return {"header": bool(choice[0] & 1), "skip_rows": choice[1] & 1, "columns": ["a", "b"] if choice[0] & 2 else None}


OPTIONS: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "read_csv": _csv,
    "read_fixed_width": _fixed_width,
    "read_json": _json,
    "read_jsonl": _json_lines,
    "read_lines": _lines,
    "read_records": _records,
    "read_segments": _segments,
    "read_xml": _xml,
    "open_member": _member,
    "read_excel": _excel,
}
#: What takes bytes or text and makes no records.
TEXTS: dict[str, Callable[[bytes], None]] = {"detector": _detect, "copybook": _copybook}
#: openpyxl belongs to parsers; the campaign installs it.
TARGETS = tuple(name for name in (*OPTIONS, *TEXTS) if name != "read_excel" or find_spec("openpyxl") is not None)
_SEEDS: dict[str, Sequence[Format]] = {
    "read_csv": ["csv"],
    "read_fixed_width": ["fixed width"],
    "read_jsonl": ["jsonl"],
    "read_json": ["json", "jsonl"],
    "read_lines": ["csv", "text"],
    "read_records": ["text"],
    "read_segments": ["hl7", "x12", "edifact"],
    "read_xml": ["xml"],
    "open_member": ["archives"],
    "read_excel": [],
    "detector": FORMATS,
    "copybook": [],
}
_COPYBOOK = b"""       01  ORDER-RECORD.
           05  ORDER-ID     PIC 9(6).
           05  AMOUNT       PIC S9(5)V99 COMP-3.
           05  ITEM-COUNT   PIC 9.
           05  ITEM OCCURS 1 TO 3 TIMES DEPENDING ON ITEM-COUNT.
               10  CODE     PIC X(4).
               10  FILLER   REDEFINES CODE PIC 9(4).
           05  NOTE         PIC X(10) VALUE 'NONE'.
               88  IS-NONE  VALUE 'NONE' 'NULL'.
"""


#: All kinds of damage are among so many cases of one table.
_SEEDED_MAX = 2_000


def seeds(name: str, count: int = 200) -> Iterator[bytes]:
    """Inputs to begin with: damaged files, with options that fit."""
    if name == "copybook":
        yield bytes(CHOICES) + _COPYBOOK
        yield bytes(CHOICES) + b"01 A. 02 B PIC X(3). 02 C PIC S9(4) COMP SYNC."
    if name == "read_excel":
        book = import_module("openpyxl").Workbook()
        for row in (["a", "b"], ["x", 1], [True, 2.5], [None, "=1+1"]):
            book.active.append(row)
        made = io.BytesIO()
        book.save(made)
        yield bytes(CHOICES) + made.getvalue()
    for format in _SEEDS[name]:
        for case in sample(islice(cases_of(format), _SEEDED_MAX), count):
            if len(case.data) < 4096:
                yield _choice(name, case) + case.data


def _choice(name: str, case: Case) -> bytes:
    format = getattr(case.declared, "format", "")
    first = ("hl7", "x12", "edifact").index(format) if format in ("hl7", "x12", "edifact") else 0
    if name == "read_records":
        first = 1
    elif isinstance(case.declared, Document) and case.declared.format == "json" and case.declared.at:
        first = 4
    return bytes([first, 0, 0, len(case.data) % 8])


def main(name: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target. atheris ends the process: with 0, or with an error after it has printed the input."""
    atheris = import_module("atheris")  # is installed by the campaign
    with atheris.instrument_imports(include=["casparian_shim.readers", "casparian_worker.detection"]):
        read_any(name, bytes(CHOICES) + b"a,b\n1,2\n")  # imports its modules
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(data)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], lambda data: read_any(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
