"""Dates, times and durations from text in the formats of a contract, strictly.

Dates and times by strptime patterns: parts by expression, put together as ISO text, cast by pyarrow. Durations have no cast
in pyarrow; theirs is here.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.contract.formats import MONTHS, Format
from casparian_worker.validation.cast import cast_what_passes, within_calendar

# Few digits a part keep the sum far below int64's end; longer ones are left to the rule.
_ISO = (
    r"^(?P<sign>[+-]?)P(?:(?P<weeks>[0-9]{1,6})W|(?:(?P<days>[0-9]{1,7})D)?"
    r"(?:T(?:(?P<hours>[0-9]{1,8})H)?(?:(?P<minutes>[0-9]{1,8})M)?"
    r"(?:(?P<seconds>[0-9]{1,8})(?:\.(?P<fraction>[0-9]{1,6})0*)?S)?)?)$"
)
_CLOCK = (
    r"^(?:(?P<sign>[+-]?)|(?P<days>-?[0-9]{1,7}) days?, )(?P<hours>[0-9]{1,8}):(?P<minutes>[0-5][0-9])"
    r":(?P<seconds>[0-5][0-9])(?:\.(?P<fraction>[0-9]{1,6})0*)?$"
)
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def duration_of_text(texts: pa.StringArray) -> pa.Array:
    """ISO 8601, clock and Python's spelling, in microseconds; NULL for all else."""
    iso = pc.if_else(pc.match_substring_regex(texts, r"P(?:T?[0-9]).*[0-9A-Z]$"), texts, None)
    iso = pc.if_else(pc.match_substring(iso, "T"), pc.if_else(pc.match_substring_regex(iso, "T[0-9]"), iso, None), iso)
    by_iso = _sum(pc.extract_regex(iso, _ISO))
    if by_iso.null_count == texts.null_count:
        return by_iso
    return pc.coalesce(by_iso, _sum(pc.extract_regex(texts, _CLOCK)))


def _sum(parts: pa.StructArray) -> pa.Array:
    names = [field.name for field in parts.type]
    columns = dict(zip(names, parts.flatten(), strict=True))
    total = None
    for name, seconds in _SECONDS.items():
        if name not in columns:
            continue
        text = columns[name]
        number = pc.if_else(pc.equal(text, ""), "0", text).cast(pa.int64())
        micros = pc.multiply(number, seconds * 1_000_000)
        total = micros if total is None else pc.add(total, micros)
    fraction = pc.utf8_rpad(columns["fraction"], 6, "0").cast(pa.int64())
    total = pc.add(total, fraction)
    signed = pc.if_else(pc.equal(columns["sign"], "-"), pc.negate(total), total)
    return signed.cast(pa.duration("us"))


_MONTHS = pa.array(MONTHS)
_DAYS = pa.array(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
Parts = dict[str, pa.StringArray]


def cast_by_formats(texts: pa.StringArray, formats: Sequence[Format], target: pa.DataType) -> pa.Array:
    """Values by the first pattern that fits; NULL where none does or where it is not sure."""
    values = _cast_by(texts, formats[0], target)
    for pattern in formats[1:]:
        if values.null_count == texts.null_count:
            break
        left = pc.if_else(values.is_null(), texts, None)
        values = pc.coalesce(values, _cast_by(left, pattern, target))
    return values


def _cast_by(texts: pa.StringArray, pattern: Format, target: pa.DataType) -> pa.Array:
    extracted = pc.extract_regex(texts, pattern.expression)
    parts: Parts = dict(zip(pattern.parts, extracted.flatten(), strict=True))
    if pa.types.is_time(target):
        moments = cast_what_passes(_join("1970-01-01T", _clock(parts)), pa.timestamp("us"))
        return moments.cast(target)
    days = _days(parts)
    if pa.types.is_date(target):
        return days
    dates = days.cast(pa.string())
    digits = 9 if target.unit == "ns" else 6
    iso = (
        _join(dates, "T", _clock(parts, digits)) if "hour" in parts or "hour12" in parts else _join(dates, "T00:00:00")
    )
    if "offset" in parts:
        iso = _join(iso, parts["offset"])
    return within_calendar(cast_what_passes(iso, target))


def _join(*texts: pa.StringArray | str) -> pa.StringArray:
    return pc.binary_join_element_wise(*texts, "")


def _two(text: pa.StringArray) -> pa.StringArray:
    return pc.utf8_lpad(text, 2, "0")


def _number(text: pa.StringArray) -> pa.Array:
    return text.cast(pa.int32())


def _year(parts: Parts) -> pa.StringArray:
    if "year" in parts:
        return parts["year"]
    short = parts["short_year"]
    return _join(pc.if_else(pc.greater_equal(_number(short), 69), "19", "20"), short)


def _days(parts: Parts) -> pa.Array:
    """The dates (date32), NULL where the calendar has none or the named weekday is another."""
    if "day_of_year" in parts:
        days = _day_of_year(_year(parts), _number(parts["day_of_year"]))
    else:
        days = cast_what_passes(_join(_year(parts), "-", _month(parts), "-", _two(parts["day"])), pa.date32())
    days = within_calendar(days)
    named = parts.get("weekday", parts.get("long_weekday"))
    if named is not None:
        meant = pc.index_in(pc.utf8_slice_codeunits(pc.ascii_lower(named), 0, 3), _DAYS).cast(pa.int64())
        days = pc.if_else(pc.equal(meant, pc.day_of_week(days)), days, None)
    return days


def _day_of_year(year: pa.StringArray, day: pa.Array) -> pa.Array:
    first = cast_what_passes(_join(year, "-01-01"), pa.date32()).cast(pa.int32())
    days = pc.add(first, pc.subtract(day, 1)).cast(pa.int32()).cast(pa.date32())
    return pc.if_else(pc.equal(pc.year(days).cast(pa.int32()), _number(year)), days, None)


def _month(parts: Parts) -> pa.StringArray:
    if "month" in parts:
        return _two(parts["month"])
    name = parts["month_name"] if "month_name" in parts else parts["long_month_name"]
    index = pc.index_in(pc.utf8_slice_codeunits(pc.ascii_lower(name), 0, 3), _MONTHS)
    return _two(pc.add(index, 1).cast(pa.string()))


def _clock(parts: Parts, digits: int = 6) -> pa.StringArray:
    """`HH:MM:SS.ffffff`; more digits of a fraction that say something give NULL."""
    hour = _two(parts["hour"]) if "hour" in parts else _hour_of_half(_number(parts["hour12"]), parts["half"])
    pieces = [hour, ":", _two(parts["minute"]) if "minute" in parts else "00", ":"]
    pieces.append(_two(parts["second"]) if "second" in parts else "00")
    if "fraction" in parts:
        fraction = pc.utf8_rpad(pc.utf8_rtrim(parts["fraction"], "0"), digits, "0")
        fits = pc.equal(pc.utf8_length(fraction), digits)
        pieces += [".", pc.if_else(fits, fraction, None)]
    return _join(*pieces)


def _hour_of_half(hour: pa.Array, half: pa.StringArray) -> pa.StringArray:
    possible = pc.and_(pc.greater_equal(hour, 1), pc.less_equal(hour, 12))
    base = pc.if_else(pc.equal(hour, 12), 0, hour)
    shift = pc.if_else(pc.equal(pc.ascii_lower(half), "pm"), 12, 0)
    return _two(pc.if_else(possible, pc.add(base, shift), None).cast(pa.string()))
