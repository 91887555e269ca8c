"""A batch brought to the schema its stream already has, as far as that loses nothing.

Columns only grow: one that a later batch brings comes last, one that it lacks is NULL there, so that what is said of a row
does not hang on the batch it came in. Types are kept where that changes no value's kind: NULLs take any type, decimals a
wider one. Whole numbers never become floats here: what is said about a value may not depend on the batches before it.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from casparian_shim.arrow.sending import ColumnsChanged
from casparian_shim.arrow.tables import Column
from casparian_shim.arrow.values import FALLBACK_METADATA

_DECIMAL_DIGITS_MAX = 38


def aligned(output: str, columns: Sequence[Column], schema: Any | None) -> list[Column]:
    """`columns` in the order and, where exact, with the types of `schema` (None: this is the first batch)."""
    if schema is None:
        return list(columns)
    expected, actual = list(schema.names), [name for name, _, _ in columns]
    if expected != actual:
        if len(set(expected)) < len(expected) or len(set(actual)) < len(actual):  # nobody can tell which is which
            raise ColumnsChanged(output, expected, actual)
        row_count = len(columns[0][1]) if columns else 0
        by_name = {column[0]: column for column in columns}
        missing = {name: (name, pa.nulls(row_count, pa.string()), False) for name in expected if name not in by_name}
        columns = [by_name.get(name) or missing[name] for name in dict.fromkeys([*expected, *actual])]
    known = len(expected)
    return [_kept(column, schema.field(place)) for place, column in enumerate(columns[:known])] + list(columns[known:])


def _kept(column: Column, field: Any) -> Column:
    name, array, is_fallback = column
    was_fallback = field.metadata is not None and FALLBACK_METADATA.items() <= field.metadata.items()
    if array.null_count == len(array) and not was_fallback:
        return name, pa.nulls(len(array), field.type), False
    if array.type == field.type or is_fallback or was_fallback:
        return column
    target = _wider(field.type, array.type)
    if target is None:
        return column
    try:
        return name, array.cast(target), False
    except pa.ArrowInvalid:  # not exactly: it keeps its own type
        return column


def _wider(before: Any, now: Any) -> Any | None:
    if pa.types.is_decimal128(before) and pa.types.is_decimal128(now):
        scale = max(before.scale, now.scale)
        digits = max(before.precision - before.scale, now.precision - now.scale) + scale
        return pa.decimal128(digits, scale) if digits <= _DECIMAL_DIGITS_MAX else None
    return None
