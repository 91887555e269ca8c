"""Segments of HL7, X12 and EDIFACT: what is read from a whole file, what a damaged one costs, and that both paths agree."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casparian_shim.readers.source as source
from casparian_shim import Segment, read_segments
from casparian_shim.readers.blocks import BadRecord
from casparian_shim.readers.segments import NotSegments, reader, segment_text, separators_of, vectorised
from casparian_shim.readers.segments.separators import detected, escaped, unescaped

MSH = b"MSH|^~\\&|ADT1|HOSP|LAB|HOSP|20240131120000||ADT^A01|M%d|P|2.5\r"
ISA = b"ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240101*1200*^*00501*000000905*0*P*:~"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A reader outside of a job logs its first rejected record."""
    logging.getLogger("casparian.readers").disabled = True
    yield
    logging.getLogger("casparian.readers").disabled = False


@pytest.fixture(autouse=True, scope="module")
def small_regions() -> Iterator[None]:
    """Also files of a few lines are read on the fast path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectorised, "REGION_BYTES_MIN", 0)
        yield


@contextmanager
def blocks_of(byte_count: int) -> Iterator[None]:
    before, source.BLOCK_BYTES = source.BLOCK_BYTES, byte_count
    try:
        yield
    finally:
        source.BLOCK_BYTES = before


@contextmanager
def careful_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "region_of", lambda *_: None)
        yield


Rejects = list[tuple[int, int | None, str, bytes]]


def read(data: bytes, **options: Any) -> tuple[list[dict[str, Any]], Rejects]:
    """All rows, and all rejects as row, offset, reason and text."""
    records = read_segments(io.BytesIO(data), offsets=True, **options)
    rows = list(records)
    assert records.rejected.count == len(records.rejected.first)
    return rows, [(bad.line, bad.offset, bad.reason, bad.raw) for bad in records.rejected.first]


def read_every_way(
    data: bytes, *, sizes: tuple[int, ...] = (1, 7, 64), **options: Any
) -> tuple[list[dict[str, Any]], Rejects]:
    found = read(data, **options)
    with careful_only():
        assert read(data, **options) == found
    for size in sizes:
        with blocks_of(size):
            assert read(data, **options) == found
    return found


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [segment_text(row["segment"], row["fields"], separators_of(row["separators"])) for row in rows]


def hl7(*segments: bytes, end: bytes = b"\r") -> bytes:
    return b"".join(segment + end for segment in segments)


HEAD = MSH[:-1] % 1
FOUR = "which are four, or five since HL7 2.7"


# --- HL7 ---


def test_fields_of_msh_are_counted_as_the_standard_counts_them() -> None:
    rows, rejects = read_every_way(hl7(HEAD, b"PID|1||M1^^^H^MR||DOE^JOHN"))

    assert rejects == []
    assert rows == [
        {
            "segment": "MSH",
            "message": 1,
            "position": 1,
            "fields": ["|", "^~\\&", "ADT1", "HOSP", "LAB", "HOSP", "20240131120000", "", "ADT^A01", "M1", "P", "2.5"],
            "separators": "MSH|^~\\&",
            "offset": 0,
            "__cf_row_id": 1,
        },
        {
            "segment": "PID",
            "message": 1,
            "position": 2,
            "fields": ["1", "", "M1^^^H^MR", "", "DOE^JOHN"],
            "separators": "MSH|^~\\&",
            "offset": len(HEAD) + 1,
            "__cf_row_id": 2,
        },
    ]
    header, patient = map(Segment, rows)
    assert (header[1], header[9], header.value(9, 2), header[2]) == ("|", "ADT^A01", "A01", "^~\\&")
    assert (patient.value(3), patient.value(3, 4), patient.value(5, 2), patient.value(8)) == ("M1", "H", "JOHN", None)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_each_line_end_ends_a_segment(end: bytes) -> None:
    rows, rejects = read_every_way(hl7(HEAD, b"EVN|A01", b"PID|1", b"", b"PV1|1|I", end=end))

    assert (texts(rows)[1:], rejects) == (["EVN|A01", "PID|1", "PV1|1|I"], [])
    assert [row["__cf_row_id"] for row in rows] == [1, 2, 3, 5]


def test_line_ends_may_be_mixed_and_the_last_may_be_missing() -> None:
    rows, rejects = read_every_way(HEAD + b"\r\nEVN|A01\rPID|1\nPV1|1|I")
    assert (texts(rows)[1:], rejects) == (["EVN|A01", "PID|1", "PV1|1|I"], [])


def test_mllp_frames_are_no_data() -> None:
    frame = b"\x0b" + hl7(HEAD, b"PID|1") + b"\x1c\r"
    rows, rejects = read_every_way(frame + frame.replace(b"\r\x1c", b"\x1c"))
    assert (texts(rows), rejects) == ([HEAD.decode(), "PID|1"] * 2, [])
    assert [row["message"] for row in rows] == [1, 1, 2, 2]


def test_a_frame_that_the_file_cuts_rejects_its_last_segment() -> None:
    _, rejects = read_every_way(b"\x0b" + HEAD + b"\rPID|1||M")
    assert rejects == [(2, len(HEAD) + 2, "is cut: the file ends within it", b"PID|1||M")]


@pytest.mark.parametrize("start", [b"\x0b", b""])
@pytest.mark.parametrize("end", [b"\r", b"\n"])
def test_a_frame_without_a_header_is_no_part_of_the_message_before_it(start: bytes, end: bytes) -> None:
    whole = b"\x0b" + hl7(HEAD, b"PID|1||M1", b"OBX|1", end=end) + b"\x1c" + end
    headless = start + hl7(b"PID|1||M2", b"OBX|2", b"OBX|3", end=end) + b"\x1c" + end
    rows, rejects = read_every_way(whole * 2 + headless + whole)
    assert [(row["message"], row["position"]) for row in rows if row["segment"] == "OBX"] == [
        (1, 3), (2, 3), (3, 2), (3, 3), (4, 3)
    ]  # fmt: skip
    assert [(row["message"], row["fields"][2]) for row in rows if row["segment"] == "PID"] == [
        (1, "M1"), (2, "M1"), (4, "M1")
    ]  # fmt: skip
    assert [(reason, raw) for _, _, reason, raw in rejects] == [
        ("begins a frame of MLLP and is no MSH: the header of its message is lost", b"PID|1||M2")
    ]


def test_each_header_brings_its_separators() -> None:
    other = HEAD.replace(b"|", b"#").replace(b"^~\\&", b"$%!*")
    rows, rejects = read_every_way(hl7(HEAD, b"PID|1||A^B~C", other, b"PID#1##A$B%C^D"))

    assert rejects == []
    first, second = Segment(rows[1]), Segment(rows[3])
    assert (first.components(3), first.repetitions(3)) == (["A", "B"], ["A^B", "C"])
    assert (second.components(3), second.repetitions(3)) == (["A", "B"], ["A$B", "C^D"])


def test_escape_sequences_become_text() -> None:
    rows, _ = read(hl7(HEAD, rb"OBX|1|TX|A\T\B||x\F\y\S\z\R\w\E\v\.br\u\X41C3A9\t\H\bold\N\ ^\Zxx\ "))
    observation = Segment(rows[1])
    assert observation.value(3) == "A&B"
    assert observation.value(5) == "x|y^z~w\\v\nuAét\\H\\bold\\N\\ "
    assert observation.value(5, 2) == "\\Zxx\\ "
    assert observation[3] == "A\\T\\B"


def test_a_line_without_an_id_may_belong_to_the_segment_before_it() -> None:
    rows, rejects = read_every_way(hl7(HEAD, b"OBX|1|TX|A||line one", b"", b"line two|||F", b"OBX|2|TX|B||x"))

    assert texts(rows)[1:] == ["OBX|2|TX|B||x"]
    assert rejects == [
        (2, 61, "may be cut: the text behind it does not begin with a segment id", b"OBX|1|TX|A||line one"),
        (4, 83, "does not begin with a segment id: 'line two'", b"line two|||F"),
    ]
    assert [row["position"] for row in rows] == [1, 4]


def test_own_ids_begin_with_z_or_are_named() -> None:
    data = hl7(HEAD, b"ZPI|1", b"XYZ|1", b"PID|1")
    assert [row["segment"] for row in read_every_way(data, ids=["XYZ"])[0]] == ["MSH", "ZPI", "XYZ", "PID"]
    assert [row["segment"] for row in read_every_way(data)[0]] == ["MSH", "PID"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"MSH", "ends after MSH"),
        (b"MSH|", "names no encoding characters in MSH-2"),
        (b"MSH|^~", f"has '^~' as its encoding characters (MSH-2), {FOUR}"),
        (HEAD.replace(b"^~\\&", b"^~\\"), f"has '^~\\\\' as its encoding characters (MSH-2), {FOUR}"),
        (b"MSH|^~\\&|A|B", "is cut: it has 4 fields, and MSH has 12 at least"),
        (HEAD.replace(b"^~\\&|", b"^~\\&"), f"has '^~\\\\&ADT1' as its encoding characters (MSH-2), {FOUR}"),
        (HEAD.replace(b"^~", b"^|~"), f"has '^' as its encoding characters (MSH-2), {FOUR}"),
        (HEAD.replace(b"HOSP", b"\xff", 1), "is not valid utf-8: byte 15 (FF)"),
        (b"XSH" + HEAD[3:], "holds the beginning of a message, whose id or line end is lost"),
        (b"PID|7" + HEAD, "holds the beginning of a message, whose id or line end is lost"),
    ],
)
def test_a_damaged_header_costs_itself_and_its_segments_join_no_other_message(header: bytes, reason: str) -> None:
    rows, rejects = read_every_way(hl7(HEAD, b"PID|1", header, b"PID|2", HEAD, b"PID|3"))

    assert [(row["message"], row["position"], row["segment"]) for row in rows] == [
        (1, 1, "MSH"), (1, 2, "PID"), (2, 2, "PID"), (3, 1, "MSH"), (3, 2, "PID"),
    ]  # fmt: skip
    assert rejects == [(3, len(HEAD) + 7, reason, header)]
    alone, rejects = read_every_way(hl7(header, b"PID|2", HEAD, b"PID|3"), format="hl7")
    assert [row["message"] for row in alone] == [1, 2, 2]
    assert [reason for _, _, reason, _ in rejects] == [reason]


def test_counts_of_batches_are_compared() -> None:
    def file(messages: bytes, batches: bytes) -> bytes:
        batch = hl7(b"BHS|^~\\&|A", HEAD, b"PID|1", HEAD, b"PID|2", b"BTS|" + messages)
        return hl7(b"FHS|^~\\&|A") + batch + batch + hl7(b"FTS|" + batches)

    rows, rejects = read_every_way(file(b"2", b"2"))
    assert (len(rows), rejects) == (14, [])
    assert [row["message"] for row in rows if row["segment"] in ("BHS", "PID")] == [None, 1, 2, None, 3, 4]
    rows, rejects = read_every_way(file(b"3", b"1"))
    assert [(row, reason) for row, _, reason, _ in rejects] == [
        (7, "counts 3 messages, but there are 2"),
        (13, "counts 3 messages, but there are 2"),
        (14, "counts 1 batches, but there are 2"),
    ]
    assert len(rows) == 11


# --- X12 ---


def x12(*segments: bytes, isa: bytes = ISA, end: bytes = b"") -> bytes:
    """An interchange with one group around a transaction set."""
    count = str(len(segments) + 2).encode()
    text = [
        isa[:-1], b"GS*HC*S*R*20240101*1200*7*X*005010X222A1", b"ST*837*0001", *segments, b"SE*" + count + b"*0001",
        b"GE*1*7", b"IEA*1*000000905",
    ]  # fmt: skip
    return b"".join(each + b"~" + end for each in text)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_an_interchange_is_read_with_the_separators_of_its_isa(end: bytes) -> None:
    data = x12(b"BHT*0019*00", b"SV1*HC:99213:25*40**^", end=end)
    rows, rejects = read_every_way(data)

    assert rejects == []
    assert [(row["segment"], row["message"], row["position"]) for row in rows] == [
        ("ISA", None, None), ("GS", None, None), ("ST", 1, 1), ("BHT", 1, 2), ("SV1", 1, 3), ("SE", 1, 4),
        ("GE", None, None), ("IEA", None, None),
    ]  # fmt: skip
    assert "".join(text + "~" + end.decode() for text in texts(rows)) == data.decode()
    service = Segment(rows[4])
    assert (service.components(1), service.value(1, 2), service[16], service.value(2)) == (
        ["HC", "99213", "25"], "99213", "", "40",
    )  # fmt: skip
    isa = Segment(rows[0])
    assert (isa.value(11), isa.value(16), isa.value(13), isa.value(6)) == ("^", ":", "000000905", "SENDER         ")


def test_interchanges_with_other_separators_follow_each_other() -> None:
    other = x12(b"BHT*1").replace(b"*", b"|").replace(b"~", b"\n").replace(b":", b">")
    rows, rejects = read_every_way(x12(b"BHT*1") + b"\n" + other + x12(b"BHT*1", end=b"\r\n") + b"\x1a\0\0")
    assert rejects == []
    assert [row["separators"] for row in rows if row["segment"] == "ST"] == ["ISA*^:~", "ISA|^>\n", "ISA*^:~"]
    assert [row["message"] for row in rows if row["segment"] == "BHT"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b"SE*3*0001", b"SE*4*0001", "counts 4 segments, but there are 3"),
        (b"SE*3*0001", b"SE*x*0001", "has a count that is no number: 'x'"),
        (b"SE*3*0001", b"SE**0001", "has no count of segments (SE-1)"),
        (b"SE*3*0001", b"SE*3*0002", "has the control number '0002', and ST (segment 3) has '0001'"),
        (b"GE*1*7", b"GE*2*7", "counts 2 transaction sets, but there are 1"),
        (b"GE*1*7", b"GE*1*8", "has the control number '8', and GS (segment 2) has '7'"),
        (b"IEA*1", b"IEA*0", "counts 0 groups, but there are 1"),
    ],
)
def test_a_wrong_trailer_is_rejected_alone(before: bytes, after: bytes, reason: str) -> None:
    rows, rejects = read_every_way(x12(b"BHT*1").replace(before, after))
    assert [reason for _, _, reason, _ in rejects] == [reason]
    assert len(rows) == 6


def test_a_missing_trailer_is_told_by_the_next_one_or_at_the_end() -> None:
    data = x12(b"BHT*1")
    _, rejects = read_every_way(data.replace(b"SE*3*0001~", b""))
    assert [(row, reason) for row, _, reason, _ in rejects] == [(5, "the transaction set 0001 of segment 3 has no SE")]
    _, rejects = read_every_way(data[: data.index(b"GE*")])
    assert [reason for _, _, reason, _ in rejects] == [
        "is missing at the end of the file: the interchange 000000905 of segment 1 has no IEA",
        "is missing at the end of the file: the group 7 of segment 2 has no GE",
    ]


def test_a_segment_that_a_stray_terminator_cuts_is_rejected() -> None:
    rows, rejects = read_every_way(x12(b"NM1*IL*1*DO~E*JOHN"))
    assert [row["segment"] for row in rows] == ["ISA", "GS", "ST", "GE", "IEA"]
    assert [reason for _, _, reason, _ in rejects] == [
        "may be cut: the text behind it does not begin with a segment id",
        "does not begin with a segment id: 'E'",
        "counts 3 segments, but there are 4",
    ]


@pytest.mark.parametrize(
    "damaged",
    [
        b"SA" + ISA[3:],
        ISA[:40] + ISA[47:-2] + b"::~",
        ISA[:50] + b"~",
        ISA[:40] + b"\r\n",
        ISA.replace(b"*:~", b"*::~"),
        b"",
    ],
)
def test_a_damaged_isa_costs_itself(damaged: bytes) -> None:
    good = x12(b"BHT*1")
    rows, rejects = read_every_way(damaged + good[len(ISA) :], format="x12")
    assert [row["segment"] for row in rows] == ["GS", "ST", "BHT", "SE", "GE", "IEA"]
    assert len(rejects) == (1 if damaged else 0)
    rows, rejects = read_every_way(good + damaged + good[len(ISA) :])
    assert [row["segment"] for row in rows[7:]] == ["GS", "ST", "BHT", "SE", "GE", "IEA"]


def test_a_damaged_st_costs_itself() -> None:
    for damaged in (b"S*837*0001", b"XT*837*0001", b"ST*8\xff*0001"):
        data = x12(b"BHT*1") + x12(b"BHT*2", b"NM1*1")
        at = data.rindex(b"ST*837*0001")
        rows, rejects = read_every_way(data[:at] + damaged + data[at + 11 :])
        good = [row for row in rows[7:] if row["segment"] != "GS"]
        assert [row["segment"] for row in good] == ["ISA", "BHT", "NM1", "SE", "GE", "IEA"]
        assert {row["message"] for row in good[1:4]} == {2}
        assert rejects[-1][3] == damaged


def test_binary_data_is_as_long_as_it_says() -> None:
    def any_set(*segments: bytes) -> bytes:
        return x12(*segments).replace(b"ST*837", b"ST*275")

    rows, rejects = read_every_way(any_set(b"BHT*1", b"BIN*9*ab~cd\r\n*x"))
    assert [reason for _, _, reason, _ in rejects] == ["has a line break inside"]
    rows, rejects = read_every_way(any_set(b"BHT*1", b"BIN*9*ab~cd~~*x"))
    assert (rejects, texts(rows)[4]) == ([], "BIN*9*ab~cd~~*x")


# --- EDIFACT ---


def edifact(*segments: bytes, una: bytes = b"UNA:+.? '", end: bytes = b"") -> bytes:
    count = str(len(segments) + 2).encode()
    text = [
        b"UNB+UNOA:1+S+R+240101:1200+REF1", b"UNH+M1+ORDERS:D:96A:UN", *segments, b"UNT+" + count + b"+M1", b"UNZ+1+REF1",
    ]  # fmt: skip
    return una + (end if una else b"") + b"".join(each + b"'" + end for each in text)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
@pytest.mark.parametrize("una", [b"", b"UNA:+.? '"])
def test_released_characters_are_data(end: bytes, una: bytes) -> None:
    data = edifact(b"BGM+220+A?'B?+C??+9", b"FTX+AAI+++x???'y:z?:w", una=una, end=end)
    rows, rejects = read_every_way(data)

    assert rejects == []
    assert "".join(text + ("" if text == "UNA:+.? '" else "'") + end.decode() for text in texts(rows)) == data.decode()
    bgm, ftx = (Segment(row) for row in rows if row["segment"] in ("BGM", "FTX"))
    assert (bgm.value(2), bgm.value(3)) == ("A'B+C?", "9")
    assert (ftx.value(4), ftx.value(4, 2), ftx.components(4)) == ("x?'y", "z:w", ["x???'y", "z?:w"])


def test_una_says_the_separators_of_one_interchange_only() -> None:
    other = edifact(b"BGM+220").replace(b"UNA:+.? '", b"UNA=#,! ;").translate(bytes.maketrans(b":+'", b"=#;"))
    rows, rejects = read_every_way(other + b"\n" + edifact(b"BGM+220", una=b"") + edifact(b"BGM+220"))
    assert rejects == []
    assert [row["separators"] for row in rows if row["segment"] == "BGM"] == ["UNA=#,! ;", "UNA:+.? '", "UNA:+.? '"]
    assert rows[0]["segment"] == "UNA" and rows[0]["fields"] == ["=#,! ;"]


def test_counts_of_edifact_are_compared() -> None:
    _, rejects = read_every_way(edifact(b"BGM+220").replace(b"UNT+3", b"UNT+5").replace(b"UNZ+1", b"UNZ+2"))
    assert [reason for _, _, reason, _ in rejects] == [
        "counts 5 segments, but there are 3",
        "counts 2 messages, but there are 1",
    ]


def test_a_damaged_unb_costs_itself() -> None:
    good = edifact(b"BGM+220", una=b"")
    rows, rejects = read_every_way(good[1:], format="edifact")
    assert [row["segment"] for row in rows] == ["UNH", "BGM", "UNT", "UNZ"]
    assert [raw for _, _, _, raw in rejects] == [b"NB+UNOA:1+S+R+240101:1200+REF1"]


def test_a_line_end_in_another_place_is_seen_on_both_paths() -> None:
    good = edifact(b"BGM+220", b"FTX+AAI", end=b"\n")
    _, rejects = read_every_way(good.replace(b"BGM+220'\n", b"BGM+220'x\n"))
    assert [raw for *_, raw in rejects] == [b"BGM+220", b"x\nFTX+AAI"]
    good = x12(b"BHT*1", b"NM1*1", end=b"\n")
    _, rejects = read_every_way(good.replace(b"BHT*1~\n", b"BHT*1~x\n"))
    assert [raw for *_, raw in rejects] == [b"BHT*1", b"x\nNM1*1"]


# --- any format ---


def test_the_format_is_found_or_named() -> None:
    with pytest.raises(NotSegments, match="begins with 'id,name"):
        list(read_segments(io.BytesIO(b"id,name\n1,2\n")))
    with pytest.raises(ValueError, match="format is hl7, x12 or edifact"):
        read_segments(io.BytesIO(b""), format="csv")  # type: ignore[arg-type]
    assert list(read_segments(io.BytesIO(b""))) == []
    assert list(read_segments(io.BytesIO(b"\n\n"))) == []


def test_undecodable_bytes_cost_their_segment() -> None:
    data = hl7(HEAD, b"PID|1||caf\xe9", b"PV1|1|\xe9")
    rows, rejects = read_every_way(data)
    assert ([row["segment"] for row in rows], [reason for _, _, reason, _ in rejects]) == (
        ["MSH"], ["is not valid utf-8: byte 11 (E9)", "is not valid utf-8: byte 7 (E9)"],
    )  # fmt: skip
    rows, rejects = read_every_way(data, encoding="latin-1")
    assert (Segment(rows[1]).value(3), rejects) == ("café", [])
    rows, rejects = read_every_way(data + hl7("PV2|é".encode()), encoding=["utf-8", "cp1252"])
    assert [(row["fields"][-1], row["_cf_raw_encoding"]) for row in rows[1:]] == [
        ("café", "cp1252"), ("é", "cp1252"), ("é", "utf-8"),
    ]  # fmt: skip


def test_a_segment_beyond_the_limit_is_rejected_without_being_held() -> None:
    data = hl7(HEAD, b"OBX|1|" + b"x" * 5000, b"OBX|2")
    rows, rejects = read_every_way(data, record_bytes_max=1000, sizes=(1, 64, 3000))
    assert ([row["position"] for row in rows], rejects) == (
        [1, 3], [(2, len(HEAD) + 1, "is longer than 1,000 bytes", b"OBX|1|" + b"x" * 5000)],
    )  # fmt: skip
    for whole in (x12(b"NM1*" + b"x" * 5000), edifact(b"FTX+" + b"?'" * 2500)):
        rows, rejects = read_every_way(whole, record_bytes_max=1000, sizes=(1, 64, 3000))
        assert [reason for _, _, reason, _ in rejects] == ["is longer than 1,000 bytes"]


def test_a_bad_segment_may_be_repaired_or_raised() -> None:
    data = hl7(HEAD, b"PID|1", b"pid|2", b"PV1|1")
    with pytest.raises(BadRecord, match="line 2 may be cut"):
        list(read_segments(io.BytesIO(data), on_bad="raise"))

    def repair(bad: BadRecord) -> dict[str, Any] | None:
        return {"segment": "PID", "fields": [bad.raw.decode()]}

    rows = list(read_segments(io.BytesIO(data), on_bad=repair))
    assert [(row["segment"], row["fields"]) for row in rows[1:3]] == [("PID", ["PID|1"]), ("PID", ["pid|2"])]


def test_batches_have_lists_of_text() -> None:
    (batch,) = list(read_segments(io.BytesIO(hl7(HEAD)), as_="batches"))
    assert [f"{field.name}: {field.type}" for field in batch.schema] == [
        "segment: string", "message: int64", "position: int64", "fields: list<item: string>", "separators: string",
        "__cf_row_id: int64",
    ]  # fmt: skip


# --- properties ---

plain = st.text(st.characters(codec="utf-8", exclude_characters="\x01\x0b\x1c\r\n"), max_size=6)
value = st.one_of(plain, st.text("|^~\\&?'+:*.#ab\n", max_size=6))


@given(value, st.sampled_from(["MSH|^~\\&", "MSH|^~\\&#", "MSH#$%!*", "UNA:+.? '", "UNA=#,!*;"]))
def test_what_is_escaped_reads_back(text: str, separators: str) -> None:
    found = separators_of(separators)
    written = escaped(text, found)
    assert unescaped(written, found) == text
    assert found.field not in written or found.format == "edifact"


SEPARATORS = {"hl7": "MSH|^~\\&", "x12": "ISA*^:~", "edifact": "UNA:+.? '"}


@given(
    st.sampled_from(["hl7", "x12", "edifact"]),
    st.lists(st.lists(st.lists(value, min_size=1, max_size=3), min_size=1, max_size=4), max_size=12),
    st.sampled_from([b"", b"\n", b"\r\n"]),
    st.integers(1, 200),
)
def test_values_come_back_as_they_were_written(
    format: str, written: list[list[list[str]]], end: bytes, size: int
) -> None:
    separators = separators_of(SEPARATORS[format])
    if format == "x12":  # has no escapes
        written = [
            [[text.translate({ord(c): "" for c in "*^:~\r\n"}) for text in field] for field in one] for one in written
        ]
    id = {"hl7": "OBX", "x12": "NM1", "edifact": "FTX"}[format]
    body = [
        separators.field.join(
            [id, *(separators.component.join(escaped(text, separators) for text in field) for field in one)]
        )
        for one in written
    ]
    if format == "edifact":
        body = [one.replace("\r", "").replace("\n", "") for one in body]
        written = [[[text.replace("\r", "").replace("\n", "") for text in field] for field in one] for one in written]
    encoded = [one.encode() for one in body]
    data = (
        hl7(HEAD, *encoded, end=end or b"\r")
        if format == "hl7"
        else (x12 if format == "x12" else edifact)(*encoded, end=end)
    )

    rows, rejects = read_every_way(data, sizes=(size,))

    assert rejects == []
    segments = [Segment(row) for row in rows if row["segment"] == id]
    found = [[[one.value(n, c) or "" for c in range(1, len(field) + 1)] for n, field in enumerate(fields, 1)]
             for one, fields in zip(segments, written, strict=True)]  # fmt: skip
    assert found == written


MARKS = [b"\r", b"\n", b"~", b"'", b"?", b"|", b"ISA", b"UNA", b"MSH|"]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A good file of each format with some bytes taken out, put in or replaced."""
    many = draw(st.integers(1, 4))
    good = draw(st.sampled_from([
        (b"BHS|^~\\&\r" + hl7(HEAD, b"PID|1||M1", b"OBX|1|TX|a||\xc3\xa9", b"") * many + b"BTS|%d\r" % many),
        (b"\x0b" + hl7(HEAD, b"PID|1||M1", b"OBX|1") + b"\x1c\r") * many,
        hl7(HEAD, b"PID|1||M1", b"OBX|1", end=b"\n") * many,
        x12(b"BHT*1", b"NM1*IL*1*DOE", b"BIN*3*a~b") * many,
        x12(b"BHT*1", end=b"\n") + x12(b"NM1*IL").replace(b"*", b"|") * many,
        edifact(b"BGM+220+a?'b", b"FTX+??") * many + edifact(b"BGM+1", una=b"", end=b"\n"),
    ]))  # fmt: skip
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(good)))
        gone = draw(st.integers(0, 6))
        put = draw(st.one_of(st.binary(max_size=4), st.sampled_from(MARKS)))
        good = good[:at] + put + good[at + gone :]
    return good


