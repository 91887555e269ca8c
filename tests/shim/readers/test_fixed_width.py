"""Fixed width: positions count what the caller says, every byte is accounted for, and columns give what single records give."""

import io
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim import read_fixed_width
from casparian_shim.readers import source
from casparian_shim.readers.blocks import BadRecord
from casparian_shim.readers.fixed_width import Field, copybook
from casparian_shim.readers.fixed_width.cutting import Cutter
from casparian_shim.readers.fixed_width.frames import RecordsAreLines
from casparian_shim.readers.tape import Entries, Reading

FIELDS = {"id": (0, 3), "name": (3, 8)}


def read(data: bytes, fields: Any = FIELDS, **given: Any) -> tuple[list[Any], list[tuple[int, str]]]:
    """The rows, and the rejected records with their line."""
    reader = read_fixed_width(io.BytesIO(data), fields, **given)
    rows = list(reader)
    return rows, [(bad.line, bad.reason) for bad in reader.rejected.first]


def row(number: int, **values: object) -> dict[str, object]:
    return {**values, "__cf_row_id": number}


def test_lines_are_cut_and_blanks_removed() -> None:
    assert read(b"001Anna \r\n002     \r\n\r\n003 Bob \r\n") == (
        [row(1, id="001", name="Anna"), row(2, id="002", name=None), row(4, id="003", name="Bob")],
        [],
    )
    assert read(b"002     \n", strip=False)[0] == [row(1, id="002", name="     ")]
    assert read(b"002     \n", empty="text")[0] == [row(1, id="002", name="")]


@pytest.mark.parametrize(
    ("unit", "rows", "rejected"),
    [
        (
            "chars",
            [row(1, id="001", name="José"), row(2, id="002", name="Anna")],
            [(3, "has 7 characters instead of 8")],
        ),
        ("bytes", [row(2, id="002", name="Anna"), row(3, id="003", name="José")], [(1, "has 9 bytes instead of 8")]),
        (
            None,
            [row(2, id="002", name="Anna")],
            [(line, 'has characters of several bytes: say unit="bytes" or unit="chars"') for line in (1, 3)],
        ),
    ],
)
def test_positions_count_what_the_caller_says(unit: Any, rows: Any, rejected: Any) -> None:
    data = "001José \n002Anna \n003José\n".encode()
    assert read(data, unit=unit) == (rows, rejected)


def test_a_byte_order_mark_and_a_filler_of_two_bytes_shift_nothing() -> None:
    data = b"\xef\xbb\xbf" + "001·Anna\n002·Bob \n".encode()
    fields = {"id": (0, 3), "name": (4, 8)}
    assert read(data, fields, unit="chars")[0] == [row(1, id="001", name="Anna"), row(2, id="002", name="Bob")]
    fields = {"id": (0, 3), "name": (5, 9)}
    assert read(data, fields, unit="bytes")[0] == [row(1, id="001", name="Anna"), row(2, id="002", name="Bob")]


def test_a_character_cut_in_two_is_rejected_with_its_field() -> None:
    assert read("001Jo\u00e9lle\n".encode(), {"id": (0, 3), "a": (3, 6), "b": (6, 10)}, unit="bytes") == (
        [],
        [(1, "is not valid utf-8: byte 3 (C3) in a")],
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"001Anna", "has 7 bytes instead of 8"),
        (b"001Anna  ", "has 9 bytes instead of 8"),
        (b"0\x001xAnna ", "has 9 bytes instead of 8"),
    ],
)
def test_a_record_of_another_length_is_rejected(line: bytes, reason: str) -> None:
    whole = b"001Anna \n" + line + b"\n003Bob  \n"
    assert read(whole, encoding="cp1252") == (
        [row(1, id="001", name="Anna"), row(3, id="003", name="Bob")],
        [(2, reason)],
    )


def test_blanks_at_the_end_may_be_declared_free() -> None:
    data = b"001Anna\n002\n003Bob         \n004Annabelle\n05\n"
    assert read(data, trailing_blanks="free") == (
        [row(1, id="001", name="Anna"), row(2, id="002", name=None), row(3, id="003", name="Bob"),
         row(5, id="05", name=None)],
        [(4, "has 12 characters instead of 8")],
    )  # fmt: skip


