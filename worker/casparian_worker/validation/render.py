"""Typed values as text for the quarantine: one rendering, written down in docs/reference/contract-format.md.

Text that came as text is passed on untouched. Only rows that are going to quarantine are rendered.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_shim.digits import shortest_decimal
from casparian_worker.validation.mixed import Mixed, is_mixed, mixed_text


def as_text(array: pa.Array | Mixed) -> pa.StringArray:
    """Every value as text; NULL stays NULL. A value reads the same whatever stands beside it."""
    if isinstance(array, Mixed):
        return mixed_text(array, as_text)
    came = array.type
    if pt.is_string(came):
        return array
    if pt.is_null(came):
        return pa.nulls(len(array), pa.string())
    if pt.is_timestamp(came) or pt.is_time(came):
        return _moments(array)
    if pt.is_binary(came) or pt.is_large_binary(came) or pt.is_fixed_size_binary(came):
        return pa.array([None if each is None else each.hex() for each in array.to_pylist()], pa.string())
    if pt.is_duration(came):
        return _durations(array)
    if pt.is_decimal(came):
        texts = [None if each is None else shortest_decimal(each) for each in array.to_pylist()]
        return pa.array(texts, pa.string())
    if pt.is_nested(came):
        return _json(array)
    return array.cast(pa.string())


def with_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A guest's batch for those who do not judge it: columns of several kinds are the texts of their values."""
    if not any(map(is_mixed, batch.schema)):
        return batch
    columns = [
        as_text(Mixed.of(column)) if is_mixed(field) else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _moments(array: pa.Array) -> pa.StringArray:
    """`T` between date and time, zeros at the fraction's end dropped, instants in UTC with Z."""
    is_zoned = pt.is_timestamp(array.type) and array.type.tz is not None
    if is_zoned:
        array = array.cast(pa.timestamp(array.type.unit, "UTC")).cast(pa.timestamp(array.type.unit), safe=False)
    text = pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)
    text = pc.replace_substring_regex(text, r"(\.[0-9]*?)0+$", r"\1")
    text = pc.utf8_rtrim(text, ".")
    return pc.binary_join_element_wise(text, "Z", "") if is_zoned else text


def _durations(array: pa.Array) -> pa.StringArray:
    """ISO 8601 in seconds, exact to the unit."""
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[array.type.unit]
    texts: list[str | None] = []
    for count in array.view(pa.int64()).to_pylist():
        if count is None:
            texts.append(None)
            continue
        whole, rest = divmod(abs(count), 10**digits)
        fraction = f".{rest:0{digits}d}".rstrip("0") if rest else ""
        texts.append(f"{'-' if count < 0 else ''}PT{whole}{fraction}S")
    return pa.array(texts, pa.string())


def _json(array: pa.Array) -> pa.StringArray:
    texts = []
    for position in range(len(array)):
        value = array.slice(position, 1)
        texts.append(json.dumps(_plain(value), ensure_ascii=False) if value.null_count == 0 else None)
    return pa.array(texts, pa.string())


def _plain(one: pa.Array) -> Any:
    """The single value of an array, as JSON values; leaves that JSON lacks by their own rendering."""
    came = one.type
    if one.null_count:
        return None
    if pt.is_struct(came):
        return {field.name: _plain(child) for field, child in zip(came, one.flatten(), strict=True)}
    if pt.is_list(came) or pt.is_large_list(came):
        items = one.flatten()
        return [_plain(items.slice(position, 1)) for position in range(len(items))]
    value = None if pt.is_temporal(came) else one[0].as_py()
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return value
    return as_text(one)[0].as_py()
