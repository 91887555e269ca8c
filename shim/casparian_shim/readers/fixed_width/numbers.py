"""Numbers as mainframes write them: zoned (DISPLAY, with overpunched signs), packed (COMP-3) and binary (COMP, COMP-5).

Bytes become an exact Decimal, or a ValueError says which byte is not part of a number. The tables of digits and signs are also
used by `columns`, which decodes whole columns. `scale` is the number of places after the point; a negative one (PIC 9P) adds
zeros.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Literal

#: Where a zoned number has its sign. `none`: only digits; a packed number without a sign (COMP-6).
Sign = Literal["trailing", "leading", "trailing separate", "leading separate", "none"]
ByteOrder = Literal["big", "little"]

#: What the tables give for a byte that has no meaning there.
BAD = b"x"
_PLUS_ZONES, _MINUS_ZONES = (0xA, 0xC, 0xE, 0xF), (0xB, 0xD)
_SIGN_NIBBLES = {**dict.fromkeys("acef", "+"), **dict.fromkeys("bd", "-")}


class Zones:
    """One encoding's zoned digits, as tables for `bytes.translate`: to ASCII digits, to `+` and `-`, or to `BAD`."""

    def __init__(self, encoding: str) -> None:
        self.zero, self.blank = "0".encode(encoding), " ".encode(encoding)
        if len(self.zero) != 1:
            raise ValueError(f"zoned numbers have one byte a digit, and {encoding} does not")
        digits = {byte: place for place, byte in enumerate("0123456789".encode(encoding))}
        plus, minus = dict(digits), dict[int, int]()
        if self.zero == b"\xf0":
            for low in range(10):
                plus |= {zone << 4 | low: low for zone in _PLUS_ZONES}
                minus |= {zone << 4 | low: low for zone in _MINUS_ZONES}
        else:  # EBCDIC's overpunched signs translated to ASCII, and the zone 7 of ASCII compilers
            plus |= {ord(mark): low for low, mark in enumerate("{ABCDEFGHI")}
            minus |= {ord(mark): low for low, mark in enumerate("}JKLMNOPQR")}
            minus |= {0x70 + low: low for low in range(10)}
        self.digits = _table({byte: 0x30 + low for byte, low in digits.items()})
        self.signed_digits = _table({byte: 0x30 + low for byte, low in (plus | minus).items()})
        self.signs = _table({**dict.fromkeys(plus, ord("+")), **dict.fromkeys(minus, ord("-"))})
        self.sign_marks = _table({each.encode(encoding)[0]: ord(each) for each in "+-"})


def _table(meanings: dict[int, int]) -> bytes:
    return bytes(meanings.get(byte, BAD[0]) for byte in range(256))


@lru_cache(maxsize=64)
def zones(encoding: str) -> Zones:
    return Zones(encoding)


def zoned_decimal(data: bytes, *, scale: int = 0, sign: Sign = "trailing", encoding: str = "cp037") -> Decimal:
    """The number of a DISPLAY field: one byte a digit, with the sign in a zone (`sign` says which) or in a byte of its own.

    With an EBCDIC encoding the zones A, C, E and F are plus, B and D minus. Otherwise "{ABCDEFGHI" and digits are plus,
    "}JKLMNOPQR" and "pqrstuvwxy" minus.
    """
    table = zones(encoding)
    if not data:
        raise ValueError("a zoned number of no bytes")
    if sign == "none":
        digits, mark = data.translate(table.digits), b"+"
    elif sign == "leading":
        digits = data[:1].translate(table.signed_digits) + data[1:].translate(table.digits)
        mark = data[:1].translate(table.signs)
    elif sign == "trailing":
        digits = data[:-1].translate(table.digits) + data[-1:].translate(table.signed_digits)
        mark = data[-1:].translate(table.signs)
    else:
        is_leading = sign == "leading separate"
        digits = (data[1:] if is_leading else data[:-1]).translate(table.digits)
        mark = (data[:1] if is_leading else data[-1:]).translate(table.sign_marks)
        if mark == BAD:
            raise ValueError(f"{shown(data)} has no + or - as its {'first' if is_leading else 'last'} byte")
    if (bad := digits.find(BAD)) >= 0 or not digits:
        place = bad + 1 + (sign == "leading separate")
        raise ValueError(f"{shown(data)} is not a zoned number: byte {place} is no digit")
    return exact(digits.decode(), mark == b"-", scale)


def overpunch(text: str, *, scale: int = 0) -> Decimal:
    """The number of a text whose last character carries the sign: `overpunch("0012{", scale=2)` is 1.20, `1J` is -11."""
    try:
        return zoned_decimal(text.encode("ascii"), scale=scale, encoding="ascii")
    except (UnicodeEncodeError, ValueError):
        raise ValueError(f"{text[:80]!r} is not a number with an overpunched sign at its end") from None


def packed_decimal(data: bytes, *, scale: int = 0, sign: Sign = "trailing") -> Decimal:
    """The number of a COMP-3 field: two digits a byte, and the sign in the last half byte (C, A, E, F plus; D, B minus).

    With `sign="none"` (COMP-6) every half byte is a digit.
    """
    halves = data.hex()
    digits, mark = (halves, "+") if sign == "none" else (halves[:-1], _SIGN_NIBBLES.get(halves[-1:]))
    if mark is None:
        raise ValueError(f"{shown(data)} is not a packed number: it ends with {halves[-1:].upper()}, which is no sign")
    if not digits.isdecimal():
        bad = next((half for half in digits if half in "abcdef"), "")
        raise ValueError(f"{shown(data)} is not a packed number: {bad.upper() or 'nothing'} is no digit")
    return exact(digits, mark == "-", scale)


def binary_number(data: bytes, *, scale: int = 0, sign: Sign = "trailing", byte_order: ByteOrder = "big") -> Decimal:
    """The number of a COMP or COMP-5 field: two's complement, or unsigned with `sign="none"`."""
    if not data:
        raise ValueError("a binary number of no bytes")
    value = int.from_bytes(data, byte_order, signed=sign != "none")
    return exact(str(abs(value)), value < 0, scale)


def exact(digits: str, is_negative: bool, scale: int) -> Decimal:
    """The number of these digits. Zero has no sign."""
    if scale < 0:
        digits, scale = digits + "0" * -scale, 0
    value = Decimal(f"{digits}E-{scale}")  # the constructor never rounds
    return value.copy_negate() if is_negative and value else value


def shown(data: bytes) -> str:
    return f"X'{data[:20].hex().upper()}{'…' if len(data) > 20 else ''}'"
