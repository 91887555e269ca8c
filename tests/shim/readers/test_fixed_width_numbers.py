"""Mainframe numbers: every way to write one is read exactly, one by one and in columns."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim.readers.fixed_width.columns import arrow_type, numbers
from casparian_shim.readers.fixed_width.layout import Field
from casparian_shim.readers.fixed_width.numbers import (
    binary_number,
    overpunch,
    packed_decimal,
    zoned_decimal,
)


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("data", "sign", "encoding", "value"),
    [
        (hexed("F1F2F3C4"), "trailing", "cp037", "12.34"),
        (hexed("F1F2F3D4"), "trailing", "cp500", "-12.34"),
        (hexed("F1F2F3F4"), "trailing", "cp1140", "12.34"),
        (hexed("D1F2F3F4"), "leading", "cp037", "-12.34"),
        (hexed("F1F2F3F460"), "trailing separate", "cp037", "-12.34"),
        (hexed("4EF1F2F3F4"), "leading separate", "cp037", "12.34"),
        (hexed("F1F2F3F4"), "none", "cp037", "12.34"),
        (hexed("F0F0F0D0"), "trailing", "cp037", "0.00"),
        (b"123D", "trailing", "ascii", "12.34"),
        (b"123M", "trailing", "latin-1", "-12.34"),
        (b"123t", "trailing", "cp1252", "-12.34"),
        (b"123{", "trailing", "utf-8", "12.30"),
        (b"123}", "trailing", "utf-8", "-12.30"),
        (b"-1234", "leading separate", "ascii", "-12.34"),
    ],
)
def test_a_zoned_number_is_read_with_its_sign(data: bytes, sign: str, encoding: str, value: str) -> None:
    assert str(zoned_decimal(data, scale=2, sign=sign, encoding=encoding)) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("12345C", "123.45"),
        ("12345D", "-123.45"),
        ("12345F", "123.45"),
        ("00000D", "0.00"),
        ("12345A", "123.45"),
        ("12345B", "-123.45"),
    ],
)
def test_a_packed_number_is_read_with_its_sign(data: str, value: str) -> None:
    assert str(packed_decimal(hexed(data), scale=2)) == value
    assert packed_decimal(hexed("1234"), scale=1, sign="none") == Decimal("123.4")


@pytest.mark.parametrize(
    ("text", "value"), [("0012{", "1.20"), ("1J", "-0.11"), ("12", "0.12"), ("A", "0.01"), ("}", "0.00")]
)
def test_an_overpunched_text_is_read(text: str, value: str) -> None:
    assert str(overpunch(text, scale=2)) == value


def test_scales_move_the_point_without_rounding() -> None:
    many = "1234567890123456789012345678901"
    assert str(packed_decimal(hexed(f"{many}C"), scale=4)) == f"{many[:-4]}.{many[-4:]}"
    assert packed_decimal(hexed("012C"), scale=-3) == 12000
    assert packed_decimal(hexed("012C"), scale=5) == Decimal("0.00012")
    assert binary_number(hexed("FFFE"), scale=1) == Decimal("-0.2")
    assert binary_number(hexed("FFFE"), sign="none") == 65534
    assert binary_number(hexed("FEFF"), byte_order="little") == -2


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (
            lambda: packed_decimal(hexed("404040")),
            r"X'404040' is not a packed number: it ends with 0, which is no sign",
        ),
        (lambda: packed_decimal(hexed("1A345C")), r"A is no digit"),
        (lambda: packed_decimal(b""), r"is no sign"),
        (lambda: zoned_decimal(hexed("F1C2F3")), r"X'F1C2F3' is not a zoned number: byte 2 is no digit"),
        (lambda: zoned_decimal(b"1234", encoding="cp037"), r"byte 1 is no digit"),
        (lambda: zoned_decimal(hexed("F1F2"), sign="leading separate"), r"has no \+ or - as its first byte"),
        (lambda: zoned_decimal(hexed("4EC2"), sign="leading separate"), r"byte 2 is no digit"),
        (lambda: zoned_decimal(hexed("4E"), sign="leading separate"), r"is no digit"),
        (lambda: zoned_decimal(b"1", encoding="utf-16"), "one byte a digit"),
        (lambda: zoned_decimal(b""), "no bytes"),
        (lambda: binary_number(b""), "no bytes"),
        (lambda: overpunch("12ß"), r"'12ß' is not a number with an overpunched sign"),
        (lambda: overpunch("1Z"), "overpunched sign"),
    ],
)
def test_bytes_that_are_no_number_are_refused_with_the_reason(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()


FIELDS = st.one_of(
    st.builds(
        lambda width, scale, sign, encoding, unset: (Field(0, width, "zoned", scale, sign, unset=unset), encoding),
        st.integers(2, 22),
        st.integers(-3, 24),
        st.sampled_from(["trailing", "leading", "trailing separate", "leading separate", "none"]),
        st.sampled_from(["cp037", "ascii"]),
        st.sampled_from(["reject", "null"]),
    ),
    st.builds(
        lambda width, scale, sign, unset: (Field(0, width, "packed", scale, sign, unset=unset), "cp037"),
        st.integers(1, 16),
        st.integers(-3, 20),
        st.sampled_from(["trailing", "none"]),
        st.sampled_from(["reject", "null"]),
    ),
    st.builds(
        lambda width, scale, sign, order: (Field(0, width, "binary", scale, sign, order), "cp037"),
        st.integers(1, 8),
        st.integers(-3, 20),
        st.sampled_from(["trailing", "none"]),
        st.sampled_from(["big", "little"]),
    ),
)
DIGITS = {"cp037": "F0F1F5F9C3D7E2B8A1", "ascii": "30313539417D4A7079"}


@st.composite
def columns(draw: st.DrawFn) -> tuple[Field, str, list[bytes]]:
    field, encoding = draw(FIELDS)
    likely = hexed(DIGITS[encoding]) + "+- 09".encode(encoding)
    if field.kind == "packed":
        likely = hexed("000112998C5D7F3C00FF40")
    cell = st.one_of(
        st.lists(st.sampled_from(list(likely)), min_size=field.width, max_size=field.width).map(bytes),
        st.lists(st.sampled_from("09"), min_size=field.width, max_size=field.width).map(
            lambda digits: (
                hexed("".join(digits)).rjust(field.width, b"\0")[: field.width]
                if field.kind == "packed" and len(digits) % 2 == 0
                else "".join(digits).encode(encoding)
            )
        ),
        st.sampled_from([b"\0", b"\xff", " ".encode(encoding)]).map(lambda fill: fill * field.width),
        st.binary(min_size=field.width, max_size=field.width),
    )
    return field, encoding, draw(st.lists(cell, min_size=1, max_size=8))


@given(columns())
def test_a_column_has_the_values_that_its_fields_have_one_by_one(drawn: tuple[Field, str, list[bytes]]) -> None:
    field, encoding, cells = drawn
    found = numbers(b"".join(cells), field, encoding)
    assert found.values.type == arrow_type(field)
    is_bad = [False] * len(cells) if found.bad is None else found.bad.to_pylist()
    for cell, bad, value in zip(cells, is_bad, found.values.to_pylist(), strict=True):
        try:
            expected = field.value(cell, encoding)
        except ValueError:
            assert bad
        else:
            assert not bad and value == expected and type(value) is type(expected)


@given(st.data(), st.integers(1, 16), st.integers(0, 10))
def test_a_number_that_is_packed_is_read_back(data: st.DataObject, width: int, scale: int) -> None:
    limit = 10 ** (2 * width - 1) - 1
    whole = data.draw(st.integers(-limit, limit))
    packed = hexed(f"{abs(whole):0{2 * width - 1}d}{'D' if whole < 0 else 'C'}")
    assert packed_decimal(packed, scale=scale) == Decimal(f"{whole}E-{scale}")
    value = Field(0, width, "packed").value(packed, "cp037")
    assert value == whole and isinstance(value, int if width <= 9 else Decimal)


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: Field(3, 3), "positions 3 to 3 hold nothing"),
        (lambda: Field(0, 9, "binary"), "at most 8 bytes, not 9"),
        (lambda: Field(0, 40, "zoned"), "1 to 38 digits, not 40"),
        (lambda: Field(0, 1, "zoned", sign="leading separate"), "1 to 38 digits"),
        (lambda: Field(0, 1, "number"), "'number' is not a kind of field: text, zoned"),  # type: ignore[arg-type]
        (lambda: Field(0, 1, sign="leading-separate"), "'leading-separate' is not a sign"),  # type: ignore[arg-type]
        (lambda: Field(0, None, "packed"), "a number needs the position after it"),
    ],
)
def test_a_field_that_can_hold_nothing_is_refused(made, problem: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=problem):
        made()


#: Sign → how a program writes the ASCII digits of a number with it, in EBCDIC.
WRITERS: dict[str, Callable[[str, bool], bytes]] = {
    "trailing": lambda digits, minus: ebcdic(digits[:-1]) + hexed(f"{'D' if minus else 'C'}{digits[-1]}"),
    "leading": lambda digits, minus: hexed(f"{'B' if minus else 'A'}{digits[0]}") + ebcdic(digits[1:]),
    "trailing separate": lambda digits, minus: ebcdic(digits + ("-" if minus else "+")),
    "leading separate": lambda digits, minus: ebcdic(("-" if minus else "+") + digits),
}


def ebcdic(text: str) -> bytes:
    return text.encode("cp500")


@given(
    st.sampled_from(sorted(WRITERS)),
    st.integers(1, 25),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 10**25 - 1), st.booleans()), min_size=1, max_size=5),
)
def test_a_column_that_a_program_wrote_is_read_back(
    sign: Any, digits: int, scale: int, drawn: list[tuple[int, bool]]
) -> None:
    numbers_drawn = [(whole % 10**digits, minus) for whole, minus in drawn]
    written = [WRITERS[sign](f"{whole:0{digits}d}", minus) for whole, minus in numbers_drawn]
    field = Field(0, len(written[0]), "zoned", scale, sign)
    found = numbers(b"".join(written), field, "cp500")
    assert found.bad is None
    assert found.values.to_pylist() == [
        Decimal(f"{'-' if minus else ''}{whole}E-{scale}") for whole, minus in numbers_drawn
    ]
    assert [zoned_decimal(each, scale=scale, sign=sign) for each in written] == found.values.to_pylist()
