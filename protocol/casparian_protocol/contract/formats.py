"""Formats of dates and times: strptime patterns, read strictly. Also `Judged`, the result of reading a text.

C's and pyarrow's `strptime` accept 30 February, one digit for two, and extra spaces. Here a pattern becomes a regular
expression that Python and RE2 read in the same way; its parts are then checked against the calendar. `ViolationCode` lists the
codes of violations.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class ViolationCode(StrEnum):
    TYPE_MISMATCH = "type_mismatch"
    NULL_NOT_ALLOWED = "null_not_allowed"
    FORMAT_MISMATCH = "format_mismatch"
    PRECISION_EXCEEDED = "precision_exceeded"
    TIMEZONE_REQUIRED = "timezone_required"
    VALUE_NOT_ALLOWED = "value_not_allowed"
    OUT_OF_RANGE = "out_of_range"
    NOT_UNIQUE = "not_unique"
    COLUMN_MISSING = "column_missing"
    COLUMN_EXTRA = "column_extra"
    PARSER_REJECTED = "parser_rejected"


class Judged(NamedTuple):
    """The result of reading a text as a type: a value, or the code of a violation.

    A tuple, because one is made for each bad value, and a frozen dataclass takes four times as long.
    """

    value: object = None
    code: ViolationCode | None = None


MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONG_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

#: directive → (part, expression); the part is the name of the group
_DIRECTIVES = {
    "Y": ("year", "[0-9]{4}"),
    "y": ("short_year", "[0-9]{2}"),
    "m": ("month", "[0-9]{2}"),
    "-m": ("month", "[0-9]{1,2}"),
    "b": ("month_name", "(?i:" + "|".join(MONTHS) + ")"),
    "B": ("long_month_name", "(?i:" + "|".join(LONG_MONTHS) + ")"),
    "d": ("day", "[0-9]{2}"),
    "-d": ("day", "[0-9]{1,2}"),
    "j": ("day_of_year", "[0-9]{3}"),
    "H": ("hour", "[0-9]{2}"),
    "-H": ("hour", "[0-9]{1,2}"),
    "I": ("hour12", "[0-9]{2}"),
    "-I": ("hour12", "[0-9]{1,2}"),
    "p": ("half", "(?i:am|pm)"),
    "M": ("minute", "[0-9]{2}"),
    "-M": ("minute", "[0-9]{1,2}"),
    "S": ("second", "[0-9]{2}"),
    "-S": ("second", "[0-9]{1,2}"),
    "f": ("fraction", "[0-9]{1,9}"),
    "z": ("offset", "Z|[+-][0-9]{2}(?::?[0-9]{2})?"),
    "a": ("weekday", "(?i:" + "|".join(_DAYS) + ")"),
    "A": ("long_weekday", "(?i:" + "|".join(_LONG_DAYS) + ")"),
}
_SHORTHANDS = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "D": "%m/%d/%y", "R": "%H:%M"}
_DATE_PARTS = {"year", "short_year", "month", "month_name", "long_month_name", "day", "day_of_year", "weekday",
               "long_weekday"}  # fmt: skip
_TIME_PARTS = {"hour", "hour12", "half", "minute", "second", "fraction"}


@dataclass(frozen=True, slots=True)
class Format:
    """One pattern: its text, the parts it names in order, and its expression (anchored, for Python and RE2)."""

    text: str
    parts: tuple[str, ...]
    expression: str
    expression_without_offset: str | None
    #: The kind of column that it reads: `date`, `time`, `timestamp` or `timestamp_tz`.
    kind: str

    def matches_without_offset(self, text: str) -> bool:
        """Whether only the offset is missing."""
        return self.expression_without_offset is not None and _full(self.expression_without_offset, text) is not None


@lru_cache(maxsize=1024)
def compile_format(text: str, kind: str) -> Format:
    """The pattern of a `date`, `time`, `timestamp` or `timestamp_tz` column. Raises ValueError with the reason."""
    expression, parts = _translate(text)
    _check_parts(text, set(parts), kind)
    without = None
    if "offset" in parts:
        start = expression.index("(?P<offset>")
        end = start + len(f"(?P<offset>{_DIRECTIVES['z'][1]})")
        without = f"^{expression[:start].rstrip(' ')}{expression[end:]}$"
    return Format(text, tuple(parts), f"^{expression}$", without, kind)


def _translate(text: str) -> tuple[str, list[str]]:
    expression, parts, position = "", [], 0
    while position < len(text):
        if text[position] != "%":
            expression += _literal(text[position])
            position += 1
            continue
        directive = text[position + 1 : position + 3] if text[position + 1 : position + 2] == "-" else text[
            position + 1 : position + 2
        ]  # fmt: skip
        position += 1 + len(directive)
        if directive == "%":
            expression += "%"
            continue
        if directive in _SHORTHANDS:
            text = _SHORTHANDS[directive] + text[position:]
            position = 0
            continue
        if directive not in _DIRECTIVES:
            raise ValueError(f"the format {text!r} has %{directive}, which is not one of {', '.join(_DIRECTIVES)}")
        part, pattern = _DIRECTIVES[directive]
        if part in parts:
            raise ValueError(f"the format {text!r} names the {part.replace('_', ' ')} twice")
        parts.append(part)
        expression += f"(?P<{part}>{pattern})"
    return expression, parts


def _literal(character: str) -> str:
    return "\\" + character if not character.isalnum() and character.isascii() and character != " " else character


def _check_parts(text: str, parts: set[str], kind: str) -> None:
    def need(fault: str) -> None:
        raise ValueError(f"the format {text!r} of a {kind} {fault}")

    dates, times = parts & _DATE_PARTS, parts & _TIME_PARTS
    if kind == "time" and dates:
        need("may name no part of a date")
    if kind == "date" and times:
        need("may name no part of a time of day")
    if kind != "time":
        whole_day = parts & {"day_of_year"} or ("day" in parts and parts & {"month", "month_name", "long_month_name"})
        if len(parts & {"year", "short_year"}) != 1 or not whole_day:
            need("must name one year, and month and day or the day of the year")
        if "day_of_year" in parts and parts & {"day", "month", "month_name", "long_month_name"}:
            need("names both month or day and the day of the year")
        if len(parts & {"month", "month_name", "long_month_name"}) > 1:
            need("names the month twice")
    if kind != "date":
        if ("hour12" in parts) != ("half" in parts) or {"hour", "hour12"} <= parts:
            need("names hours as %H, or as %I together with %p")
        if (times and not parts & {"hour", "hour12"}) or (kind == "time" and not times):
            need("must name the hour")
        if ("second" in parts and "minute" not in parts) or ("fraction" in parts and "second" not in parts):
            need("must name minutes before seconds, and seconds before fractions")
    if kind == "timestamp_tz" and "offset" not in parts:
        need("must have %z: a value without an offset says no instant")
    if kind != "timestamp_tz" and "offset" in parts:
        need("may not have %z: it has no zone")


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression[1:-1])


def _full(expression: str, text: str) -> re.Match[str] | None:
    return _compiled(expression).fullmatch(text)


def read_with(pattern: Format, text: str, *, nanoseconds: bool = False) -> Judged:
    """Read a text by one pattern: the result is a date, a time, a naive or an aware (UTC) datetime, or a violation.

    `nanoseconds`: an instant is a number of nanoseconds since 1970, not a datetime.
    """
    match = _full(pattern.expression, text)
    if match is None:
        return Judged(code=ViolationCode.FORMAT_MISMATCH)
    parts = match.groupdict()
    try:
        day = _date_of(parts)
        clock = _time_of(parts)
    except (ValueError, OverflowError):  # such as day 999 of the year 9999
        return Judged(code=ViolationCode.FORMAT_MISMATCH)
    fraction = (parts.get("fraction") or "").rstrip("0")
    if len(fraction) > (9 if nanoseconds else 6):
        return Judged(code=ViolationCode.PRECISION_EXCEEDED)
    if day is None:
        return Judged(clock)
    if pattern.kind == "date":
        return Judged(day)
    moment = dt.datetime.combine(day, clock or dt.time())
    judged = at_offset(moment, parts["offset"]) if "offset" in parts else Judged(moment)
    return nanoseconds_of(judged, fraction) if nanoseconds else judged


_EPOCH = dt.datetime(1970, 1, 1)
#: DuckDB reads the ends of int64 as infinities.
NANOSECONDS_MAX = 2**63 - 2


def nanoseconds_of(judged: Judged, fraction: str) -> Judged:
    """An instant (a naive or UTC datetime, with nine digits of its fraction) as a number of nanoseconds since 1970."""
    if not isinstance(judged.value, dt.datetime):
        return judged
    micros = (judged.value.replace(tzinfo=None) - _EPOCH) // dt.timedelta(microseconds=1)
    count = micros * 1000 + int(fraction[6:9].ljust(3, "0"))
    return Judged(count) if abs(count) <= NANOSECONDS_MAX else Judged(code=ViolationCode.OUT_OF_RANGE)


def at_offset(moment: dt.datetime, offset: str) -> Judged:
    """The instant in UTC for a local time and its offset (`Z`, `+09`, `+0930`, `+09:30`)."""
    if offset != "Z":
        digits = offset[1:].replace(":", "")
        hours, minutes = int(digits[:2]), int(digits[2:] or "0")
        if hours > 23 or minutes > 59:
            return Judged(code=ViolationCode.FORMAT_MISMATCH)
        shift = dt.timedelta(hours=hours, minutes=minutes)
        try:
            moment = moment - shift if offset[0] == "+" else moment + shift
        except OverflowError:
            return Judged(code=ViolationCode.OUT_OF_RANGE)
    return Judged(moment.replace(tzinfo=dt.UTC))


def _date_of(parts: dict[str, str]) -> dt.date | None:
    if "year" in parts:
        year = int(parts["year"])
    elif "short_year" in parts:
        short = int(parts["short_year"])
        year = short + (1900 if short >= 69 else 2000)
    else:
        return None
    if "day_of_year" in parts:
        day = dt.date(year, 1, 1) + dt.timedelta(days=int(parts["day_of_year"]) - 1)
        if day.year != year:
            raise ValueError
    else:
        day = dt.date(year, _month_of(parts), int(parts["day"]))
    named = parts.get("weekday") or parts.get("long_weekday")
    if named and _DAYS.index(named[:3].lower()) != day.weekday():
        raise ValueError
    return day


def _month_of(parts: dict[str, str]) -> int:
    if "month" in parts:
        return int(parts["month"])
    name = parts.get("month_name") or parts["long_month_name"]
    return MONTHS.index(name[:3].lower()) + 1


def _time_of(parts: dict[str, str]) -> dt.time | None:
    if not set(parts) & _TIME_PARTS:
        return None
    hour = int(parts["hour"]) if "hour" in parts else _hour_of_half(int(parts["hour12"]), parts["half"])
    micros = int((parts.get("fraction") or "").ljust(6, "0")[:6])
    return dt.time(hour, int(parts.get("minute", "0")), int(parts.get("second", "0")), micros)


def _hour_of_half(hour: int, half: str) -> int:
    if not 1 <= hour <= 12:
        raise ValueError
    return hour % 12 + (12 if half.lower() == "pm" else 0)
