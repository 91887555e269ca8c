"""The parts of `read_segments` by themselves: headers, separators, envelopes, ids, and where pieces begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim.readers.segments import Segment, segment_text, separators_of
from casparian_shim.readers.segments.envelopes import Envelopes
from casparian_shim.readers.segments.joined import joined_with, may_hold_joined
from casparian_shim.readers.segments.segment import split_released
from casparian_shim.readers.segments.separators import (
    Separators,
    detected,
    hl7_header,
    isa_header,
    una_header,
    unb_defaults,
)
from casparian_shim.readers.segments.syntaxes import EdifactSyntax, Hl7Syntax, X12Syntax
from tests.shim.readers.test_segments import HEAD, ISA

# --- separators ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MSH|^~\\&", ("hl7", "|", "^", "~", "\\", "&", "", "")),
        ("MSH|^~\\&#", ("hl7", "|", "^", "~", "\\", "&", "", "#")),
        ("ISA*^:~", ("x12", "*", ":", "^", "", "", "~", "")),
        ("ISA*:~", ("x12", "*", ":", "", "", "", "~", "")),
        ("ISA|>\n", ("x12", "|", ">", "", "", "", "\n", "")),
        ("UNA:+.? '", ("edifact", "+", ":", "", "?", "", "'", "")),
        ("UNA:+.?*'", ("edifact", "+", ":", "*", "?", "", "'", "")),
        ("UNA=#,  ;", ("edifact", "#", "=", "", "", "", ";", "")),
    ],
)
def test_one_text_says_all_separators(text: str, expected: tuple[str, ...]) -> None:
    found = separators_of(text)
    assert found == Separators(text, *expected)  # type: ignore[arg-type]
    assert separators_of(text) is found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (HEAD, "MSH|^~\\&"),
        (HEAD.replace(b"^~\\&", b"^~\\&#"), "MSH|^~\\&#"),
        (b"BHS#$%!*#A", "MSH#$%!*"),
        (b"FHS|^~\\&", "MSH|^~\\&"),
        (b"MSH", "ends after MSH"),
        (b"MSHA^~\\&", "has no field separator after MSH"),
        (b"MSH|^^\\&|", "has '^^\\\\&' as its encoding characters (MSH-2), which are four, or five since HL7 2.7"),
        (b"MSH|A~\\&|", "has 'A~\\\\&' as its encoding characters (MSH-2), which are four, or five since HL7 2.7"),
        (b"MSH|^~\\&|A", "is cut: it has 3 fields, and MSH has 12 at least"),
    ],
)
def test_a_header_of_hl7_says_its_separators_or_what_is_wrong(line: bytes, expected: str) -> None:
    found = hl7_header(line)
    assert (found.text if isinstance(found, Separators) else found) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (ISA + b"GS*", "ISA*^:~"),
        (ISA + b"\r\nGS*", "ISA*^:~"),
        (ISA, "ISA*^:~"),
        (ISA.replace(b"*^*", b"*U*") + b"TA1*", "ISA*:~"),
        (ISA.replace(b"SENDER         ", b"S") + b"GS*", "ISA*^:~"),
        (ISA.replace(b"SENDER         ", b"S") + b"XX*", "is not followed by a GS"),
        (ISA[:-1] + b":GS*", "names a separator twice: '*^::'"),
        (ISA[:-1] + b"AGS*", "names '*^:A' as its separators"),
        (ISA[:50], "is cut: it has 6 elements instead of 16"),
        (b"ISA", "has no element separator after ISA"),
    ],
)
def test_an_isa_says_its_separators_or_what_is_wrong(header: bytes, expected: str) -> None:
    found = isa_header(header, 0, True)
    assert (found.text if isinstance(found, Separators) else found) == expected
    assert isa_header(header, 0, False) is None  # more is needed to be sure


def test_una_and_unb_say_the_separators_of_edifact() -> None:
    assert [una_header(text) for text in (b"UNA:+.? '", b"UNA:+.?*~")] == [
        separators_of("UNA:+.? '"), separators_of("UNA:+.?*~"),
    ]  # fmt: skip
    assert una_header(b"UNA::.? '") == """names a separator twice: "::.? '\""""
    assert una_header(b"UNA:+x? '") == """names ":+x? '" as its separators"""
    assert [unb_defaults(head) for head in (b"UNB+UNOA:1+", b"UNB+UNOC:4+", b"UNB\x1dUNOB\x1f", b"UNB*")] == [
        separators_of("UNA:+.? '"), separators_of("UNA:+.?*'"), separators_of("UNA\x1f\x1d.  \x1c"), None,
    ]  # fmt: skip


