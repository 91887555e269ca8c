"""A contract in Arrow: the schema of its valid rows. pyarrow is imported here on use only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casparian_protocol.contract.types import (
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
    """The schema of the valid rows, before lineage: the contract's columns in its order."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, arrow_type(column.type), column.nullable) for column in contract.columns])


def pattern_fault(pattern: str) -> str | None:
    """Why RE2 refuses a pattern, or None; tried on one empty text (an empty array is never compiled for)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as refusal:
        return str(refusal)
    return None
