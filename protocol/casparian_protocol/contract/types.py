"""The names and types that a contract may use: which names are allowed, how types are spelled, their canonical form.

`read_type` reads a spelling, `write_type` gives the canonical one. `text` reads values of a type, `schemas` has the Arrow types.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
)

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_shim.safe import COLUMN_NAME_MAX

RESERVED_PREFIX = "_cf_"
ROW_ID_COLUMN = "__cf_row_id"
RAW_COLUMN = "_cf_raw"
RAW_ENCODING_COLUMN = "_cf_raw_encoding"
FOR_PARSERS = frozenset({ROW_ID_COLUMN, RAW_COLUMN, RAW_ENCODING_COLUMN})
MAX_COLUMN_NAME_CHARS = COLUMN_NAME_MAX

_OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_output_name(name: str) -> str:
    """The name itself. Raises `NameInvalid`."""
    if not _OUTPUT_NAME.fullmatch(name):
        raise NameInvalid("output", name, "must be a lower-case letter and up to 62 of a-z, 0-9 and _")
    return name


def is_reserved(name: str) -> bool:
    """Whether a name is reserved by Casparian, ignoring case; parsers may use three of them."""
    folded = name.casefold()
    return folded.startswith((RESERVED_PREFIX, "_" + RESERVED_PREFIX))


def column_fault(name: str) -> str | None:
    """Why a column may not have this name, or None."""
    if not name:
        return "is empty"
    if len(name) > MAX_COLUMN_NAME_CHARS:
        return f"is longer than {MAX_COLUMN_NAME_CHARS} characters"
    if is_reserved(name):
        return f"is reserved: names starting with {RESERVED_PREFIX} belong to Casparian"
    if not name.isprintable():
        return "has control or unprintable characters"
    return None


def case_twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that are equal in SQL, which ignores case."""
    seen: dict[str, str] = {}
    twins = []
    for name in names:
        folded = name.casefold()
        if folded in seen:
            twins.append((seen[folded], name))
        else:
            seen[folded] = name
    return twins


class NameInvalid(CasparianError):
    """The name of an output or column is invalid."""

    code = ErrorCode.OUTPUT_NAME

    def __init__(self, kind: str, name: str, rule: str) -> None:
        self.name = name
        super().__init__(f"The {kind} name {name[:80]!r} {rule}.", remedy=f"Rename the {kind} in the parser.")


SimpleName = Literal[
    "string", "boolean", "int64", "float64", "date", "time", "timestamp", "timestamp_ns", "duration", "binary"
]  # fmt: skip
TimeUnit = Literal["us", "ns"]
SIMPLE_NAMES: tuple[str, ...] = get_args(SimpleName)
ALIASES = {
    "bool": "boolean",
    "int": "int64",
    "integer": "int64",
    "float": "float64",
    "double": "float64",
    "datetime": "timestamp",
    "text": "string",
    "utf8": "string",
    "bytes": "binary",
    "interval": "duration",
}
MAX_DEPTH = 16
_KEYS = {
    "decimal": ("precision", "scale"),
    "timestamp_tz": ("tz",),
    "list": ("item",),
    "struct": ("fields",),
}
_OPTIONAL_KEYS = {"timestamp_tz": ("unit",)}
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*")


