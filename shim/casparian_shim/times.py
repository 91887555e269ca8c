"""Times from text: `timestamp` reads one instant exactly, or says why it cannot.

A time always has a zone. What a text leaves open is declared by the caller and never assumed: the zone (`tz`), which of two
repeated hours (`fold`), the hundred years of a two-digit year (`pivot`), the year of a text without one (`reference`). Only the
standard library is used.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Fold = Literal[0, 1]
_DAY = dt.timedelta(days=1)
_SHOWN = 80


class NanosecondDatetime(dt.datetime):
    """A datetime with `nanosecond`, 0 to 999 beyond the microsecond.

    It is compared, shown and written with all nine digits. A difference of two that a timedelta cannot hold raises ValueError.
    """

    nanosecond: int

    @classmethod
    def of(cls, moment: dt.datetime, nanosecond: int) -> Self:
        made = cls.combine(moment.date(), moment.timetz())
        made.nanosecond = nanosecond
        return made

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls, *args, **kwargs)
        made.nanosecond = 0
        return made

    def plain(self) -> dt.datetime:
        """The same time without the nanoseconds."""
        return dt.datetime.combine(self.date(), self.timetz())

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        if timespec != "auto" or not self.nanosecond:
            return self.plain().isoformat(sep, timespec)
        text = self.plain().isoformat(sep, "microseconds")
        cut = text.index(".") + 7
        return f"{text[:cut]}{self.nanosecond:03d}{text[cut:]}"

    def __str__(self) -> str:
        return self.isoformat(" ")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.isoformat()!r})"

    def astimezone(self, tz: dt.tzinfo | None = None) -> Self:
        return self.of(self.plain().astimezone(tz), self.nanosecond)

    def replace(self, *args: Any, **kwargs: Any) -> Self:
        nanosecond = kwargs.pop("nanosecond", self.nanosecond)
        return self.of(self.plain().replace(*args, **kwargs), nanosecond)

    def __add__(self, other: dt.timedelta) -> Self:
        return self.of(self.plain() + other, self.nanosecond) if isinstance(other, dt.timedelta) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, dt.timedelta):
            return self.of(self.plain() - other, self.nanosecond)
        if not isinstance(other, dt.datetime):
            return NotImplemented
        if self.nanosecond != _nanosecond(other):
            raise ValueError(f"{self.isoformat()} - {other.isoformat()} is finer than a timedelta holds")
        return self.plain() - _plain(other)

    def __rsub__(self, other: Any) -> Any:
        return -(self - other) if isinstance(other, dt.datetime) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dt.datetime):
            return NotImplemented
        return self.plain() == _plain(other) and self.nanosecond == _nanosecond(other)

    def __hash__(self) -> int:
        return hash((self.plain(), self.nanosecond)) if self.nanosecond else hash(self.plain())

    def __lt__(self, other: dt.date) -> bool:
        return self._order(other) < 0

    def __gt__(self, other: dt.date) -> bool:
        return self._order(other) > 0

    def __le__(self, other: dt.date) -> bool:
        return self._order(other) <= 0

    def __ge__(self, other: dt.date) -> bool:
        return self._order(other) >= 0

    def _order(self, other: dt.date) -> int:
        if not isinstance(other, dt.datetime):
            raise TypeError("a datetime cannot be compared with a date")
        mine, theirs = self.plain(), _plain(other)
        return (mine > theirs) - (mine < theirs) or self.nanosecond - _nanosecond(other)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return NanosecondDatetime.of, (self.plain(), self.nanosecond)


def _plain(moment: dt.datetime) -> dt.datetime:
    return moment.plain() if isinstance(moment, NanosecondDatetime) else moment


def _nanosecond(moment: dt.datetime) -> int:
    return int(getattr(moment, "nanosecond", 0))


def timestamp(
    text: str,
    format: str | None = None,
    tz: str | None = None,
    *,
    fold: Fold | None = None,
    pivot: int | None = None,
    reference: dt.date | None = None,
) -> dt.datetime:
    """The zone-aware time in `text`, by ISO 8601 or by a strptime `format`.

    `tz` (an IANA name) is the zone of a text without an offset. A local time that a clock change skips or repeats is refused,
    unless `fold` says by which offset it is read: 0 by the one before the change, 1 by the one after it. `%y` needs `pivot`, the
    first of the hundred years that two digits stand for: 1950 reads 49 as 2049. A format without a year needs `reference`: the
    time is the latest one with that month and day which is not more than a day after it. Nine digits of a fraction are kept: the
    result is then a `NanosecondDatetime`. Raises ValueError for everything else, and for second 60.
    """
    if not isinstance(text, str):
        raise ValueError(f"{type(text).__name__} is no text")
    if fold not in (None, 0, 1) or isinstance(fold, bool):
        raise ValueError(f"{fold!r:.80} is not a valid fold: it is 0 or 1")
    if tz is not None:
        _zone(tz)
    if format is None:
        if pivot is not None or reference is not None:
            raise ValueError("pivot and reference are for a format with %y or without a year")
        local, nanosecond = _from_iso(text)
    else:
        local, nanosecond = _from_format(text, _compiled(format), pivot, reference)
    moment = local if local.tzinfo is not None else _in_zone(text, local, tz, fold)
    return NanosecondDatetime.of(moment, nanosecond) if nanosecond else moment


def _in_zone(text: str, local: dt.datetime, tz: str | None, fold: Fold | None) -> dt.datetime:
    if tz is None:
        raise ValueError(f"{text[:_SHOWN]!r} has no offset and no tz was given")
    zone = _zone(tz)
    first, second = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    if before is None or after is None or before == after:
        return first
    if fold is None:
        raise ValueError(f"{text[:_SHOWN]!r} {_clock_change(local, after - before, tz)}; give the offset or fold=0|1")
    return second if fold else first


@lru_cache(maxsize=64)
def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{tz[:_SHOWN]!r} is not a known time zone") from None


def _clock_change(moment: dt.datetime, shift: dt.timedelta, tz: str) -> str:
    """The change of the clocks that a local time falls into: a change forward skips times, a change back repeats them."""
    minutes = abs(shift) // dt.timedelta(minutes=1)
    span = "hour that is" if minutes == 60 else f"{minutes} minutes that are"
    return f"falls in the {span} {'skipped' if shift > dt.timedelta() else 'repeated'} on {moment:%Y-%m-%d} in {tz}"


# --- ISO 8601 ------------------------------------------------------------------------------------------------------------

#: Python's `fromisoformat` alone passes over some characters where a time has none, and reads half an hour as half a second.
_ISO = re.compile(
    r"[0-9]{4}(?:-?[0-9]{2}-?[0-9]{2}|-?W[0-9]{2}(?:-?[0-9])?)"
    r"(?:[Tt ](?:[01][0-9]|2[0-3])(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,](?P<fraction>[0-9]+))?)?)?"
    r"(?: ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?))?)?"
)
_ISO_LEAP_SECOND = re.compile(r"[T ][0-9]{2}(:?)[0-9]{2}\1(60)(?![0-9])")


def _from_iso(text: str) -> tuple[dt.datetime, int]:
    nanosecond, plain = 0, text
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:_SHOWN]!r} is not a time in ISO 8601")
    if (digits := found["fraction"]) is not None:
        micros, nanosecond = _split_fraction(text, digits)
        plain = f"{text[: found.start('fraction') - 1]}.{micros:06d}{text[found.end('fraction') :]}"
    try:
        return dt.datetime.fromisoformat(plain), nanosecond
    except ValueError:
        if _ISO_LEAP_SECOND.search(text):
            raise _leap_second(text) from None
        raise ValueError(f"{text[:_SHOWN]!r} is not a time in ISO 8601") from None


def _split_fraction(text: str, digits: str) -> tuple[int, int]:
    """The fraction of a second as microseconds and the nanoseconds beyond them."""
    if digits[9:].strip("0"):
        raise ValueError(f"{text[:_SHOWN]!r} is finer than nanoseconds")
    nanoseconds = int(digits[:9].ljust(9, "0"))
    return divmod(nanoseconds, 1000)


def _leap_second(text: str) -> ValueError:
    return ValueError(f"{text[:_SHOWN]!r} is in a leap second (second 60), which no timestamp can hold")


# --- strptime formats ----------------------------------------------------------------------------------------------------

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _short(names: tuple[str, ...]) -> str:
    return "|".join(name[:3] for name in names)


#: Directive → (part, expression). `{}` is the number of digits: exact next to another number, else one or two.
_DIRECTIVES: dict[str, tuple[str, str]] = {
    "Y": ("year", "[0-9]{4}"),
    "y": ("short_year", "[0-9]{2}"),
    "m": ("month", "[0-9]{}"),
    "b": ("month_name", _short(_MONTHS)),
    "B": ("month_name", "|".join(_MONTHS)),
    "d": ("day", "[0-9]{}"),
    "j": ("day_of_year", "[0-9]{3}"),
    "H": ("hour", "[0-9]{}"),
    "I": ("hour12", "[0-9]{}"),
    "p": ("half", "am|pm"),
    "M": ("minute", "[0-9]{}"),
    "S": ("second", "[0-9]{}"),
    "f": ("fraction", "[0-9]+"),
    "z": ("offset", "Z|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?"),
    "Z": ("zone_name", "UTC|GMT|Z"),
    "a": ("weekday", _short(_DAYS)),
    "A": ("weekday", "|".join(_DAYS)),
}
_SHORTHANDS = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "D": "%m/%d/%y", "R": "%H:%M", "e": "%d", "h": "%b"}
_PIECE = re.compile(r"%-?(.)|\s+|[^%\s]+|%", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Format:
    text: str
    expression: re.Pattern[str]
    has_year: bool
    has_short_year: bool


@lru_cache(maxsize=256)
def _compiled(format: str) -> _Format:
    """The expression of a strptime format. A number next to another number has its full width; otherwise it may be shorter."""
    format = re.sub("%(.)", lambda piece: _SHORTHANDS.get(piece[1], piece[0]), format)
    pieces = list(_PIECE.finditer(format))
    parts: set[str] = set()
    expression = ""
    for place, piece in enumerate(pieces):
        directive = piece.group(1)
        if directive is None or directive == "%":
            expression += r"\s+" if piece.group()[0].isspace() else re.escape(piece.group(1) or piece.group())
            continue
        if directive not in _DIRECTIVES:
            raise ValueError(f"the format {format!r} has %{directive}, which is not one of %{' %'.join(_DIRECTIVES)}")
        part, pattern = _DIRECTIVES[directive]
        if part in parts:
            raise ValueError(f"the format {format!r} names the {part.replace('_', ' ')} twice")
        parts.add(part)
        is_adjacent = any(_is_number(pieces, other) for other in (place - 1, place + 1))
        expression += f"(?P<{part}>(?a:{pattern.replace('{}', '{2}' if is_adjacent else '{1,2}')}))"
    has_month = bool(parts & {"month", "month_name"})
    if not ("day_of_year" in parts or (has_month and "day" in parts)):
        raise ValueError(f"the format {format!r} must name month and day, or the day of the year")
    if ("hour12" in parts) != ("half" in parts):
        raise ValueError(f"the format {format!r} must name %I and %p together")
    return _Format(format, re.compile(expression, re.IGNORECASE), "year" in parts, "short_year" in parts)


def _is_number(pieces: list[re.Match[str]], place: int) -> bool:
    return 0 <= place < len(pieces) and (pieces[place].group(1) or "a") in "YymdjHIMSf"


def _from_format(text: str, format: _Format, pivot: int | None, reference: dt.date | None) -> tuple[dt.datetime, int]:
    match = format.expression.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:_SHOWN]!r} does not match the format {format.text!r}")
    parts = {name: value for name, value in match.groupdict().items() if value is not None}
    if format.has_short_year != (pivot is not None):
        is_missing = format.has_short_year
        raise ValueError(
            f"the format {format.text!r} has a two-digit year; give pivot, the first of its hundred years"
            if is_missing
            else f"pivot is for a two-digit year, but the format {format.text!r} has none"
        )
    has_year = format.has_year or format.has_short_year
    if has_year == (reference is not None):
        raise ValueError(
            f"reference is for a format without a year, but {format.text!r} has one"
            if has_year
            else f"the format {format.text!r} has no year; give reference, a date near it"
        )
    micros, nanosecond = _split_fraction(text, parts.get("fraction", "0"))
    try:
        clock = dt.time(_hour(parts), int(parts.get("minute", 0)), _second(text, parts), micros, tzinfo=_offset(parts))
        day = _day(parts, pivot, reference)
    except (ValueError, OverflowError) as cause:
        raise ValueError(f"{text[:_SHOWN]!r} is not a time: {cause}") from None
    weekday = parts.get("weekday", "").lower()[:3]
    if weekday and _DAYS[day.weekday()][:3] != weekday:
        raise ValueError(f"{text[:_SHOWN]!r} names the wrong weekday: {day} is a {_DAYS[day.weekday()].title()}")
    return dt.datetime.combine(day, clock), nanosecond


def _hour(parts: dict[str, str]) -> int:
    if "hour12" not in parts:
        return int(parts.get("hour", 0))
    hour = int(parts["hour12"])
    if not 1 <= hour <= 12:
        raise ValueError("hour must be in 1..12")
    return hour % 12 + (12 if parts["half"].lower() == "pm" else 0)


def _second(text: str, parts: dict[str, str]) -> int:
    second = int(parts.get("second", 0))
    if second == 60:
        raise ValueError("it is in a leap second (second 60), which no timestamp can hold")
    return second


def _offset(parts: dict[str, str]) -> dt.timezone | None:
    text = parts.get("offset") or parts.get("zone_name")
    if text is None:
        return None
    if text.upper() in ("Z", "UTC", "GMT"):
        return dt.UTC
    digits = text[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if minutes > 59 or seconds > 59:
        raise ValueError(f"{text} is not an offset")
    span = dt.timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return dt.timezone(-span if text[0] == "-" else span)


def _day(parts: dict[str, str], pivot: int | None, reference: dt.date | None) -> dt.date:
    if "year" in parts:
        return _day_in(int(parts["year"]), parts)
    if pivot is not None:
        return _day_in(pivot + (int(parts["short_year"]) - pivot) % 100, parts)
    assert reference is not None
    last = (reference.date() if isinstance(reference, dt.datetime) else reference) + _DAY
    fault = ValueError("there is no such day")
    for year in (last.year, last.year - 1):
        try:
            day = _day_in(year, parts)
        except ValueError as cause:
            fault = cause
        else:
            if day <= last:
                return day
    raise ValueError(f"{fault} in the year before {last}")


def _day_in(year: int, parts: dict[str, str]) -> dt.date:
    if "day_of_year" in parts:
        day = dt.date(year, 1, 1) + (int(parts["day_of_year"]) - 1) * _DAY
        if day.year != year:
            raise ValueError(f"the year {year} has no day {parts['day_of_year']}")
        return day
    if "month" in parts:
        return dt.date(year, int(parts["month"]), int(parts["day"]))
    month = next(place for place, name in enumerate(_MONTHS, 1) if name[:3] == parts["month_name"].lower()[:3])
    return dt.date(year, month, int(parts["day"]))
