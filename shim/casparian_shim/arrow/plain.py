"""Arrow types the wire allows, and how every other type becomes one of them without losing a value.

Dictionary, view, run-end, large, fixed-size, extension, map and null types become the plain type with the same
values. A type that has no plain twin (union, month-day-nano interval, a decimal beyond 38 digits) gives None:
its values go as text.
"""

from typing import Any

import pyarrow as pa

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
    """The plain type with the same values, or None when there is none."""
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
        # A struct without fields, or with one name twice, says less than its text.
        is_told = bool(fields) and all(field is not None for field in fields) and len(set(names)) == len(names)
        return pa.struct(fields) if is_told else None
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
    """`array` with the plain type of its own, or None when there is none."""
    target = plain_type(array.type)
    if target is None or array.type == target:
        return None if target is None else array
    if isinstance(array.type, pa.BaseExtensionType):
        return plain_array(array.storage)
    if pa.types.is_dictionary(array.type):
        values = plain_array(array.dictionary)  # first: pyarrow cannot decode a dictionary of views
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


def _python_values(array: Any) -> list[object]:
    if not pa.types.is_map(array.type):
        return list(array.to_pylist())
    return [
        None if entries is None else [{array.type.key_field.name: k, array.type.item_field.name: v} for k, v in entries]
        for entries in array.to_pylist()
    ]