@given(damaged_files(), st.sampled_from([None, 40]), st.integers(1, 90))
def test_paths_and_block_sizes_agree_on_any_file_and_every_byte_is_accounted_for(
    data: bytes, limit: int | None, size: int
) -> None:
    options: dict[str, Any] = {} if limit is None else {"record_bytes_max": limit}
    if detected(data) is None:
        options["format"] = "hl7"
    if limit is not None and detected(data) not in (None, "hl7") and not data.startswith((b"ISA*", b"UNA", b"UNB")):
        return  # where a long piece before the first header ends is not promised
    rows, rejects = read_every_way(data, sizes=(1, size), **options)

    assert len({row["__cf_row_id"] for row in rows} | {line for line, *_ in rejects}) == len(rows) + len(rejects)
    for row in rows:
        text = segment_text(row["segment"], row["fields"], separators_of(row["separators"])).encode()
        at = row["offset"]
        assert data[at:].lstrip(b"\x0b \t").startswith(text)  # a row is what the file has at its offset


def test_an_encoding_without_ascii_is_refused() -> None:
    for encoding in ("utf-16", ["utf-8", "cp037"], "utf-7", "unicode_escape", "raw-unicode-escape"):
        with pytest.raises(ValueError, match="superset of ASCII"):
            read_segments(io.BytesIO(b""), encoding=encoding)
    assert next(iter(read_segments(io.BytesIO(b"\xef\xbb\xbf" + HEAD))))["segment"] == "MSH"


