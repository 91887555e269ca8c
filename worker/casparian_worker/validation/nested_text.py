"""Lists and structs that came as text: JSON, one level deep, leaves kept as the texts they are.

The one place that reads values in Python even when all are good: Arrow has no JSON kernel. Equal texts are read once.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from casparian_protocol.contract import AnyType, ListType, StructType

_NUMERIC = frozenset({"int64", "float64", "decimal", "boolean"})


class _Number(str):
    """A number's own digits, told apart from a JSON string."""

    __slots__ = ()


def parse_nested(texts: pa.StringArray, data_type: ListType | StructType) -> tuple[pa.Array, pa.BooleanArray]:
    """Texts as list<string> or struct of strings (NULL where it is no such JSON), and which ones are bad."""
    known: dict[str, Any] = {}
    bad: list[bool] = []
    values: list[Any] = []
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


def _read(text: str, data_type: ListType | StructType) -> list[str | None] | dict[str, str | None] | None:
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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _leaf(value: Any, data_type: AnyType) -> str | None:
    """The text of one scalar; a number is no string, and what lies deeper cannot come as text."""
    if value is None:
        return None
    if isinstance(value, bool) and data_type.kind == "boolean":
        return "true" if value else "false"
    if isinstance(value, _Number) and data_type.kind in _NUMERIC:
        return str(value)
    if isinstance(value, str) and not isinstance(value, _Number) and data_type.kind not in ("list", "struct"):
        value.encode()  # a lone surrogate is no text
        return value
    raise ValueError("no such scalar")
