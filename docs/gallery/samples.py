"""The damaged files of the gallery, small ones, named after the damage of `bench.damage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One file, and the options with which it is read in addition to its section's."""

    damage: str
    data: bytes
    note: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    #: Whether other tools are asked too.
    has_peers: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """The files that one reader reads."""

    title: str
    about: str
    reader: str
    samples: Sequence[Sample]
    arguments: Sequence[object] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    is_delimited: bool = False
    #: The columns of rows that the page shows; none: all.
    shown: Sequence[str] = ()


_HEADER, _ANN, _BOB, _CAY = b"id,name,city\n", b"1,Ann,Rome\n", b"2,Bob,Oslo\n", b"3,Cay,Bern\n"


def _instead(second: bytes, end: bytes = b"\n") -> bytes:
    """The clean table with another second record."""
    return _HEADER + _ANN + second + end + _CAY


_DELIMITED = [
    Sample("none", _HEADER + _ANN + b'2,"Doe, Bob",\n' + b'3,"","O""Neil\nStreet 5"\n', "Nothing is damaged."),
    Sample("extra separator", _instead(b"2,Bob,,Oslo")),
    Sample("extra field", _instead(b"2,Bob,Oslo,more")),
    Sample("missing separator", _instead(b"2,BobOslo")),
    Sample("missing field", _instead(b"2,Bob")),
    Sample("missing field", _instead(b"2,Bob"), "With `ragged` missing fields are NULL.", {"ragged": "pad"}),
    Sample("other delimiter", _instead(b"2;Bob;Oslo")),
    Sample("blanks around a field", _instead(b"2, Bob ,Oslo"), "Blanks are data."),
    Sample("blanks around a field", _instead(b'2, "Bob",Oslo'), "A blank before a quote leaves two readings."),
    Sample("stray quote", _instead(b'2,5" pipe,Oslo'), "Inside a field: text."),
    Sample("stray quote", _instead(b'2,"Bob,Oslo'), "At the beginning of a field."),
    Sample("stray quote", _instead(b'2,Bob",Oslo'), "At the end of a field."),
    Sample("missing quote", _HEADER + _ANN + b'2,"Doe, Bob,Oslo\n' + b'3,"Cay",Bern\n'),
    Sample("both quotes missing", _instead(b"2,Doe, Bob,Oslo")),
    Sample("quotes not doubled", _instead(b'2,"the "big" one",Oslo'), "Letters are on both sides: text."),
    Sample("quotes not doubled", _instead(b'2,"5", wide",Oslo'), "The quote stands before a delimiter."),
    Sample("other quote", _instead(b"2,'Doe, Bob',Oslo")),
    Sample("other quote", _instead(b"2,'Doe, Bob',Oslo"), "With the quote declared.", {"quote": "'"}),
    Sample("other escape", _instead(b'2,"the \\"big\\" one",Oslo')),
    Sample("other escape", _instead(b'2,"the \\"big\\" one",Oslo'), "With the escape declared.", {"escape": "\\"}),
    Sample("backslash before the last quote", _instead(b'2,"C:\\",Oslo')),
    Sample("quotes that are not needed", _instead(b'"2","Bob","Oslo"')),
    Sample("byte of another encoding", _instead(b"2,Zo\xeb,Oslo")),
    Sample(
        "byte of another encoding",
        _instead(b"2,Zo\xeb,Oslo"),
        "With a second encoding; `_cf_raw_encoding` says which one read the record.",
        {"encoding": ["utf-8", "cp1252"]},
        has_peers=False,
    ),
    Sample("NUL", _instead(b"2,Bo\0b,Oslo"), "NUL is data."),
    Sample("odd character", _instead("2,Bo\x0bb\x85c\u2028d,Oslo".encode()), "None of these ends a line."),
    Sample(
        "overlong line", _instead(b"2," + b"x" * 500 + b",Oslo"), options={"record_bytes_max": 100}, has_peers=False
    ),
    Sample("line end in a record", _instead(b"2,Bo\nb,Oslo")),
    Sample("line end in a record", _instead(b'2,"Bo\nb",Oslo'), "In a quoted field it is data."),
    Sample("missing line end", _HEADER + _ANN + b"2,Bob,Oslo" + _CAY),
    Sample("interleaved records", _HEADER + _ANN + b"2,Bo3,Cay,Bern\nb,Oslo\n"),
    Sample("other record ends", b"id,name,city\r1,Ann,Rome\r2,Bob,Oslo\r"),
    Sample("mixed record ends", b"id,name,city\r\n1,Ann,Rome\n2,Bob,Oslo\r\n3,Cay,Bern\r"),
    Sample("no end of the last record", _HEADER + _ANN + b"2,Bob,Oslo"),
    Sample("blank lines", _HEADER + _ANN + b"\n\n" + _CAY),
    Sample("blanks only", _instead(b"   ")),
    Sample("delimiters only", _instead(b",,"), "It has the promised shape, and nothing in it."),
    Sample("no header", _ANN + _BOB, options={"columns": ["id", "name", "city"], "header": False}),
    Sample(
        "header in several lines", b"id,name,city\n,first,of birth\n" + _ANN, options={"header": 2}, has_peers=False
    ),
    Sample("damaged header", b"id,name,city,\n" + _ANN + _BOB, "A header that names no column ends the job."),
    Sample(
        "header repeated",
        _HEADER + _ANN + _HEADER + _BOB,
        "It is a record of the right shape, so the contract must refuse it.",
    ),
    Sample("delimiter at every line's end", b"id,name,city,\n1,Ann,Rome,\n2,Bob,Oslo,\n"),
    Sample(
        "delimiter at every line's end",
        b"id,name,city,\n1,Ann,Rome,\n2,Bob,Oslo,\n",
        "As the message says:",
        {"columns": ["id", "name", "city", "column_4"]},
    ),
    Sample("preamble", b"Report of 2024-05-31\n\n" + _HEADER + _ANN, options={"preamble": "id,"}, has_peers=False),
    Sample(
        "preamble, no header",
        b"Report of 2024-05-31\n" + _ANN,
        options={"columns": ["id", "name", "city"], "header": False, "skip_lines": 1},
    ),
    Sample("footer", _HEADER + _ANN + b"Total,1\n"),
    Sample("footer", _HEADER + _ANN + b"Total,1\n", "Declared.", {"footer": "Total"}, has_peers=False),
    Sample("several tables", _HEADER + _ANN + b"\ncode,label\nx,left\n"),
    Sample("byte order mark", b"\xef\xbb\xbf" + _HEADER + _ANN),
    Sample("concatenated files", _HEADER + _ANN + b"\xef\xbb\xbf" + _HEADER + _BOB),
    Sample("padding at the end", _HEADER + _ANN + b"\x1a" + bytes(30)),
    Sample("padding between records", _HEADER + _ANN + bytes(20) + b"\n" + _CAY),
    Sample("comment", _HEADER + _ANN + b"# resent\n" + _CAY, options={"comment": "#"}),
    Sample("comment that is not declared", _instead(b"# resent")),
    Sample("foreign bytes", _HEADER + _ANN + bytes(range(128, 140)) + b"\n" + _CAY),
    Sample("cut end", _HEADER + _ANN + b"2,Bob"),
    Sample("cut end", _HEADER + _ANN + b'2,"Bob'),
    Sample("cut end", _HEADER + _ANN + b"2,Bob,Os", "Inside the last field: no reader can see it."),
]

