"""A filled example of any model, made from its types: a field that was forgotten everywhere else is in it."""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter

#: One of these fits every pattern and length that a field of ours has.
_TEXTS = (
    *("a", "a" * 16, "0" * 16, "0" * 64, "abcd", "0" * 32, "x://y", "/data", "user:a@cli", "1.0", "p.py"),
    *("data.a.0.parquet", "2026a", ""),
)


def example_of(kind: Any) -> Any:
    """A plain document with every field of this type filled; the first of alternatives, and one item of each collection."""
    schema = TypeAdapter(kind).json_schema()
    return _value(schema, schema.get("$defs", {}), "example")


def _value(schema: dict[str, Any], named: dict[str, Any], place: str) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _value(named[name], named, f"{place}:{name}")
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema:
            some = [each for each in schema[alternatives] if each.get("type") != "null"]
            return _value(some[0], named, place)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "string":
            return _text(schema, place)
        case "integer":
            return max(1, schema.get("minimum", 1))
        case "number":
            return float(max(0.5, schema.get("minimum", 0.5)))
        case "boolean":
            return True
        case "array":
            if "prefixItems" in schema:
                return [_value(each, named, f"{place}[]") for each in schema["prefixItems"]]
            return [_value(schema.get("items", {}), named, f"{place}[]")]
        case "object":
            return _map(schema, named, place)
        case "null":
            return None
    return "x"


def _map(schema: dict[str, Any], named: dict[str, Any], place: str) -> dict[str, Any]:
    if "properties" in schema:
        return {name: _value(each, named, f"{place}.{name}") for name, each in schema["properties"].items()}
    for pattern, each in schema.get("patternProperties", {}).items():
        name = _text({"pattern": pattern}, f"{place}{{}}")
        return {name: _value(each, named, f"{place}.{name}")}
    if isinstance(more := schema.get("additionalProperties", True), dict):
        name = _text(schema.get("propertyNames", {}), f"{place}{{}}")
        return {name: _value(more, named, f"{place}.{name}")}
    return {"a": 1}


def _text(schema: dict[str, Any], place: str) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1 << 20)
    for text in _TEXTS:
        if least <= len(text) <= most and re.search(schema.get("pattern", ""), text):
            return text
    raise AssertionError(f"no example fits {place}: {schema}")
