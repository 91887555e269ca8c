"""Casting the values of one column into the contract's type, a whole batch at a time: exactly, or with a violation.

Typed values are never rounded or reinterpreted. For texts, a vector cast may return NULL where it is not sure, but must never
return a value that the rules of `casparian_protocol.contract` would not give. Values that it leaves out go to those rules one by
one. Dates and times in a contract's formats are taken apart by a regular expression, reassembled as ISO text, and cast by
pyarrow. pyarrow has no cast for durations, so it is implemented here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import (
    AnyType,
    Column,
    DecimalType,
    ViolationCode,
    ZonedTimestampType,
    arrow_type,
    describe,
)
from casparian_protocol.contract import text as rules
from casparian_protocol.contract.formats import MONTHS, Format
from casparian_protocol.contract.text import MAX_EXACT_INT_IN_FLOAT
from casparian_worker.validation.cast import (
    Cast,
    cast_what_passes,
    judge_missing,
    outside_calendar,
    refuse,
    refuse_all,
    rows_of,
    text_range,
    within_calendar,
)

# Few digits per part keep the sum far below the int64 maximum; longer parts are left to the rule.
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
    """ISO 8601, clock and Python's spelling, in microseconds; NULL for anything else."""
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
    """Values by the first matching pattern; NULL where none matches or where the result is not certain."""
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
    """The dates (date32); NULL where the date does not exist or the named weekday is wrong."""
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
    """`HH:MM:SS.ffffff`; NULL if the fraction has more significant digits."""
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


VectorCast = Callable[[pa.StringArray], pa.Array]
_MAX_SURE_DIGITS = 18
MAX_DECIMAL_DIGITS = 38
_WORDS = pa.array([*sorted(rules.TRUE_WORDS), *sorted(rules.FALSE_WORDS)])
_WORD_VALUES = pa.array([True] * len(rules.TRUE_WORDS) + [False] * len(rules.FALSE_WORDS))


def cast_text(texts: pa.StringArray, data_type: AnyType, column: Column | None = None) -> Cast:
    """The typed values of texts, and what is wrong with the others. Not for lists and structs."""
    formats = column.formats if column is not None else ()
    expected = describe(data_type)
    if formats:
        expected += " as " + " or ".join(each.text for each in formats)
        values = cast_by_formats(texts, formats, arrow_type(data_type))
    else:
        values = _vector_cast(data_type)(texts)
    return judge_missing(texts, values, rules.reader(data_type, formats), expected)


def _vector_cast(data_type: AnyType) -> VectorCast:
    match data_type:
        case DecimalType():
            return lambda texts: _decimals_of_text(texts, data_type)
        case ZonedTimestampType():
            return lambda texts: _moments(texts, arrow_type(data_type), _ZONED)
    return _SIMPLE[data_type.kind]


def _same(texts: pa.StringArray) -> pa.Array:
    return texts


def _bytes(texts: pa.StringArray) -> pa.Array:
    return texts.cast(pa.binary())


def _booleans(texts: pa.StringArray) -> pa.Array:
    return _WORD_VALUES.take(pc.index_in(pc.ascii_lower(texts), _WORDS))


def _integers_of_text(texts: pa.StringArray) -> pa.Array:
    """Short numbers of digits are cast directly; signs and long ones must first match a pattern (pyarrow accepts 0x10)."""
    sure = pc.and_(pc.ascii_is_decimal(texts), pc.less_equal(pc.binary_length(texts), _MAX_SURE_DIGITS))
    if sure.true_count == len(texts):
        return texts.cast(pa.int64())
    values = pc.if_else(sure, texts, None).cast(pa.int64())
    rest = pc.and_(texts.is_valid(), pc.invert(sure))
    rows = rows_of(rest)
    if not len(rows):
        return values
    others = texts.take(rows)
    others = pc.if_else(pc.match_substring_regex(others, f"^{rules.INT_FORM}$"), others, None)
    others = pc.replace_substring_regex(others, r"^\+", "")
    return pc.replace_with_mask(values, rest, cast_what_passes(others, pa.int64()))


def _floats(texts: pa.StringArray) -> pa.Array:
    """pyarrow overflows to inf, underflows to 0, accepts any nan and rounds long integers; such values are checked again."""
    values = _try_then_form(texts, pa.float64(), rules.NUMBER_FORM)
    doubtful = pc.invert(pc.is_finite(values))
    zero = pc.equal(values, 0.0)
    if zero.true_count:
        doubtful = pc.or_(doubtful, pc.and_(zero, pc.match_substring_regex(texts, r"^[^eE]*[1-9]")))
    huge = pc.greater_equal(pc.abs(values), float(rules.MAX_EXACT_INT_IN_FLOAT))
    if huge.true_count:
        doubtful = pc.or_(doubtful, pc.and_(huge, pc.match_substring_regex(texts, f"^{rules.INT_FORM}$")))
    return pc.if_else(doubtful, None, values) if doubtful.true_count else values


