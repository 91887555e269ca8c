"""One column as an Arrow array that the wire allows, from Python values or from an array of any Arrow type.

Python values of one kind become a typed array; otherwise each value is sent with its kind. The result for a value must not depend
on its neighbours, so that an integer next to a float stays an integer. pyarrow's inference does convert, so it is used only if
all values are of one kind. Dictionary, view, run-end, large, fixed-size, extension, map and null arrays become the plain type
with the same values. A type without a plain equivalent (union, month-day-nano interval, a decimal beyond 38 digits) gives None,
and its values are sent as text.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from casparian_shim.arrow.kinds import kinded, payload, readable
from casparian_shim.frames.kinds import MIXED_FIELDS, MIXED_METADATA, ValueKind

_PLAIN_TESTS = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal128,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_duration,
    pa.types.is_string,
    pa.types.is_binary,
)


def plain_type(kind: Any) -> Any | None:
    """The plain type with the same values, or None if there is none."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    if any(test(kind) for test in _PLAIN_TESTS):
        return kind
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else None
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    return _plain_nested_type(kind)


def _plain_nested_type(kind: Any) -> Any | None:
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        fields = [_plain_field(field) for field in kind]
        # For a struct without fields, or with a duplicate field name, its text says more.
        is_faithful = bool(fields) and all(field is not None for field in fields) and len(set(names)) == len(names)
        return pa.struct(fields) if is_faithful else None
    if pa.types.is_map(kind):
        entry = [_plain_field(kind.key_field), _plain_field(kind.item_field)]
        return pa.list_(pa.struct(entry)) if all(field is not None for field in entry) else None
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        item = _plain_field(kind.value_field)
        return pa.list_(item) if item is not None else None
    return None


def _plain_field(field: Any) -> Any | None:
    kind = plain_type(field.type)
    return None if kind is None else pa.field(field.name, kind, nullable=True)


def plain_array(array: Any) -> Any | None:
    """`array` in its plain type, or None if there is none."""
    target = plain_type(array.type)
    if target is None or array.type == target:
        return None if target is None else _with_offsets(array)
    if isinstance(array.type, pa.BaseExtensionType):
        return plain_array(array.storage)
    if pa.types.is_dictionary(array.type):
        values = plain_array(array.dictionary)  # first, because pyarrow cannot decode a dictionary of views
        return pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        import pyarrow.compute as pc  # 10 ms that hardly any guest needs

        return plain_array(pc.run_end_decode(array))
    # Casting a list view gives an array with too few offsets (pyarrow 26); some encodings have no cast when nested.
    if "list_view" not in str(array.type):
        try:
            return array.cast(target)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            pass
    return pa.array(_python_values(array), type=target)


def _with_offsets(array: Any) -> Any:
    """The same values; an array inside without rows has its one offset, which some libraries leave out and the worker demands."""
    if not pa.types.is_nested(array.type) or all(map(_has_offsets, _arrays_inside(array))):
        return array
    return array.take(pa.array(range(len(array)), pa.int64()))


def _arrays_inside(array: Any) -> Iterator[Any]:
    yield array
    if pa.types.is_list(array.type):
        yield from _arrays_inside(array.values)
    elif pa.types.is_struct(array.type):
        for place in range(array.type.num_fields):
            yield from _arrays_inside(array.field(place))


def _has_offsets(array: Any) -> bool:
    kind = array.type
    if len(array) or not (pa.types.is_list(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind)):
        return True
    offsets = array.buffers()[1]
    return array.offset > 0 or (offsets is not None and bytes(offsets[:4]) == bytes(4))


def _python_values(array: Any) -> list[object]:
    if not pa.types.is_map(array.type):
        return list(array.to_pylist())
    return [
        None if entries is None else [{array.type.key_field.name: k, array.type.item_field.name: v} for k, v in entries]
        for entries in array.to_pylist()
    ]


FALLBACK_METADATA = MIXED_METADATA
MIXED_TYPE = pa.struct([pa.field(name, getattr(pa, kind)(), nullable=True) for name, kind in MIXED_FIELDS])

_NONE = type(None)
#: Typed lists and dicts nest no deeper than a guest may send; deeper ones are sent as `kinds`.
_TYPED_DEPTH_MAX = 12

#: Classes whose values one Arrow type holds exactly, unless pyarrow raises.
_EXACT: dict[type, Any] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.timedelta: pa.duration("us"),
}
_KIND_TYPES: dict[ValueKind, Any] = {
    ValueKind.TEXT: pa.string(),
    ValueKind.BOOL: pa.bool_(),
    ValueKind.INT: pa.int64(),
    ValueKind.FLOAT: pa.float64(),
    ValueKind.FLOAT32: pa.float32(),
    ValueKind.BYTES: pa.binary(),
    ValueKind.DATE: pa.date32(),
    ValueKind.DATETIME: pa.timestamp("us"),
    ValueKind.DATETIME_NS: pa.timestamp("ns"),
    ValueKind.INSTANT: pa.timestamp("us", "UTC"),
    ValueKind.INSTANT_NS: pa.timestamp("ns", "UTC"),
    ValueKind.TIME: pa.time64("us"),
    ValueKind.DURATION: pa.duration("us"),
    ValueKind.DURATION_NS: pa.duration("ns"),
}
_NOT_TYPED = (pa.ArrowException, OverflowError, ValueError, TypeError)


