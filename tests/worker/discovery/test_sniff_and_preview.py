"""What a file is, by its bytes, and what a person is shown of it."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim.safe import scrub
from casparian_worker.discovery.preview import PREVIEW_BYTES, hex_rows, infer_type, preview
from casparian_worker.discovery.sniff import HEAD_BYTES, KINDS, sniff, sniff_file

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
ISA = "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240131*1200*U*00401*000000001*0*P*>~GS*HC~"


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
        (b"ElfFile\x00\x00", "evtx"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "pcap"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00", "pcap"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"PK\x03\x04....", "zip"),
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
        ("plain schöne Zeilen\nohne Form\n".encode("cp1252"), "text"),
        ("a,b\n1,2\n".encode("utf-16"), "delimited"),
        ("a,b\r\n1,2\r\n3,4\r\n".encode("utf-16-le"), "delimited"),
        (bytes(range(256)) * 4, "binary"),
        (b"\x7fELF\x02\x01\x01\x00", "binary"),
    ],
)
def test_a_kind_is_known_by_its_bytes(head: bytes, kind: str) -> None:
    sniffed = sniff(head, is_whole=True)

    assert sniffed.kind == kind, sniffed.why
    assert sniffed.why


def test_delimiter_header_and_encoding_are_told() -> None:
    sniffed = sniff("name|größe\nx|1\ny|2\n".encode("cp1252"), is_whole=True)

    assert (sniffed.kind, sniffed.delimiter, sniffed.has_header) == ("delimited", "|", True)
    assert sniffed.encoding == "iso-8859-1"
    assert sniff(b"1,2\n3,4\n", is_whole=True).has_header is False
    assert sniff(b"a,b\nc,d\n", is_whole=True).has_header is None
    assert sniff("a,b\n“q”,1\n“r”,2\n".encode("cp1252"), is_whole=True).encoding == "cp1252"


def test_a_head_that_cuts_a_character_or_a_line_is_still_text() -> None:
    whole = ("ä,b\n" * 1000).encode()
    for cut in range(100, 110):
        assert sniff(whole[:cut], is_whole=False).encoding == "utf-8"
        assert sniff(whole[:cut], is_whole=False).kind == "delimited"


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_get_a_kind(head: bytes) -> None:
    for is_whole in (True, False):
        assert sniff(head, is_whole=is_whole).kind in KINDS


@given(
    st.binary(max_size=400)
    | st.sampled_from([b"8=FIX|", b"MSH|\r", ISA.encode(), b'[{"a":"\x1b[0m"}]', b"a,\x9b\n1,2"])
)
def test_any_file_has_a_preview_that_a_terminal_survives(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("p") / "f"
    path.write_bytes(data)

    shown = preview(str(path))

    texts = [cell for row in shown.records for cell in row if cell is not None]
    texts += [column.name for column in shown.columns] + list(shown.lines)
    assert all(scrub(text) == text for text in texts)
    assert bytes.fromhex("".join(row.hex for row in hex_rows(str(path)))) == data[:512]


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
def test_the_shared_samples_are_recognised_and_previewed(name: str, kind: str) -> None:
    assert sniff_file(str(SHARED / name)).kind == kind
    assert preview(str(SHARED / name)).sniffed.kind == kind


def test_a_table_is_shown_with_the_types_that_are_certain(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "id,zip,price,day,at,ok,mixed\n1,00123,1.50,2024-01-31,2024-01-31 10:00:00,true,1\n2,60601,2,,,false,x\n"
    )

    shown = preview(str(path))

    assert [(column.name, column.type) for column in shown.columns] == [
        ("id", "int64"),
        ("zip", "text"),
        ("price", "decimal"),
        ("day", "date"),
        ("at", "timestamp"),
        ("ok", "boolean"),
        ("mixed", "text"),
    ]
    assert shown.records[1] == ("2", "60601", "2", "", "", "false", "x")
    assert infer_type(["2024-02-30"]) == "text"
    assert infer_type([None, ""]) == ""


def test_messages_become_columns(tmp_path: Path) -> None:
    (tmp_path / "f.fix").write_text("gw 8=FIX.4.4|35=D|11=A|\n8=FIX.4.4|35=8|37=X|\n")
    (tmp_path / "m.hl7").write_bytes(b"MSH|^~\\&|A\rPID|1|2\r")
    (tmp_path / "x.x12").write_text(ISA)
    (tmp_path / "j.json").write_text(json.dumps([{"a": 1, "b": [1]}, {"a": 1.10}]).replace("1.1", "1.10"))
    (tmp_path / "f.txt").write_text("0001 ALPHA 12\n0002 BETA  34\n0003 GAMMA 56\n")

    fix = preview(str(tmp_path / "f.fix"))
    assert [column.name for column in fix.columns] == ["8", "35", "11", "37"]
    assert fix.records[1] == ("FIX.4.4", "8", None, "X")
    assert preview(str(tmp_path / "m.hl7")).records[1] == ("PID", "1", "2")
    assert [row[0] for row in preview(str(tmp_path / "x.x12")).records] == ["ISA", "GS"]
    assert preview(str(tmp_path / "j.json")).records == (("1", '["1"]'), ("1.10", None))
    assert preview(str(tmp_path / "f.txt")).records[1] == ("0002", "BETA", "34")


def test_a_huge_file_costs_a_bounded_look(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as stream:
        stream.write(b"a,b\n1,2\n")
        stream.truncate(10 << 30)  # sparse: ten gigabytes of zeros behind the first lines

    assert preview(str(path)).size_bytes == 10 << 30
    assert hex_rows(str(path), offset=(10 << 30) - 4)[0].hex == "00 00 00 00"
    assert hex_rows(str(path), offset=1 << 62) == []
    assert len(hex_rows(str(path), byte_count=1 << 40)) == PREVIEW_BYTES // 16


def test_a_compressed_file_is_shown_from_inside_and_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n3,4\n"))
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * (10 << 20)))

    shown = preview(str(path))
    assert shown.inner is not None
    assert (shown.sniffed.kind, shown.inner.kind) == ("gzip", "delimited")
    assert shown.records == (("1", "2"), ("3", "4"))
    assert len(preview(str(bomb), record_count=5).records) == 5
    path.write_bytes(path.read_bytes()[:10] + b"junk")
    assert preview(str(path)).sniffed.kind == "gzip"
    assert HEAD_BYTES < PREVIEW_BYTES
