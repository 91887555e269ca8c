"""Helpers for values: `Output` names the output of rows; `decimal` and `timestamp` read exact values from text.

`decimal` never rounds, and `timestamp` always has a zone. Both raise ValueError for a text that they cannot read exactly. A
parser may also yield the text and leave the conversion to the contract.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@dataclass(frozen=True, slots=True)
class Output:
    """Rows or a table for the output named `output`, which `parse` may return or yield."""

    output: str
    data: Any


_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


def decimal(text: str | int, *, decimal_mark: str = ".", thousands_mark: str = "") -> Decimal:
    """The number in `text`, digit for digit: `decimal("1.50")` keeps its zero. Floats are refused because they are not exact."""
    if isinstance(text, int) and not isinstance(text, bool):
        return Decimal(text)
    if not isinstance(text, str):
        raise ValueError(f"{type(text).__name__} is not exact; give the text")
    plain = text.strip(" ")
    if thousands_mark:
        whole = re.escape(thousands_mark)
        if not re.fullmatch(rf"[+-]?[0-9]{{1,3}}(?:{whole}[0-9]{{3}})*(?:{re.escape(decimal_mark)}[0-9]*)?", plain):
            raise ValueError(f"{text[:80]!r} is not a number with {thousands_mark!r} between thousands")
        plain = plain.replace(thousands_mark, "")
    if decimal_mark != ".":
        if "." in plain:
            raise ValueError(f"{text[:80]!r} has a point, but the decimal mark is {decimal_mark!r}")
        plain = plain.replace(decimal_mark, ".")
    if not _DECIMAL.fullmatch(plain):
        raise ValueError(f"{text[:80]!r} is not a decimal number")
    try:
        return Decimal(plain)
    except InvalidOperation:
        raise ValueError(f"{text[:80]!r} is not a decimal number") from None


def timestamp(text: str, *, format: str | None = None, tz: str | None = None) -> datetime.datetime:
    """The zone-aware time in `text`, by ISO 8601 or by a strptime `format`.

    `tz` (an IANA name) is the zone of a text without an offset. A text with neither is refused, and so is a local time that a
    clock change skips or repeats. More than six fraction digits are refused unless the rest are zeros.
    """
    moment = datetime.datetime.strptime(text, format) if format else datetime.datetime.fromisoformat(_micros(text))
    if moment.tzinfo is not None:
        return moment
    if tz is None:
        raise ValueError(f"{text[:80]!r} has no offset and no tz was given")
    try:
        zone = ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{tz[:80]!r} is not a known time zone") from None
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    if before is not None and after is not None and before != after:
        raise ValueError(f"{text[:80]!r} {_clock_change(moment, after - before, tz)}; give the offset with the time")
    return first


def _clock_change(moment: datetime.datetime, shift: datetime.timedelta, tz: str) -> str:
    """The change of the clocks that a local time falls into: a change forward skips times, a change back repeats them."""
    minutes = abs(shift) // datetime.timedelta(minutes=1)
    span = "hour that is" if minutes == 60 else f"{minutes} minutes that are"
    return (
        f"falls in the {span} {'skipped' if shift > datetime.timedelta() else 'repeated'} on {moment:%Y-%m-%d} in {tz}"
    )


_FRACTION = re.compile(r"(?<=:[0-9]{2}[.,])([0-9]{7,})")


def _micros(text: str) -> str:
    found = _FRACTION.search(text)
    if found is None:
        return text
    digits = found.group()
    if digits[6:].strip("0"):
        raise ValueError(f"{text[:80]!r} is finer than microseconds")
    return text[: found.start()] + digits[:6] + text[found.end() :]
