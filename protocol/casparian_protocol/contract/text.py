"""Reading text as a type: `reader` for values of the input, `read_literal` for the literals of a contract's checks.

The result is a value or the code of a violation. Literals (`min`, `max`, `values`) have one canonical spelling.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from casparian_protocol.contract.formats import Format, Judged, ViolationCode, at_offset, nanoseconds_of, read_with
from casparian_protocol.contract.types import (
    AnyType,
    DecimalType,
    SimpleType,
    TimeUnit,
    ZonedTimestampType,
    describe,
    in_nanoseconds,
)

MAX_EXACT_INT_IN_FLOAT = 2**53
MAX_DURATION_MICROSECONDS = 2**63 - 1
#: A longer number is not parsed.
MAX_NUMBER_CHARS = 10_000
TRUE_WORDS = frozenset({"true", "1", "yes", "t"})
FALSE_WORDS = frozenset({"false", "0", "no", "f"})

# Both Python and RE2 use these; callers anchor them at both ends.
INT_FORM = r"[+-]?[0-9]+"
NUMBER_FORM = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
NON_FINITE_FORM = r"(?i:[+-]?(?:nan|inf|infinity))"
DATE_FORM = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
CLOCK_FORM = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
HOURS_FORM = r"[0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?"
OFFSET_FORM = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"

_INT = re.compile(INT_FORM)
_NUMBER = re.compile(NUMBER_FORM)
_NON_FINITE = re.compile(NON_FINITE_FORM)
_DATE = re.compile(DATE_FORM)
_CLOCK = re.compile(CLOCK_FORM)
_FRACTION = re.compile(r"\.([0-9]+)")
_MOMENT = re.compile(rf"({DATE_FORM})(?:[ T]({HOURS_FORM}))?({OFFSET_FORM})?")
_ISO_DURATION = re.compile(
    r"([+-]?)P(?=[0-9T])(?:([0-9]{1,12})W|(?:([0-9]{1,12})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,12})H)?(?:([0-9]{1,12})M)?(?:([0-9]{1,13})(?:\.([0-9]+))?S)?)?)"
)
_CLOCK_DURATION = re.compile(
    r"(?:([+-]?)|(-?[0-9]{1,12}) days?, )([0-9]{1,12}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?"
)


def reader(data_type: AnyType, formats: Sequence[Format] = ()) -> Callable[[str], Judged]:
    """The function that reads texts of one column. Lists and structs have none."""
    if formats:
        is_zoned, is_fine = isinstance(data_type, ZonedTimestampType), in_nanoseconds(data_type)
        return lambda text: _by_formats(text, formats, is_zoned, is_fine)
    match data_type:
        case DecimalType(precision=precision, scale=scale):
            return lambda text: read_decimal(text, precision, scale)
        case ZonedTimestampType(unit=unit):
            return lambda text: read_zoned(text, unit)
        case SimpleType(kind=kind):
            return _READERS[kind]
        case _:
            raise TypeError(f"{data_type.kind} has no rule for one text")


def _read_string(text: str) -> Judged:
    return Judged(text)


def _read_binary(text: str) -> Judged:
    return Judged(text.encode())


def _read_boolean(text: str) -> Judged:
    word = text.lower() if text.isascii() else text
    if word in TRUE_WORDS:
        return Judged(True)
    return Judged(False) if word in FALSE_WORDS else Judged(code=ViolationCode.TYPE_MISMATCH)


def _read_int(text: str) -> Judged:
    if not _INT.fullmatch(text):
        return Judged(code=ViolationCode.TYPE_MISMATCH)
    digits = text.lstrip("+-").lstrip("0") or "0"
    if len(digits) > 19:  # also prevents Python from expanding a million digits
        return Judged(code=ViolationCode.OUT_OF_RANGE)
    value = -int(digits) if text[0] == "-" else int(digits)
    return Judged(value) if -(2**63) <= value < 2**63 else Judged(code=ViolationCode.OUT_OF_RANGE)


def _read_float(text: str) -> Judged:
    """Read a float. Words such as `nan` are accepted here; the column's `values` decide whether they are allowed."""
    if _NON_FINITE.fullmatch(text):
        return Judged(float(text))
    if not _NUMBER.fullmatch(text):
        return Judged(code=ViolationCode.TYPE_MISMATCH)
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return Judged(code=ViolationCode.OUT_OF_RANGE)
    if value == 0 and re.search(r"[1-9]", re.split(r"[eE]", text)[0]):
        return Judged(code=ViolationCode.PRECISION_EXCEEDED)
    if abs(value) >= MAX_EXACT_INT_IN_FLOAT and _INT.fullmatch(text):
        digits = text.lstrip("+-").lstrip("0")
        if len(digits) > 16 or int(digits) > MAX_EXACT_INT_IN_FLOAT:
            return Judged(code=ViolationCode.PRECISION_EXCEEDED)
    return Judged(value)


