"""One item of a COBOL copybook: what its PICTURE, USAGE and SIGN say about its bytes.

`elementary` gives its width and how it is encoded. An unsigned integer in digits (`PIC 9(8)`) stays text, because such items are
dates, account numbers and codes as often as quantities, and leading zeros are part of those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.fixed_width.layout import Field, Kind
from casparian_shim.readers.fixed_width.numbers import ByteOrder, Sign


class BadCopybook(CasparianError):
    """A copybook has something from which no layout can be made."""

    code = ErrorCode.PARSER_ERROR

    def __init__(self, line: int, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"Line {line} of the copybook {reason}.", remedy=remedy)
        self.line = line


Usage = Literal["display", "packed", "packed without sign", "binary", "native binary", "float", "double", "national"]
_COMPUTATIONAL: dict[str, Usage] = {
    "": "binary",
    "-1": "float",
    "-2": "double",
    "-3": "packed",
    "-4": "binary",
    "-5": "native binary",
    "-6": "packed without sign",
}
#: The words for a USAGE.
USAGES: dict[str, Usage] = {
    "DISPLAY": "display",
    "PACKED-DECIMAL": "packed",
    "BINARY": "binary",
    "NATIONAL": "national",
    **{f"COMP{suffix}": usage for suffix, usage in _COMPUTATIONAL.items()},
    **{f"COMPUTATIONAL{suffix}": usage for suffix, usage in _COMPUTATIONAL.items()},
}
#: USAGE words that have no bytes in a file, or bytes of no fixed meaning.
REFUSED_USAGES = (
    "POINTER",
    "POINTER-32",
    "PROCEDURE-POINTER",
    "FUNCTION-POINTER",
    "INDEX",
    "OBJECT",
    "DISPLAY-1",
    "COMP-X",
)


@dataclass(frozen=True, slots=True)
class Description:
    """The clauses of an item that say how it is encoded. A group hands `usage`, `sign` and `is_separate` to its items."""

    picture: str | None = None
    usage: Usage | None = None
    sign: Literal["leading", "trailing"] | None = None
    is_separate: bool = False
    is_synchronized: bool = False


@dataclass(frozen=True, slots=True)
class Elementary:
    """An item without items of its own: its width in bytes and its encoding."""

    width: int
    kind: Kind
    scale: int = 0
    sign: Sign = "trailing"
    byte_order: ByteOrder = "big"
    encoding: str | None = None

    def field(self, start: int, unset: Literal["reject", "null"]) -> Field:
        may_be_unset = self.kind in ("zoned", "packed")
        made = self.kind, self.scale, self.sign, self.byte_order, self.encoding
        return Field(start, start + self.width, *made, unset if may_be_unset else "reject")


_REPEAT = re.compile(r"(.)\(([0-9]+)\)")
_NUMERIC = re.compile(r"(S?)(P*)(9*)(V?)(P*)(9*)(P*)")
_ALPHANUMERIC = re.compile(r"[XA9B0/]+")
_EDITED = re.compile(r"(?:[Z9*+\-,.$€£¥BPV0/]|CR|DB)+")
_SYMBOLS_MAX = 1 << 20
_SYMBOLS_OF_NUMBERS = re.compile(r"[S9VP]+")
_NUMBER_SYMBOLS_MAX = 256
_BINARY_WIDTHS = ((4, 2), (9, 4), (18, 8))


def elementary(item: Description, line: int, *, native: ByteOrder) -> Elementary:
    """The bytes of an item. `native` is the byte order of COMP-5."""
    usage = item.usage or "display"
    if item.picture is None:
        if usage in ("float", "double"):
            return Elementary(4 if usage == "float" else 8, "bytes")
        raise BadCopybook(line, "has neither a PICTURE nor items of its own")
    symbols = _expanded(item.picture, line)
    if len(symbols) > _NUMBER_SYMBOLS_MAX and _SYMBOLS_OF_NUMBERS.fullmatch(symbols):
        raise BadCopybook(line, f"has a number of {len(symbols)} digits; at most 38 are read")
    numeric = _NUMERIC.fullmatch(symbols) if len(symbols) <= _NUMBER_SYMBOLS_MAX else None
    if numeric is not None and "9" in symbols:
        return _number(numeric, item, usage, line, native)
    if usage == "national" or set(symbols) == {"N"}:
        return Elementary(2 * len(symbols), "text", encoding="utf-16-be")
    if usage != "display":
        raise BadCopybook(line, f"has the PICTURE {item.picture}, which is not a number, with a USAGE of numbers")
    if set(symbols) == {"G"}:
        return Elementary(2 * len(symbols), "bytes")
    if _ALPHANUMERIC.fullmatch(symbols):
        return Elementary(len(symbols), "text")
    if _EDITED.fullmatch(symbols):
        return Elementary(len(symbols) - symbols.count("V") - symbols.count("P"), "text")
    raise BadCopybook(line, f"has the PICTURE {item.picture}, which is not understood")


def _expanded(picture: str, line: int) -> str:
    """`9(3)V99` as `999V99`."""
    repeats = [int(count) for _, count in _REPEAT.findall(picture)]
    if sum(repeats) > _SYMBOLS_MAX or 0 in repeats:
        raise BadCopybook(line, f"has the PICTURE {picture[:80]}, whose length is not possible")
    return _REPEAT.sub(lambda found: found[1] * int(found[2]), picture.upper())


def _number(symbols: re.Match[str], item: Description, usage: Usage, line: int, native: ByteOrder) -> Elementary:
    signed, zeros_before, whole, point, zeros_after_point, fraction, zeros_after = symbols.groups()
    has_one_place = sum(map(bool, (zeros_before, zeros_after_point, zeros_after))) <= 1
    if not has_one_place or (zeros_after_point and (whole if point else fraction)) or (point and zeros_after):
        raise BadCopybook(line, f"has the PICTURE {item.picture}, whose P are at no end of the digits")
    digits = len(whole) + len(fraction)
    scale = len(fraction) + len(zeros_after_point) if point else -len(zeros_after_point + zeros_after)
    if zeros_before:  # PP99: the point is before the zeros
        scale = len(zeros_before) + digits
    if digits > 38:
        raise BadCopybook(line, f"has a number of {digits} digits; at most 38 are read")
    if usage in ("packed", "packed without sign"):
        has_sign = usage == "packed"
        return Elementary((digits + has_sign + 1) // 2, "packed", scale, "trailing" if has_sign else "none")
    if usage in ("binary", "native binary"):
        if item.is_synchronized:
            raise BadCopybook(line, "has SYNCHRONIZED, which adds bytes between items", remedy=_SYNC_REMEDY)
        width = next((width for most, width in _BINARY_WIDTHS if digits <= most), None)
        if width is None:
            raise BadCopybook(line, f"has a binary number of {digits} digits; at most 18 are read")
        order = native if usage == "native binary" else "big"
        return Elementary(width, "binary", scale, "trailing" if signed else "none", order)
    if usage != "display":
        raise BadCopybook(line, f"has the PICTURE {item.picture} with a USAGE that is not read")
    if not signed:
        return Elementary(digits, "zoned" if scale else "text", scale, "none" if scale else "trailing")
    place = item.sign or "trailing"
    if item.is_separate:
        return Elementary(digits + 1, "zoned", scale, "leading separate" if place == "leading" else "trailing separate")
    return Elementary(digits, "zoned", scale, place)


_SYNC_REMEDY = "Write those bytes as FILLER items, and leave SYNCHRONIZED out."