def _decimals_of_text(texts: pa.StringArray, data_type: DecimalType) -> pa.Array:
    """pyarrow's decimals silently wrap around beyond 38 digits, even in between; only values that cannot get there are cast."""
    target, scale = pa.decimal128(data_type.precision, data_type.scale), data_type.scale
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest + scale <= MAX_DECIMAL_DIGITS and not _have_exponents(texts):
        try:
            return texts.cast(target)
        except pa.ArrowInvalid:
            pass
    whole = data_type.precision - scale
    digits = rf"0*[0-9]{{1,{whole}}}" if whole else "0+"
    fraction = rf"\.[0-9]{{0,{scale}}}0*"
    form = rf"[+-]?(?:{digits}(?:{fraction})?" + (rf"|\.[0-9]{{1,{scale}}}0*)" if scale else ")")
    is_sure = pc.and_(
        pc.less_equal(pc.binary_length(texts), MAX_DECIMAL_DIGITS), pc.match_substring_regex(texts, f"^{form}$")
    )
    return cast_what_passes(pc.if_else(is_sure, texts, None), target)


def _have_exponents(texts: pa.StringArray) -> bool:
    """Whether an E may be in any of them. What is in the buffer below a NULL counts too."""
    begin, end = text_range(texts)
    data = bytes(memoryview(texts.buffers()[2])[begin:end]) if begin < end else b""
    return b"e" in data or b"E" in data


def _dates(texts: pa.StringArray) -> pa.Array:
    return within_calendar(_try_then_form(texts, pa.date32(), rules.DATE_FORM))


_NAIVE = rf"{rules.DATE_FORM}(?:[ T]{rules.HOURS_FORM})?"
_ZONED = rf"{rules.DATE_FORM}[ T]{rules.HOURS_FORM}{rules.OFFSET_FORM}"


def _moments(texts: pa.StringArray, target: pa.DataType, form: str) -> pa.Array:
    try:
        return within_calendar(texts.cast(target))
    except pa.ArrowInvalid:
        trimmed = _trim_fraction(texts, 9 if target.unit == "ns" else 6)
        return within_calendar(_try_then_form(trimmed, target, form))


def _times(texts: pa.StringArray) -> pa.Array:
    """pyarrow cannot cast a text to a time, so the date of the epoch is put before it."""
    well_formed = pc.match_substring_regex(texts, f"^{rules.CLOCK_FORM}$")
    clocks = _trim_fraction(pc.if_else(well_formed, texts, None))
    moments = cast_what_passes(pc.binary_join_element_wise("1970-01-01", clocks, "T"), pa.timestamp("us"))
    return moments.cast(pa.time64("us"))


def _trim_fraction(texts: pa.StringArray, digits: int = 6) -> pa.StringArray:
    """Remove zeros after the last significant digit."""
    return pc.replace_substring_regex(texts, rf"(\.[0-9]{{{digits}}})0+", r"\1")


def _try_then_form(texts: pa.StringArray, target: pa.DataType, form: str) -> pa.Array:
    try:
        return texts.cast(target)
    except pa.ArrowInvalid:
        well_formed = pc.match_substring_regex(texts, f"^{form}$")
        return cast_what_passes(pc.if_else(well_formed, texts, None), target)


_SIMPLE: dict[str, VectorCast] = {
    "string": _same,
    "binary": _bytes,
    "boolean": _booleans,
    "int64": _integers_of_text,
    "float64": _floats,
    "date": _dates,
    "time": _times,
    "timestamp": lambda texts: _moments(texts, pa.timestamp("us"), _NAIVE),
    "timestamp_ns": lambda texts: _moments(texts, pa.timestamp("ns"), _NAIVE),
    "duration": duration_of_text,
}
_INT64_MAX = 2**63 - 1


def is_text(arrow: pa.DataType) -> bool:
    return bool(pt.is_string(arrow) or pt.is_large_string(arrow))


