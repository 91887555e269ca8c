"""Files as other programs write them: frames, batches, line ends, terminators, separators. Each is read whole, by any blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from casparian_shim import Segment
from tests.shim.readers.test_segments import read_every_way, small_regions, texts  # noqa: F401 - a fixture

MSH = "MSH|^~\\&|ADT1|HOSP|LAB|HOSP|20240131120000||ADT^A01|M1|P|2.5"
PID = "PID|1||M1^^^H^MR||DOE^JOHN"
ISA = "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240101*1200*^*00501*000000905*0*P*:"
X12 = (
    ISA,
    "GS*HC*A*B*20240101*1200*1*X*005010X222A1",
    "ST*837*0001",
    "BHT*0019*00*1*20240101*1200*CH",
    "NM1*41*2*BETA CLINIC*****46*TG1",
    "SE*4*0001",
    "GE*1*1",
    "IEA*1*000000905",
)
EDIFACT = (
    "UNB+UNOA:2+S:14+R:14+240101:1200+1",
    "UNH+1+ORDERS:D:96A:UN",
    "BGM+220+1+9",
    "UNT+3+1",
    "UNZ+1+1",
)


def ended(segments: Sequence[str], end: str) -> bytes:
    return "".join(each + end for each in segments).encode()


HL7_FILES = {
    "a frame without the carriage return": b"\x0b" + ended([MSH, PID], "\r") + b"\x1c",
    "a frame that is not closed": b"\x0b" + ended([MSH, PID], "\r"),
    "a frame of lines": b"\x0b" + ended([MSH, PID], "\n") + b"\x1c\n",
    "a frame of Windows lines": b"\x0b" + ended([MSH, PID], "\r\n") + b"\x1c\r\n",
    "doubled carriage returns": ended([MSH, PID], "\r\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + ended([MSH, PID], "\r"),
    "blank lines between segments": ended([MSH, "", PID, ""], "\r\n"),
    "no line end at the end": ended([MSH, PID], "\r")[:-1],
}


@pytest.mark.parametrize("name", HL7_FILES)
def test_hl7_is_read_however_it_is_framed(name: str) -> None:
    rows, rejects = read_every_way(HL7_FILES[name], format="hl7")
    assert (texts(rows), rejects) == ([MSH, PID], [])
    assert [(row["message"], row["position"]) for row in rows] == [(1, 1), (1, 2)]


def test_batches_and_messages_of_several_senders_are_in_one_file() -> None:
    head, other = "FHS|^~\\&|LAB", MSH.replace("|", "#").replace("^~\\&", "$%!*")
    data = ended([head, "BHS|^~\\&|LAB", MSH, PID, MSH, "BTS|2", "FTS|1"], "\r") + ended([other, "PID#1##M2$x"], "\r")
    rows, rejects = read_every_way(data)
    assert rejects == []
    assert [row["segment"] for row in rows] == ["FHS", "BHS", "MSH", "PID", "MSH", "BTS", "FTS", "MSH", "PID"]
    assert [row["message"] for row in rows] == [None, None, 1, 1, 2, None, None, 3, 3]
    assert [Segment(row).value(3) for row in rows if row["segment"] == "PID"] == ["M1", "M2"]


def test_what_an_interface_engine_writes_between_messages_is_rejected_with_the_segment_before_it() -> None:
    logged = "2024-01-31 12:00:00 received:"
    rows, rejects = read_every_way(ended([logged, MSH, PID, "", logged, MSH, PID], "\r\n"), format="hl7")
    assert texts(rows) == [MSH, MSH, PID]
    assert [(line, raw) for line, _, _, raw in rejects] == [
        (1, logged.encode()),
        (3, PID.encode()),
        (5, logged.encode()),
    ]


@pytest.mark.parametrize(
    ("field", "component", "end"), [("*", ":", "~"), ("|", ">", "'"), ("\x1d", "\x1f", "\x1c"), ("^", "<", "!")]
)
@pytest.mark.parametrize("line_end", ["", "\n", "\r\n", "\n\n"])
def test_x12_has_any_separators_and_any_line_ends(field: str, component: str, end: str, line_end: str) -> None:
    segments = [each.replace("*^*", "*U*").replace("*", field).replace(":", component) for each in X12]
    rows, rejects = read_every_way(ended(segments, end + line_end))
    assert (texts(rows), rejects) == (segments, [])
    assert rows[0]["separators"] == f"ISA{field}{component}{end}"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_end_may_be_the_terminator(end: str) -> None:
    rows, rejects = read_every_way(ended(X12, end))
    assert (texts(rows), rejects) == (list(X12), [])
    rows, rejects = (
        read_every_way(f"UNA:+.? {end[0]}".encode() + ended(EDIFACT, end)) if len(end) == 1 else (rows, rejects)
    )
    assert rejects == []


def test_interchanges_follow_each_other_with_text_before_them() -> None:
    header = b"Content-Type: application/edi-x12\r\n\r\n"
    acknowledged = ended([ISA.replace("905", "906"), "TA1*000000905*240101*1200*A*000", "IEA*0*000000906"], "~")
    rows, rejects = read_every_way(header + ended(X12, "~") + acknowledged + ended(X12, "~\n"))
    assert [row["segment"] for row in rows].count("ISA") == 3
    assert [row["message"] for row in rows if row["segment"] == "ST"] == [1, 2]
    assert [raw for *_, raw in rejects] == [header.strip()]


@pytest.mark.parametrize("una", ["", "UNA:+.? '", "UNA:+.? '\r\n"])
@pytest.mark.parametrize("line_end", ["", "\r\n"])
def test_edifact_is_read_with_and_without_a_una(una: str, line_end: str) -> None:
    rows, rejects = read_every_way(una.encode() + ended(EDIFACT, "'" + line_end))
    assert ([each for each in texts(rows) if each != "UNA:+.? '"], rejects) == (list(EDIFACT), [])
    assert {row["separators"] for row in rows} == {"UNA:+.? '"}


def test_edifact_of_level_b_is_separated_by_control_characters() -> None:
    marks = str.maketrans("+:'", "\x1d\x1f\x1c")
    segments = [each.replace("UNOA", "UNOB").translate(marks) for each in EDIFACT]
    rows, rejects = read_every_way(ended(segments, "\x1c"))
    assert (texts(rows), rejects) == (segments, [])


# --- encodings that headers declare ---


def declared(code: str, name: str, encoding: str) -> bytes:
    return ended([f"{MSH}||||||{code}", f"PID|1||{name}"], "\r").decode().encode(encoding)


@pytest.mark.parametrize(
    ("code", "encoding", "codec"),
    [
        ("8859/1", "latin-1", "iso8859-1"),
        ("8859/15", "iso8859-15", "iso8859-15"),
        ("8859/1~8859/15", "latin-1", "iso8859-1"),
        ("ISO-8859-1", "latin-1", "iso8859-1"),
        ("WINDOWS-1252", "cp1252", "cp1252"),
        ("UNICODE UTF-8", "utf-8", "utf-8"),
        ("utf-8", "utf-8", "utf-8"),
        ("ASCII", "utf-8", "utf-8"),
        ("", "utf-8", "utf-8"),
    ],
)
def test_msh_18_says_the_encoding_of_a_message(code: str, encoding: str, codec: str) -> None:
    rows, rejects = read_every_way(declared(code, "Müller", encoding))
    assert ([Segment(row).value(3) for row in rows if row["segment"] == "PID"], rejects) == (["Müller"], [])
    assert [row.get("_cf_raw_encoding", "utf-8") for row in rows] == [codec] * 2


def test_messages_in_several_encodings_are_in_one_file() -> None:
    names = {"8859/1": ("latin-1", "Müller"), "": ("utf-8", "Łukasz"), "8859/5": ("iso8859-5", "Иван")}
    data = b"".join(declared(code, name, encoding) for code, (encoding, name) in names.items())
    rows, rejects = read_every_way(data * 3)
    assert rejects == []
    assert [Segment(row).value(3) for row in rows if row["segment"] == "PID"] == ["Müller", "Łukasz", "Иван"] * 3
    assert [row["_cf_raw_encoding"] for row in rows] == [*["iso8859-1"] * 2, *["utf-8"] * 2, *["iso8859-5"] * 2] * 3


def test_rows_before_the_first_other_encoding_do_not_name_theirs() -> None:
    rows, _ = read_every_way(declared("", "Müller", "utf-8") + declared("8859/1", "Müller", "latin-1"))
    assert ["_cf_raw_encoding" in row for row in rows] == [False, False, True, True]


def test_an_encoding_that_the_caller_names_holds_whatever_the_file_declares() -> None:
    rows, rejects = read_every_way(declared("8859/1", "Müller", "utf-8"), encoding="utf-8")
    assert (Segment(rows[1]).value(3), rejects) == ("Müller", [])


@pytest.mark.parametrize(
    ("code", "name", "reason"),
    [
        ("ISO IR87", "\x1b$B;3\x1b(B", "is in 'ISO IR87', as its header declares, and there is no codec for it"),
        ("UNICODE UTF-16", "Müller", "is in 'UNICODE UTF-16', as its header declares, and there is no codec for it"),
        ("ASCII", "M\xfcller", "is not valid utf-8: byte 9 (FC)"),
        (
            "UNICODE UTF-8~ISO IR87",
            "\x1b$B;3\x1b(B",
            "changes its character set by an escape sequence ('UNICODE UTF-8~ISO IR87'), which is not supported",
        ),
    ],
)
def test_a_text_that_no_codec_reads_is_rejected_by_name(code: str, name: str, reason: str) -> None:
    rows, rejects = read_every_way(declared(code, name, "latin-1") + declared("", "next", "utf-8"))
    assert [Segment(row).value(3) for row in rows if row["segment"] == "PID"] == ["next"]
    assert [(line, each) for line, _, each, _ in rejects] == [(2, reason)]


def test_text_in_utf_8_is_not_read_as_the_code_page_that_its_header_declares() -> None:
    data = declared("8859/1", "Müller", "utf-8") + declared("8859/1", "Møller", "latin-1")
    rows, rejects = read_every_way(data)
    assert [Segment(row).value(3) for row in rows if row["segment"] == "PID"] == ["Møller"]
    assert [(line, reason) for line, _, reason, _ in rejects] == [
        (2, "is in UTF-8, and its header declares '8859/1': give the encoding of the file")
    ]
    edifact = ended([EDIFACT[0].replace("UNOA", "UNOC"), EDIFACT[1], "FTX+AAI+++Müller", *EDIFACT[3:]], "'")
    assert [raw.decode() for *_, raw in read_every_way(edifact)[1]] == ["FTX+AAI+++Müller"]


@pytest.mark.parametrize(
    ("syntax", "encoding", "name"),
    [
        ("UNOC", "latin-1", "Müller"),
        ("UNOE", "iso8859-5", "Иван"),
        ("UNOY", "utf-8", "Łukasz"),
        ("UNOB", "utf-8", "ABC"),
    ],
)
def test_the_syntax_identifier_says_the_encoding_of_an_interchange(syntax: str, encoding: str, name: str) -> None:
    segments = [each.replace("UNOA", syntax).replace("BGM+220", f"BGM+{name}") for each in EDIFACT]
    rows, rejects = read_every_way(ended(segments, "'").decode().encode(encoding) + ended(EDIFACT, "'"))
    assert (texts(rows), rejects) == ([*segments, *EDIFACT], [])


# --- as mainframes write them ---


def wrapped(data: bytes, width: int, end: bytes, *, is_ended: bool = True) -> bytes:
    lines = [data[at : at + width] for at in range(0, len(data), width)]
    return end.join(lines) + (end if is_ended else b"")


LONG = (*X12[:3], *[f"NM1*IL*1*DOE*JOHN{number:04}" for number in range(60)], "SE*62*0001", *X12[-2:])


@pytest.mark.parametrize("segments", [X12, LONG])
@pytest.mark.parametrize(("width", "end"), [(80, b"\r\n"), (72, b"\n"), (80, b"\r"), (100, b"\r\n")])
@pytest.mark.parametrize("is_ended", [True, False])
def test_x12_in_lines_of_one_width_is_read_as_if_there_were_none(
    segments: tuple[str, ...], width: int, end: bytes, is_ended: bool
) -> None:
    data = wrapped(ended(segments, "~"), width, end, is_ended=is_ended)
    rows, rejects = read_every_way(data, format="x12")
    assert (texts(rows), rejects) == (list(segments), [])
    begins = [*(row["offset"] for row in rows), len(data)]
    written = [data[begin:stop].replace(b"\r", b"").replace(b"\n", b"") for begin, stop in pairwise(begins)]
    assert written == [f"{each}~".encode() for each in segments]


def test_edifact_in_lines_of_one_width_is_read_as_if_there_were_none() -> None:
    segments = [*EDIFACT[:3], *[f"LIN+{number}++4000862141404:SRV" for number in range(50)], "UNT+53+1", "UNZ+1+1"]
    data = b"UNA:+.? '" + ended(segments, "'")
    rows, rejects = read_every_way(wrapped(data, 80, b"\r\n"))
    assert (texts(rows), rejects) == (["UNA:+.? '", *segments], [])


def test_damage_in_wrapped_lines_is_rejected_where_it_is() -> None:
    data = wrapped(ended(X12, "~").replace(b"*BETA CLINIC", b"*BETA \xff"), 80, b"\r\n")
    rows, rejects = read_every_way(data)
    assert texts(rows) == [each for each in X12 if "BETA" not in each]
    ((number, offset, reason, _),) = rejects
    assert (number, reason[:18]) == (5, "is not valid utf-8")
    assert data.index(b"NM1") == offset


@pytest.mark.parametrize("page", ["cp037", "cp500"])
@pytest.mark.parametrize("line_end", ["", "\x85", "\n"])
def test_x12_in_ebcdic(page: str, line_end: str) -> None:
    segments = [each.replace("BETA", "BÉTA") for each in X12]
    data = "".join(each + "~" + line_end for each in segments).encode(page)
    rows, rejects = read_every_way(data, encoding=page)
    assert (texts(rows), rejects) == (segments, [])
    broken = "".join(each + "~" for each in segments).replace("NM1*", "*M1*").encode(page)
    _, rejects = read_every_way(broken, encoding=page, format="x12")
    assert [raw.decode(page)[:3] for *_, raw in rejects] == ["BHT", "*M1"]


@pytest.mark.parametrize("width", [80])
def test_ebcdic_in_records_of_80_bytes(width: int) -> None:
    data = ended(X12, "~")
    data += b" " * (-len(data) % width)
    rows, rejects = read_every_way(data.decode().encode("cp037"), encoding="cp037")
    assert (texts(rows), rejects) == (list(X12), [])
    rows, rejects = read_every_way(wrapped(data, width, b"\x85").decode("latin-1").encode("cp037"), encoding="cp037")
    assert (texts(rows), rejects) == (list(X12), [])


@pytest.mark.parametrize("encoding", ["utf-16", "cp1140", "cp273", ["cp037", "utf-8"], "no such codec"])
def test_other_encodings_are_refused(encoding: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"superset of ASCII or an EBCDIC|not an encoding of text that Python knows"):
        read_every_way(ended(X12, "~"), encoding=encoding)
