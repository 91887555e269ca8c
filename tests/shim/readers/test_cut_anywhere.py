"""A file that ends at any byte: the records before the end are those of the whole file, and the last is right or rejected.

Formats differ in what a cut can show. In `EXACT` samples a shortened record can be told from a whole one, so that no other row
may come. In a line of text it cannot: there the last value of the last row may be the beginning of the true one.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

from bench.damage import Returned, Taken
from bench.damage.own import read_with
from casparian_shim import (
    Field,
    open_member,
    read_csv,
    read_excel,
    read_fixed_width,
    read_json,
    read_jsonl,
    read_lines,
    read_records,
    read_segments,
    read_xml,
)
from casparian_shim.errors import CasparianError
from casparian_shim.readers.fixed_width.layout import Fields
from tests.shim.readers.fuzzing import account


class Sample(NamedTuple):
    data: bytes
    read: Callable[[Any], Any]
    #: A file that ends before this byte may be refused as a whole.
    refused_before: int = 0
    is_exact: bool = True
    #: Whether the bytes are those of the file, and not of what it unpacks to.
    has_offsets: bool = True
    #: Cuts after which a header is rejected, though it is whole: that nothing certain follows it may be damage.
    uncertain: tuple[int, ...] = ()


CSV = b"id,name\n1,Ann\n2,Bob\n3,Cay\n"
QUOTED = b'"id","name"\r\n"1","A, nn"\r\n"2","two\r\nlines"\r\n"3","say ""hi"""\r\n'
OBJECTS = b'{"id": 1, "to": {"x": [1.50, "a\\"b"]}}\n{"id": 2, "to": null}\r\n{"id": 3, "to": "\xc3\xa9"}\n'
ARRAY = b'{"n": 3, "rows": [\n  {"id": 1, "to": [1, 2]},\n  {"id": 2, "to": "}"},\n  {"id": 3}\n], "end": true}\n'
XML = b'<?xml version="1.0"?>\n<r><h>x</h><o id="1"><a>b</a></o>\n<o id="2">t</o><o id="3"/>\n</r>\n'
HL7 = b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|1|P|2.5\rPID|1||77^^^H||Doe^J\rPV1|1|I|W^1\r"
X12 = (
    b"ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240101*1200*^*00501*000000001*0*P*:~"
    b"GS*PO*S*R*20240101*1200*1*X*005010~ST*850*0001~BEG*00*NE*1**20240101~SE*3*0001~GE*1*1~IEA*1*000000001~"
)
EDIFACT = b"UNA:+.? 'UNB+UNOA:2+S+R+240101:1200+1'UNH+1+ORDERS:D:96A:UN'BGM+220+1?'2+9'UNT+3+1'UNZ+1+1'"
LOG = b"2024-01-01 a\n  more\n2024-01-02 b\n2024-01-03 c\n  at d\n"


def _zipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.csv", data)
    return made.getvalue()