_FIXED_ANN, _FIXED_BOB, _FIXED_CAY = b"0001Ann   Rome  12\n", b"0002Bob   Oslo   7\n", b"0003Cay   Bern   9\n"


def _fixed(second: bytes) -> bytes:
    return _FIXED_ANN + second + _FIXED_CAY


_FIXED_WIDTH = [
    Sample("none", _FIXED_ANN + _FIXED_BOB),
    Sample("missing character", _fixed(b"0002Bob  Oslo   7\n")),
    Sample("extra character", _fixed(b"0002Bobby  Oslo   7\n")),
    Sample("other character", _fixed(b"0002B?b   Oslo   7\n"), "The shape is right: values are the contract's matter."),
    Sample("extra blanks at the end", _fixed(b"0002Bob   Oslo   7   \n")),
    Sample("extra blanks at the end", _fixed(b"0002Bob   Oslo   7   \n"), options={"trailing_blanks": "free"}),
    Sample("extra blanks at the start", _fixed(b"  0002Bob   Oslo   7\n")),
    Sample("doubled part", _fixed(b"0002Bob  0002Bob   Oslo   7\n")),
    Sample("blanks in the place of a record", _fixed(b" " * 18 + b"\n")),
    Sample("odd byte", _fixed(b"0002B\xf6b   Oslo   7\n")),
    Sample("line end in a record", _fixed(b"0002Bob \n  Oslo   7\n")),
    Sample("mixed record ends", _FIXED_ANN.replace(b"\n", b"\r\n") + _FIXED_BOB),
    Sample("missing line end", _FIXED_ANN[:-1] + _FIXED_BOB + _FIXED_CAY),
    Sample("interleaved records", _FIXED_ANN[:9] + _FIXED_BOB + _FIXED_ANN[9:] + _FIXED_CAY),
    Sample("other record ends", _FIXED_ANN.replace(b"\n", b"\r") + _FIXED_BOB.replace(b"\n", b"\r")),
    Sample("foreign lines", _FIXED_ANN + b"-- page 2 --\n\n" + _FIXED_BOB),
    Sample("byte order mark", b"\xef\xbb\xbf" + _FIXED_ANN + b"\xef\xbb\xbf" + _FIXED_BOB),
    Sample("padding at the end", _FIXED_ANN + b"\x1a" + bytes(30)),
    Sample("cut end", _FIXED_ANN + b"0002Bob   Os"),
]

