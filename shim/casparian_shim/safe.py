"""Values from another process: text made safe to show, decimals in plain notation, bounds of numbers.

This module uses only the standard library. `scrub` shows escape sequences, bidi controls, invisible characters and lone
surrogates as escapes, and changes nothing else. It does not shorten text, and it is not for JSON, which has its own escapes.
Decimals are written as `0`, `0.0000000001`, `185.60`, never as `0E-10` or `1E+2`.

msgpack, JSON, Arrow and DuckDB keep every number within the bounds exactly, and sums of a thousand counts fit into 64 bits. The
pydantic types are in `casparian_protocol`.
"""

from __future__ import annotations

import re
from decimal import Decimal

#: The limit for counts of rows, bytes, records, events. Every JSON reader keeps such numbers exact; a thousand fit into 64 bits.
COUNT_MAX = 2**53 - 1
#: The source rows of an archive's members begin so far apart: line 5 of the third member is 20,000,000,005.
MEMBER_ROWS = 10_000_000_000
#: The longest name of a column, in characters.
COLUMN_NAME_MAX = 255
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# C0, DEL, C1, soft hyphen, combining grapheme joiner, Arabic letter mark, Mongolian vowel separator,
# Hangul fillers, zero-width and bidi marks, line and paragraph separators, invisible operators,
# lone surrogates, BOM, interlinear annotation, tag characters.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_DANGEROUS = re.compile(f"[{_HIDDEN}]")
_DANGEROUS_BUT_NEWLINES = re.compile(f"(?!\n)[{_HIDDEN}]")


def scrub(text: str, *, keep_newlines: bool = False) -> str:
    """`text` with every character that a terminal might obey, hide or reorder shown as its escape.

    A tab becomes `\\t`, ESC `\\x1b`, a right-to-left override `\\u202e`. Clean text is returned unchanged.
    """
    pattern = _DANGEROUS_BUT_NEWLINES if keep_newlines else _DANGEROUS
    return pattern.sub(_escaped, text)


_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def is_utf8(text: str) -> bool:
    """False for text with bytes that are not UTF-8, which Python keeps as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if short := _SHORT.get(character):
        return short
    point = ord(character)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


#: With more places than this the exponent stays, because a few bytes must not become megabytes of zeros.
PLAIN_EXPONENT_MAX = 400


def plain_decimal(value: Decimal) -> str:
    """All digits, including trailing zeros; zero has no sign. A value that is not finite is written as Python writes it."""
    if not value.is_finite():
        return str(value)
    if not value:
        value = abs(value)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return format(value, "f") if abs(exponent) <= PLAIN_EXPONENT_MAX else str(value)


def shortest_decimal(value: Decimal) -> str:
    """Plain notation without trailing zeros in the fraction: the same text for every spelling of one number."""
    text = plain_decimal(value)
    return text.rstrip("0").rstrip(".") if "." in text and "E" not in text else text


def named_row(row: int) -> str:
    """A source row as people read it: "5", or "5 of member 3" in an archive."""
    place, line = divmod(row, MEMBER_ROWS)
    return f"{line:,} of member {place + 1:,}" if place else f"{line:,}"
