"""COBOL copybooks: every item has its bytes, and what would move them unnoticed is refused with its line."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import Field, copybook, read_fixed_width
from casparian_shim.readers.fixed_width import BadCopybook


def spans(text: str, record: str | None = None, *, take: Any = (), **given: Any) -> dict[str, tuple[int, int | None]]:
    layout = copybook(text, **{"columns": None, **given}).layout(record, take=take)
    return {name: (field.start, field.end) for name, field in layout.fields.items()}


def test_columns_comments_and_continued_lines_are_those_of_cobol() -> None:
    text = (
        "000100 IDENTIFICATION OF CHANGES IS HERE                                CHG00001\n"
        "000200*05  OLD-ITEM PIC X(99).\n"
        "000300 01  THE-RECORD.                                                  CHG00001\n"
        "000400     05  FIRST-                                                   CHG00001\n"
        "000500-        ITEM    PIC X(3) VALUE 'IT''S\n"
        "000600-    ' A. PERIOD'.\n"
        "000700/    a new page of the listing\n"
        "000800     05  SECOND-ITEM PIC X(2). *> not to column 72\n"
        "       EJECT\n"
        "000900     88  IS-SET VALUES 'A' THRU 'C', 'E'.\n"
        "       66  OTHER RENAMES FIRST-ITEM.\n"
    )
    _, _, rest = text.partition("\n")
    assert spans(rest, columns=(7, 72)) == {"first_item": (0, 3), "second_item": (3, 5)}


WIDTHS = {
    "X(10)": 10, "XX": 2, "A(3)": 3, "9(8)": 8, "S9(8)": 8, "9(5)V99": 7, "S9(3)V9": 4, "99PPP": 2, "VPP99": 2, "PP99": 2,
    "ZZ9.99-": 7, "$$,$$9.99CR": 11, "99/99/9999": 10, "N(4)": 8, "G(3)": 6, "S9(4) SIGN LEADING SEPARATE CHARACTER": 5,
    "S9(4) SIGN IS TRAILING": 4, "S9(4) LEADING": 4, "S9(7)V99 COMP-3": 5, "9(6) PACKED-DECIMAL": 4, "S9(4) COMP": 2,
    "S9(5) BINARY": 4, "S9(9) USAGE IS COMP-4": 4, "9(10) USAGE COMPUTATIONAL": 8, "S9(18) COMP-5": 8, "9(7) COMP-6": 4,
}  # fmt: skip


@pytest.mark.parametrize(("picture", "width"), WIDTHS.items())
def test_a_picture_has_its_width(picture: str, width: int) -> None:
    found = spans(f"01 R. 05 A PIC {picture}. 05 B PICTURE IS X.")
    assert found == {"a": (0, width), "b": (width, width + 1)}


@pytest.mark.parametrize(
    ("clauses", "field"),
    [
        ("PIC 9(8)", Field(0, 8)),
        ("PIC S9(8)", Field(0, 8, "zoned")),
        ("PIC 9(5)V99", Field(0, 7, "zoned", 2, "none")),
        ("PIC S9(5)V99 SIGN LEADING", Field(0, 7, "zoned", 2, "leading")),
        ("PIC S99 SIGN TRAILING SEPARATE", Field(0, 3, "zoned", 0, "trailing separate")),
        ("PIC 99PPP", Field(0, 2, "zoned", -3, "none")),
        ("PIC SVPP99", Field(0, 2, "zoned", 4)),
        ("PIC SPP99", Field(0, 2, "zoned", 4)),
        ("PIC S9(7)V99 COMP-3", Field(0, 5, "packed", 2)),
        ("PIC 9(4)V9(3) COMP-6", Field(0, 4, "packed", 3, "none")),
        ("PIC S9(4) COMP", Field(0, 2, "binary")),
        ("PIC 9(9)V9 COMP-5", Field(0, 8, "binary", 1, "none", "little")),
        ("COMP-2", Field(0, 8, "bytes")),
        ("PIC N(2) USAGE NATIONAL", Field(0, 4, encoding="utf-16-be")),
        ("PIC ZZ9.99", Field(0, 6)),
    ],
)
def test_clauses_say_how_an_item_is_encoded(clauses: str, field: Field) -> None:
    layout = copybook(f"01 R. 05 A {clauses}.", columns=None, comp5="little").layout()
    assert layout.fields == {"a": field}


def test_a_group_hands_usage_and_sign_down() -> None:
    text = "01 R. 05 G COMP-3. 10 A PIC S9(3). 10 B PIC X. 05 H SIGN LEADING SEPARATE. 10 C PIC S99. 10 D PIC 99."
    with pytest.raises(BadCopybook, match="Line 1 of the copybook has the PICTURE X, which is not a number"):
        spans(text)
    assert spans(text.replace(" 10 B PIC X.", "")) == {"a": (0, 2), "c": (2, 5), "d": (5, 7)}


def test_tables_give_a_column_for_each_item_and_equal_names_are_qualified() -> None:
    text = """
    01 R.
       05 BILLING.  10 STREET PIC X(2).
       05 DELIVERY. 10 STREET PIC X(3). 10 PRICE PIC 9 OCCURS 2 TIMES INDEXED BY I, J.
       05 BOX OCCURS 2. 10 SIZE-CODE PIC X. 10 ITEM PIC XX OCCURS 2.
       05 FILLER PIC X(5).
       05 PIC X.
       05 FILLER. 10 LAST-ONE PIC X.
    """
    assert spans(text) == {
        "billing_street": (0, 2), "delivery_street": (2, 5), "price_1": (5, 6), "price_2": (6, 7),
        "size_code_1": (7, 8), "item_1_1": (8, 10), "item_1_2": (10, 12),
        "size_code_2": (12, 13), "item_2_1": (13, 15), "item_2_2": (15, 17), "last_one": (23, 24),
    }  # fmt: skip


REDEFINED = """
01 R.
   05 KIND PIC X.
   05 CASH. 10 TILL PIC 9(4).
   05 CARD REDEFINES CASH. 10 NUMBER-OF PIC XX. 10 REST PIC X(5).
   05 CHEQUE REDEFINES CASH PIC X(3).
   05 AFTER PIC X.