_J_ANN, _J_CAY = b'{"id": 1, "name": "Ann"}\n', b'{"id": 3, "name": "Cay"}\n'


def _json(second: bytes) -> bytes:
    return _J_ANN + second + b"\n" + _J_CAY


_JSON_LINES = [
    Sample("none", _json(b'{"id": 0.10, "name": null, "tags": ["a", {"b": 1}]}')),
    Sample("missing character", _json(b'{"id": 2 "name": "Bob"}')),
    Sample("extra character", _json(b'{"id": 2, "name": "Bob"}}')),
    Sample("other character", _json(b"{'id': 2, 'name': 'Bob'}")),
    Sample("extra blanks at the end", _json(b'{"id": 2, "name": "Bob"}   ')),
    Sample("extra blanks at the start", _json(b'   {"id": 2, "name": "Bob"}')),
    Sample("doubled part", _json(b'{"id": 2, "{"id": 2, "name": "Bob"}')),
    Sample("blanks in the place of a record", _json(b" " * 20)),
    Sample("odd byte", _json(b'{"id": 2, "name": "B\xf6b"}')),
    Sample("line end in a record", _json(b'{"id": 2,\n"name": "Bob"}')),
    Sample("mixed record ends", _J_ANN[:-1] + b"\r\n" + _J_CAY),
    Sample("missing line end", _J_ANN[:-1] + _J_CAY),
    Sample("interleaved records", b'{"id": 1, {"id": 3, "name": "Cay"}\n"name": "Ann"}\n'),
    Sample("other record ends", (_J_ANN + _J_CAY).replace(b"\n", b"\r")),
    Sample("foreign lines", _json(b"-- page 2 --\n")),
    Sample("byte order mark", b"\xef\xbb\xbf" + _J_ANN),
    Sample("padding at the end", _J_ANN + bytes(30)),
    Sample("not quite JSON", _json(b'{"id": NaN, "name": "Bob"}')),
    Sample("not quite JSON", _json(b'{"id": 2, "id": 3}')),
    Sample("not quite JSON", _json(b'{"id": 2,}')),
    Sample("two objects on a line", _json(b'{"id": 2, "name": "Bob"} {"id": 4, "name": "Eve"}')),
    Sample("cut end", _J_ANN + b'{"id": 2, "na'),
]

