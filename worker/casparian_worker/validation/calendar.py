"""The years that every reader of our tables can show: 1 to 9999, in nanoseconds what 64 bits hold (1677 to 2262)."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.contract.formats import NANOSECONDS_MAX

FIRST_DAY = (dt.date(1, 1, 1) - dt.date(1970, 1, 1)).days
LAST_DAY = (dt.date(9999, 12, 31) - dt.date(1970, 1, 1)).days
_MICROSECONDS_A_DAY = 86_400_000_000


def outside_calendar(values: pa.Array) -> pa.BooleanArray | None:
    """Which dates (date32) or instants (timestamp in µs or ns) lie outside the calendar; None when none does."""
    if pa.types.is_date32(values.type):
        numbers, low, high = values.view(pa.int32()), FIRST_DAY, LAST_DAY
    elif values.type.unit == "ns":
        numbers, low, high = values.view(pa.int64()), -NANOSECONDS_MAX, NANOSECONDS_MAX
    else:
        numbers = values.view(pa.int64())
        low, high = FIRST_DAY * _MICROSECONDS_A_DAY, (LAST_DAY + 1) * _MICROSECONDS_A_DAY - 1
    extremes = pc.min_max(numbers)
    least, most = extremes["min"].as_py(), extremes["max"].as_py()
    if least is None or (least >= low and most <= high):
        return None
    return pc.or_(pc.less(numbers, low), pc.greater(numbers, high))


def within_calendar(values: pa.Array) -> pa.Array:
    """NULL for what lies outside."""
    outside = outside_calendar(values)
    return values if outside is None else pc.if_else(outside, pa.scalar(None, values.type), values)