def test_lines_are_cut_before_they_are_decoded() -> None:
    line = "OBX|1|TX|A||表|次".encode("shift_jis")  # the second byte of 表 is a backslash
    rows, rejects = read_every_way(hl7(HEAD, line), encoding="shift_jis")
    assert (rejects, rows[1]["fields"][4:]) == ([], ["表", "次"])


@pytest.mark.parametrize(
    ("whole", "found"),
    [
        (hl7(HEAD, b"PID|1||M1||DOEOBX|1|TX|A||x"), "OBX|1|"),
        (hl7(HEAD, b"PID|1||M1|PV1||I|"), "PV1||I|"),
        (hl7(HEAD.replace(b"|", b"#"), b"PID#1##M1EVN#A01#2024"), "EVN#A01#"),
        (x12(b"BHT*1", b"NM1*IL*1*DOENM1*QC*1*ROE", b"LX*1"), "NM1*QC*1*"),
        (x12(b"BHT*1", b"LX*1SV1*HC:99213*40"), "SV1*HC:"),
        (x12(b"BHT*1").replace(b"*1~SE", b"*1SE"), "SE*3*0001"),
        (edifact(b"BGM+220", b"NAD+BY+1LIN+1+2"), "LIN+1+"),
        (edifact(b"BGM+220").replace(b"220'UNT", b"220UNT"), "UNT+3+M1"),
    ],
)
def test_a_segment_that_holds_the_beginning_of_another_is_rejected(whole: bytes, found: str) -> None:
    _, rejects = read_every_way(whole)
    reason = f"holds the beginning of another segment ({found}): the end before that is lost"
    assert reason in [reason for _, _, reason, _ in rejects]