_IN, _E1, _E2, _E3, _OUT = b'{"items": [\n', b'  {"id": 1},\n', b'  {"id": 2},\n', b'  {"id": 3}\n', b"]}\n"


def _document(second: bytes) -> bytes:
    """The clean document with other text in the place of its second element."""
    return _IN + _E1 + second + _E3 + _OUT


_JSON_DOCUMENT = [
    Sample("none", _document(_E2)),
    Sample("missing character", _document(b'  {"id" 2},\n')),
    Sample("extra character", _document(b'  {"id": 2,, "x": 1},\n')),
    Sample(
        "other character", _document(b'  {"id": 2];\n'), "It is certain where the next element begins: on its line."
    ),
    Sample("odd byte", _document(b'  {"id": "\xf6"},\n')),
    Sample("doubled element", _document(_E2 + _E2), "It is what the file says."),
    Sample("foreign text", _document(b"  -- page 2 --\n" + _E2)),
    Sample("an element that is no object", b'{"items": [{"id": 1}, 17, {"id": 3}]}'),
    Sample("missing separator", _document(b'  {"id": 2}\n')),
    Sample("interleaved records", _IN + b'  {"id": {"id": 2},\n1},\n' + _E3 + _OUT),
    Sample(
        "missing character in the head",
        b'{"items: [\n' + _E1 + _E3 + _OUT,
        "The array is not found; no element is given without its place.",
    ),
    Sample("extra character in the head", b'{{"items": [\n' + _E1 + _E3 + _OUT),
    Sample("text after the end", _document(_E2) + b"-- end --\n"),
    Sample("byte order mark", b"\xef\xbb\xbf" + _document(_E2)),
    Sample("cut end", _IN + _E1 + b'  {"id": 2'),
    Sample("no such array", b'{"things": [{"id": 1}]}'),
]

_X1, _X2, _X3 = (b'<order id="%d"><sku>A</sku></order>\n' % number for number in (1, 2, 3))


def _xml(second: bytes) -> bytes:
    return b"<orders>\n" + _X1 + second + _X3 + b"</orders>\n"


_XML = [
    Sample("none", _xml(b'<order id="2"><sku/></order>\n')),
    Sample("missing character", _xml(b'<order id="2"><sku>A<sku></order>\n')),
    Sample(
        "extra character", _xml(b'<order id="2"><sku>A</sku>></order>\n'), "XML allows it: it is text of the element."
    ),
    Sample("other character", _xml(b'<order id="2"><sku>A</skv></order>\n')),
    Sample("odd byte", _xml(b'<order id="2"><sku>\xf6</sku></order>\n')),
    Sample("doubled element", _xml(_X2 + _X2), "It is what the file says."),
    Sample("foreign text", _xml(b"-- page 2 --\n" + _X2)),
    Sample("missing separator", _xml(_X2.strip())),
    Sample("interleaved records", b"<orders>\n" + _X1[:14] + _X2 + _X1[14:] + b"</orders>\n"),
    Sample("missing character in the head", b"orders>\n" + _X1 + b"</orders>\n"),
    Sample("extra character in the head", b"<<orders>\n" + _X1 + b"</orders>\n"),
    Sample("text after the end", _xml(_X2) + b"-- end --\n"),
    Sample("byte order mark", b"\xef\xbb\xbf" + _xml(_X2)),
    Sample("an attribute and a child of one name", _xml(b'<order id="2"><id>7</id></order>\n')),
    Sample("cut end", b"<orders>\n" + _X1 + b'<order id="2"><sku>'),
    Sample("no such element", b"<things><thing/></things>"),
]

