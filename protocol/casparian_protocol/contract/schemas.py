"""Contracts for other tools: the Arrow schema of valid rows, and the JSON Schema of contract files for editors.

pyarrow is imported on use only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from casparian_protocol.contract.model import MAX_COLUMNS_COUNT, UNBUILT_KEYS, QuarantinePolicy
from casparian_protocol.contract.types import (
    ALIASES,
    MAX_COLUMN_NAME_CHARS,
    SIMPLE_NAMES,
    AnyType,
    DecimalType,
    ListType,
    SimpleType,
    StructType,
    ZonedTimestampType,
)

if TYPE_CHECKING:
    from casparian_protocol.contract.model import Contract


def arrow_type(data_type: AnyType) -> Any:
    """The Arrow type of valid values."""
    import pyarrow as pa

    match data_type:
        case DecimalType(precision=precision, scale=scale):
            return pa.decimal128(precision, scale)
        case ZonedTimestampType(tz=tz, unit=unit):
            return pa.timestamp(unit, tz)
        case ListType(item=item):
            return pa.list_(arrow_type(item))
        case StructType(fields=fields):
            return pa.struct([pa.field(field.name, arrow_type(field.type), field.nullable) for field in fields])
        case SimpleType(kind=kind):
            simple = {
                "string": pa.string(),
                "boolean": pa.bool_(),
                "int64": pa.int64(),
                "float64": pa.float64(),
                "date": pa.date32(),
                "time": pa.time64("us"),
                "timestamp": pa.timestamp("us"),
                "timestamp_ns": pa.timestamp("ns"),
                "duration": pa.duration("us"),
                "binary": pa.binary(),
            }
            return simple[kind]


def arrow_schema(contract: Contract) -> Any:
    """The schema of valid rows without lineage: the contract's columns in its order."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, arrow_type(column.type), column.nullable) for column in contract.columns])


#: A JSON Schema, or part of one.
JsonSchema: TypeAlias = dict[str, Any]

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_BOUND = {"type": ["number", "string"]}


def json_schema() -> JsonSchema:
    """The JSON Schema, draft 2020-12. Registration also checks what it cannot express (zones, RE2, unique names)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Casparian contract",
        "description": "What the rows of one output must be.",
        "type": "object",
        "additionalProperties": False,
        "required": ["columns"],
        "properties": {
            "columns": {
                "type": "array", "minItems": 1, "maxItems": MAX_COLUMNS_COUNT, "items": {"$ref": "#/$defs/column"}
            },
            "mode": {"enum": ["strict", "allow_extra", "allow_missing_optional"], "default": "strict"},
            "primary_key": {"anyOf": [_TEXT, _TEXTS]},
            "quarantine": {"$ref": "#/$defs/quarantine"},
        },
        "$defs": {"column": _column(), "type": _type(), "quarantine": _policy()},
    }  # fmt: skip


def json_schema_text() -> str:
    """The file's content."""
    return json.dumps(json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _column() -> JsonSchema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "type"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": MAX_COLUMN_NAME_CHARS},
            "type": {"$ref": "#/$defs/type"},
            "nullable": {"type": "boolean", "default": True},
            "format": {"anyOf": [_TEXT, _TEXTS], "description": "strptime patterns, tried in order"},
            "null_values": _TEXTS | {"description": "texts that mean NULL"},
            "pattern": _TEXT | {"description": "RE2, unanchored"},
            "values": {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
            "min": _BOUND,
            "max": _BOUND,
            "unique": {"type": "boolean", "default": False, "description": "within one file"},
            "lossy": {"type": "boolean", "default": False, "description": "a decimal that also takes float64"},
            "description": _TEXT,
        },
    }


def _kind(name: str, properties: JsonSchema, optional: JsonSchema | None = None) -> JsonSchema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", *properties],
        "properties": {"kind": {"const": name}} | properties | (optional or {}),
    }


def _type() -> JsonSchema:
    field = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "type"],
        "properties": {
            "name": _TEXT | {"minLength": 1},
            "type": {"$ref": "#/$defs/type"},
            "nullable": {"type": "boolean", "default": True},
        },
    }
    whole = {"type": "integer"}
    return {
        "anyOf": [
            {"enum": [*SIMPLE_NAMES, *ALIASES]},
            _kind("decimal", {"precision": whole | {"minimum": 1, "maximum": 38}, "scale": whole | {"minimum": 0}}),
            _kind(
                "timestamp_tz",
                {"tz": _TEXT | {"description": "an IANA zone"}},
                {"unit": {"enum": ["us", "ns"], "default": "us"}},
            ),
            _kind("list", {"item": {"$ref": "#/$defs/type"}}),
            _kind("struct", {"fields": {"type": "array", "minItems": 1, "items": field}}),
        ]
    }


def _policy() -> JsonSchema:
    schema = QuarantinePolicy.model_json_schema()
    for unbuilt in UNBUILT_KEYS:
        del schema["properties"][unbuilt]
    return {key: schema[key] for key in ("type", "additionalProperties", "properties")}