class _Type(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SimpleType(_Type):
    kind: SimpleName


class DecimalType(_Type):
    kind: Literal["decimal"] = "decimal"
    precision: int
    scale: int


class ZonedTimestampType(_Type):
    kind: Literal["timestamp_tz"] = "timestamp_tz"
    tz: str
    unit: TimeUnit = "us"


class ListType(_Type):
    kind: Literal["list"] = "list"
    item: DataType


class StructField(_Type):
    name: str
    type: DataType
    nullable: bool = True


class StructType(_Type):
    kind: Literal["struct"] = "struct"
    fields: tuple[StructField, ...]


AnyType = SimpleType | DecimalType | ZonedTimestampType | ListType | StructType


def read_type(spelling: object, depth: int = 0) -> AnyType:
    """The type of a literal. Raises ValueError."""
    if isinstance(spelling, AnyType):
        return spelling
    if depth > MAX_DEPTH:
        raise ValueError(f"types nest deeper than {MAX_DEPTH}")
    if isinstance(spelling, str):
        return _read_simple(spelling)
    if not isinstance(spelling, Mapping) or not isinstance(spelling.get("kind"), str):
        raise ValueError("a type is a name or a mapping with a 'kind'")
    kind: str = spelling["kind"]
    if kind not in _KEYS:
        simple = _read_simple(kind)
        _check_keys(spelling, kind, ())
        return simple
    _check_keys(spelling, kind, _KEYS[kind])
    match kind:
        case "decimal":
            return _read_decimal(spelling["precision"], spelling["scale"])
        case "timestamp_tz":
            return ZonedTimestampType(tz=check_zone(spelling["tz"]), unit=_read_unit(spelling.get("unit", "us")))
        case "list":
            return ListType.model_construct(kind="list", item=read_type(spelling["item"], depth + 1))
        case _:
            return StructType.model_construct(kind="struct", fields=_read_fields(spelling["fields"], depth))


def write_type(data_type: AnyType) -> Any:
    """The canonical spelling, as JSON values."""
    match data_type:
        case SimpleType():
            return data_type.kind
        case DecimalType():
            return data_type.model_dump()
        case ZonedTimestampType(tz=tz, unit=unit):
            return {"kind": "timestamp_tz", "tz": tz} | ({"unit": unit} if unit != "us" else {})
        case ListType():
            return {"kind": "list", "item": write_type(data_type.item)}
        case StructType():
            fields = [
                {"name": field.name, "type": write_type(field.type)} | ({} if field.nullable else {"nullable": False})
                for field in data_type.fields
            ]
            return {"kind": "struct", "fields": fields}


def describe(data_type: AnyType) -> str:
    """The type in a few words, for messages and violations."""
    match data_type:
        case SimpleType():
            return data_type.kind
        case DecimalType():
            return f"decimal({data_type.precision},{data_type.scale})"
        case ZonedTimestampType():
            return f"timestamp_tz({data_type.tz}{', ns' if data_type.unit == 'ns' else ''})"
        case ListType():
            return f"list<{describe(data_type.item)}>"
        case StructType():
            return "struct<" + ", ".join(f"{field.name}: {describe(field.type)}" for field in data_type.fields) + ">"


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def check_zone(name: object) -> str:
    """The zone's name, if the tz database in use has it."""
    if not isinstance(name, str) or not _ZONE_NAME.fullmatch(name) or name not in _zones():
        close = difflib.get_close_matches(str(name), _zones(), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"the tz database has no zone {str(name)[:64]!r}{hint}")
    return name


def _read_simple(spelling: str) -> SimpleType:
    name = ALIASES.get(spelling, spelling)
    if name not in SIMPLE_NAMES:
        if name in _KEYS:
            raise ValueError(f"the type {name!r} needs a mapping with {', '.join(_KEYS[name])}")
        close = difflib.get_close_matches(spelling, [*SIMPLE_NAMES, *ALIASES, *_KEYS], 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"there is no type {spelling[:64]!r}{hint}")
    return SimpleType.model_validate({"kind": name})


def _check_keys(spelling: Mapping[str, object], kind: str, keys: tuple[str, ...]) -> None:
    known = (*keys, *_OPTIONAL_KEYS.get(kind, ()))
    for key in spelling:
        if key != "kind" and key not in known:
            close = difflib.get_close_matches(str(key), known, 1, 0.0)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"the type {kind!r} has no key {str(key)[:64]!r}{hint}")
    for key in keys:
        if key not in spelling:
            raise ValueError(f"the type {kind!r} needs the key {key!r}")


def _read_unit(unit: object) -> TimeUnit:
    if unit == "us" or unit == "ns":
        return unit
    raise ValueError(f"the unit of a timestamp_tz is 'us' or 'ns', not {str(unit)[:64]!r}")


def in_nanoseconds(data_type: AnyType) -> bool:
    """Whether the values are instants in nanoseconds; all other times are in microseconds."""
    return data_type.kind == "timestamp_ns" or (isinstance(data_type, ZonedTimestampType) and data_type.unit == "ns")


def _read_decimal(precision: object, scale: object) -> DecimalType:
    if type(precision) is not int or not 1 <= precision <= 38:
        raise ValueError("a decimal's precision is a whole number from 1 to 38")
    if type(scale) is not int or not 0 <= scale <= precision:
        raise ValueError(f"a decimal's scale is a whole number from 0 to its precision, {precision}")
    return DecimalType(precision=precision, scale=scale)


def _read_fields(fields: object, depth: int) -> tuple[StructField, ...]:
    if not isinstance(fields, (list, tuple)) or not fields:
        raise ValueError("a struct's fields are a list with at least one field")
    read: list[StructField] = []
    for field in fields:
        if not isinstance(field, Mapping) or not isinstance(field.get("name"), str) or "type" not in field:
            raise ValueError("a struct's field is a mapping with name and type")
        if unknown := set(field) - {"name", "type", "nullable"}:
            raise ValueError(f"a struct's field has no key {sorted(map(str, unknown))[0][:64]!r}")
        nullable = field.get("nullable", True)
        if not isinstance(nullable, bool) or not field["name"]:
            raise ValueError("a struct's field has a name that is not empty, and nullable is true or false")
        inner = read_type(field["type"], depth + 1)
        read.append(StructField.model_construct(name=field["name"], type=inner, nullable=nullable))
    if len({field.name.casefold() for field in read}) < len(read):
        raise ValueError("a struct's field names must differ by more than case")
    return tuple(read)


DataType = Annotated[AnyType, BeforeValidator(read_type), PlainSerializer(write_type)]
ListType.model_rebuild()
StructField.model_rebuild()
StructType.model_rebuild()
