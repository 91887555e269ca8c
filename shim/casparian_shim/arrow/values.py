"""One column of Python values as an Arrow array: typed when one plain type holds each of them exactly, else text.

pyarrow's own inference loses things without a word: a date beside a datetime cuts the time off, a naive datetime
beside a zoned one becomes UTC, a zoned time loses its zone. So the kinds of the values are looked at first, at
every depth, and pyarrow is asked only about columns of one kind (or of numbers that mix exactly).
"""

import datetime
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from casparian_shim.arrow.plain import plain_array

#: Marks a field whose column is text only because its values fit no one type.
FALLBACK_METADATA = {b"cf.fallback": b"text"}

_DEPTH_MAX = 32

_EXACT: dict[type, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_NONE = type(None)

#: Kinds that one Arrow type holds exactly. Whole numbers beside floats are not among them: as doubles they would cease to
#: be whole numbers, and one NaN would spoil a column of integers; as text each value is judged for itself.
_MIXES = frozenset({frozenset({"int", "decimal"})})
#: Inside lists and dicts text would cost every row its structure, so there whole numbers may stand beside floats.
_NESTED_MIXES = _MIXES | {frozenset({"int", "float"})}


def column_of_values(values: Sequence[object]) -> tuple[Any, bool]:
    """The array, and whether it is text by fallback. None is null; NaN stays NaN."""
    kinds = set(map(type, values))
    kinds.discard(_NONE)
    if not kinds:
        return pa.nulls(len(values), pa.string()), False
    if any(kind.__name__ in ("NaTType", "NAType") for kind in kinds):  # pandas' own way to say None
        return column_of_values([None if type(value).__name__ in ("NaTType", "NAType") else value for value in values])
    try:
        if len(kinds) == 1 and (exact := _EXACT.get(next(iter(kinds)))) is not None:
            return pa.array(values, type=exact), False
        if _is_uniform(values, kinds):
            array = plain_array(pa.array(values))
            if array is not None:
                return array, False
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        pass  # these values fit no one type: that is what text is for
    return pa.array([text_of(value) for value in values], type=pa.string()), True


def text_of(value: object) -> str | None:
    """`str(value)`; bytes decoded, or with what is not UTF-8 as `\\xff`; lone surrogates as `\\udc80`."""
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    try:
        text = str(value)
    except ValueError:
        if not isinstance(value, int):
            raise
        text = str(Decimal(value))  # str refuses integers of more than 4,300 digits
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_uniform(values: Sequence[object], types: set[type]) -> bool:
    """Whether one Arrow type can mean the same for all of them, nested parts included."""
    kinds = {_kind(kind) for kind in types}
    if len(kinds) > 1 and frozenset(kinds) not in _MIXES:
        return False
    if kinds & {"date", "int", "str", "float", "bool", "bytes", "decimal", "timedelta"}:
        return True
    found: dict[tuple[str, ...], set[str]] = {}
    return all(_note(value, (), found, 0) for value in values) and all(
        len(at) == 1 or frozenset(at) in _NESTED_MIXES for at in found.values()
    )


def _note(value: object, place: tuple[str, ...], found: dict[tuple[str, ...], set[str]], depth: int) -> bool:
    """Note the kind of `value` and its parts, by place. False for what no Arrow type can hold exactly."""
    if value is None:
        return True
    kind = _kind(type(value))
    if kind in ("datetime", "time"):
        if getattr(value, "nanosecond", 0):  # pandas' timestamps are finer than what we would read from them
            return False
        zone = value.tzinfo if isinstance(value, datetime.datetime | datetime.time) else None
        if zone is not None and kind == "time":
            return False
        kind = f"{kind}, {'naive' if zone is None else 'zoned'}"
    found.setdefault(place, set()).add(kind)
    if isinstance(value, list | tuple):
        return depth < _DEPTH_MAX and all(_note(item, (*place, "[]"), found, depth + 1) for item in value)
    if isinstance(value, dict):
        return (
            depth < _DEPTH_MAX
            and bool(value)
            and all(isinstance(key, str) for key in value)
            and all(_note(item, (*place, "." + key), found, depth + 1) for key, item in value.items())
        )
    return kind not in ("set", "frozenset")


def _kind(kind: type) -> str:
    """The family a type belongs to; values of one family fit one Arrow type, or pyarrow says so."""
    for family, name in _FAMILIES:
        if issubclass(kind, family):
            return name
    return kind.__name__


_FAMILIES: tuple[tuple[Any, str], ...] = (
    (bool, "bool"),
    (str, "str"),
    (datetime.datetime, "datetime"),
    (datetime.date, "date"),
    (datetime.time, "time"),
    (datetime.timedelta, "timedelta"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((list, tuple), "list"),
    (dict, "dict"),
    (Decimal, "decimal"),
    (numbers.Integral, "int"),
    (numbers.Real, "float"),
)