_L1, _L2 = b"2024-05-31 10:00:00 ERROR failed\n  at line 7\n", b"2024-05-31 10:00:01 INFO again\n"

_LOG = [
    Sample("none", _L1 + _L2),
    Sample("lines before the first record", b"  at line 7\n" + _L2),
    Sample("missing byte", _L1 + _L2[1:], "What does not begin as a record does belongs to the record before it."),
    Sample("odd bytes", _L1 + b"2024-05-31 10:00:01 INFO \xf6\n" + _L2),
    Sample("odd bytes", _L1[:-1] + b" \xf6\n" + _L2),
    Sample("foreign line", _L1 + b"-- page 2 --\n" + _L2, "No reader can tell it from the rest of a record."),
    Sample("mixed record ends", _L1.replace(b"\n", b"\r\n") + _L2),
    Sample("other record ends", (_L1 + _L2).replace(b"\n", b"\r")),
    Sample("byte order mark", b"\xef\xbb\xbf" + _L2),
    Sample("padding at the end", _L2 + bytes(30)),
    Sample(
        "overlong line", b"2024-05-31 10:00:00 ERROR " + b"x" * 500 + b"\n" + _L2, options={"record_bytes_max": 100}
    ),
    Sample("cut end", _L1 + b"2024-05-31 10:0"),
    Sample("no line matches", b"31.05.2024 ERROR failed\n31.05.2024 INFO again\n"),
]

_LINES = [
    Sample("odd byte", b"one\ntw\xf6\nthree\n"),
    Sample("mixed record ends", b"one\r\ntwo\rthree"),
    Sample("NUL", b"o\0ne\n"),
    Sample("overlong line", b"one\n" + b"x" * 500 + b"\nthree\n", options={"record_bytes_max": 100}),
]

_MSH, _PID = b"MSH|^~\\&|LAB|H|EHR|H|20240531||ADT^A01|17|P|2.5\r", b"PID|1||M1||DOE^JOHN\r"
_PV1 = b"PV1|1|I|ICU\r"

_HL7 = [
    Sample("none", _MSH + _PID + _PV1),
    Sample("missing byte", _MSH + b"PI|1||M1||DOE^JOHN\r" + _PV1),
    Sample("extra byte", _MSH + b"PIXD|1||M1||DOE^JOHN\r" + _PV1),
    Sample("odd byte", _MSH + b"PID|1||M1||D\xd6E^JOHN\r" + _PV1),
    Sample("torn segment", _MSH + b"PID|1||M1\r||DOE^JOHN\r" + _PV1),
    Sample("missing segment end", _MSH + b"PID|1||M1||DOE^JOHN" + _PV1),
    Sample("missing segment", _MSH + _PV1, "Nothing in HL7 says how many segments there are."),
    Sample("foreign text", _MSH + _PID + b"-- page 2 --\r" + _PV1),
    Sample("cut end", _MSH + _PID + b"PV"),
]

_ISA = b"ISA*00*          *00*          *ZZ*A              *ZZ*B              *240531*1200*^*00501*000000017*0*P*:~\n"
_GS, _ST, _N1 = b"GS*PO*A*B*20240531*1200*1*X*005010~\n", b"ST*850*0001~\n", b"N1*BY*ACME~\n"
_BEG, _SE, _GE, _IEA = b"BEG*00*SA*4711**20240531~\n", b"SE*4*0001~\n", b"GE*1*1~\n", b"IEA*1*000000017~\n"


def _x12(*segments: bytes) -> bytes:
    return b"".join((_ISA, _GS, _ST, *segments, _GE, _IEA))