def test_values_that_only_look_like_ids_are_values() -> None:
    lines = [b"OBX|1|TX|A||see OBX 1|PID|x", b"ERR|PID^1^3|207", b"NTE|1|L|RAPID|1"]
    assert read_every_way(hl7(HEAD, *lines))[1] == []
    lines = [b"AK3*NM1*22*1*8", b"N3*WAREHOUSE*12", b"REF*ZZ*DTP*472", b"CTX*SITUATIONAL TRIGGER*CLM*43**5:3*C023"]
    assert read_every_way(x12(b"BHT*1", *lines).replace(b"ST*837", b"ST*999"))[1] == []
    assert read_every_way(edifact(b"BGM+220", b"FTX+AAI+++LIN?+1?+ and NAD?+BY?+x"))[1] == []


def test_separators_that_change_are_looked_for_anew() -> None:
    other = HEAD.replace(b"|", b"#")
    data = hl7(HEAD, b"PID|1||x", other, b"PID#1##aOBX#1#TX", HEAD, b"PID|1||aOBX|1|TX", b"PV1|1|I")
    _, rejects = read_every_way(data, sizes=(1, 50, 200))
    assert [line for line, *_ in rejects] == [4, 6]


# --- what stands between segments, and what a lost end joins ---


def test_a_rule_between_messages_costs_nothing() -> None:
    message = hl7(HEAD, b"PID|1||M1")
    data = b"====\r" + message + b"-----\r" + message + b"\r--------\r\r" + message + b"***\r"
    rows, rejects = read_every_way(data)
    assert (texts(rows), rejects) == ([HEAD.decode(), "PID|1||M1"] * 3, [])