# --- segments ---


def segment(id: str, *fields: str, separators: str = "MSH|^~\\&") -> Segment:
    row = {
        "segment": id,
        "fields": list(fields),
        "separators": separators,
        "message": 1,
        "position": 2,
        "__cf_row_id": 3,
    }
    return Segment(row)


def test_a_segment_has_fields_repetitions_components_and_values() -> None:
    pid = segment("PID", "1", "", "A^B&C^\\T\\~D", '""')
    assert ([pid[number] for number in range(1, 6)], pid.id, pid.message, pid.position, pid.row_id) == (
        ["1", "", "A^B&C^\\T\\~D", '""', ""], "PID", 1, 2, 3,
    )  # fmt: skip
    assert (pid.repetitions(3), pid.repetitions(2)) == (["A^B&C^\\T\\", "D"], [])
    assert (pid.components(3), pid.components(3, 2), pid.components(3, 3)) == (["A", "B&C", "\\T\\"], ["D"], [])
    values = [pid.value(3, 2), pid.value(3, 2, subcomponent=2), pid.value(3, 3), pid.value(3, repetition=2)]
    assert values == ["B", "C", "&", "D"]
    assert [pid.value(2), pid.value(9), pid.value(3, 9), pid.value(3, 2, subcomponent=9)] == [None] * 4
    assert (pid.value(4), str(pid), repr(pid)[:12]) == ('""', 'PID|1||A^B&C^\\T\\~D|""', "<Segment 3: ")
    with pytest.raises(IndexError, match="numbered from 1"):
        pid[0]


def test_separators_are_no_values_in_the_segments_that_name_them() -> None:
    msh = segment("MSH", "|", "^~\\&", "A^B")
    assert (msh.value(1), msh.value(2), msh.components(2), msh.value(3, 2)) == ("|", "^~\\&", ["^~\\&"], "B")
    una = segment("UNA", ":+.? '", separators="UNA:+.? '")
    assert (una.value(1), str(una)) == (":+.? '", "UNA:+.? '")
    isa = segment("ISA", *["x"] * 10, "^", *["x"] * 4, ":", separators="ISA*^:~")
    assert (isa.value(11), isa.value(16), isa.value(2)) == ("^", ":", "x")
    other = segment("UNA", "1", "A:B", separators="ISA*^:~")  # an id as any other in X12
    assert (str(other), other.value(2, 2)) == ("UNA*1*A:B", "B")


@given(
    st.lists(st.text("ab?+", max_size=5).filter(lambda text: (len(text) - len(text.rstrip("?"))) % 2 == 0), min_size=1)
)
def test_released_marks_split_nothing(parts: list[str]) -> None:
    whole = "+".join(parts)
    found = split_released(whole, "+", "?")
    assert "+".join(found) == whole
    assert all((len(part) - len(part.rstrip("?"))) % 2 == 0 for part in found[:-1])
    assert split_released(whole, "+", "") == whole.split("+")


def test_many_released_marks_are_split_in_time_that_is_linear() -> None:
    assert len(split_released("?+" * 500_000, "+", "?")) == 1


@given(st.lists(st.text("ab^~", max_size=3), max_size=5))
def test_a_text_is_made_of_a_segment_and_read_back(fields: list[str]) -> None:
    text = segment_text("OBX", fields, separators_of("MSH|^~\\&"))
    assert text.split("|") == ["OBX", *fields]


# --- envelopes ---