def read_decimal(text: str, precision: int, scale: int) -> Judged:
    """Read an exact decimal of at most `scale` digits after the point and `precision - scale` before it."""
    if not _NUMBER.fullmatch(text):
        return Judged(code=ViolationCode.TYPE_MISMATCH)
    if len(text) > MAX_NUMBER_CHARS:
        return Judged(code=ViolationCode.PRECISION_EXCEEDED)
    try:
        return fit_decimal(Decimal(text), precision, scale)
    except InvalidOperation:  # an exponent beyond the limits of Decimal
        return Judged(code=ViolationCode.PRECISION_EXCEEDED)


def fit_decimal(value: Decimal, precision: int, scale: int) -> Judged:
    """The same number if it fits, ignoring trailing zeros."""
    if not value.is_finite():
        return Judged(code=ViolationCode.TYPE_MISMATCH)
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    plain = "".join(map(str, digits)).lstrip("0")
    kept = plain.rstrip("0")
    if not kept:
        return Judged(Decimal(0))
    exponent += len(plain) - len(kept)
    if -exponent > scale or len(kept) + exponent > precision - scale:
        return Judged(code=ViolationCode.PRECISION_EXCEEDED)
    return Judged(Decimal((sign, tuple(map(int, kept)), exponent)))


def _read_date(text: str) -> Judged:
    if not _DATE.fullmatch(text):
        return Judged(code=ViolationCode.FORMAT_MISMATCH)
    try:
        return Judged(dt.date(int(text[:4]), int(text[5:7]), int(text[8:])))
    except ValueError:
        return Judged(code=ViolationCode.FORMAT_MISMATCH)


def _read_clock(text: str, digits: int = 6) -> Judged:
    """Read `HH[:MM[:SS[.fraction]]]` of a checked form, to the microsecond; `digits` limits the fraction."""
    clock, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    try:
        hour, minute, second = map(int, (clock + ":00:00")[:8].split(":"))
        value = dt.time(hour, minute, second, int(fraction[:6].ljust(6, "0")))
    except ValueError:
        return Judged(code=ViolationCode.FORMAT_MISMATCH)
    return Judged(value) if len(fraction) <= digits else Judged(code=ViolationCode.PRECISION_EXCEEDED)


def _read_time(text: str) -> Judged:
    return _read_clock(text) if _CLOCK.fullmatch(text) else Judged(code=ViolationCode.FORMAT_MISMATCH)


def _read_moment(text: str, digits: int = 6) -> tuple[Judged, str | None]:
    """A naive datetime or its fault, and the offset as written."""
    match = _MOMENT.fullmatch(text)
    if match is None or (match[3] and not match[2]):
        return Judged(code=ViolationCode.FORMAT_MISMATCH), None
    day, clock = _read_date(match[1]), _read_clock(match[2], digits) if match[2] else Judged(dt.time())
    for part in (day, clock):
        if part.code is not None:
            return part, match[3]
    assert isinstance(day.value, dt.date) and isinstance(clock.value, dt.time)
    return Judged(dt.datetime.combine(day.value, clock.value)), match[3]


def _read_timestamp(text: str, digits: int = 6) -> Judged:
    moment, offset = _read_moment(text, digits)
    if offset is not None and moment.code is not ViolationCode.FORMAT_MISMATCH:
        return Judged(code=ViolationCode.TYPE_MISMATCH)
    return moment


def _read_timestamp_ns(text: str) -> Judged:
    """A count of nanoseconds since 1970."""
    return nanoseconds_of(_read_timestamp(text, 9), _fraction_of(text))


def read_zoned(text: str, unit: TimeUnit = "us") -> Judged:
    """An instant: an aware datetime in UTC, or in nanoseconds their count since 1970."""
    moment, offset = _read_moment(text, 9 if unit == "ns" else 6)
    if moment.code is ViolationCode.FORMAT_MISMATCH:
        return moment
    if offset is None:
        return Judged(code=ViolationCode.TIMEZONE_REQUIRED)
    if moment.code is not None:
        shifted = at_offset(dt.datetime(2000, 1, 1), offset)
        return moment if shifted.code is None else shifted
    assert isinstance(moment.value, dt.datetime)
    instant = at_offset(moment.value, offset)
    return nanoseconds_of(instant, _fraction_of(text)) if unit == "ns" else instant


def _fraction_of(text: str) -> str:
    """The digits after the point in the text of an instant."""
    found = _FRACTION.search(text)
    return found[1].rstrip("0") if found else ""