def test_a_layout_may_describe_a_part_of_the_record() -> None:
    assert read(b"001Anna rest\n002Bob  \n", length="any") == (
        [row(1, id="001", name="Anna"), row(2, id="002", name="Bob")],
        [],
    )
    assert read(b"001Anna rest\n002Bob  \n", length=12)[1] == [(2, "has 8 characters instead of 12")]


def test_the_last_field_may_reach_to_the_end_of_the_record() -> None:
    fields = {"id": (0, 3), "note": (3, None)}
    assert read("001a longer nöte\n002\n00\n".encode(), fields, unit="chars") == (
        [row(1, id="001", note="a longer nöte"), row(2, id="002", note=None)],
        [(3, "has 2 characters instead of 3")],
    )


@pytest.mark.parametrize("unit", ["bytes", "chars"])
@pytest.mark.parametrize("block", [999, 1 << 20])
def test_a_line_beyond_the_limit_is_never_read_in_part(unit: Any, block: int) -> None:
    data = b"001Anna \n" + b"002" + b"x" * 100_000 + b"\n003Bob  \n"
    with pytest.MonkeyPatch.context() as patch, entries() as seen:
        patch.setattr(source, "BLOCK_BYTES", block)
        rows, rejected = read(data, unit=unit, length="any", record_bytes_max=1000)
    assert rows == [row(1, id="001", name="Anna"), row(3, id="003", name="Bob")]
    assert rejected == [(2, "is longer than 1,000 bytes")]
    assert seen.end == len(data)


def test_headers_trailers_and_padding_are_declared_skips() -> None:
    with entries() as seen:
        assert read(b"HEAD\n001Anna \n002Bob  \nTOTAL 2\nEND\n\x1a", skip_lines=1, footer_lines=3)[0] == [
            row(2, id="001", name="Anna"),
            row(3, id="002", name="Bob"),
        ]
    assert seen.skips == [12, 17, 17, 18, 2]


def test_records_without_line_ends_are_as_long_as_the_layout() -> None:
    with entries() as seen:
        assert read(b"001Anna 002Bob  003", framing="none") == (
            [row(1, id="001", name="Anna"), row(2, id="002", name="Bob")],
            [(3, f"has 3 bytes instead of 8, at the end of the file{SHIFTED}")],
        )
    assert seen.end == 19
    assert read(b"001Anna \n002Bob  \n", framing="none", length=9)[0][1] == row(2, id="002", name="Bob")
    assert read(b"001Anna \0\0\0\x1a", framing="none") == ([row(1, id="001", name="Anna")], [])