"""


@pytest.mark.parametrize(
    ("take", "found"),
    [
        ([], {"kind": (0, 1), "till": (1, 5), "after": (8, 9)}),
        (["CARD"], {"kind": (0, 1), "number_of": (1, 3), "rest": (3, 8), "after": (8, 9)}),
        (["cheque"], {"kind": (0, 1), "cheque": (1, 4), "after": (8, 9)}),
    ],
)
def test_of_items_that_share_bytes_one_is_taken(take: list[str], found: dict[str, tuple[int, int]]) -> None:
    assert spans(REDEFINED, take=take) == found


def test_what_is_taken_must_make_sense() -> None:
    for take, problem in (
        (["AFTER"], "'AFTER', which redefines nothing"),
        (["CARD", "CHEQUE"], "both CARD and CHEQUE, which share"),
    ):
        with pytest.raises(ValueError, match=problem):
            spans(REDEFINED, take=take)


def test_a_copybook_may_describe_several_records_or_the_inside_of_one() -> None:
    text = "01 HEAD. 05 A PIC X. 01 BODY. 05 B PIC XX. 77 COUNT-OF PIC 9."
    assert spans(text, "body") == {"b": (0, 2)}
    for record, problem in ((None, "name one of the records HEAD, BODY, COUNT-OF"), ("TAIL", "'TAIL' is not a record")):
        with pytest.raises(ValueError, match=problem):
            spans(text, record)
    assert spans("05 A PIC X. 05 B PIC XX.") == {"a": (0, 1), "b": (1, 3)}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("01 R.\n05 A PIC X.\nCOPY OTHERS.", 3, "has COPY OTHERS"),
        ("01 R.\n   REPLACE ==A== BY ==B==.", 2, "has REPLACE"),
        ("01 R.\n05 A PIC S9(4) COMP SYNC.", 2, "has SYNCHRONIZED"),
        ("01 R.\n05 A USAGE POINTER.", 2, "has the USAGE POINTER, which is not read"),
        ("01 R.\n05 A INDEX.", 2, "has the USAGE INDEX"),
        ("01 R.\n05 A PIC X\n05 B PIC X.", 3, "has '05', which is not understood"),
        ("01 R.\n05 A VALUE 'x'\n   05 B PIC X.", 3, "has '05', which is not understood"),
        ("01 R.\n05 A PIC X", 2, "begins a sentence that does not end with a period"),
        ("01 R.\n05 A PIC X VALUE 'x.\n05 B PIC X.", 2, "begins a literal that does not end"),
        ("01 R.\n05 A PIC X PIC X.", 2, "has a second PIC for A"),
        ("01 R.\n05 A PIC Q(3).", 2, "has the PICTURE Q\\(3\\), which is not understood"),
        ("01 R.\n05 A PIC 9(0).", 2, "whose length is not possible"),
        ("01 R.\n05 A PIC X(99999999).", 2, "whose length is not possible"),
        ("01 R.\n05 A PIC 9(39).", 2, "has a number of 39 digits"),
        ("01 R.\n05 A PIC 9(19) COMP.", 2, "has a binary number of 19 digits"),
        ("01 R.\n05 A PIC PP9PP.", 2, "whose P are at no end of the digits"),
        ("01 R.\n05 A PIC 99 SIGN LEADING.", 2, "has no S"),
        ("01 R.\n05 A PIC S99 SIGN SEPARATE.", 2, "neither LEADING nor TRAILING"),
        ("01 R.\n05 A.", 2, "has neither a PICTURE nor items"),
        ("01 R.\n05 A PIC X.\n10 B PIC X.", 3, "puts B below A, which has a PICTURE"),
        ("01 R.\n10 A PIC X.\n05 B PIC X.", 3, "has the level 05 among items of 10"),
        ("01 R.\n50 A PIC X.", 2, "has the level 50"),
        ("01 R.\nA PIC X.", 2, "begins with 'A', which is not a level"),
        ("01 R.\n05 A PIC.", 2, "ends after 'PIC'"),
        ("01 R.\n05 A PIC X OCCURS N TIMES.", 2, "occurs 'N' times, which is not a number"),
        ("01 R.\n05 A PIC X OCCURS 1 TO 3.", 2, "does not say depending on what"),
        ("01 R.\n05 A PIC X OCCURS 3 TO 1 DEPENDING ON B.", 2, "occurs 3 to 1 times"),
        ("01 R.\n05 A PIC X OCCURS 1 TO 3 DEPENDING ON B.", 2, "depends on B, which the record does not have"),
        ("01 R.\n05 A PIC X OCCURS 1 TO 3 DEPENDING ON B.\n05 B PIC 9.", 2, "depends on B, which comes after it"),
        ("01 R.\n05 A PIC X.\n05 B PIC X.\n05 C REDEFINES A PIC X.", 4, "redefines A, which is not the item before it"),
        ("01 R.\n05 A PIC X.\n05 A PIC X.", 3, "describes A twice"),
        ("01 R.\n05 A PIC X.\n01 R.\n05 B PIC X.", 3, "describes the record R again"),
        ("", 1, "begins no data description"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(BadCopybook, match=problem) as refused:
        spans(text)
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("01 THE-RECORD.\n   05 DATE-OF PIC X.", "Line 1 .*begins before column 7"),
        ("       01  R.\n   05 DATE-OF PIC X.", "Line 2 .*begins before column 7"),
        ("       01  R.\n      D    05 A PIC X.", "Line 2 .*has 'D' in column 7"),
    ],
)
def test_free_format_in_fixed_columns_is_told_and_never_half_read(text: str, problem: str) -> None:
    with pytest.raises(BadCopybook, match=problem) as refused:
        copybook(text)
    assert "columns=None" in refused.value.remedy


def test_a_mark_before_the_text_shifts_no_column_and_bytes_are_refused() -> None:
    text = "       01  R.\n           05  A PIC X(3)."
    assert spans(f"\ufeff{text}", columns=(7, 72)) == {"a": (0, 3)}
    with pytest.raises(ValueError, match="is text, not bytes: decode it"):
        copybook(text.encode())  # type: ignore[arg-type]


# --- properties ---


def packed(value: int, digits: int) -> bytes:
    text = f"{abs(value):0{digits}d}{'D' if value < 0 else 'C'}"
    return bytes.fromhex(text if len(text) % 2 == 0 else f"0{text}")


def zoned(value: int, digits: int) -> bytes:
    text = f"{abs(value):0{digits}d}".encode("cp037")
    return text[:-1] + bytes([(0xD0 if value < 0 else 0xC0) | (text[-1] & 15)])


@st.composite
def items(draw: st.DrawFn) -> tuple[str, bytes, object]:
    """The clauses of an item, its bytes and its value."""
    kind = draw(st.sampled_from(["text", "packed", "zoned", "binary", "digits"]))
    if kind == "text":
        value = draw(st.text(st.sampled_from("ABÉé$ "), min_size=1, max_size=9)).strip() or "A"
        width = len(value) + draw(st.integers(0, 3))
        return f"PIC X({width})", value.ljust(width).encode("cp037"), value
    whole, places = draw(st.integers(1, 7)), draw(st.integers(0, 3))
    digits = whole + places
    number = draw(st.integers(-(10**digits) + 1, 10**digits - 1))
    if kind == "digits":
        text = f"{abs(number):0{digits}d}"
        return f"PIC 9({digits})", text.encode("cp037"), text
    exact: object = Decimal(f"{number}E-{places}") if places else number
    picture = f"PIC S9({whole})" + (f"V9({places})" if places else "")
    if kind == "packed":
        return f"{picture} COMP-3", packed(number, digits), exact
    if kind == "zoned":
        return picture, zoned(number, digits), exact
    width = 2 if digits <= 4 else 4 if digits <= 9 else 8
    return f"{picture} COMP", number.to_bytes(width, "big", signed=True), exact


@given(st.lists(items(), min_size=1, max_size=6), st.integers(0, 3), st.integers(1, 3))
def test_a_record_written_by_a_copybook_is_read_back(drawn: list[Any], count: int, copies: int) -> None:
    lines = ["01 R."]
    lines += [f"05 A{number} {clauses}." for number, (clauses, _, _) in enumerate(drawn)]
    lines += ["05 N PIC 9.", "05 T OCCURS 0 TO 3 TIMES DEPENDING ON N.", "10 U PIC S9(3) COMP-3.", "05 Z PIC X."]
    layout = copybook("\n".join(lines), columns=None).layout()
    record = b"".join(data for _, data, _ in drawn) + str(count).encode("cp037")
    record += b"".join(packed(-each, 3) for each in range(count)) + "z".encode("cp037")
    framed = ((len(record) + 4).to_bytes(2, "big") + b"\0\0" + record) * copies

    reader = read_fixed_width(io.BytesIO(framed), layout, encoding="cp037", framing="rdw")
    expected = {f"a{number}": value for number, (_, _, value) in enumerate(drawn)} | {"n": str(count), "z": "z"}
    expected |= {f"u_{each + 1}": -each if each < count else None for each in range(3)}
    assert list(reader) == [{**expected, "__cf_row_id": number} for number in range(1, copies + 1)]
    assert reader.rejected.count == 0


@given(st.lists(st.sampled_from(["01", "05", "10", "R", "A", "PIC", "X(3)", "S9(4)", ".", ". ", "COMP-3", "OCCURS", "2", "TO",
                                 "DEPENDING", "ON", "REDEFINES", "VALUE", "'x'", "'", "\n", "88", "SIGN", "LEADING", "-"]),
                max_size=25), st.sampled_from([None, (7, 72)]))  # fmt: skip
def test_any_text_is_a_copybook_or_refused(words: list[str], columns: tuple[int, int] | None) -> None:
    try:
        copybook(" ".join(words), columns=columns).layout()
    except (BadCopybook, ValueError):
        return


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "01 R.\n" + "".join(f"{5 + each:02} A{each} OCCURS 1000.\n" for each in range(6)) + "40 Z PIC X.\n",
            "items; at",
        ),
        ("01 R.\n05 A PIC " + "P" * 100_000 + ".\n", "a number of 100000 digits"),
        ("01 R.\n05 A PIC P(1000000)9.\n", "a number of 1000001 digits"),
        ("01 R.\n05 A PIC " + "P" * 100_000 + "!.\n", "which is not understood"),
    ],
)
def test_a_description_without_end_is_refused_at_once(text: str, problem: str) -> None:
    with pytest.raises(BadCopybook, match=problem):
        copybook(text, columns=None).layout()
