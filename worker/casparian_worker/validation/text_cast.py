"""Casting the texts of one column into a scalar type, a whole batch at a time: exactly, or with a violation.

A vector cast may return NULL where it is not sure, but must never return a value that the rules of `casparian_protocol.contract`
would not give. Values that it leaves out go to those rules one by one, so which way a batch takes changes its price only. Dates
and times in a contract's formats are taken apart by a regular expression, reassembled as ISO text, and cast by
pyarrow. pyarrow has no cast for durations, so it is implemented here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.contract import (
    AnyType,
    Column,
    DecimalType,
    ZonedTimestampType,
    arrow_type,
    describe,
)
from casparian_protocol.contract import text as rules
from casparian_protocol.contract.formats import MONTHS, Format
from casparian_worker.validation.cast import (
    Cast,
    are_few,
    cast_or_none,
    cast_what_passes,
    contains,
    judge_missing,
    kept,
    lies_between,
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
#: So many digits always fit into 64 bits.
_SURE_DIGITS = pa.scalar(18, pa.int32())
#: Shorter texts without an exponent are 0 as float64 only if they say 0.
_UNDERFLOW_CHARS = 300
MAX_DECIMAL_DIGITS = 38
_WORDS = pa.array([*sorted(rules.TRUE_WORDS), *sorted(rules.FALSE_WORDS)])
_WORD_VALUES = pa.array([True] * len(rules.TRUE_WORDS) + [False] * len(rules.FALSE_WORDS))
_FALSE = pa.scalar(False)
_NOUGHT = pa.scalar(0.0)
_ROUNDED_FROM = pa.scalar(float(rules.MAX_EXACT_INT_IN_FLOAT))

# The forms of `rules`, without the days and hours that no calendar has, on which pyarrow's cast would fail.
_DAY = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_HOUR = r"(?:[01][0-9]|2[0-3])"
_SECONDS_FORM = r"(?::[0-5][0-9](?:\.[0-9]+)?)?"
_CLOCK_FORM = rf"{_HOUR}:[0-5][0-9]{_SECONDS_FORM}"
_HOURS_FORM = rf"{_HOUR}(?::[0-5][0-9]{_SECONDS_FORM})?"
_OFFSET_FORM = rf"(?:Z|[+-]{_HOUR}(?::?[0-5][0-9])?)"
_NAIVE = rf"{_DAY}(?:[ T]{_HOURS_FORM})?"
_ZONED = rf"{_DAY}[ T]{_HOURS_FORM}{_OFFSET_FORM}"
_DAY_CHARS = pa.scalar(10, pa.int32())
#: The usual lengths of instants are those of the first texts of a batch.
_SAMPLE_ROWS = 4096


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


def _cast_in_two_steps(
    texts: pa.StringArray, likely: pa.BooleanArray, target: pa.DataType, well_formed: VectorCast
) -> pa.Array:
    """Cast the likely texts as they are, then of the others those that an expensive pattern finds well-formed.

    `likely` is a cheap guess. If it is wrong, the cast of the likely texts fails, and the pattern sees each different text once.
    A few others are left to the rule, which is exact and costs less than the pattern's preparation.
    """
    values = cast_or_none(texts if likely.true_count == len(texts) else kept(texts, likely), target)
    if values is None:
        encoded = texts.dictionary_encode()
        return cast_what_passes(well_formed(encoded.dictionary), target).take(encoded.indices)
    if are_few(values.null_count - texts.null_count, texts):
        return values
    left = pc.and_(texts.is_valid(), values.is_null())
    others = well_formed(texts.filter(left))
    if others.null_count == len(others):
        return values
    return pc.replace_with_mask(values, left, cast_what_passes(others, target))


def _matching(texts: pa.StringArray, form: str) -> pa.StringArray:
    return kept(texts, pc.match_substring_regex(texts, f"^{form}$"))


def _same(texts: pa.StringArray) -> pa.Array:
    return texts


def _bytes(texts: pa.StringArray) -> pa.Array:
    return texts.cast(pa.binary())


def _booleans(texts: pa.StringArray) -> pa.Array:
    return _WORD_VALUES.take(pc.index_in(pc.ascii_lower(texts), _WORDS))


def _integers_of_text(texts: pa.StringArray) -> pa.Array:
    """pyarrow accepts 0x10 and refuses +5. What has other characters than digits and minus is looked at before the cast."""
    if lies_between(texts, "-", "9") and (values := cast_or_none(texts, pa.int64())) is not None:
        return values
    likely = pc.and_(pc.ascii_is_decimal(texts), pc.less_equal(pc.binary_length(texts), _SURE_DIGITS))
    return _cast_in_two_steps(texts, likely, pa.int64(), _unsigned_if_plus)


def _unsigned_if_plus(texts: pa.StringArray) -> pa.StringArray:
    return pc.replace_substring_regex(_matching(texts, rules.INT_FORM), r"^\+", "")


def _floats(texts: pa.StringArray) -> pa.Array:
    """pyarrow overflows to inf, underflows to 0, accepts any nan and rounds long integers; such values are checked again."""
    is_plain = lies_between(texts, "+", "9")
    values = cast_or_none(texts, pa.float64()) if is_plain else None
    if values is None:
        likely = _or_digits(pc.greater_equal(pc.find_substring(texts, "."), _int32(0)), texts)
        values = _cast_in_two_steps(texts, likely, pa.float64(), partial(_matching, form=rules.NUMBER_FORM))
    doubtful = pc.invert(pc.is_finite(values))
    zero = pc.equal(values, _NOUGHT)
    if zero.true_count and not (is_plain and _longest(texts) < _UNDERFLOW_CHARS):
        doubtful = pc.or_(doubtful, _where_matching(texts, zero, r"^[^eE]*[1-9]"))
    huge = pc.greater_equal(pc.abs(values), _ROUNDED_FROM)
    if huge.true_count:
        doubtful = pc.or_(doubtful, _where_matching(texts, huge, f"^{rules.INT_FORM}$"))
    return pc.if_else(doubtful, None, values) if doubtful.true_count else values


def _or_digits(likely: pa.BooleanArray, texts: pa.StringArray, most: int = _UNDERFLOW_CHARS) -> pa.BooleanArray:
    """What has a point is likely; and so are whole numbers, unless there are few."""
    if are_few(len(texts) - texts.null_count - likely.true_count, texts):
        return likely
    digits = pc.and_(pc.ascii_is_decimal(texts), pc.less_equal(pc.binary_length(texts), _int32(most)))
    return pc.or_(likely, digits)


def _where_matching(texts: pa.StringArray, mask: pa.BooleanArray, pattern: str) -> pa.BooleanArray:
    """The mask, true only where the text matches too. The kernel would search the texts below NULLs as well."""
    return pc.replace_with_mask(mask, mask, pc.match_substring_regex(texts.filter(mask), pattern))


def _longest(texts: pa.StringArray) -> int:
    return pc.max(pc.binary_length(texts)).as_py() or 0


def _decimals_of_text(texts: pa.StringArray, data_type: DecimalType) -> pa.Array:
    """pyarrow's decimals silently wrap around beyond 38 digits, even in between; only values that cannot get there are cast.

    Where the point is says that, unless there is an exponent.
    """
    target, scale = pa.decimal128(data_type.precision, data_type.scale), data_type.scale
    whole = data_type.precision - scale
    lengths, point = pc.binary_length(texts), pc.find_substring(texts, ".")
    likely = pc.and_(pc.greater(point, _int32(0)), pc.less_equal(point, _int32(whole)))
    likely = pc.and_(likely, pc.less_equal(pc.subtract(lengths, point), _int32(scale + 1)))
    likely = _or_digits(likely, texts, whole)
    for letter in () if lies_between(texts, "+", "9") else ("e", "E"):
        if contains(texts, letter):
            likely = pc.and_not(likely, pc.match_substring(texts, letter))
    digits = rf"0*[0-9]{{1,{whole}}}" if whole else "0+"
    fraction = rf"\.[0-9]{{0,{scale}}}0*"
    form = rf"[+-]?(?:{digits}(?:{fraction})?" + (rf"|\.[0-9]{{1,{scale}}}0*)" if scale else ")")
    return _cast_in_two_steps(texts, likely, target, lambda others: _short_and_matching(others, form))


def _short_and_matching(texts: pa.StringArray, form: str) -> pa.StringArray:
    is_short = pc.less_equal(pc.binary_length(texts), _int32(MAX_DECIMAL_DIGITS))
    return _matching(kept(texts, is_short), form)


def _int32(value: int) -> pa.Int32Scalar:
    """A kernel compares with it at once; a Python number costs 30 µs before."""
    return pa.scalar(value, pa.int32())


def _dates(texts: pa.StringArray) -> pa.Array:
    likely = pc.equal(pc.binary_length(texts), _DAY_CHARS)
    return within_calendar(_cast_in_two_steps(texts, likely, pa.date32(), partial(_matching, form=_DAY)))


def _moments(texts: pa.StringArray, target: pa.DataType, form: str) -> pa.Array:
    digits = 9 if target.unit == "ns" else 6
    likely = _of_usual_length(texts)
    values = _cast_in_two_steps(texts, likely, target, lambda others: _matching(_trim_fraction(others, digits), form))
    return within_calendar(values)


def _of_usual_length(texts: pa.StringArray) -> pa.BooleanArray:
    """Which texts are as long as many others: most instants are, and most other texts are not."""
    lengths = pc.binary_length(texts)
    sample = lengths.slice(0, _SAMPLE_ROWS).drop_null()
    counts = pc.value_counts(sample)
    usual = [each["values"] for each in counts if not are_few(each["counts"].as_py(), sample)]
    return reduce(pc.or_, [pc.equal(lengths, length) for length in usual], pa.repeat(_FALSE, len(texts)))


def _times(texts: pa.StringArray) -> pa.Array:
    """pyarrow cannot cast a text to a time, so the date of the epoch is put before it."""
    clocks = _trim_fraction(_matching(texts, _CLOCK_FORM))
    moments = cast_what_passes(pc.binary_join_element_wise("1970-01-01", clocks, "T"), pa.timestamp("us"))
    return moments.cast(pa.time64("us"))


def _trim_fraction(texts: pa.StringArray, digits: int = 6) -> pa.StringArray:
    """Remove zeros after the last significant digit."""
    return pc.replace_substring_regex(texts, rf"(\.[0-9]{{{digits}}})0+", r"\1")


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