def test_dashes_within_a_message_may_be_the_rest_of_a_segment() -> None:
    rows, rejects = read_every_way(hl7(HEAD, b"NTE|1||a", b"-----", b"PID|1||M1", b"=====", b"text"))
    assert texts(rows) == [HEAD.decode()]
    assert [(line, reason) for line, _, reason, _ in rejects] == [
        (2, "may be cut: the text behind it does not begin with a segment id"),
        (3, "does not begin with a segment id"),
        (4, "may be cut: the text behind it does not begin with a segment id"),
        (5, "does not begin with a segment id"),
        (6, "does not begin with a segment id: 'text'"),
    ]


@pytest.mark.parametrize("ids", [(), ("XYZ",)])
def test_ids_of_the_site_are_looked_for_inside_of_segments_too(ids: tuple[str, ...]) -> None:
    data = hl7(HEAD, b"ZPI|1", b"PID|1||M1|ZPI|a", b"OBX|1|TX|A||text|||FZPI|local", b"PV1|1|IXYZ|1|2", b"XYZ|1|2")
    rows, rejects = read_every_way(data, ids=ids)
    found = "holds the beginning of another segment ({}|): the end before that is lost"
    if ids:
        assert texts(rows)[1:] == ["ZPI|1", "PID|1||M1|ZPI|a", "XYZ|1|2"]
        assert [(line, reason) for line, _, reason, _ in rejects] == [
            (4, found.format("ZPI")),
            (5, found.format("XYZ")),
        ]
    else:
        assert texts(rows)[1:] == ["ZPI|1", "PID|1||M1|ZPI|a"]
        assert [line for line, *_ in rejects] == [4, 5, 6]