def test_an_envelope_counts_what_is_in_it() -> None:
    seen = Envelopes("x12")
    seen.begin("ISA", [*[""] * 12, "905"], 1, is_after_reject=False)
    for number in ("1", "2"):
        seen.begin("GS", [*[""] * 5, number], 2, is_after_reject=False)
        seen.begin("ST", ["837", "0001"], 3, is_after_reject=False)
        assert seen.end("SE", ["5", "0001"], 5, 7, is_after_reject=False) is None
        assert seen.end("GE", ["1", number], 0, 8, is_after_reject=False) is None
    assert seen.end("IEA", ["3", "9"], 0, 9, is_after_reject=False) == (
        "counts 3 groups, but there are 2; has the control number '9', and ISA (segment 1) has '905'"
    )
    assert seen.finish(is_after_reject=False) == []


def test_what_was_damaged_is_not_blamed_twice() -> None:
    seen = Envelopes("x12")
    seen.begin("ST", ["837", "0001"], 3, is_after_reject=True)  # its ISA and its GS were rejected
    assert seen.may_hold_messages
    assert seen.end("GE", ["1", "7"], 0, 8, is_after_reject=True) is None  # its SE was rejected
    assert not seen.may_hold_messages
    assert seen.end("IEA", ["1", "905"], 0, 9, is_after_reject=False) is None
    assert seen.end("IEA", ["1", "905"], 0, 9, is_after_reject=False) == "ends an interchange that did not begin"


def test_edifact_counts_groups_where_there_are_any() -> None:
    seen = Envelopes("edifact")
    seen.begin("UNB", ["", "", "", "", "R"], 1, is_after_reject=False)
    for reference in ("A", "B"):
        seen.begin("UNH", [reference], 2, is_after_reject=False)
        assert seen.end("UNT", ["2", reference], 2, 3, is_after_reject=False) is None
    assert seen.end("UNZ", ["2", "R"], 0, 4, is_after_reject=False) is None
    seen.begin("UNB", ["", "", "", "", "R"], 1, is_after_reject=False)
    seen.begin("UNG", ["", "", "", "", "G"], 2, is_after_reject=False)
    seen.begin("UNH", ["A"], 3, is_after_reject=False)
    assert seen.end("UNE", ["1", "G"], 0, 4, is_after_reject=False) == "the message A of segment 3 has no UNT"
    assert seen.end("UNZ", ["1", "R"], 0, 5, is_after_reject=False) is None


# --- ids and formats ---


@pytest.mark.parametrize(
    ("syntax", "yes", "no"),
    [
        (Hl7Syntax(), ["PID", "OBX", "ZZ9", "ZPI"], ["", "pid", "P", "ABC", "Z", "ZZZZ", "Zpi", "ZÄ1"]),
        (Hl7Syntax(frozenset({"ABC"})), ["ABC", "PID"], ["ABD"]),
        (X12Syntax(), ["N1", "NM1", "ISA", "ZZZ"], ["", "N", "1N", "nm1", "NM12", "N*"]),
        (EdifactSyntax(), ["UNH", "NAD", "ABC:1"], ["", "UN", "UNHH", "un1", "N1A", "ÄÄÄ"]),
    ],
)
def test_ids(syntax: Hl7Syntax | X12Syntax | EdifactSyntax, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes if not syntax.is_id(text)] == []
    assert [text for text in no if syntax.is_id(text)] == []


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (HEAD, "hl7"),
        (b"\x0b" + HEAD, "hl7"),
        (b"some log\r\n" + HEAD, "hl7"),
        (b"XSH" + HEAD[3:], "hl7"),
        (ISA, "x12"),
        (b"\r\n" + ISA, "x12"),
        (b"junk " + ISA, "x12"),
        (b"UNA:+.? 'UNB+", "edifact"),
        (b"UNB+UNOA:1", "edifact"),
        (b"NB+UNOA:1+x'UNH+1", "edifact"),
        (b"id,name\n1,2\n", None),
        (b"", None),
    ],
)
def test_the_earliest_header_says_the_format(head: bytes, expected: str | None) -> None:
    assert detected(head) == expected


@given(st.text("PIDOBXN1|~ \r", max_size=40))
def test_the_fast_look_for_joined_segments_never_misses_one(text: str) -> None:
    separators, data = separators_of("MSH|^~\\&"), text.encode()
    for site_ids in (frozenset[str](), frozenset({"NOX"})):
        found = [joined_with(line, separators, site_ids) for line in data.split(b"\r")]
        assert may_hold_joined(data, separators, site_ids) or not any(found)