def cast_typed(array: pa.Array, data_type: AnyType, column: Column | None = None) -> Cast:
    """Cast values that arrived typed into a scalar type of the contract."""
    target, expected = arrow_type(data_type), describe(data_type)
    came = array.type
    if pt.is_null(came):
        return Cast(pa.nulls(len(array), target))
    if isinstance(data_type, DecimalType):
        return _decimals(array, data_type, is_lossy=column is not None and column.lossy)
    match data_type.kind:
        case "int64" if pt.is_integer(came):
            return _integers(array, expected)
        case "float64" if pt.is_floating(came):
            return Cast(array.cast(target))
        case "float64" if pt.is_integer(came):
            return _floats_of_integers(array, expected)
        case "boolean" if pt.is_boolean(came):
            return Cast(array)
        case "date" if pt.is_date(came):
            return _in_calendar(_convert(array, target, expected), expected)
        case ("time" | "duration") as kind if pt.is_time(came) if kind == "time" else pt.is_duration(came):
            return _convert(array, target, expected)
        case "timestamp" | "timestamp_ns" if pt.is_timestamp(came) and came.tz is None:
            return _in_calendar(_convert(array, target, expected), expected)
        case "timestamp_tz" if pt.is_timestamp(came):
            if came.tz is None:  # pyarrow would silently assume UTC
                return refuse_all(array, target, ViolationCode.TIMEZONE_REQUIRED, expected)
            return _in_calendar(_convert(array, target, expected), expected)
        case "binary" if pt.is_binary(came) or pt.is_large_binary(came) or pt.is_fixed_size_binary(came):
            return Cast(array.cast(target))
    return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, expected)


def _integers(array: pa.Array, expected: str) -> Cast:
    if not pt.is_uint64(array.type):
        return Cast(array.cast(pa.int64()))
    too_big = pc.greater(array, pa.scalar(_INT64_MAX, pa.uint64()))
    if not too_big.true_count:
        return Cast(array.cast(pa.int64()))
    kept = pc.if_else(too_big, pa.scalar(None, array.type), array).cast(pa.int64())
    return refuse(kept, too_big, ViolationCode.OUT_OF_RANGE, expected)


def _floats_of_integers(array: pa.Array, expected: str) -> Cast:
    if array.type.bit_width <= 32:
        return Cast(array.cast(pa.float64()))
    inexact = pc.greater(array, pa.scalar(MAX_EXACT_INT_IN_FLOAT, array.type))
    if pt.is_signed_integer(array.type):
        inexact = pc.or_(inexact, pc.less(array, pa.scalar(-MAX_EXACT_INT_IN_FLOAT, array.type)))
    kept = pc.if_else(inexact, pa.scalar(None, array.type), array).cast(pa.float64())
    return refuse(kept, inexact, ViolationCode.PRECISION_EXCEEDED, expected)


def _decimals(array: pa.Array, data_type: DecimalType, *, is_lossy: bool) -> Cast:
    """Cast through text where pyarrow would round (floats) or refuse (integers)."""
    target, came = arrow_type(data_type), array.type
    if pt.is_decimal(came):
        if (
            came.precision - came.scale + data_type.scale <= MAX_DECIMAL_DIGITS
        ):  # otherwise pyarrow silently wraps around
            try:
                return Cast(array.cast(target))
            except pa.ArrowInvalid:
                pass
        return cast_text(array.cast(pa.string()), data_type)
    if pt.is_integer(came) or (pt.is_floating(came) and is_lossy):
        return cast_text(array.cast(pa.string()), data_type)
    return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, describe(data_type))


def _convert(array: pa.Array, target: pa.DataType, expected: str) -> Cast:
    """Convert to another unit: a coarser one may not lose anything, a finer one may not overflow."""
    try:
        if not pt.is_date64(array.type):  # the only cast that silently drops a remainder
            return Cast(array.cast(target))
    except pa.ArrowInvalid:
        pass
    values = array.cast(target, safe=False)
    changed = pc.not_equal(values.cast(array.type, safe=False), array)
    is_finer = pt.is_date64(array.type) or (array.type.unit == "ns" and target.unit != "ns")
    code = ViolationCode.PRECISION_EXCEEDED if is_finer else ViolationCode.OUT_OF_RANGE
    return refuse(values, changed, code, expected)


def _in_calendar(cast: Cast, expected: str) -> Cast:
    outside = outside_calendar(cast.values)
    if outside is None:
        return cast
    is_fine = pt.is_timestamp(cast.values.type) and cast.values.type.unit == "ns"
    years = "from 1677-09-21 to 2262-04-11" if is_fine else "in the years 1 to 9999"
    within = refuse(cast.values, outside, ViolationCode.OUT_OF_RANGE, f"{expected} {years}")
    return Cast(within.values, cast.found + within.found)
