"""The specification of one value, in plain Python, a character at a time where it matters.

Written from contracts.md and contract-format.md, without a look at the vectorised code and without its regular
expressions: slow, obvious, and the judge of the fast one. Temporal values are integers (days, or microseconds).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

DIGITS = "0123456789"
Verdict = tuple[Any, set[str]]  # the value (None if it has none) and the codes


@dataclass
class Spec:
    """A column as the reference sees it."""

    type: Any
    nullable: bool = True
    values: list[Any] | None = None
    min: Any = None
    max: Any = None
    null_values: list[str] = field(default_factory=list)
    lossy: bool = False


class Bad(Exception):
    """Carries the code."""


def judge_text(spec: Spec, text: str | None) -> Verdict:
    if text is not None and text in spec.null_values:
        text = None
    if text is None:
        return None, (set() if spec.nullable else {"null_not_allowed"})
    try:
        value = value_of_text(spec.type, text)
    except Bad as bad:
        return None, {bad.args[0]}
    return value, checks(spec, value)


def checks(spec: Spec, value: Any) -> set[str]:
    codes = set()
    if spec.values is not None:
        allowed = any(value == each or (value != value and each != each) for each in spec.values)
        if not allowed:
            codes.add("value_not_allowed")
    elif isinstance(value, float) and not math.isfinite(value):
        codes.add("value_not_allowed")
    if spec.min is not None and not value >= spec.min:
        codes.add("out_of_range")
    if spec.max is not None and not value <= spec.max:
        codes.add("out_of_range")
    return codes


def value_of_text(kind: Any, text: str) -> Any:
    if isinstance(kind, dict):
        if kind["kind"] == "decimal":
            return decimal(text, kind["precision"], kind["scale"])
        return moment(text, zoned=True, digits=9 if kind.get("unit") == "ns" else 6)
    readers = {
        "string": lambda each: each,
        "binary": lambda each: each.encode(),
        "boolean": boolean,
        "int64": int64,
        "float64": float64,
        "date": date,
        "time": time,
        "timestamp": lambda each: moment(each, zoned=False),
        "timestamp_ns": lambda each: moment(each, zoned=False, digits=9),
        "duration": duration,
    }
    return readers[kind](text)


def all_digits(text: str, exactly: int | None = None) -> bool:
    return bool(text) and all(each in DIGITS for each in text) and (exactly is None or len(text) == exactly)


def boolean(text: str) -> bool:
    for words, value in (("true 1 yes t", True), ("false 0 no f", False)):
        for word in words.split():
            if len(word) == len(text) and all(a in (b, b.upper()) for a, b in zip(text, word, strict=True)):
                return value
    raise Bad("type_mismatch")


def int64(text: str) -> int:
    body = text[1:] if text[:1] in ("+", "-") else text
    if not all_digits(body):
        raise Bad("type_mismatch")
    number = 0
    for digit in body:
        number = number * 10 + DIGITS.index(digit)
        if number > 2**64:
            raise Bad("out_of_range")
    number = -number if text[0] == "-" else number
    if not -(2**63) <= number <= 2**63 - 1:
        raise Bad("out_of_range")
    return number


def number(text: str) -> tuple[bool, Fraction, bool]:
    """Sign, exact magnitude, whether it is written as a plain integer."""
    body = text[1:] if text[:1] in ("+", "-") else text
    mantissa, mark, exponent = body, "", "0"
    for letter in "eE":
        if letter in body:
            mantissa, mark, exponent = body.partition(letter)
            break
    if mark:
        unsigned = exponent[1:] if exponent[:1] in ("+", "-") else exponent
        if not all_digits(unsigned):
            raise Bad("type_mismatch")
    whole, point, rest = mantissa.partition(".")
    if not all_digits(whole + rest) or (whole and not all_digits(whole)):
        raise Bad("type_mismatch")
    digits = int(whole + rest)
    power = int(exponent) - len(rest)
    if digits and abs(power) > 5000:
        power = 5000 if power > 0 else -5000
    magnitude = Fraction(digits) * (Fraction(10) ** power if digits else 1)
    return text[:1] == "-", magnitude, not point and not mark


def float64(text: str) -> float:
    bare = text[1:] if text[:1] in ("+", "-") else text
    if bare.isascii() and bare.lower() in ("nan", "inf", "infinity"):
        value = math.nan if bare.lower() == "nan" else math.inf
        return -value if text[0] == "-" else value
    negative, magnitude, is_integer = number(text)
    if is_integer and magnitude > 2**53:
        raise Bad("out_of_range" if magnitude >= Fraction(2) ** 1024 else "precision_exceeded")
    try:
        value = float(magnitude)  # Fraction rounds correctly
    except OverflowError:
        raise Bad("out_of_range") from None
    if magnitude and value == 0:
        raise Bad("precision_exceeded")
    return -value if negative else value


def decimal(text: str, precision: int, scale: int) -> Fraction:
    negative, magnitude, _ = number(text)
    scaled = magnitude * 10**scale
    if scaled.denominator != 1 or scaled >= 10**precision:
        raise Bad("precision_exceeded")
    return -magnitude if negative else magnitude


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, counted year by year and month by month."""
    if year < 1 or not 1 <= month <= 12 or day < 1:
        raise Bad("format_mismatch")
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    months = [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    if day > months[month - 1]:
        raise Bad("format_mismatch")
    before = year - 1
    return before * 365 + before // 4 - before // 100 + before // 400 + sum(months[: month - 1]) + day - 719163


def date(text: str) -> int:
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        raise Bad("format_mismatch")
    if not (all_digits(text[:4]) and all_digits(text[5:7]) and all_digits(text[8:])):
        raise Bad("format_mismatch")
    return days_from_civil(int(text[:4]), int(text[5:7]), int(text[8:]))


def clock(text: str, least_parts: int, digits: int = 6) -> int:
    """Microseconds (or with 9 digits nanoseconds) since midnight of `HH[:MM[:SS[.f]]]`."""
    body, point, fraction = text.partition(".")
    parts = body.split(":")
    if not least_parts <= len(parts) <= 3 or not all(all_digits(part, 2) for part in parts):
        raise Bad("format_mismatch")
    if point and (len(parts) < 3 or not all_digits(fraction)):
        raise Bad("format_mismatch")
    hour, minute, second = [*map(int, parts), 0, 0][:3]
    if hour > 23 or minute > 59 or second > 59:
        raise Bad("format_mismatch")
    return (hour * 3600 + minute * 60 + second) * int(10**digits) + micros(fraction, digits)


def micros(fraction: str, digits: int = 6) -> int:
    while fraction.endswith("0"):
        fraction = fraction[:-1]
    if len(fraction) > digits:
        raise Bad("precision_exceeded")
    return int(fraction + "0" * (digits - len(fraction)))


def time(text: str) -> int:
    return clock(text, least_parts=2)


def split_offset(text: str) -> tuple[str, str | None]:
    if text.endswith("Z"):
        return text[:-1], "Z"
    for length in (6, 5, 3):
        tail = text[-length:]
        if len(tail) == length and tail[0] in "+-":
            shape = tail[1:3] + (tail[4:] if length == 6 else tail[3:])
            if all_digits(shape) and (length != 6 or tail[3] == ":"):
                return text[:-length], tail
    return text, None


def moment(text: str, *, zoned: bool, digits: int = 6) -> int:
    bare, offset = (text, None) if len(text) <= 10 else split_offset(text)
    if offset is not None and len(bare) <= 10:
        raise Bad("format_mismatch")
    day = date(bare[:10])
    fault = None
    try:
        if len(bare) > 10:
            if bare[10] not in " T":
                raise Bad("format_mismatch")
            since_midnight = clock(bare[11:], least_parts=1, digits=digits)
        else:
            since_midnight = 0
    except Bad as bad:
        if bad.args[0] == "format_mismatch":
            raise
        fault = bad
    if not zoned and offset is not None:
        raise Bad("type_mismatch")
    if zoned and offset is None:
        raise Bad("timezone_required")
    shift = 0
    if offset not in (None, "Z"):
        assert offset is not None
        pairs = offset[1:].replace(":", "")
        hours, minutes = int(pairs[:2]), int(pairs[2:] or 0)
        if hours > 23 or minutes > 59:
            raise Bad("format_mismatch")
        shift = (hours * 60 + minutes) * 60 * 10**digits * (-1 if offset[0] == "-" else 1)
    if fault is not None:
        raise fault
    instant = day * 86_400 * 10**digits + since_midnight - shift
    return in_calendar(instant, digits)


def in_calendar(instant: int, digits: int = 6) -> int:
    if digits == 9 and abs(instant) > 2**63 - 2:
        raise Bad("out_of_range")
    first, last = days_from_civil(1, 1, 1), days_from_civil(9999, 12, 31)
    if not first * 86_400 * 10**digits <= instant < (last + 1) * 86_400 * 10**digits:
        raise Bad("out_of_range")
    return instant


def duration(text: str) -> int:
    try:
        total = iso_duration(text)
    except Bad as bad:
        if bad.args[0] != "format_mismatch":
            raise
        total = clock_duration(text)
    if abs(total) > 2**63 - 1:
        raise Bad("out_of_range")
    return total


def short_number(text: str) -> int:
    if not all_digits(text) or len(text) > 12:
        raise Bad("format_mismatch")
    return int(text)


def iso_duration(text: str) -> int:
    body = text[1:] if text[:1] in ("+", "-") else text
    if body[:1] != "P" or len(body) < 3:
        raise Bad("format_mismatch")
    days_part, mark, clock_part = body[1:].partition("T")
    if mark and not clock_part:
        raise Bad("format_mismatch")
    seconds, fraction = 0, ""
    if days_part.endswith("W") and not mark:
        seconds = short_number(days_part[:-1]) * 604_800
    elif days_part.endswith("D"):
        seconds = short_number(days_part[:-1]) * 86_400
    elif days_part:
        raise Bad("format_mismatch")
    for unit, weight in (("H", 3600), ("M", 60)):
        head, found, rest = clock_part.partition(unit)
        if found:
            seconds += short_number(head) * weight
            clock_part = rest
    if clock_part:
        if not clock_part.endswith("S"):
            raise Bad("format_mismatch")
        whole, point, fraction = clock_part[:-1].partition(".")
        if point and not all_digits(fraction):
            raise Bad("format_mismatch")
        seconds += short_number(whole)
    total = seconds * 1_000_000 + micros(fraction)
    return -total if text[0] == "-" else total


def clock_duration(text: str) -> int:
    days, rest, negative = 0, text, False
    for word in (" days, ", " day, "):
        if word in text:
            head, _, rest = text.partition(word)
            days = short_number(head[1:] if head[:1] == "-" else head) * (-1 if head[:1] == "-" else 1)
            break
    else:
        negative = text[:1] == "-"
        rest = text[1:] if text[:1] in ("+", "-") else text
    body, point, fraction = rest.partition(".")
    parts = body.split(":")
    if len(parts) != 3 or (point and not all_digits(fraction)):
        raise Bad("format_mismatch")
    hours = short_number(parts[0])
    if not all(all_digits(part, 2) and int(part) < 60 for part in parts[1:]):
        raise Bad("format_mismatch")
    seconds = days * 86_400 + hours * 3600 + int(parts[1]) * 60 + int(parts[2])
    total = seconds * 1_000_000 + micros(fraction)
    return -total if negative else total
