"""The literals of a contract's checks (`min`, `max`, `values`): read into values, written back in one spelling."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

from casparian_protocol.contract.text import fit_decimal, reader
from casparian_protocol.contract.types import AnyType, DecimalType, SimpleType, ZonedTimestampType, describe


def read_literal(data_type: AnyType, literal: object) -> Any:
    """The value a literal means in a type; durations as microseconds, zoned timestamps in UTC, nanoseconds as a count.

    Else ValueError.
    """
    kind = data_type.kind
    if kind == "boolean" and isinstance(literal, bool):
        return literal
    if isinstance(literal, bool) or literal is None:
        raise ValueError(f"{literal!r} is no {describe(data_type)}")
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
        raise ValueError(f"{literal!r} is no {describe(data_type)}")
    if judged.code is not None:
        raise ValueError(f"{literal!r} is no {describe(data_type)} ({judged.code.value})")
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
    """A count since 1970 as ISO 8601, zeros at the end of the fraction dropped."""
    seconds, rest = divmod(count, 1_000_000_000)
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
    return moment.isoformat() + (f".{rest:09d}".rstrip("0") if rest else "")


def write_duration(micros: int) -> str:
    """ISO 8601 in seconds: `PT90S`, `-PT0.5S`."""
    seconds, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micros < 0 else ''}PT{seconds}{fraction}S"
