"""The one verdict: a kind for any bytes, in bounded time, with evidence; and no crash on any of them."""

import gzip
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_worker.detection import (
    KINDS,
    SAMPLE_BYTES,
    Detected,
    Dialect,
    Sample,
    detect,
    detect_descriptor,
    detect_file,
)
from casparian_worker.detection.detect import kind_of_file
from casparian_worker.detection.rows import first_rows
from casparian_worker.detection.sample import Block, sample_descriptor
from casparian_worker.detection.text import read_text
from tests.cost import assert_linear

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
ISA = "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240131*1200*U*00401*000000001*0*P*>~GS*HC~"


def judged(data: bytes, *, is_whole: bool = True) -> Detected:
    return detect(Sample.of_bytes(data, is_whole=is_whole))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"8=FIX.4.4\x019=5\x0135=0\x0110=000\x01\n", "fix"),
        (b"2024-01-31 gw INFO sent 8=FIXT.1.1|9=5|35=A|10=000|\n", "fix"),
        (b'# comment\n# another\n{"msg": "8=FIX.4.2|9=1|"}\n', "fix"),
        (b"x\x00\x00\x02 8=FIX.4.4\x01", "fix"),
        (b"108=FIX\n", "text"),
        (b"MSH|^~\\&|A|B\rPID|1\r", "hl7"),
        (b"\x0bMSH|^~\\&|A|B\rPID|1\r\x1c\r", "hl7"),
        (ISA.encode(), "x12"),
        (b"ISAAC was here\n", "text"),
        (b"UNB+UNOC:3+A+B+240131:1200+1'UNZ+0+1'", "edifact"),
        (b"ElfFile\x00\x00", "evtx"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "pcap"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00", "pcap"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"BZh91AY&SY\x00", "bzip2"),
        (b"BZhang,1\nBZhao,2\n", "delimited"),
        (b"PK\x03\x04....", "zip"),
        (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml..PK\x01\x02xl/workbook.xml", "xlsx"),
        (b"PAR1\x15\x04", "parquet"),
        (b'{"a": 1}', "json"),
        (b'[\n {"a": 1},\n {"a": 2}\n]\n', "json"),
        (b'{"a": 1}\n{"a": 2}\n', "ndjson"),
        (b"{not json at all", "text"),
        (b"[" * 50_000, "text"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><a/>', "xml"),
        (b"<Events><Event id='1'/></Events>", "xml"),
        (b"<!DOCTYPE html><html></html>", "text"),
        (b"a,b\n1,2\n3,4\n", "delimited"),
        (b"a;b;c\n1;2,5;3\n3;4,5;6\n", "delimited"),
        (b'"x, y",2\n"z, w",3\n', "delimited"),
        (b"Dear Sir, this is a long letter of mine\nand it has, as letters do, commas\nYours\n", "text"),
        (b"0001ALPHA     00012\n0002BETA      00034\n0003GAMMA     00056\n", "fixed_width"),
        (b"<34>Oct 11 22:14:15 host su[1]: failed\n<34>Oct 11 22:14:16 host su[1]: again\n", "syslog"),
        (b'ts=1 level=info msg="a b"\nts=2 level=warn msg=c\n', "key_value"),
        (b"2024-01-01T00:00:00Z INFO a=1 b=2\n2024-01-01T00:00:01Z WARN a=1 b=2\n", "key_value"),
        (b"<34>Oct 11 22:14:15 h su: x\n<34>1 2024-10-11T22:14:15Z h su - - - x\n", "syslog"),
        (
            b"101 091000019 1234567892405310915A094101BANK                   OTHER".ljust(94) + b"\n" + b"9" * 94,
            "nacha",
        ),
        (b"01,1,2,240620,0200,1,65,,2/\n02,3,1,1,240619,2359,USD,2/\n03,5,USD,010,4,,/\n", "bai2"),
        (b":20:A\n:25:B\n:28C:1\n:60F:C240610EUR1,\n:62F:C240610EUR1,\n", "mt940"),
        (b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><a/></Document>', "camt053"),
        (b"2024-01-01 00:00:00 ERROR x\n  at y\n2024-01-01 00:00:01 INFO z\n", "multiline"),
        ("plain schöne Zeilen\nohne Form\n".encode("cp1252"), "text"),
        ("a,b\n1,2\n".encode("utf-16"), "delimited"),
        ("a,b\r\n1,2\r\n3,4\r\n".encode("utf-16-le"), "delimited"),
        (bytes(range(256)) * 4, "binary"),
        (b"\x7fELF\x02\x01\x01\x00", "binary"),
    ],
)
def test_a_kind_is_known_by_its_bytes(head: bytes, kind: str) -> None:
    found = judged(head)

    assert found.kind == kind, found.why
    assert found.why


ANY_BYTES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet="a1 ,;|\t\"'\\\n\r\x00\x85é=<>[]{}:#~+", max_size=120).map(str.encode),
    st.sampled_from(
        [b"8=FIX|", b"MSH|^\r", ISA.encode(), b"UNA:+.? 'UNB+", b"\x1f\x8b", b"\xff\xfe", b"<a b='", b"PK\x03\x04"]
    ),
)


