"""Casting values that arrived typed, lists and structs, and columns of several kinds; `text_cast` has the texts of scalars.

Typed values are never rounded or reinterpreted. Items and fields follow the rules of their own types. Lists and structs that
arrive as text are JSON of one level, with leaves kept as texts. Since Arrow has no JSON kernel, this is the only module that
reads values in Python even if all are good; equal texts are read once. Anything nested deeper is an error of the item or field
that contains it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import (
    AnyType,
    Column,
    DecimalType,
    ListType,
    SimpleType,
    StructType,
    ViolationCode,
    arrow_type,
    describe,
)
from casparian_protocol.contract.text import MAX_EXACT_INT_IN_FLOAT
from casparian_shim.frames.kinds import ValueKind
from casparian_worker.validation.cast import (
    Cast,
    Found,
    mask_of,
    outside_calendar,
    refuse,
    refuse_all,
    row_numbers,
    rows_of,
)
from casparian_worker.validation.mixed import Mixed, Part, gather, read_dict, read_list
from casparian_worker.validation.text_cast import MAX_DECIMAL_DIGITS, cast_text

_INT64_MAX = 2**63 - 1
_NUMERIC = frozenset({"int64", "float64", "decimal", "boolean"})


#: The leaves of one list or struct, as texts.
Texts = list[str | None] | dict[str, str | None]


class _Number(str):
    """A number's own digits, as opposed to a JSON string."""

    __slots__ = ()


def parse_nested(texts: pa.StringArray, data_type: ListType | StructType) -> tuple[pa.Array, pa.BooleanArray]:
    """Texts as list<string> or struct of strings (NULL where a text is not such JSON), and which ones are bad."""
    known: dict[str, Texts | None] = {}
    bad: list[bool] = []
    values: list[Texts | None] = []
    for text in texts.to_pylist():
        if text is None:
            values.append(None)
            bad.append(False)
            continue
        if text not in known:
            known[text] = _read(text, data_type)
        values.append(known[text])
        bad.append(known[text] is None)
    return pa.array(values, _type_of_texts(data_type)), pa.array(bad, pa.bool_())


def _type_of_texts(data_type: ListType | StructType) -> pa.DataType:
    if isinstance(data_type, ListType):
        return pa.list_(pa.string())
    return pa.struct([pa.field(field.name, pa.string()) for field in data_type.fields])


def _read(text: str, data_type: ListType | StructType) -> Texts | None:
    try:
        value = json.loads(
            text, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_once
        )
        if isinstance(data_type, ListType):
            return [_leaf(each, data_type.item) for each in value] if isinstance(value, list) else None
        if not isinstance(value, dict) or value.keys() != {field.name for field in data_type.fields}:
            return None
        return {field.name: _leaf(value[field.name], field.type) for field in data_type.fields}
    except (ValueError, RecursionError):
        return None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _leaf(value: object, data_type: AnyType) -> str | None:
    """The text of one scalar; a number is not a string, and deeper values cannot come as text."""
    if value is None:
        return None
    if isinstance(value, bool) and data_type.kind == "boolean":
        return "true" if value else "false"
    if isinstance(value, _Number) and data_type.kind in _NUMERIC:
        return str(value)
    if isinstance(value, str) and not isinstance(value, _Number) and data_type.kind not in ("list", "struct"):
        value.encode()  # a lone surrogate is not valid text
        return value
    raise ValueError("not a scalar of this type")


def loose_type(data_type: AnyType) -> pa.DataType:
    """The Arrow type while values are being judged: any part may be NULL."""
    return _loose(arrow_type(data_type))


def _loose(arrow: pa.DataType) -> pa.DataType:
    if pt.is_list(arrow):
        return pa.list_(_loose(arrow.value_type))
    if pt.is_struct(arrow):
        return pa.struct([pa.field(field.name, _loose(field.type)) for field in arrow])
    return arrow


