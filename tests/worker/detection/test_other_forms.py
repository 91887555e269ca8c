"""Fixed width, JSON, XML and logs: what is seen in them, and what is doubtful."""

import json

import pytest

from casparian_worker.detection import Detected, Field, Json, Layout, Log, Sample, Xml, detect
from casparian_worker.detection.fixed_width import ruler
from casparian_worker.detection.logs import pairs_of
from casparian_worker.detection.rows import first_rows, first_values, joined_records
from casparian_worker.detection.text import read_text


def judged(text: str, encoding: str = "utf-8") -> Detected:
    return detect(Sample.of_bytes(text.encode(encoding)))


LINES = "".join(f"{n:05} NAME{n * 37 % 91:<11}{n * 31:>8} {'DE' if n % 2 else 'FR'}\n" for n in range(40))


def test_columns_begin_behind_blanks_and_a_ruler_shows_them() -> None:
    found = judged(LINES)
    assert found.details == Layout(
        (Field("column_1", 0, 6), Field("column_2", 6, 25), Field("column_3", 25, 30), Field("column_4", 30, 32)), 32
    )
    assert isinstance(found.details, Layout)
    assert ruler(found.details) == ["0         10        20        30", "|.....|..................|....|."]
    assert found.evidence[0] == "40 of 40 lines have 32 characters in 4 columns"


def test_lines_of_another_length_are_told() -> None:
    found = judged(LINES + "cut\n")
    assert found.kind == "fixed_width" and found.confidence == round(40 / 41, 4)
    assert found.doubts[1] == "1 line has another length: 3 (1)"


def test_lines_without_trailing_blanks_keep_their_columns() -> None:
    lines = [
        f"{n:<8}{'item ' + str(n):<14}{n * 7:>6}  {'note ' + str(n) if n % 3 == 0 else ''}".rstrip() for n in range(40)
    ]
    found = judged("\n".join(lines))
    assert found.kind == "fixed_width"
    assert any("must pad them" in doubt for doubt in found.doubts)