def column_of_values(values: Sequence[object]) -> tuple[Any, bool]:
    """The array, and whether it is a mixed one (`casparian_shim.frames.kinds`). None is null; NaN stays NaN."""
    types = _classes(values)
    if not types:
        return pa.nulls(len(values), pa.string()), False
    if len(types) == 1:
        array = _of_one_class(values, next(iter(types)))
        if array is not None:
            return array, False
    if types <= _PLAIN_PAYLOADS.keys():  # only plain classes, but several kinds: the decision is made
        return _mixed([_payload_of(value) for value in values]), True
    each = [kinded(value) for value in values]
    kinds = {kind for kind, _ in each}
    kinds.discard(ValueKind.NULL)
    if not kinds:
        return pa.nulls(len(values), pa.string()), False
    if len(kinds) == 1 and (exact := _KIND_TYPES.get(next(iter(kinds)))) is not None:
        try:
            return pa.array([plain for _, plain in each], type=exact), False
        except _NOT_TYPED:
            pass
    return _mixed([(kind, payload((kind, plain))) for kind, plain in each]), True


def _mixed(pairs: Sequence[tuple[int, bytes | None]]) -> Any:
    kinds, payloads = zip(*pairs, strict=True)
    children = [pa.array(kinds, pa.uint8()), pa.array(payloads, pa.binary())]
    return pa.StructArray.from_arrays(children, fields=list(MIXED_TYPE))


def _payload_of(value: Any) -> tuple[int, bytes | None]:
    """`kinded` and `payload` in one step, for the most frequent classes in rows."""
    if value is None:
        return _NULL_PAYLOAD
    try:
        number, write = _PLAIN_PAYLOADS[type(value)]
        return number, write(value)
    except ValueError:  # a lone surrogate, or an integer of thousands of digits
        kind, plain = kinded(value)
        return kind, payload((kind, plain))


_NULL_PAYLOAD = (int(ValueKind.NULL), None)
_PLAIN_PAYLOADS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    str: (int(ValueKind.TEXT), str.encode),
    int: (int(ValueKind.INT), lambda value: str(value).encode()),
    float: (int(ValueKind.FLOAT), lambda value: repr(value).encode()),
    bool: (int(ValueKind.BOOL), lambda value: b"true" if value else b"false"),
    Decimal: (int(ValueKind.DECIMAL), lambda value: str(value).encode()),
    bytes: (int(ValueKind.BYTES), lambda value: value),
}


def text_of(value: object) -> str | None:
    """A value as text for people: bytes are decoded, with invalid UTF-8 as `\\xff`; lone surrogates become `\\udc80`."""
    return None if value is None else readable(kinded(value))


def _classes(values: Sequence[object]) -> set[type]:
    """The classes of all values except None."""
    try:
        types = set(map(type, values))
    except Exception:  # noqa: BLE001 -- an unknown metaclass may refuse to be hashed
        return {object, _NONE}  # more than one class, so every value must be examined
    types.discard(_NONE)
    return types


def _of_one_class(values: Sequence[object], kind: type) -> Any | None:
    """The typed array, or None if no type holds all values."""
    try:
        if (exact := _EXACT.get(kind)) is not None:
            return pa.array(values, type=exact)
        if kind is Decimal:
            return plain_array(pa.array(values))
        if kind is datetime.datetime or kind is datetime.time:
            return _moments(values, kind)
        if kind is list or kind is dict:
            found: dict[tuple[str, ...], object] = {}
            if all(_note(value, (), found) for value in values):
                return plain_array(pa.array(values))
    except _NOT_TYPED:
        pass  # no single type fits these values
    return None


def _moments(values: Sequence[Any], kind: type) -> Any | None:
    """Times without a zone, or in UTC; others are read one by one."""
    zones = {id(value.tzinfo) for value in values if value is not None}
    if zones == {id(None)}:
        return pa.array(values, type=pa.time64("us") if kind is datetime.time else pa.timestamp("us"))
    if kind is datetime.datetime and zones == {id(datetime.UTC)}:
        return pa.array(values, type=pa.timestamp("us", "UTC"))
    return None


def _note(value: Any, place: tuple[str, ...], found: dict[tuple[str, ...], object]) -> bool:
    """Note the value at a place inside lists and dicts. Returns False for a second kind, or if no Arrow type is exact."""
    if value is None:
        return True
    kind = type(value)
    if kind is dict:
        names = tuple(value)  # in order, so that the struct reads like the original dict
        if found.setdefault(place, names) != names or not names or len(place) >= _TYPED_DEPTH_MAX:
            return False
        return all(type(key) is str and _note(item, (*place, "." + key), found) for key, item in value.items())
    if found.setdefault(place, kind) is not kind:
        return False
    if kind is list:
        return len(place) < _TYPED_DEPTH_MAX and all(_note(item, (*place, "[]"), found) for item in value)
    return kind in _EXACT or kind is Decimal or (kind is datetime.datetime and value.tzinfo is None)