def relabelled(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Judged values under the contract's own type.

    A cast, and Parquet, would refuse a NULL struct for its required fields, so these fields get a value below it that is never
    shown.
    """
    if pt.is_list(target):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
        items = relabelled(array.flatten(), target.value_type)
        return pa.ListArray.from_arrays(offsets, items, type=target, mask=array.is_null())
    if pt.is_struct(target):
        parts = [relabelled(child, field.type) for child, field in zip(array.flatten(), target, strict=True)]
        parts = [part if field.nullable else _filled(part) for part, field in zip(parts, target, strict=True)]
        return pa.StructArray.from_arrays(parts, fields=list(target), mask=array.is_null())
    return array


def _filled(array: pa.Array) -> pa.Array:
    if not array.null_count:
        return array
    rows = row_numbers(len(array))
    filler = pa.array([_any_value(array.type)], array.type)
    at = pc.if_else(array.is_valid(), rows, pa.scalar(len(array), pa.uint64()))
    return pa.concat_arrays([array, filler]).take(at)


def _any_value(arrow: pa.DataType) -> object:
    if pt.is_struct(arrow):
        return {field.name: _any_value(field.type) for field in arrow}
    if pt.is_list(arrow):
        return []
    return "" if pt.is_string(arrow) else b"" if pt.is_binary(arrow) else False if pt.is_boolean(arrow) else 0


def is_text(arrow: pa.DataType) -> bool:
    return bool(pt.is_string(arrow) or pt.is_large_string(arrow))


def cast_array(array: pa.Array, data_type: AnyType, column: Column | None = None) -> Cast:
    """Cast any array, typed or text, into any type of a contract."""
    if pt.is_large_string(array.type):
        array = array.cast(pa.string())
    if isinstance(data_type, (ListType, StructType)):
        return _cast_nested(array, data_type)
    if is_text(array.type):
        return cast_text(array, data_type, column)
    return cast_typed(array, data_type, column)


def cast_typed(array: pa.Array, data_type: AnyType, column: Column | None = None) -> Cast:
    """Cast values that arrived typed into a scalar type of the contract."""
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
            if came.tz is None:  # pyarrow would silently assume UTC
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
    """Cast through text where pyarrow would round (floats) or refuse (integers)."""
    target, came = arrow_type(data_type), array.type
    if pt.is_decimal(came):
        if (
            came.precision - came.scale + data_type.scale <= MAX_DECIMAL_DIGITS
        ):  # otherwise pyarrow silently wraps around
            try:
                return Cast(array.cast(target))
            except pa.ArrowInvalid:
                pass
        return cast_text(array.cast(pa.string()), data_type)
    if pt.is_integer(came) or (pt.is_floating(came) and is_lossy):
        return cast_text(array.cast(pa.string()), data_type)
    return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, describe(data_type))


def _convert(array: pa.Array, target: pa.DataType, expected: str) -> Cast:
    """Convert to another unit: a coarser one may not lose anything, a finer one may not overflow."""
    try:
        if not pt.is_date64(array.type):  # the only cast that silently drops a remainder
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


def _cast_nested(array: pa.Array, data_type: ListType | StructType) -> Cast:
    target, expected = loose_type(data_type), describe(data_type)
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


def cast_mixed(mixed: Mixed, data_type: AnyType, column: Column | None = None, *, is_part: bool = False) -> Cast:
    """Cast values of several kinds into any type of a contract: each kind as in a uniform column.

    `is_part` says that the values are items or a field of a larger value.
    """
    target, found = loose_type(data_type), []
    parts: list[tuple[pa.UInt64Array, pa.Array]] = []
    for part in mixed.parts():
        cast = _cast_kind(part, data_type, column, is_part=is_part)
        found += [Found(part.rows.take(each.rows), each.code, each.expected) for each in cast.found]
        parts.append((part.rows, cast.values))
    return Cast(gather(parts, target), _joined(found))


def _cast_kind(part: Part, data_type: AnyType, column: Column | None, *, is_part: bool) -> Cast:
    if part.is_typed:
        return _cast_part(part.array, data_type) if is_part else cast_array(part.array, data_type, column)
    match part.kind, data_type:
        case (ValueKind.DECIMAL, DecimalType()):
            return cast_text(part.array, data_type)
        case (ValueKind.INT, DecimalType()) | (ValueKind.INT, SimpleType(kind="int64" | "float64")):
            return cast_text(part.array, data_type)
        case (ValueKind.DURATION | ValueKind.DURATION_NS, SimpleType(kind="duration")):
            return refuse_all(part.array, loose_type(data_type), ViolationCode.OUT_OF_RANGE, describe(data_type))
        case (ValueKind.LIST, ListType()):
            return _cast_mixed_list(part.array, data_type)
        case (ValueKind.DICT, StructType()):
            return _cast_mixed_struct(part.array, data_type)
    return refuse_all(part.array, loose_type(data_type), ViolationCode.TYPE_MISMATCH, describe(data_type))


def _joined(found: list[Found]) -> list[Found]:
    """One entry for each kind of violation, whatever the values' kinds, in an order that only the values decide."""
    by_fault: dict[tuple[ViolationCode, str], list[pa.UInt64Array]] = {}
    for each in found:
        by_fault.setdefault((each.code, each.expected), []).append(each.rows)
    return [
        Found(rows[0] if len(rows) == 1 else pa.concat_arrays(rows).sort(), code, expected)
        for (code, expected), rows in sorted(by_fault.items())
    ]


def _cast_part(array: pa.Array, data_type: AnyType) -> Cast:
    """Cast an item or a field by its own rules, at any depth; JSON inside a typed list or struct is only text."""
    if isinstance(data_type, (ListType, StructType)) and is_text(array.type):
        return refuse_all(array, loose_type(data_type), ViolationCode.TYPE_MISMATCH, describe(data_type))
    return cast_array(array, data_type)


def _cast_list(array: pa.Array, data_type: ListType) -> Cast:
    # flatten() respects the slice and NULL lists, which .values does not
    items = _cast_part(array.flatten(), data_type.item)
    parents = pc.list_parent_indices(array).cast(pa.uint64())
    lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int32()), 0)
    return _list_of(items, parents, lengths, data_type, array.is_null())


