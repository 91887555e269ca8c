"""HL7, X12, EDIFACT and FIX: recognised by their headers, cut by their own separators."""

import pytest

from casparian_worker.detection import Detected, Sample, Segments, detect
from casparian_worker.detection.messages import edifact_elements, fix_fields, fix_separator, hl7_fields, segments_of

ISA = "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240131*1200*U*00401*000000001*0*P*>~"
X12 = ISA + "GS*HC*A~\nST*835*0001~\nBPR*I*1~\nSE*3*0001~\nGE*1*1~\nIEA*1*1~\n"
EDI = "UNA:+.? 'UNB+UNOC:3+A+B+240131:1200+1'UNH+1+ORDERS:D:96A:UN'FTX+AAI+++It?'s ok?+'UNT+3+1'UNZ+1+1'"


def judged(text: str) -> Detected:
    return detect(Sample.of_bytes(text.encode("latin-1")))


def test_x12_states_its_separators_and_one_line_is_many_segments() -> None:
    found = judged(X12.replace("\n", ""))
    assert found.details == Segments("*", "~", component=">", messages=(("835", 1),))
    assert found.evidence[1] == "7 segments end with '~', 1 transaction sets: 835 (1)"
    assert found.details is not None and isinstance(found.details, Segments)
    assert [segment[:3] for segment in segments_of(X12, found.details)] == [
        "ISA",
        "GS*",
        "ST*",
        "BPR",
        "SE*",
        "GE*",
        "IEA",
    ]


def test_an_interchange_that_is_cut_is_told() -> None:
    assert judged(X12[:-12]).doubts == ("the last segment is 'GE', not IEA: the interchange is cut",)
    assert judged(EDI[:-9]).doubts == ("the last segment is 'UNT', not UNZ: the interchange is cut",)


def test_edifact_states_its_separators_and_released_ones_are_data() -> None:
    found = judged(EDI)
    assert found.details == Segments("+", "'", ":", "", "?", (("ORDERS", 1),))
    assert isinstance(found.details, Segments)
    segments = segments_of(EDI, found.details)
    assert edifact_elements(segments[2], found.details) == ["FTX", "AAI", "", "", "It?'s ok?+"]
    own = judged("UNA;*.  !UNB*UNOC;3*A*B*1*1!UNZ*0*1!")
    assert own.details == Segments("*", "!", ";", "", "")


def test_the_first_field_of_a_message_header_is_the_separator() -> None:
    assert hl7_fields("MSH|^~\\&|LAB|H", "|") == ["MSH", "|", "^~\\&", "LAB", "H"]
    assert hl7_fields("PID|1||A^B", "|") == ["PID", "1", "", "A^B"]


@pytest.mark.parametrize("ends", ["\r", "\n", "\r\n"])
def test_hl7_is_found_whatever_ends_its_segments(ends: str) -> None:
    found = judged(ends.join(["MSH|^~\\&|A|B|C|D|20240131||ADT^A01|1|P|2.5", "PID|1", "PV1|1", ""]))
    assert found.details == Segments("|", "\r", "^", "~", "\\", (("ADT^A01", 1),))
    assert found.confidence == 1
    assert bool(found.doubts) is (ends != "\r")


def test_a_data_field_of_fix_may_hold_the_separator() -> None:
    line = "8=FIX.4.4\x019=30\x0135=B\x0195=7\x0196=a\x01b=c\x01d\x0110=000\x01"
    assert list(fix_fields(line, "\x01")) == [
        ("8", "FIX.4.4"), ("9", "30"), ("35", "B"), ("95", "7"), ("96", "a\x01b=c\x01d"), ("10", "000"),
    ]  # fmt: skip


@pytest.mark.parametrize("separator", ["\x01", "|", "^A", "^", ";", "\x02", "¦"])
def test_the_separator_of_fix_stands_before_the_second_tag(separator: str) -> None:
    assert fix_separator(f"8=FIX.4.4{separator}9=5{separator}35=0{separator}") == separator


def test_fix_behind_prefixes_is_counted() -> None:
    found = judged("# log\n" + "2024-01-31 gw out 8=FIX.4.4|9=5|35=D|10=000|\n" * 3)
    assert found.evidence == (
        "has 8=FIX in line 2",
        "3 of 4 lines hold a message, fields end with '|'",
        "3 messages stand behind a prefix",
    )
