"""Values of one column into the contract's type, a whole batch at a time: exact, or a violation.

Typed values are never rounded and never reinterpreted. For texts each vector cast may leave NULL where it is not sure; never
may it give a value that the rules of `casparian_protocol.contract` would not give. What it leaves goes to those rules value
by value.
"""

from __future__ import annotations

from collections.abc import Callable

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
from casparian_protocol.contract.text import MAX_EXACT_INT_IN_FLOAT
from casparian_worker.validation.cast import (
    Cast,
    cast_what_passes,
    judge_missing,
    outside_calendar,
    refuse,
    refuse_all,
    rows_of,
    within_calendar,
)
from casparian_worker.validation.format_cast import cast_by_formats, duration_of_text

VectorCast = Callable[[pa.StringArray], pa.Array]
_MAX_SURE_DIGITS = 18
MAX_DECIMAL_DIGITS = 38
_WORDS = pa.array([*sorted(rules.TRUE_WORDS), *sorted(rules.FALSE_WORDS)])
_WORD_VALUES = pa.array([True] * len(rules.TRUE_WORDS) + [False] * len(rules.FALSE_WORDS))


def cast_text(texts: pa.StringArray, data_type: AnyType, column: Column | None = None) -> Cast:
    """The typed values of texts and what is wrong with the others. Not for lists and structs."""
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
    """Digits alone, and few, are cast as they are; signs and long ones pass a form first (pyarrow takes 0x10)."""
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
    """pyarrow overflows to inf, underflows to 0, takes every nan and rounds long integers: those are looked at again."""
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
    """pyarrow's decimals wrap around silently beyond 38 digits, on the way too: only what cannot get there is cast."""
    target, scale = pa.decimal128(data_type.precision, data_type.scale), data_type.scale
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest + scale <= MAX_DECIMAL_DIGITS and not _have_exponents(texts):
        try:
            return texts.cast(target)
        except pa.ArrowInvalid:
            pass
    whole = max(data_type.precision - scale, 1)
    fraction = rf"\.[0-9]{{0,{scale}}}0*"
    form = rf"[+-]?(?:0*[0-9]{{1,{whole}}}(?:{fraction})?" + (rf"|\.[0-9]{{1,{scale}}}0*)" if scale else ")")
    is_sure = pc.and_(
        pc.less_equal(pc.binary_length(texts), MAX_DECIMAL_DIGITS), pc.match_substring_regex(texts, f"^{form}$")
    )
    return cast_what_passes(pc.if_else(is_sure, texts, None), target)


def _have_exponents(texts: pa.StringArray) -> bool:
    return any(pc.match_substring(texts, mark).true_count for mark in "eE")


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
    """pyarrow has no cast of a time from text: the epoch's day is put before it."""
    well_formed = pc.match_substring_regex(texts, f"^{rules.CLOCK_FORM}$")
    clocks = _trim_fraction(pc.if_else(well_formed, texts, None))
    moments = cast_what_passes(pc.binary_join_element_wise("1970-01-01", clocks, "T"), pa.timestamp("us"))
    return moments.cast(pa.time64("us"))


def _trim_fraction(texts: pa.StringArray, digits: int = 6) -> pa.StringArray:
    """Zeros beyond the last digit that counts say nothing."""
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
    """Values that came typed, in a scalar type of the contract."""
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
            if came.tz is None:  # pyarrow would take it for UTC without a word
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
    """Through text where pyarrow would round (floats) or refuse (integers)."""
    target, came = arrow_type(data_type), array.type
    if pt.is_decimal(came):
        if came.precision - came.scale + data_type.scale <= MAX_DECIMAL_DIGITS:  # else pyarrow wraps around silently
            try:
                return Cast(array.cast(target))
            except pa.ArrowInvalid:
                pass
        return cast_text(array.cast(pa.string()), data_type)
    if pt.is_integer(came) or (pt.is_floating(came) and is_lossy):
        return cast_text(array.cast(pa.string()), data_type)
    return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, describe(data_type))


def _convert(array: pa.Array, target: pa.DataType, expected: str) -> Cast:
    """Another unit of the same thing: finer ones may not lose anything, coarser ones may not overflow."""
    try:
        if not pt.is_date64(array.type):  # the one cast that drops a rest silently
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