_X12 = [
    Sample("none", _x12(_BEG, _N1, _SE)),
    Sample("missing byte", _x12(_BEG, b"N*BY*ACME~\n", _SE)),
    Sample("extra byte", _x12(_BEG, b"N1XX*BY*ACME~\n", _SE)),
    Sample("odd byte", _x12(_BEG, b"N1*BY*ACM\xc9~\n", _SE)),
    Sample("torn segment", _x12(_BEG, b"N1*BY~*ACME~\n", _SE)),
    Sample("missing segment end", _x12(_BEG, b"N1*BY*ACME", _SE)),
    Sample("missing segment", _x12(_BEG, _SE), "The count in SE shows it."),
    Sample("foreign text", _x12(_BEG, b"-- page 2 --~\n", _N1, _SE)),
    Sample("cut end", _ISA + _GS + _ST + _BEG + b"N1*B"),
]

_UNB, _UNH = b"UNB+UNOA:1+A+B+240531:1200+17'\n", b"UNH+1+ORDERS:D:96A:UN'\n"
_BGM, _UNT, _UNZ = b"BGM+220+4711+9'\n", b"UNT+4+1'\n", b"UNZ+1+17'\n"
_DTM = b"DTM+137:20240531:102'\n"


def _edifact(*segments: bytes) -> bytes:
    return b"".join((_UNB, _UNH, *segments, _UNZ))


_EDIFACT = [
    Sample("none", _edifact(_BGM, _DTM, _UNT)),
    Sample("missing byte", _edifact(_BGM, b"DT+137:20240531:102'\n", _UNT)),
    Sample("extra byte", _edifact(_BGM, b"DTMM+137:20240531:102'\n", _UNT)),
    Sample("odd byte", _edifact(_BGM, b"DTM+137:2024\xc90531:102'\n", _UNT)),
    Sample("torn segment", _edifact(_BGM, b"DTM+137'\n:20240531:102'\n", _UNT)),
    Sample("missing segment end", _edifact(_BGM, b"DTM+137:20240531:102", _UNT)),
    Sample("missing segment", _edifact(_BGM, _UNT), "The count in UNT shows it."),
    Sample("foreign text", _edifact(_BGM, b"-- page 2 --'\n", _DTM, _UNT)),
    Sample("line end in a record", _edifact(b"BGM+220\n+4711+9'\n", _DTM, _UNT)),
    Sample("cut end", _UNB + _UNH + b"BGM+22"),
]

SECTIONS = (
    Section(
        "Delimited text", "[How to read a CSV file](../how-to/read-csv.md)", "read_csv", _DELIMITED, is_delimited=True
    ),
    Section(
        "Fixed width",
        "[How to read fixed-width files](../how-to/read-fixed-width.md)",
        "read_fixed_width",
        _FIXED_WIDTH,
        ({"id": (0, 4), "name": (4, 10), "city": (10, 15), "qty": (15, 18)},),
    ),
    Section("JSON lines", "[How to read JSON](../how-to/read-json.md)", "read_jsonl", _JSON_LINES),
    Section(
        "JSON documents",
        "[How to read JSON](../how-to/read-json.md)",
        "read_json",
        _JSON_DOCUMENT,
        options={"at": "items"},
    ),
    Section("XML", "[How to read XML](../how-to/read-xml.md)", "read_xml", _XML, ("order",)),
    Section("Lines", "[How to read lines and logs](../how-to/read-lines.md)", "read_lines", _LINES),
    Section(
        "Records of several lines",
        "[How to read lines and logs](../how-to/read-lines.md)",
        "read_records",
        _LOG,
        options={"start": r"\d{4}-\d\d-\d\d "},
    ),
    Section(
        "HL7",
        "[How to read messages](../how-to/read-messages.md)",
        "read_segments",
        _HL7,
        ("hl7",),
        shown=("segment", "fields"),
    ),
    Section(
        "X12",
        "[How to read messages](../how-to/read-messages.md)",
        "read_segments",
        _X12,
        ("x12",),
        shown=("segment", "fields"),
    ),
    Section(
        "EDIFACT",
        "[How to read messages](../how-to/read-messages.md)",
        "read_segments",
        _EDIFACT,
        ("edifact",),
        shown=("segment", "fields"),
    ),
)