def test_record_types_are_named_by_a_code_at_the_beginning() -> None:
    head, tail = "1" + "HEADER".ljust(40) + "20240131", "9" + "000020".rjust(48)
    found = judged("\n".join([head, *(f"6{n:010}{'NAME ' + str(n):<28}{n * 5:010}" for n in range(20)), tail]))
    assert isinstance(found.details, Layout)
    assert found.details.type_field == (0, 1)
    assert [(each.code, each.count) for each in found.details.record_types] == [("6", 20), ("1", 1), ("9", 1)]
    assert found.details.record_types[0].fields == (
        Field("record_type", 0, 1), Field("column_2", 1, 16), Field("column_3", 16, 39), Field("column_4", 39, 49),
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp037"])
def test_records_without_line_ends_are_found_by_what_repeats(encoding: str) -> None:
    found = judged("".join(f"{n:06}{'CUSTOMER ' + str(n):<30}{n * 13:>10}".ljust(80) for n in range(30)), encoding)
    assert isinstance(found.details, Layout)
    assert (found.kind, found.details.record_bytes) == ("fixed_width", 80)
    assert "the record length 80 is a proposal: the file does not state it" in found.doubts


def test_an_element_that_is_little_of_its_document_is_doubtful() -> None:
    little = (
        "<d xmlns='urn:x'><h><at>1</at></h><r><at>2</at><sum>3.00</sum><who>somebody with a long name</who></r></d>"
    )
    assert judged(little).doubts == ("<at> holds 22 % of the document, and what is outside it would be skipped",)
    assert judged("<d xmlns='urn:of a long name'><at>1</at><at>2</at></d>").doubts == ()


def test_xml_says_its_encoding() -> None:
    text = "<?xml version='1.0' encoding='ISO-8859-1'?><a>" + "<b>M\u00fcller</b>" * 3 + "</a>"
    found = detect(Sample.of_bytes(text.encode("latin-1")))
    assert found.encoding is not None and found.codec == "iso8859-1" and found.encoding.is_certain
    assert (found.encoding.evidence, found.doubts) == (("its XML declaration says ISO-8859-1",), ())
    assert detect(Sample.of_bytes(text.replace("ISO-8859-1", "utf-8").encode("latin-1"))).codec == "cp1252"


def test_a_log_may_begin_within_a_record() -> None:
    entry = "2024-05-31 10:00:00 ERROR failed\n\tat a.b(C.java:1)\n"
    found = judged("\tat x.y(Z.java:9)\n" + entry * 6)
    assert (found.kind, found.doubts) == ("multiline", ("the first line is not the beginning of a record",))


def test_packed_numbers_among_ebcdic_are_no_lines() -> None:
    packed = (bytes.fromhex(f"00{n:05}4f25151c"[:14]) for n in range(40))
    records = (f"{n:08}{'NAME':<20}".encode("cp037") + number for n, number in enumerate(packed))
    found = detect(Sample.of_bytes(b"".join(records)))
    assert found.kind == "binary"
    assert "--premade fixed_width --param copybook=COPYBOOK" in found.evidence[0]


def test_broken_json_lines_are_named() -> None:
    found = judged('{"a": 1}\n{"a": 2, "b": 3}\n{"a": \n{"a": NaN}\n' + '{"a": 4}\n' * 6)
    assert found.details == Json("lines", ("a", "b"), 8, 2)
    assert found.doubts == ("not one JSON value: line 3, line 4",)


def test_an_array_is_shown_also_where_it_is_cut() -> None:
    text = json.dumps([{"n": n} for n in range(10)], indent=1)
    assert judged(text).evidence == ("is one JSON array of 10 values",)
    assert first_values(text[:-20], 3) == [{"n": "0"}, {"n": "1"}, {"n": "2"}]
    assert judged(text[:-20]).doubts[0].startswith("it is not valid JSON as a whole")


def test_the_element_that_repeats_is_named() -> None:
    found = judged("<?xml version='1.0'?><orders n='2'>" + "<order id='1'><sku>A</sku></order>" * 3 + "</orders>")
    assert found.details == Xml("orders", "order", 3, ("id", "sku"))
    cut = judged("<orders><order id='1'/><order id='2'/><or")
    assert "<orders> is not closed at the end: it is cut, or not well-formed" in cut.doubts


def test_pairs_with_quotes_and_blanks() -> None:
    assert pairs_of('a=1 b="x \\"y\\" z",c=\'q\' d= a=2') == {"a": "1", "b": 'x "y" z', "c": "q", "d": ""}
    found = judged('ts=1 level=info msg="a b"\nts=2 level=warn\n' * 5)
    assert isinstance(found.details, Log) and set(found.details.keys) == {"ts", "level", "msg"}


def test_records_of_several_lines_begin_with_a_time() -> None:
    text = "2024-01-01 00:00:00 ERROR x\n  at y\n  at z\n2024-01-01 00:00:01 INFO w\n"
    found = judged(text)
    assert isinstance(found.details, Log)
    assert (found.kind, found.details.record_count) == ("multiline", 2)
    assert joined_records(text.splitlines(), found.details.start)[0] == "2024-01-01 00:00:00 ERROR x\n  at y\n  at z"


def test_syslog_says_what_its_times_lack() -> None:
    old = judged("<34>Oct 11 22:14:15 host su[7]: failed\n" * 3)
    assert (old.kind, old.details) == ("syslog", Log("rfc3164", record_count=3))
    assert old.doubts == ("its times have no year and no zone: a reader needs both",)
    new = judged("<165>1 2003-10-11T22:14:15.003Z host app 1 ID47 - hello\n" * 3)
    assert new.details == Log("rfc5424", record_count=3)
    text = read_text(Sample.of_bytes(b"<34>Oct 11 22:14:15 host su[7]: failed\n"), "utf-8")
    assert first_rows(old, text, 1) == (
        ["priority", "time", "host", "app", "proc_id", "message"],
        [["34", "Oct 11 22:14:15", "host", "su", "7", "failed"]],
    )
    text = read_text(Sample.of_bytes(b"<165>1 2003-10-11T22:14:15.003Z host app 1 ID47 - hello\n"), "utf-8")
    assert first_rows(new, text, 1) == (
        ["priority", "time", "host", "app", "proc_id", "msg_id", "message"],
        [["165", "2003-10-11T22:14:15.003Z", "host", "app", "1", "ID47", "- hello"]],
    )
