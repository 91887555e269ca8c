"""Values of parser authors: `Output` names the output of rows; `decimal` reads an exact number from text.

`decimal` never rounds, and raises ValueError for a text that it cannot read exactly. A parser may also yield the text and leave
the conversion to the contract. `times` reads times, `readers.fixed_width` numbers of mainframes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any


@dataclass(frozen=True, slots=True)
class Output:
    """Rows or a table for the output named `output`, which `parse` may return or yield."""

    output: str
    data: Any


def _marked_before(text: str, negative: Collection[str], positive: Collection[str]) -> str:
    """The text with a sign before the number instead of the declared mark behind or around it."""
    if isinstance(negative, str) or isinstance(positive, str):
        raise ValueError("negative and positive are lists of marks, such as ['-', 'CR']")
    plain = text.strip(" ")
    for sign, marks in (("-", negative), ("+", positive)):
        for mark in sorted(marks, key=len, reverse=True):
            if mark == "()" and plain.startswith("(") and plain.endswith(")"):
                rest = plain[1:-1].strip(" ")
            elif mark and mark != "()" and plain.endswith(mark):
                rest = plain.removesuffix(mark).strip(" ")
            else:
                continue
            if rest[:1] in ("+", "-"):
                raise ValueError(f"{text[:80]!r} has a sign and {mark!r}")
            return sign + rest
    return plain


_DIGIT = re.compile(r"[0-9]")


def _check_marks(mark: str, thousands_mark: str, *others: str) -> None:
    """Refuse marks with which a number could be read in two ways."""
    wrong = [each for each in (mark, thousands_mark, *others) if _DIGIT.search(each)]
    wrong += [each for each in (mark, thousands_mark) if each[:1] in ("+", "-") and each]
    if wrong or not mark:
        raise ValueError(f"{(wrong or [mark])[0]!r} cannot be a mark in a number")


_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


def decimal(
    text: str | int,
    *,
    decimal_mark: str | None = None,
    thousands_mark: str = "",
    decimal_comma: bool = False,
    negative: Collection[str] = (),
    positive: Collection[str] = (),
) -> Decimal:
    """The number in `text`, digit for digit: `decimal("1.50")` keeps its zero. Floats are refused because they are not exact.

    `decimal_comma` reads `1,5`; `decimal_mark` names any other mark. `thousands_mark` must stand between all thousands or none.
    `negative` names what makes a number negative where it follows it, such as "-" or "CR", and "()" around it; `positive` names
    what may follow a positive number. A number has one such mark or one sign before it.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return Decimal(text)
    if not isinstance(text, str):
        raise ValueError(f"{type(text).__name__} is not exact; give the text")
    if decimal_comma and decimal_mark is not None:
        raise ValueError("give decimal_comma or decimal_mark, not both")
    mark = "," if decimal_comma else "." if decimal_mark is None else decimal_mark
    if decimal_mark is not None or thousands_mark or negative or positive:
        _check_marks(mark, thousands_mark, *negative, *positive)
    if thousands_mark == mark:
        raise ValueError(f"{mark!r} cannot be both the decimal mark and the thousands mark")
    plain = _marked_before(text, negative, positive)
    if thousands_mark:
        whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(thousands_mark)}[0-9]{{3}})+|[0-9]+)"
        if not re.fullmatch(rf"[+-]?{whole}(?:{re.escape(mark)}[0-9]*)?", plain):
            raise ValueError(f"{text[:80]!r} is not a number with {thousands_mark!r} between thousands")
        plain = plain.replace(thousands_mark, "")
    if mark != ".":
        if "." in plain:
            raise ValueError(f"{text[:80]!r} has a point, but the decimal mark is {mark!r}")
        plain = plain.replace(mark, ".")
    if not _DECIMAL.fullmatch(plain):
        raise ValueError(f"{text[:80]!r} is not a decimal number")
    try:
        return Decimal(plain)
    except InvalidOperation:
        raise ValueError(f"{text[:80]!r} is not a decimal number") from None
