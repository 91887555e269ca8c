"""What a person is shown of a file."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim.safe import scrub
from casparian_worker.detection import SAMPLE_BYTES, SCAN_BYTES
from casparian_worker.discovery.preview import PREVIEW_BYTES, hex_rows, infer_type, preview

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
CASES = SHARED / "cases"
ISA = "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240131*1200*U*00401*000000001*0*P*>~GS*HC~"


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
    assert shown.detected.inner is not None
    assert (shown.detected.kind, shown.detected.content.kind) == ("gzip", "delimited")
    assert shown.records == (("1", "2"), ("3", "4"))
    assert len(preview(str(bomb), record_count=5).records) == 5
    path.write_bytes(path.read_bytes()[:10] + b"junk")
    assert preview(str(path)).detected.kind == "gzip"
    assert SCAN_BYTES < SAMPLE_BYTES == PREVIEW_BYTES


def test_messages_are_cut_by_their_own_rules(tmp_path: Path) -> None:
    (tmp_path / "d.fix").write_bytes(b"8=FIX.4.4\x019=5\x0135=B\x0195=5\x0196=a\x01b=c\x0110=000\x01\n")
    (tmp_path / "m.hl7").write_bytes(b"MSH|^~\\&|LAB\rPID|1\r")
    (tmp_path / "x.x12").write_text(ISA)
    (tmp_path / "e.edi").write_text("UNA:+.? 'UNB+UNOC:3+A+B'UNH+1+ORDERS:D:96A:UN'FTX+AAI+++It?'s?+ok'UNZ+1+1'")

    assert dict(zip(*_first(tmp_path / "d.fix"), strict=True))["96"] == "a\\x01b=c"
    assert _first(tmp_path / "m.hl7") == (["segment", "field1", "field2", "field3"], ["MSH", "|", "^~\\&", "LAB"])
    assert len(preview(str(tmp_path / "x.x12")).records) == 2  # one line, two segments
    assert preview(str(tmp_path / "e.edi")).records[2] == ("FTX", "AAI", "", "", "It?'s?+ok")


def _first(path: Path) -> tuple[list[str], list[str | None]]:
    shown = preview(str(path))
    return [column.name for column in shown.columns], list(shown.records[0])


def test_bytes_that_are_not_text_are_shown_as_escapes(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(bytes(range(12)) * 20 + b"\nabc\xff")

    lines = preview(str(tmp_path / "b"), 3).lines

    assert lines[0].startswith("\\x00\\x01\\x02") and len(lines) == 3
    assert all(scrub(line) == line for line in lines)


def test_a_text_with_nuls_is_text(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_bytes(b"a,b\n1,x\0y\n3,4\n" * 10)

    shown = preview(str(tmp_path / "n.csv"), 2)

    assert shown.records == (("1", "x\\x00y"), ("3", "4"))
    assert shown.lines == ("a,b", "1,x\\x00y")
    assert "10 NUL bytes are among the text" in shown.detected.doubts


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
class TestSharedCases:
    """What the cases say that a preview must show; they are read where they lie."""

    def test_all_members_of_a_gzip_file_are_shown_and_a_cut_is_told(self) -> None:
        for name in ("two_members.csv.gz", "padded.csv.gz"):
            assert [record[-1] for record in preview(str(CASES / "gzip-members" / name)).records] == list("12345")
        cut = preview(str(CASES / "gzip-members" / "third_cut.csv.gz"), 100)
        assert [record[-1] for record in cut.records] == [str(n) for n in range(1, 53)]  # and half a line
        assert cut.detected.doubts == ("the gzip stream ends early: it is cut",)

    def test_utf16_is_recognised_without_a_mark_and_cut(self) -> None:
        no_mark = preview(str(CASES / "utf16" / "no_bom.txt"))
        assert no_mark.records == (("1", "Ċetta", "Valletta"), ("2", "Łukasz", "Łódź"), ("3", "\\u2028odd", "a\\tb"))
        assert "no byte order mark confirms it" in no_mark.detected.doubts
        cut = preview(str(CASES / "utf16" / "cut.txt")).detected
        assert cut.doubts[0] == "the last character is cut: the file ends inside a code unit of UTF-16"

    def test_one_line_of_another_encoding_is_named(self) -> None:
        found = preview(str(CASES / "mixed-encoding" / "people.csv")).detected
        assert found.codec == "utf-8"
        assert found.doubts[0] == "not UTF-8 at line 4 byte 5 (E9) only; cp1252 would read 'Clé' there"

    def test_quotes_that_are_data_stay_and_are_told(self) -> None:
        places = preview(str(CASES / "stray-quote" / "places.tsv"))
        assert [record[1] for record in places.records] == [
            "Novotor\"yal'skiy", '"Big" Rock', "Plain", '"Toys', "Mill", "Hill", 'R Us"', "Tail",
        ]  # fmt: skip
        assert any(doubt.startswith("quoting is not certain") for doubt in places.detected.doubts)
        items = preview(str(CASES / "stray-quote" / "items.csv"))
        assert [record[1] for record in items.records] == [
            'pipe 12" long', 'said "no"', "plain", '"open quote', "five", "six",
        ]  # fmt: skip
        assert any("line 5: a quote opens and never closes" in doubt for doubt in items.detected.doubts)

    def test_lines_that_end_with_cr_or_with_a_mixture_are_records(self) -> None:
        mac = preview(str(CASES / "line-ends" / "mac.csv"))
        assert [record[1] for record in mac.records] == ["Zoë", "A, B", "Max"]
        mixed = preview(str(CASES / "line-ends" / "mixed.csv"))
        assert [record[1] for record in mixed.records] == ["Ann", "Bob", "Cay", "Dee"]
        assert mixed.detected.doubts == ("line ends are mixed: CRLF (3), LF (2), CR (1)",)

    def test_json_lines_that_are_not_quite_are_named(self) -> None:
        found = preview(str(CASES / "jsonl" / "events.jsonl")).detected
        assert (found.kind, found.doubts) == ("ndjson", ("not one JSON value: line 4, line 6, line 12",))