def _tarred(data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        about = tarfile.TarInfo("a.csv")
        about.size = len(data)
        archive.addfile(about, io.BytesIO(data))
    return made.getvalue()


def _workbook() -> bytes:
    openpyxl: Any = import_module("openpyxl")
    book, made = openpyxl.Workbook(), io.BytesIO()
    for row in (("id", "name"), (1, "Ann"), (2, "Bob")):
        book.active.append(row)
    book.save(made)
    return made.getvalue()


def _descriptors(*records: bytes) -> bytes:
    return b"".join((len(each) + 4).to_bytes(2, "big") + b"\0\0" + each for each in records)


FIXED = {"id": (0, 2), "name": (2, 5)}
PACKED: Fields = {"id": Field(0, 2, "packed"), "name": (2, 5)}
ALWAYS = 1 << 30
SAMPLES: dict[str, Sample] = {
    "csv": Sample(CSV, lambda file: read_csv(file, offsets=True), 8, is_exact=False),
    "csv, quoted": Sample(QUOTED, lambda file: read_csv(file, offsets=True), 13, is_exact=False),
    "csv, two header lines": Sample(
        b"a;a\nx;y\n1;2\n3;4\n5;6\n",
        lambda file: read_csv(file, delimiter=";", header=2, offsets=True),
        8,
        is_exact=False,
    ),
    "csv, utf-16": Sample(
        CSV.decode().encode("utf-16"), lambda file: read_csv(file, encoding="utf-16", offsets=True), 20, is_exact=False
    ),
    "csv, several encodings": Sample(
        b"id,name\n1,Ann\n2,\xe9t\xe9\n",
        lambda file: read_csv(file, encoding=["utf-8", "cp1252"], offsets=True),
        8,
        is_exact=False,
    ),
    "lines": Sample("one\r\ntwö\rthree\n\nfour".encode(), read_lines, is_exact=False),
    "records": Sample(LOG, lambda file: read_records(file, start="[0-9]{4}-"), is_exact=False),
    "records, ended": Sample(
        b"BEGIN\n1\nEND\nBEGIN\n2\nEND\n", lambda file: read_records(file, start="BEGIN$", end="^END$")
    ),
    "JSON lines": Sample(OBJECTS, lambda file: read_jsonl(file, offsets=True, columns=["id", "to"])),
    "JSON": Sample(ARRAY, lambda file: read_json(file, at="rows", offsets=True, columns=["id", "to"])),
    "XML": Sample(XML, lambda file: read_xml(file, "o", offsets=True, columns=["id", "a", "text"])),
    "HL7": Sample(HL7, lambda file: read_segments(file, format="hl7", offsets=True), 8, is_exact=False),
    "X12": Sample(X12, lambda file: read_segments(file, format="x12", offsets=True), uncertain=(107, 108)),
    "EDIFACT": Sample(EDIFACT, lambda file: read_segments(file, format="edifact", offsets=True), uncertain=(9,)),
    "fixed width": Sample(b"01Ann\n02Bob\r\n03Cay\n", lambda file: read_fixed_width(file, FIXED, offsets=True)),
    "fixed width, EBCDIC": Sample(
        "01Ann\n02Bob\n03Cay\n".encode("cp037"),
        lambda file: read_fixed_width(file, FIXED, encoding="cp037", offsets=True),
    ),
    "fixed width, numbers without lines": Sample(
        b"\x00\x1cAnn\x00\x2dBob\x00\x3fCay",
        lambda file: read_fixed_width(file, PACKED, framing="none", encoding="cp1252", offsets=True),
    ),
    "fixed width, descriptors": Sample(
        _descriptors(b"01Ann", b"02Bob", b"03Cay"),
        lambda file: read_fixed_width(file, FIXED, framing="rdw", offsets=True),
    ),
    "gzip": Sample(gzip.compress(CSV * 3, 0), lambda file: read_csv(open_member(file)), 25, has_offsets=False),
    "bzip2": Sample(bz2.compress(CSV), lambda file: read_csv(open_member(file)), ALWAYS, has_offsets=False),
    "xz": Sample(lzma.compress(CSV), lambda file: read_csv(open_member(file)), ALWAYS, has_offsets=False),
    "zip": Sample(_zipped(CSV), lambda file: read_csv(open_member(file)), ALWAYS, has_offsets=False),
    "tar": Sample(_tarred(CSV), lambda file: read_csv(open_member(file)), ALWAYS, has_offsets=False),
}
if find_spec("openpyxl") is not None:
    SAMPLES["xlsx"] = Sample(_workbook(), read_excel, ALWAYS, has_offsets=False)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_may_end_at_any_byte(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = SAMPLES[name]
    whole = _returned(sample, sample.data)
    assert (whole.failed, whole.rejects) == (None, ())
    assert whole.rows
    step = max(1, len(sample.data) // 300)  # a workbook has thousands of bytes
    for cut in range(0, len(sample.data), step):
        monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", (1 << 20, 8)[cut // step % 2])
        assert list(_wrong(sample, whole, cut)) == [], (cut, sample.data[:cut])


def _returned(sample: Sample, data: bytes) -> Returned:
    try:
        return read_with(data, sample.read, _values)
    except CasparianError as error:  # in opening an archive
        return Returned(failed=error.problem)


def _values(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value for name, value in row.items() if name not in ("_cf_raw_encoding", "separators"))


def _wrong(sample: Sample, whole: Returned, cut: int) -> list[str]:
    said = _returned(sample, sample.data[:cut])
    if said.failed is not None:
        return [] if cut < sample.refused_before else [f"is refused: {said.failed}"]
    problems = list(account(said, cut)) if sample.has_offsets else []
    same = 0
    while same < min(len(said.rows), len(whole.rows)) and said.rows[same] == whole.rows[same]:
        same += 1
    rest = said.rows[same:]
    is_last_cut = len(rest) == 1 and not sample.is_exact and _is_cut(rest[0], whole.rows[same:], sample.data[:cut])
    if rest and not is_last_cut:
        problems.append(f"other rows: {rest}")
    if sample.has_offsets and cut not in sample.uncertain:
        complete = sum(1 for after in whole.rows[1:] if after.offset is not None and after.offset <= cut)
        if same + is_last_cut < complete:
            problems.append(f"{same} rows of {complete}")
        problems += [
            f"rejects at {bad.offset}, in an intact record"
            for bad in said.rejects
            if bad.offset is not None and bad.offset < (whole.rows[complete].offset or 0) and complete
        ]
    elif not sample.has_offsets and len(said.rows) < len(whole.rows) and not said.rejects:
        problems.append("says nothing of the records that are missing")
    return problems


def _is_cut(row: Taken, true: tuple[Taken, ...], data: bytes) -> bool:
    """Whether a row is the next true one up to its last value, of which it has the beginning; or the text of what is left."""
    if not true or (row.line, row.offset) != (true[0].line, true[0].offset):
        return False
    values, expected = _flat(row), _flat(true[0])
    is_beginning = values[:-1] == expected[: len(values) - 1] and expected[len(values) - 1].startswith(values[-1])
    return is_beginning or (len(values) == 1 and values[0].encode() == data[row.offset :].removesuffix(b"\n"))


def _flat(row: Taken) -> list[str]:
    flat: list[str] = []
    for value in row.values:
        flat += [str(each) for each in value] if isinstance(value, list) else [str(value or "")]
    while flat and not flat[-1]:
        flat.pop()
    return flat or [""]