@given(st.lists(ANY_BYTES, max_size=4).map(b"".join), st.booleans())
def test_any_bytes_get_a_verdict_and_rows(data: bytes, is_whole: bool) -> None:
    sample = Sample.of_bytes(data, is_whole=is_whole)
    found = detect(sample)

    assert found.kind in KINDS and found.evidence and 0 <= found.confidence <= 1
    if found.codec is not None:
        names, rows = first_rows(found, read_text(sample, found.codec), 10)
        assert all(len(row) <= len(names) for row in rows)
        assert len(rows) <= 10


@given(ANY_BYTES, ANY_BYTES, ANY_BYTES)
def test_blocks_of_a_large_file_get_a_verdict(head: bytes, middle: bytes, tail: bytes) -> None:
    size = 1 << 30
    blocks = (Block(0, head), Block(1 << 20, middle), Block(size - len(tail), tail))
    assert detect(Sample(blocks, size)).kind in KINDS


HARD = {
    "quotes": b'"',
    "open quotes": b'a,"xxxxxxxxxxxxxxxxxxxx\n',
    "quotes and lines": b'"\n',
    "a word": b"x",
    "brackets": b"[",
    "objects": b'{"a":',
    "tags": b"<a ",
    "open tags": b"<a>",
    "pairs": b"a=b",
    "commas": b",",
    "releases": b"UNA:+.? 'UNB+?",
    "blanks": b" ",
    "line ends": b"\r\n",
    "zeros": b"a\0",
    "high": b"\xe9\x81",
    "comments": b"#,\n",
    "escapes": b'"\\"\\,\n',
    "comments of XML": b"<!--",
    "character data": b"<a><![CDATA[",
    "instructions": b"<?x",
    "elements": b"<a><b>x",
    "elements on lines": b"<a>\n<b>x\n",
    "open pairs": b'a="x b=',
    "columns": b"x   ",
    "times": b"2024-01-01 00:00:00\n",
}


@pytest.mark.parametrize("end", [b"", b"\n\xe9\n"])
@pytest.mark.parametrize("name", HARD)
def test_the_time_is_linear_in_the_sample(name: str, end: bytes) -> None:
    assert_linear(lambda size: judged(HARD[name] * (size // len(HARD[name])) + end), 1 << 15)


def test_a_large_file_is_judged_by_blocks_from_all_over(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    with path.open("wb") as file:
        file.write(b"id,name,n\n")
        for number in range(400_000):
            file.write(b"%d,name,%d%s\n" % (number, number, b",x" if number > 300_000 and number % 10 == 0 else b""))

    found = detect_file(str(path))

    assert isinstance(found.details, Dialect)
    assert (found.kind, found.details.column_count) == ("delimited", 3)
    assert 0.9 < found.confidence < 1  # ragged records lie only in the last quarter
    assert any("another number of fields: a line after byte" in doubt for doubt in found.doubts)
    assert path.stat().st_size > 4 * SAMPLE_BYTES


def test_a_huge_file_costs_no_more_than_its_sample(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(b"a,b\n1,2\n" * 100_000)
        file.truncate(100 << 30)

    began = time.process_time()
    assert detect_file(str(path)).kind in KINDS
    assert kind_of_file(str(path)) in KINDS
    assert time.process_time() - began < 5


def test_the_content_of_a_gzip_file_is_judged_through_its_members() -> None:
    members = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    for tail, doubts, rows in (
        (b"", (), 3),
        (b"\0" * 512, (), 3),
        (gzip.compress(b"5,6\n" * 50)[:-9], ("the gzip stream ends early: it is cut",), 53),
        (b"junk", ("bytes that are not gzip follow the last member",), 3),
    ):
        found = _of_file(members + tail)
        assert found.inner is not None and isinstance(found.inner.details, Dialect)
        assert (found.kind, found.inner.kind, found.doubts) == ("gzip", "delimited", doubts)
        assert found.inner.details.record_count == rows


def _of_file(data: bytes) -> Detected:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return detect_descriptor(file.fileno())[0]


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="regular"):
        detect_file(str(tmp_path / "pipe"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not here")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fix/fix_demo.fix", "fix"),
        ("fix/order_lifecycle.fix", "fix"),
        ("fix/prefixed_logs.fix", "fix"),
        ("fix/soh_delimiter_stripped.fix", "fix"),
        ("hl7/adt_a01_spec_sample.hl7", "hl7"),
        ("csv/sales_2024_01.csv", "delimited"),
        ("json/inventory.json", "json"),
        ("tapes/golden_session.tape", "ndjson"),
        ("evtx/sample.evtx", "evtx"),
    ],
)
def test_the_shared_samples_are_recognised(name: str, kind: str) -> None:
    assert detect_file(str(SHARED / name)).kind == kind
    assert kind_of_file(str(SHARED / name)) == kind


@pytest.mark.parametrize("size", [8_193, 8_200, 9_000, 12_289, 16_384, 100_001])
def test_the_blocks_of_a_sample_follow_each_other_and_reach_the_end(size: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(place % 251 for place in range(size)))
    with open(tmp_path / "f", "rb") as file:
        blocks = sample_descriptor(file.fileno(), 8 * 1024).blocks
    ends = [block.offset + len(block.data) for block in blocks]
    assert all(end <= block.offset for end, block in zip(ends, blocks[1:], strict=False))
    assert (blocks[0].offset, ends[-1]) == (0, size)
    assert all(block.data[0] == block.offset % 251 for block in blocks)