@pytest.mark.parametrize(
    ("data", "begin"), [(hl7(HEAD, b"id"), "The record on line 1 may be cut"), (x12(b"id"), "Segment 3")]
)
def test_a_bad_segment_is_named_by_its_line_or_its_number(data: bytes, begin: str) -> None:
    with pytest.raises(BadRecord, match=begin):
        list(read_segments(io.BytesIO(data), on_bad="raise"))


def test_an_edifact_file_without_its_beginning_has_the_usual_separators() -> None:
    rows, rejects = read(b"UNH+1+ORDERS:D:96A:UN'BGM+220+PO1'UNT+3+1'UNZ+1+REF1'", format="edifact")

    assert texts(rows)[:3] == ["UNH+1+ORDERS:D:96A:UN", "BGM+220+PO1", "UNT+3+1"]
    assert len(rows) + len(rejects) == 4


def test_a_stray_terminator_before_a_short_word_is_seen_in_sets_whose_segments_are_known() -> None:
    data = x12(b"BHT*1", b"NM1*IL*1*DOE*JA~NE*Q", b"REF*EI*1")
    first, second, trailer = read_every_way(data)[1]
    assert (first[3], second[3]) == (b"NM1*IL*1*DOE*JA", b"NE*Q")
    assert first[2].startswith("may be cut: the text behind it begins with an id that no segment")
    assert second[2] == "has the id NE, which no segment of an 837 has"
    assert trailer[2].startswith("counts 5 segments")


def test_own_ids_of_x12_are_named_and_other_sets_have_any() -> None:
    data = x12(b"BHT*1", b"ZZZ*1")
    assert [raw for *_, raw in read_every_way(data)[1]] == [b"BHT*1", b"ZZZ*1"]
    assert read_every_way(data, ids=["ZZZ"])[1] == []
    assert read_every_way(data.replace(b"ST*837", b"ST*278"))[1] == []
