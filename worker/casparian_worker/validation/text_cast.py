"""Texts of one column into its type, a whole batch at a time.

Each vector cast may leave NULL where it is not sure; never may it give a value that the rules of
`casparian_protocol.contract.text` would not give. What it leaves goes to those rules value by value.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.contract import AnyType, Column, DecimalType, ZonedTimestampType, arrow_type, describe
from casparian_protocol.contract import text as rules
from casparian_worker.validation.calendar import within_calendar
from casparian_worker.validation.cast import Cast, cast_what_passes, judge_missing, rows_of
from casparian_worker.validation.duration_cast import duration_of_text
from casparian_worker.validation.format_cast import cast_by_formats

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
            return lambda texts: _decimals(texts, data_type)
        case ZonedTimestampType():
            return lambda texts: _moments(texts, arrow_type(data_type), _ZONED)
    return _SIMPLE[data_type.kind]


def _same(texts: pa.StringArray) -> pa.Array:
    return texts


def _bytes(texts: pa.StringArray) -> pa.Array:
    return texts.cast(pa.binary())


def _booleans(texts: pa.StringArray) -> pa.Array:
    return _WORD_VALUES.take(pc.index_in(pc.ascii_lower(texts), _WORDS))


def _integers(texts: pa.StringArray) -> pa.Array:
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


def _decimals(texts: pa.StringArray, data_type: DecimalType) -> pa.Array:
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
    "int64": _integers,
    "float64": _floats,
    "date": _dates,
    "time": _times,
    "timestamp": lambda texts: _moments(texts, pa.timestamp("us"), _NAIVE),
    "timestamp_ns": lambda texts: _moments(texts, pa.timestamp("ns"), _NAIVE),
    "duration": duration_of_text,
}