SHIFTED = "; if a byte is missing or too many before it, the records after that place are shifted"


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("encoding", "line_end"), [("utf-8", b"\n"), ("cp1252", b"\r\n"), ("cp037", b"\x15"), ("cp037", b"\x25")]
)
def test_lines_are_not_read_as_records_without_line_ends(encoding: str, line_end: bytes, block: int) -> None:
    records = [text.encode(encoding) for text in ("001Anna ", "002Bob  ", "003Eve  ", "004Zoe  ")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        with pytest.raises(RecordsAreLines, match="has a line end after each of its first records of 8 bytes"):
            read(line_end.join([*records, b""]), framing="none", encoding=encoding)
        assert read(records[0] + line_end + records[1], framing="none", encoding=encoding) == (
            [row(1, id="001", name="Anna")],
            [
                (2, "has a line end in it"),
                (3, f"has {len(line_end)} bytes instead of 8, at the end of the file{SHIFTED}"),
            ],
        )
        assert read(b"".join(records), framing="none", encoding=encoding)[1] == []


def test_a_line_end_in_text_next_to_numbers_is_named_by_its_field() -> None:
    layout = {"id": Field(0, 2, "binary"), "name": (2, 6), "note": (6, 8)}
    rows, rejected = read(b"\x00\x0aAnnaxx\0\x01Bo\nbyy\0\x02Eve zz", layout, encoding="cp1252", framing="none")
    assert rows == [row(1, id=10, name="Anna", note="xx"), row(3, id=2, name="Eve", note="zz")]
    assert rejected == [(2, "has a line end in name")]


def rdw(*records: bytes) -> bytes:
    return b"".join((len(each) + 4).to_bytes(2, "big") + b"\0\0" + each for each in records)


def test_records_with_descriptor_words_are_read_up_to_one_that_is_not_valid() -> None:
    good = rdw(b"001Anna ", b"002Bob  ")
    expected = [row(1, id="001", name="Anna"), row(2, id="002", name="Bob")]
    assert read(good, framing="rdw") == (expected, [])
    assert read(rdw(good, rdw(b"003Carla")), framing="bdw") == ([*expected, row(3, id="003", name="Carla")], [])
    bad = good + b"\0\3\0\0" + b"x" * 100
    for block in (1, 7, 1000):
        with pytest.MonkeyPatch.context() as patch, entries() as seen:
            patch.setattr(source, "BLOCK_BYTES", block)
            assert read(bad, framing="rdw") == (
                expected,
                [(3, "has the record descriptor X'00030000', which is not valid; nothing after it can be read")],
            )
        assert seen.end == len(bad)
    assert read(good[:-1], framing="rdw")[1] == [(2, "ends after 11 bytes, before the length in its descriptor")]


def test_mainframe_records_give_exact_numbers() -> None:
    book = copybook("""
       01  ACCOUNT.
           05  ACCOUNT-ID     PIC 9(6).
           05  HOLDER         PIC X(8).
           05  BALANCE        PIC S9(7)V99 COMP-3.
           05  OVERDRAFT      PIC S9(4)V9.
           05  BRANCH         PIC S9(4) COMP.
    """)
    layout = book.layout()
    encoding = "cp1140"
    first = (
        "000042".encode(encoding) + "Søren € ".encode(encoding)
        + bytes.fromhex("000012345D") + bytes.fromhex("F0F0F1F2D5") + b"\xff\xfe"
    )  # fmt: skip
    unset = "000043".encode(encoding) + b"\x40" * 8 + b"\x40" * 5 + b"\x40" * 5 + b"\0\7"
    rows, rejected = read(first + unset, layout, encoding=encoding, framing="none")
    assert rows == [
        row(1, account_id="000042", holder="Søren €", balance=Decimal("-123.45"), overdraft=Decimal("-12.5"), branch=-2)
    ]
    assert rejected == [
        (2, "has no number in balance: X'4040404040' is not a packed number: it ends with 0, which is no sign")
    ]
    layout = copybook(
        "01 A.\n05 ID PIC 9(6).\n05 H PIC X(8).\n05 B PIC S9(7)V99 COMP-3.\n05 O PIC S9(4)V9.\n05 C PIC S9(4) COMP.",
        columns=None,
        unset="null",
    ).layout()
    assert read(unset, layout, encoding=encoding, framing="none")[0] == [
        row(1, id="000043", h=None, b=None, o=None, c=7)
    ]


def test_a_table_that_depends_on_a_count_moves_what_follows_it() -> None:
    layout = copybook("""
       01  ORDER.
           05  N              PIC 9.
           05  LINES OCCURS 0 TO 3 DEPENDING ON N.
               10  SKU        PIC X(2).
           05  TOTAL          PIC 9(3).
    """).layout()
    rows, rejected = read(b"2AABB100\n0007\n3AABB1\n4\nX123\n", layout)
    assert rows == [
        row(1, n="2", sku_1="AA", sku_2="BB", sku_3=None, total="100"),
        row(2, n="0", sku_1=None, sku_2=None, sku_3=None, total="007"),
    ]
    assert [reason for _, reason in rejected] == [
        "has 6 bytes instead of 10",
        "has 4 of LINES, not 0 to 3",
        "has no count of LINES in N: 'X' is not a number",
    ]


REDEFINED = """
       01  ENTRY.
           05  KIND               PIC X.
           05  CASH.
               10  TILL           PIC 9(3).
               10  AMOUNT         PIC S9(5) COMP-3.
           05  CHEQUE REDEFINES CASH.
               10  BANK           PIC X(4).
               10  AMOUNT         PIC S9(4) COMP.
"""


def test_each_type_of_record_may_take_its_own_redefinition() -> None:
    book = copybook(REDEFINED)
    types = {
        "C": ("cash", book.layout()),
        "Q": ("cheques", book.layout(take=["CHEQUE"])),
    }
    encoding = "cp500"
    data = b"".join(
        [
            "C042".encode(encoding) + bytes.fromhex("00125C"),
            "QABNA".encode(encoding) + (-7).to_bytes(2, "big", signed=True),
            "C043".encode(encoding) + bytes.fromhex("0012FF"),
            "Z".encode(encoding) + bytes(6),
        ]
    )
    rows, rejected = read(data, None, record_types=types, type_at=(0, 1), encoding=encoding, framing="none")
    assert rows == [
        ("cash", row(1, kind="C", till="042", amount=125)),
        ("cheques", row(2, kind="Q", bank="ABNA", amount=-7)),
    ]
    assert rejected == [
        (3, "has no number in amount: X'0012FF' is not a packed number: F is no digit"),
        (4, "has the type 'Z', which is not one of C, Q"),
    ]


@pytest.mark.parametrize(
    ("field", "data", "value"),
    [
        (Field(0, 3), "é!".encode(), "é!"),
        (Field(0, 2, encoding="cp037"), b"\xc1\xc2", "AB"),
        (Field(0, 2, "bytes"), b"\x00\xff", b"\x00\xff"),
        (Field(0, 3, "zoned"), b"   ", None),
        (Field(0, 3, "packed", unset="null"), b"\xff\xff\xff", None),
        (Field(0, 2, "packed", sign="none", unset="null"), b"\0\0", 0),
        (Field(0, 4, "binary"), b"\0\0\0\0", 0),
        (Field(0, 10, "packed"), b"\0" * 9 + b"\x1c", Decimal(1)),
        (Field(0, 8, "binary", sign="none"), b"\xff" * 8, Decimal(2**64 - 1)),
        (Field(0, 8, "binary"), b"\xff" * 8, -1),
        (Field(0, 2, "zoned", scale=-3), b"12", 12000),
    ],
)
def test_a_field_says_what_its_bytes_are(field: Field, data: bytes, value: object) -> None:
    found = field.value(data, "utf-8")
    assert (found, type(found)) == (value, type(value))


TYPES = {"H": ("headers", {"kind": (0, 1), "day": (1, 9)}), "D": ("details", {"sku": (1, 4), "qty": (4, 6)}), "T": None}
TYPED = b"H20240101\nDabc01\nDdef02\nX\nDgh\nH20240102\nDjkl03\nT\n"


def test_types_of_records_go_to_outputs_of_their_own() -> None:
    expected = [
        ("headers", row(1, kind="H", day="20240101")),
        ("details", row(2, sku="abc", qty="01")),
        ("details", row(3, sku="def", qty="02")),
        ("headers", row(6, kind="H", day="20240102")),
        ("details", row(7, sku="jkl", qty="03")),
    ]
    rejected = [(4, "has the type 'X', which is not one of D, H, T"), (5, "has 3 characters instead of 6")]
    for block in (1, 20, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "BLOCK_BYTES", block)
            assert read(TYPED, None, record_types=TYPES, type_at=(0, 1)) == (expected, rejected)
    tables = read_fixed_width(io.BytesIO(TYPED), record_types=TYPES, type_at=(0, 1), as_="arrow")
    assert {name: table.to_pylist() for name, table in tables.items()} == {
        name: [each for output, each in expected if output == name] for name in ("headers", "details")
    }


def test_blanks_around_the_value_of_a_type_do_not_matter() -> None:
    types = {"A ": ("a", {"x": (2, 3)}), "B": ("b", {"x": (2, 3)})}
    assert read(b"A 1\n B2\n", None, record_types=types, type_at=(0, 2))[0] == [
        ("a", row(1, x="1")),
        ("b", row(2, x="2")),
    ]


def test_a_repaired_record_becomes_a_row_of_its_type() -> None:
    def repaired(bad: BadRecord) -> dict[str, object] | None:
        return {"sku": "gh", "qty": None} if bad.raw.startswith(b"D") else None

    rows, _ = read(TYPED, None, record_types=TYPES, type_at=(0, 1), on_bad=repaired)
    assert rows[3] == ("details", row(5, sku="gh", qty=None))
    given = {"record_types": TYPES, "type_at": (0, 1), "on_bad": repaired, "as_": "arrow"}
    tables = read_fixed_width(io.BytesIO(TYPED), **given)  # type: ignore[arg-type]
    assert tables["details"]["sku"].to_pylist() == ["abc", "def", "gh", "jkl"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "needs fields={…}, or record_types={…} together with type_at="),
        ({"fields": FIELDS, "type_at": (0, 1)}, "needs fields={…}, or record_types"),
        ({"fields": {}}, "at least one field"),
        ({"fields": {"a": (4, 2)}}, "the field 'a' is not valid: positions 4 to 2 hold nothing"),
        ({"fields": FIELDS, "unit": "bits"}, "unit is bytes or chars"),
        ({"fields": FIELDS, "framing": "tape"}, "framing is lines, none, rdw or bdw"),
        ({"fields": FIELDS, "trailing_blanks": "some"}, "trailing_blanks is exact or free"),
        ({"fields": FIELDS, "empty": "none"}, "empty is null or text"),
        ({"fields": FIELDS, "unit": "chars", "framing": "none"}, "framing='none' needs unit='bytes'"),
        ({"fields": {"a": Field(0, 3, "packed")}, "unit": "chars"}, "are counted in bytes"),
        ({"fields": {"a": Field(0, 3, "zoned")}, "encoding": "utf-16"}, "one byte a digit, and utf-16 does not"),
        ({"fields": {"a": (0, None)}, "framing": "none"}, "of different lengths need line ends"),
        ({"fields": FIELDS, "length": 5}, "length=5 is less than the 8 of the layout"),
        ({"record_types": {"A": None}, "type_at": (0, 1)}, "gives no layout"),
    ],
)
def test_what_contradicts_itself_is_refused_at_once(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_fixed_width(io.BytesIO(b""), **given)


# --- properties ---


class Seen:
    """The entries of one reading: that they follow each other, and what they are."""

    def __init__(self) -> None:
        self.end = 0
        self.skips: list[int] = []

    def enter(self, _reading: Reading, block: Entries, *_given: object) -> None:
        for end, what in zip(block.ends.to_pylist(), block.whats.to_pylist(), strict=True):
            assert end > self.end or what == 2
            self.end = end
            if what:
                self.skips.append(what)


class entries:
    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Seen:
        seen, enter = Seen(), Reading.enter

        def noted(reading: Reading, block: Entries, *given: Any) -> None:
            seen.enter(reading, block)
            enter(reading, block, *given)

        self._patch.setattr(Reading, "enter", noted)
        return seen

    def __exit__(self, *_raised: object) -> None:
        self._patch.undo()


TEXT_FIELDS = {"a": (0, 2), "b": (2, 5), "c": (5, 6)}
NUMBER_FIELDS = {"a": Field(0, 2, "packed", 1), "b": (2, 4), "c": Field(4, 6, "zoned"), "d": Field(0, 6, "bytes")}
TYPED_TEXT = {"record_types": {"1": TEXT_FIELDS, "2": ("two", {"x": (1, 4)}), "0": None}, "type_at": (0, 1)}
TYPED_NUMBERS = {"record_types": {"1": NUMBER_FIELDS, "2": {"x": (1, 4)}}, "type_at": Field(0, 1)}
VARIABLE = copybook(
    "01 R. 05 N PIC 9. 05 T OCCURS 1 TO 2 DEPENDING ON N. 10 A PIC X. 10 B PIC S9 COMP-3. 05 Z PIC XX.", columns=None
).layout()
CASES: list[dict[str, Any]] = [
    {"fields": TEXT_FIELDS},
    {"fields": TEXT_FIELDS, "unit": "chars"},
    {"fields": TEXT_FIELDS, "unit": "bytes"},
    {"fields": TEXT_FIELDS, "encoding": ["utf-8", "cp1252"], "unit": "chars"},
    {"fields": TEXT_FIELDS, "encoding": ["utf-8", "cp1252"], "unit": "bytes"},
    {"fields": TEXT_FIELDS, "encoding": "cp1252"},
    {"fields": TEXT_FIELDS, "encoding": "cp037"},
    {"fields": TEXT_FIELDS, "encoding": "utf-16-le"},
    {"fields": TEXT_FIELDS, "encoding": "shift_jis", "unit": "bytes"},
    {"fields": TEXT_FIELDS, "trailing_blanks": "free", "unit": "chars"},
    {"fields": TEXT_FIELDS, "trailing_blanks": "free", "unit": "bytes", "encoding": "cp1252"},
    {"fields": TEXT_FIELDS, "trailing_blanks": "free", "encoding": "cp037"},
    {"fields": TEXT_FIELDS, "length": "any", "strip": False, "empty": "text"},
    {"fields": TEXT_FIELDS, "skip_lines": 2, "footer_lines": 2},
    {"fields": {"a": (0, 2), "rest": (2, None)}, "unit": "chars"},
    {"fields": {"a": (0, 2), "rest": (2, None)}, "unit": "bytes", "encoding": "cp1252", "trailing_blanks": "free"},
    {"fields": NUMBER_FIELDS, "encoding": "cp037", "framing": "none"},
    {"fields": NUMBER_FIELDS, "encoding": "cp037", "framing": "rdw"},
    {"fields": VARIABLE, "encoding": "cp1252"},
    {"fields": None, "record_types": {"1": VARIABLE, "2": VARIABLE}, "type_at": (0, 1), "encoding": "ascii"},
    {"fields": NUMBER_FIELDS, "encoding": "ascii"},
    {"fields": None, **TYPED_TEXT, "unit": "chars"},
    {"fields": None, **TYPED_NUMBERS, "encoding": "cp037", "framing": "none"},
]  # fmt: skip
PIECES = [
    "a",
    "é",
    " ",
    "1",
    "2",
    "0",
    "12",
    "  ",
    "1a 2 x",
    "2abc",
    "\n",
    "\n",
    "\r\n",
    "\r",
    "日",
    "\x00",
    "A}",
    "\x1a",
]


@st.composite
def inputs(draw: st.DrawFn, encoding: str) -> bytes:
    made = b""
    for each in draw(
        st.lists(st.one_of(st.sampled_from(PIECES), st.just(b"\xff"), st.binary(max_size=6)), max_size=25)
    ):
        made += each if isinstance(each, bytes) else each.encode(encoding, "ignore")
    return made


def outcome(data: bytes, case: dict[str, Any], block: int) -> tuple[Any, Any, list[int], int]:
    with pytest.MonkeyPatch.context() as patch, entries() as seen:
        patch.setattr(source, "BLOCK_BYTES", block)
        reader = read_fixed_width(io.BytesIO(data), **case, offsets=True)
        rows = list(reader)
        assert seen.end == len(data)
        bad = [(each.line, each.offset, each.reason, each.raw) for each in reader.rejected.first]
        return rows, bad, seen.skips[:-1], seen.end


PLAIN_CELLS = st.text(st.sampled_from("abé€ "), max_size=4)


def test_records_next_to_one_that_cannot_be_read_have_the_same_values() -> None:
    data = b"001\xff    \n002     \n"  # the block is read record by record
    bad = [(1, "is not valid utf-8: byte 1 (FF) in name")]
    assert read(data, unit="bytes") == ([row(2, id="002", name=None)], bad)
    assert read(data, unit="bytes", empty="text") == ([row(2, id="002", name="")], bad)
    assert read(data, unit="bytes", strip=False) == ([row(2, id="002", name="     ")], bad)


@settings(deadline=None)
@given(st.lists(st.tuples(PLAIN_CELLS, PLAIN_CELLS), max_size=6))
def test_fields_are_cut_where_they_stand(cells: list[tuple[str, str]]) -> None:
    text = "".join(f"{one:4}{two:4}\n" for one, two in cells)
    given: dict[str, Any] = {"fields": {"one": (0, 4), "two": (4, 8)}, "unit": "chars"}
    plain, _ = read(text.encode(), **given)
    whole, _ = read(text.encode(), strip=False, **given)
    assert [(each["one"], each["two"]) for each in plain] == [
        (one.strip(" ") or None, two.strip(" ") or None) for one, two in cells
    ]
    assert [(each["one"], each["two"]) for each in whole] == [(f"{one:4}", f"{two:4}") for one, two in cells]


TRUNCATED: list[tuple[dict[str, Any], bytes]] = [
    ({"fields": FIELDS}, b"001Anna \r\n002Bob  \r\n003Carla\r\n"),
    ({"fields": FIELDS, "unit": "chars"}, "001Jos\u00e9 \n002Zo\u00eb  \n003Bob  \n".encode()),
    ({"fields": FIELDS, "encoding": "utf-16"}, "001Jos\u00e9 \n002Bob  \n".encode("utf-16")),
    ({"fields": FIELDS, "framing": "none", "encoding": "cp037"}, "001Anna 002Bob  003Carla".encode("cp037")),
    ({"fields": FIELDS, "framing": "rdw", "encoding": "ascii"}, rdw(b"001Anna ", b"002Bob  ", b"003Carla")),
    ({"fields": FIELDS, "framing": "bdw", "encoding": "ascii"}, rdw(rdw(b"001Anna ", b"002Bob  "), rdw(b"003Carla"))),
]


@pytest.mark.parametrize(("case", "data"), TRUNCATED, ids=["crlf", "chars", "utf-16", "none", "rdw", "bdw"])
def test_a_file_cut_at_any_byte_gives_every_record_before_the_cut_and_accounts_for_the_rest(
    case: dict[str, Any], data: bytes
) -> None:
    whole, none, _, _ = outcome(data, case, 1 << 20)
    assert none == []
    for length in range(len(data)):
        rows, rejected, _, end = outcome(data[:length], case, 7)
        assert rows == whole[: len(rows)] and end == length
        assert len(rejected) <= 1 and all(bad[0] == len(rows) + 1 for bad in rejected)


@settings(deadline=None)
@given(st.sampled_from(sorted(set("0123456789 AZaz\t\x00"))), st.integers(0, 26), st.booleans())
def test_a_character_too_many_or_too_few_never_shifts_a_field(extra: str, at: int, is_added: bool) -> None:
    text = "001Anna \n002Bob  \n003Carla\n"
    damaged = text[:at] + extra + text[at:] if is_added else text[:at] + text[at + 1 :]
    rows, rejected = read(damaged.encode())
    good = {tuple(each.values())[:-1] for each in read(text.encode())[0]}
    assert {tuple(each.values())[:-1] for each in rows} <= good
    assert len(rejected) == (0 if not is_added and at == 26 else 1)  # without the last line end all is there


@settings(deadline=None)
@given(st.data(), st.sampled_from(CASES), st.integers(1, 9))
def test_columns_and_single_records_and_blocks_of_any_size_give_the_same(
    data: st.DataObject, case: dict[str, Any], block: int
) -> None:
    encoding = case.get("encoding", "utf-8")
    content = data.draw(inputs(encoding if isinstance(encoding, str) else encoding[0]))
    whole = outcome(content, case, 1 << 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cutter, "_fast", lambda _cutter, _frames: None)
        assert outcome(content, case, 1 << 20) == whole
        assert outcome(content, case, block) == whole
    assert outcome(content, case, block) == whole


def test_the_fast_path_takes_what_is_usual() -> None:
    """Otherwise the property above compares the careful path with itself."""
    taken: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        fast = Cutter._fast

        def noted(*given: Any) -> Any:
            taken.append((block := fast(*given)) is not None)
            return block

        patch.setattr(Cutter, "_fast", noted)
        for case in CASES:
            encoding = case.get("encoding", "utf-8")
            encoding = encoding if isinstance(encoding, str) else encoding[0]
            text = "1a 2 x\n1b 2 y\n\nxyz\n" if "framing" not in case else "1a 21A"
            data = text.encode(encoding)
            outcome(rdw(data) if case.get("framing") == "rdw" else data, case, 1 << 20)
    assert all(taken)