@pytest.mark.parametrize(
    ("separators", "content"),
    [
        ("MSH|^~\\&", b"OBX|1|NM|GLU||5.4|mmol/L|||||FNTE|1||a"),
        ("MSH|^~\\&", b"OBX|1|NM|GLU||5.4|mmol/L|||||FNTE|||a note"),
        ("MSH|^~\\&", b"PID|1||P1||DoeROL|7^A|AD|ATT^Attending"),
        ("MSH|^~\\&", b"PV1|1|IACC|20240131|auto"),
        ("MSH|^~\\&", b"MSA|AA|1QAK|Q1|OK"),
        ("MSH|^~\\&", b"ORC|RE|P1RXE|1^BID|Aspirin^500 mg"),
        ("MSH|^~\\&", b"ORC|RE|P1RXR|PO^Oral"),
        ("MSH|^~\\&", b"NTE|1||lastBTS|3"),
        ("MSH#*~\\&", b"PID#1##P1OBX#1#ST"),
        ("ISA*^:~", b"NM1*IL*1*DOE*JOHNREF*EI*1"),
        ("ISA*^:~", b"ST*837*0001BHT*0019*00*1"),
        ("ISA*^:~", b"GS*HC*A*B*20240131*0930*1*X*005010ST*837*0001"),
        ("UNA:+.? '", b"BGM+220+PO1+9DTM+137:20240131:102"),
        ("UNA:+.? '", b"UNH+M1+ORDERS:D:96A:UNBGM+220+PO1"),
    ],
)
def test_two_segments_in_one_are_seen(separators: str, content: bytes) -> None:
    assert joined_with(content, separators_of(separators), frozenset())
    assert may_hold_joined(content, separators_of(separators), frozenset())


@pytest.mark.parametrize(
    ("separators", "content"),
    [
        ("MSH|^~\\&", b"OBX|1|NM|CHOLESTEROL||5.4|mmol/L|||||F"),
        ("MSH|^~\\&", b"PID|1||P1||GORDON||19800515|M|||1 Main St^^MILAN|IT"),
        ("MSH|^~\\&", b"PID|1||P1||CLEMENTE||19800515|M"),
        ("MSH|^~\\&", b"PID|1||P1||BUSCH|SCHMIDT^ANNA|19800515|M"),
        ("MSH|^~\\&", b"ERR|PID^1^5^101&Required field"),
        ("MSH|^~\\&", b"DSP|1||see PID|OBX"),
        ("MSH|^~\\&", b"ZPI|ZPI|1"),
        ("ISA*^:~", b"NM1*IL*1*COOPER*JO****MI*W1"),
        ("ISA*^:~", b"N1*BY*TRUST*92*1"),
        ("UNA:+.? '", b"NAD+BY+541::9++Beta GmbH+SYNAD+Bern"),
    ],
)
def test_a_word_that_ends_like_an_id_is_a_word(separators: str, content: bytes) -> None:
    assert joined_with(content, separators_of(separators), frozenset({"ZPI"})) is None


@pytest.mark.parametrize(
    ("damaged", "good"),
    [
        (b"UNA:+.?'\nUNB+UNOA:2+A+B'\n", False),
        (b"UNA:+.? \nUNB+UNOA:2+A+B'\n", False),
        (b"UNA:+.? \n\nUNB+UNOA:2+A+B\n", True),
        (ISA[:-2] + b"~\nGS*PO*A*B*20240101*1200*1*X*005010~\n", False),
        (ISA[:-1] + b"\nGS*PO*A*B*20240101*1200*1*X*005010~\n", False),
        (ISA[:-1] + b"\nGS*PO*A*B*20240101*1200*1*X*005010\n", True),
    ],
)
def test_a_line_end_is_no_terminator_if_the_next_line_has_another_one(damaged: bytes, good: bool) -> None:
    found = una_header(damaged[:9], damaged[9:]) if damaged.startswith(b"UNA") else isa_header(damaged, 0, True)
    assert isinstance(found, Separators) == good
    assert good or "but the line behind it ends with" in str(found)