def _cast_mixed_list(payloads: pa.BinaryArray, data_type: ListType) -> Cast:
    rows = [read_list(payload) for payload in payloads.to_pylist()]
    items = cast_mixed(Mixed.of_leaves([leaf for row in rows for leaf in row]), data_type.item, is_part=True)
    lengths = pa.array([len(row) for row in rows], pa.int32())
    parents = pa.array([at for at, row in enumerate(rows) for _ in row], pa.uint64())
    return _list_of(items, parents, lengths, data_type, payloads.is_null())


def _list_of(
    items: Cast, parents: pa.UInt64Array, lengths: pa.Int32Array, data_type: ListType, is_null: pa.BooleanArray
) -> Cast:
    found = [Found(pc.unique(parents.take(each.rows)), each.code, f"each item {each.expected}") for each in items.found]
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    values = pa.ListArray.from_arrays(offsets, items.values, type=loose_type(data_type), mask=is_null)
    return _blank(values, _joined(found))


def _cast_struct(array: pa.Array, data_type: StructType) -> Cast:
    target, expected = loose_type(data_type), describe(data_type)
    came = {field.name: position for position, field in enumerate(array.type)}
    if came.keys() != {field.name for field in data_type.fields} or len(came) != array.type.num_fields:
        return refuse_all(array, target, ViolationCode.TYPE_MISMATCH, expected)  # a cast would silently fill and drop
    children = array.flatten()  # respects the parent's NULLs, which field() does not
    return _struct_of([children[came[field.name]] for field in data_type.fields], data_type, array.is_valid())


def _cast_mixed_struct(payloads: pa.BinaryArray, data_type: StructType) -> Cast:
    target, names = loose_type(data_type), [field.name for field in data_type.fields]
    rows = [read_dict(payload) for payload in payloads.to_pylist()]
    is_complete = pa.array([row.keys() == set(names) for row in rows], pa.bool_())
    complete, others = rows_of(is_complete), rows_of(pc.invert(is_complete))
    good = [row for row in rows if row.keys() == set(names)]
    children = [Mixed.of_leaves([row[name] for row in good]) for name in names]
    cast = _struct_of(children, data_type, pa.repeat(pa.scalar(True), len(good)))
    found = [Found(complete.take(each.rows), each.code, each.expected) for each in cast.found]
    if len(others):
        found.append(Found(others, ViolationCode.TYPE_MISMATCH, describe(data_type)))
    return Cast(gather([(complete, cast.values), (others, pa.nulls(len(others), target))], target), found)


def _struct_of(children: Sequence[pa.Array | Mixed], data_type: StructType, present: pa.BooleanArray) -> Cast:
    target = loose_type(data_type)
    parts, found = [], []
    for field, child in zip(data_type.fields, children, strict=True):
        part = (
            cast_mixed(child, field.type, is_part=True) if isinstance(child, Mixed) else _cast_part(child, field.type)
        )
        found += [Found(each.rows, each.code, f"{field.name}: {each.expected}") for each in part.found]
        if not field.nullable:
            rows = rows_of(pc.and_(present, child.is_null()))
            if len(rows):
                found.append(Found(rows, ViolationCode.NULL_NOT_ALLOWED, f"{field.name}: not null"))
        parts.append(part.values)
    values = pa.StructArray.from_arrays(parts, fields=list(target), mask=pc.invert(present))
    return _blank(values, found)


def _blank(values: pa.Array, found: list[Found]) -> Cast:
    """NULL where any part of a value was bad."""
    if not found:
        return Cast(values)
    is_bad = mask_of([each.rows for each in found], len(values))
    return Cast(values.take(pc.if_else(is_bad, None, row_numbers(len(values)))), found)
