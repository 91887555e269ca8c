"""Lists and structs, checked one level deep; what lies deeper passes or fails as a whole."""

from __future__ import annotations

from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import Column, ListType, StructType, ViolationCode, arrow_type, describe
from casparian_protocol.contract.types import AnyType
from casparian_worker.validation.cast import Cast, Found, refuse, refuse_all, row_numbers, rows_of
from casparian_worker.validation.nested_text import parse_nested
from casparian_worker.validation.text_cast import cast_text
from casparian_worker.validation.typed_cast import cast_typed, is_text


def cast_array(array: pa.Array, data_type: AnyType, column: Column | None = None) -> Cast:
    """Any array, typed or text, into any type of a contract."""
    if pt.is_large_string(array.type):
        array = array.cast(pa.string())
    if isinstance(data_type, (ListType, StructType)):
        return _cast_nested(array, data_type)
    if is_text(array.type):
        return cast_text(array, data_type, column)
    return cast_typed(array, data_type, column)


def _cast_nested(array: pa.Array, data_type: ListType | StructType) -> Cast:
    target, expected = arrow_type(data_type), describe(data_type)
    if pt.is_null(array.type):
        return Cast(pa.nulls(len(array), target))
    found: list[Found] = []
    if is_text(array.type):
        array, bad = parse_nested(array, data_type)
        found = refuse(array, bad, ViolationCode.TYPE_MISMATCH, f"{expected} as JSON").found
    if isinstance(data_type, ListType) and (pt.is_list(array.type) or pt.is_large_list(array.type)):
        cast = _cast_list(array, data_type)
    elif isinstance(data_type, StructType) and pt.is_struct(array.type):
        cast = _cast_struct(array, data_type)
    else:
        return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, expected)
    return Cast(cast.values, found + cast.found)


def _cast_part(array: pa.Array, data_type: AnyType) -> Cast:
    """An item or a field: a scalar by its own rules, a nested one as a whole."""
    if not isinstance(data_type, (ListType, StructType)):
        return cast_array(array, data_type)
    target = arrow_type(data_type)
    if _same_shape(array.type, target):
        try:
            return Cast(array.cast(target))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, describe(data_type))


def _same_shape(came: pa.DataType, target: pa.DataType) -> bool:
    """Equal but for the names of list items and for what may be NULL."""
    if pt.is_list(target) and pt.is_list(came):
        return _same_shape(came.value_type, target.value_type)
    if pt.is_struct(target) and pt.is_struct(came):
        return [f.name for f in came] == [f.name for f in target] and all(
            _same_shape(mine.type, its.type) for mine, its in zip(came, target, strict=True)
        )
    return bool(came.equals(target))


def _cast_list(array: pa.Array, data_type: ListType) -> Cast:
    # flatten() minds the slice and the NULL lists, which .values does not
    items = _cast_part(array.flatten(), data_type.item)
    parents = pc.list_parent_indices(array).cast(pa.uint64())
    found = [Found(pc.unique(parents.take(each.rows)), each.code, f"each item {each.expected}") for each in items.found]
    lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int32()), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    values = pa.ListArray.from_arrays(offsets, items.values, type=arrow_type(data_type), mask=array.is_null())
    return _blank(values, found)


def _cast_struct(array: pa.Array, data_type: StructType) -> Cast:
    target, expected = arrow_type(data_type), describe(data_type)
    came = {field.name: position for position, field in enumerate(array.type)}
    if came.keys() != {field.name for field in data_type.fields} or len(came) != array.type.num_fields:
        return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, expected)  # a cast would fill and drop silently
    children = array.flatten()  # minds the parent's NULLs, which field() does not
    present = array.is_valid()
    parts, found = [], []
    for field in data_type.fields:
        child = children[came[field.name]]
        part = _cast_part(child, field.type)
        found += [Found(each.rows, each.code, f"{field.name}: {each.expected}") for each in part.found]
        if not field.nullable:
            rows = rows_of(pc.and_(present, child.is_null()))
            if len(rows):
                found.append(Found(rows, ViolationCode.NULL_NOT_ALLOWED, f"{field.name}: not null"))
        parts.append(part.values)
    loose = [field.with_nullable(True) for field in target]
    values = pa.StructArray.from_arrays(parts, fields=loose, mask=array.is_null())
    return _blank(values, found)


def _blank(values: pa.Array, found: list[Found]) -> Cast:
    """NULL where any part of a value was bad."""
    if not found:
        return Cast(values)
    bad = reduce(lambda all_rows, each: pc.unique(pa.concat_arrays([all_rows, each.rows])), found, found[0].rows)
    rows = row_numbers(len(values))
    kept = pc.invert(pc.is_in(rows, bad))
    return Cast(values.take(pc.if_else(kept, rows, None)), found)