def _read_duration(text: str) -> Judged:
    """ISO 8601 (weeks, or days and smaller), `[-]H:MM:SS[.f]`, or Python's `-1 day, 2:03:04`. In microseconds."""
    if match := _ISO_DURATION.fullmatch(text):
        sign, weeks, days, hours, minutes, seconds, fraction = match.groups()
        whole_days = int(weeks or 0) * 7 + int(days or 0)
    elif match := _CLOCK_DURATION.fullmatch(text):
        sign, named_days, hours, minutes, seconds, fraction = match.groups()
        whole_days = int(named_days or 0)
    else:
        return Judged(code=ViolationCode.FORMAT_MISMATCH)
    fraction = (fraction or "").rstrip("0")
    if len(fraction) > 6:
        return Judged(code=ViolationCode.PRECISION_EXCEEDED)
    total_seconds = whole_days * 86400 + int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    micros = total_seconds * 1_000_000 + int(fraction.ljust(6, "0") or 0)
    if sign == "-":
        micros = -micros
    return Judged(micros) if abs(micros) <= MAX_DURATION_MICROSECONDS else Judged(code=ViolationCode.OUT_OF_RANGE)


def _by_formats(text: str, formats: Sequence[Format], zoned: bool, nanoseconds: bool) -> Judged:
    """The value by the first pattern that fits; else the most specific violation."""
    codes = []
    for pattern in formats:
        judged = read_with(pattern, text, nanoseconds=nanoseconds)
        if judged.code is None:
            return judged
        codes.append(judged.code)
    if zoned and any(pattern.matches_without_offset(text) for pattern in formats):
        return Judged(code=ViolationCode.TIMEZONE_REQUIRED)
    telling = [code for code in codes if code is not ViolationCode.FORMAT_MISMATCH]
    return Judged(code=telling[0] if telling else ViolationCode.FORMAT_MISMATCH)


_READERS: dict[str, Callable[[str], Judged]] = {
    "string": _read_string,
    "binary": _read_binary,
    "boolean": _read_boolean,
    "int64": _read_int,
    "float64": _read_float,
    "date": _read_date,
    "time": _read_time,
    "timestamp": _read_timestamp,
    "timestamp_ns": _read_timestamp_ns,
    "duration": _read_duration,
}


def read_literal(data_type: AnyType, literal: object) -> Any:
    """The value of a literal in a type: durations in microseconds, zoned timestamps in UTC, nanoseconds as a number.

    Raises ValueError for an invalid literal.
    """
    kind = data_type.kind
    if kind == "boolean" and isinstance(literal, bool):
        return literal
    if isinstance(literal, bool) or literal is None:
        raise ValueError(f"{literal!r} is not of type {describe(data_type)}")
    if kind == "int64" and isinstance(literal, int):
        literal = str(literal) if abs(literal) < 2**64 else "9" * 20
    if kind == "float64" and isinstance(literal, (int, float)):
        if isinstance(literal, int) and abs(literal) > 2**53:
            raise ValueError(f"{literal} is not exact as {kind}")
        return float(literal)
    if isinstance(data_type, DecimalType) and isinstance(literal, (int, float, Decimal)):
        judged = fit_decimal(Decimal(str(literal)), data_type.precision, data_type.scale)
    elif isinstance(literal, str):
        judged = reader(data_type)(literal)
    else:
        raise ValueError(f"{literal!r} is not of type {describe(data_type)}")
    if judged.code is not None:
        raise ValueError(f"{literal!r} is not of type {describe(data_type)} ({judged.code.value})")
    return judged.value


def write_literal(data_type: AnyType, value: Any) -> Any:
    """The one JSON spelling of a value."""
    match data_type:
        case DecimalType():
            return f"{Decimal(value):f}"
        case ZonedTimestampType(unit="ns"):
            return write_nanoseconds(value) + "Z"
        case ZonedTimestampType():
            return value.isoformat().replace("+00:00", "Z")
        case SimpleType(kind="timestamp_ns"):
            return write_nanoseconds(value)
        case SimpleType(kind="float64"):
            return value if math.isfinite(value) else str(value)
        case SimpleType(kind="duration"):
            return write_duration(value)
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else value


def write_nanoseconds(count: int) -> str:
    """A number of nanoseconds since 1970 as ISO 8601, without trailing zeros of the fraction."""
    seconds, rest = divmod(count, 1_000_000_000)
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
    return moment.isoformat() + (f".{rest:09d}".rstrip("0") if rest else "")


def write_duration(micros: int) -> str:
    """ISO 8601 in seconds: `PT90S`, `-PT0.5S`."""
    seconds, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micros < 0 else ''}PT{seconds}{fraction}S"
