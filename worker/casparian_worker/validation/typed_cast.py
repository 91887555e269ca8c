"""Typed values of one column into the contract's type: exact, or a violation. Never rounded, never reinterpreted."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import AnyType, Column, DecimalType, ViolationCode, arrow_type, describe
from casparian_protocol.contract.text import MAX_EXACT_INT_IN_FLOAT
from casparian_worker.validation.calendar import outside_calendar
from casparian_worker.validation.cast import Cast, refuse, refuse_all
from casparian_worker.validation.text_cast import MAX_DECIMAL_DIGITS, cast_text

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
