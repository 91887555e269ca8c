"""The model of a contract: its columns with their checks, and the quarantine policy.

A contract is read from a literal in a parser or from a JSON file, and written in one canonical form whose hash identifies it.
`say` turns each of pydantic's errors about a literal into one line, with the place and a suggestion. Each layer of the
quarantine policy (config file, stored override, contract, command line) sets some keys: `cascade` merges the layers, `breach`
checks counts against the result. The worker fails the job.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Required, Self, TypedDict, cast

from blake3 import blake3
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails

from casparian_protocol.bounds import COUNT_MAX, Count, PathText
from casparian_protocol.contract.formats import Format, compile_format
from casparian_protocol.contract.text import read_literal, write_literal
from casparian_protocol.contract.types import DataType, case_twins, column_fault, describe
from casparian_protocol.errors import CasparianError, ErrorCode


class ContractInvalid(CasparianError):
    """A contract's literal is not valid; `problems` has one line for each fault, with its place."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, problems: Sequence[str], *, place: str = "contract") -> None:
        self.problems = tuple(problems)
        self.place = place
        super().__init__(
            f"The {place} is not valid: " + "; ".join(self.problems),
            remedy="Correct these places; docs/reference/contract-format.md describes every key, type and check.",
        )


MAX_COLUMNS_COUNT = 4096


def _whole_to_float(value: object) -> object:
    return float(value) if type(value) is int and abs(value) <= COUNT_MAX else value


class QuarantinePolicy(BaseModel):
    """One layer of the policy; only keys that were given count (`model_fields_set`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    allow: bool = True
    max_pct: Annotated[float, BeforeValidator(_whole_to_float), Field(ge=0, le=100)] | None = 10.0
    max_count: Count | None = None
    dir: PathText | None = None
    keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = None


#: Keys that are not implemented yet: accepted in stored contracts, refused in new ones.
UNBUILT_KEYS = ("dir", "keep_days")
BUILT_IN_POLICY = QuarantinePolicy(allow=True, max_pct=10.0, max_count=None, dir=None, keep_days=None)


def unbuilt_keys(policy: QuarantinePolicy | None) -> list[str]:
    """Keys that would have no effect. They are refused in a new policy; stored policies keep them."""
    return [key for key in UNBUILT_KEYS if policy is not None and getattr(policy, key) is not None]


def cascade(*layers: QuarantinePolicy | None) -> QuarantinePolicy:
    """The effective policy: the built-in one, overridden by each layer in turn, lowest first."""
    keys = BUILT_IN_POLICY.model_dump()
    for layer in layers:
        if layer is not None:
            keys |= layer.model_dump(exclude_unset=True)
    return QuarantinePolicy.model_validate(keys)


@dataclass(frozen=True, slots=True)
class PolicyBreach:
    """The limit that was exceeded, as a sentence."""

    limit: str
    reason: str


def breach(policy: QuarantinePolicy, *, received: int, quarantined: int, at_end: bool) -> PolicyBreach | None:
    """The first limit that the counts exceed. `max_pct` is checked only at the end, over all rows received."""
    if quarantined and not policy.allow:
        return PolicyBreach("allow", f"{quarantined} bad rows, and quarantine is not allowed")
    if policy.max_count is not None and quarantined > policy.max_count:
        return PolicyBreach("max_count", f"{quarantined} bad rows, at most {policy.max_count} are allowed")
    if at_end and policy.max_pct is not None and quarantined * 100 > policy.max_pct * received:
        share = 100 * quarantined / received
        return PolicyBreach(
            "max_pct",
            f"{quarantined} of {received} rows are bad ({share:.2f} %), at most {policy.max_pct:g} % are allowed",
        )
    return None


Mode = Literal["strict", "allow_extra", "allow_missing_optional"]

TEMPORAL_KINDS = frozenset({"date", "time", "timestamp", "timestamp_ns", "timestamp_tz"})
ORDERED_KINDS = TEMPORAL_KINDS | {"int64", "float64", "decimal", "duration"}
NESTED_KINDS = frozenset({"list", "struct"})
#: Validation context of a stored contract: its patterns were checked when it was stored, so pyarrow need not be imported.
STORED = "stored"


def _tupled(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else _tupled(value)


class Column(BaseModel):
    """One column: its type, and the checks that each of its values must pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    type: DataType
    nullable: bool = True
    #: Strptime patterns, tried in order; without any, ISO 8601
    format: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    #: Texts that mean NULL; the empty text only if it is listed
    null_values: Annotated[tuple[str, ...], BeforeValidator(_tupled)] = ()
    #: RE2; it may match anywhere in the text unless anchored.
    pattern: str | None = None
    values: Annotated[tuple[bool | int | float | str, ...], BeforeValidator(_tupled), Field(min_length=1)] | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None
    unique: bool = False
    #: A decimal column also accepts float64, by the float's shortest text.
    lossy: bool = False
    description: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _settle_literals(cls, given: Any) -> Any:
        """Make checks canonical before the fields are read, so that equal contracts have equal hashes."""
        return settle_checks(given) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _judge(self, info: ValidationInfo) -> Self:
        if fault := column_fault(self.name):
            raise ValueError(f"the name {self.name[:80]!r} {fault}")
        kind = self.type.kind
        if self.format and kind not in TEMPORAL_KINDS:
            raise ValueError(f"format is for dates and times, not for {describe(self.type)}")
        for text in self.format:
            compile_format(text, kind)
        if self.pattern is not None:
            if kind != "string":
                raise ValueError(f"pattern is for string columns, not for {describe(self.type)}")
            if info.context != STORED and (fault := _pattern_fault(self.pattern)):
                raise ValueError(f"the pattern {self.pattern[:80]!r} is not RE2: {fault}")
        if self.lossy and kind != "decimal":
            raise ValueError(f"lossy is for decimal columns, not for {describe(self.type)}")
        if self.unique and kind in NESTED_KINDS:
            raise ValueError(f"unique is not for {describe(self.type)}")
        if self.min_value is not None and self.max_value is not None and self.min_value > self.max_value:
            raise ValueError(f"min {self.min!r} is above max {self.max!r}")
        return self

    @cached_property
    def formats(self) -> tuple[Format, ...]:
        return tuple(compile_format(text, self.type.kind) for text in self.format)

    @cached_property
    def min_value(self) -> Any:
        return None if self.min is None else read_literal(self.type, self.min)

    @cached_property
    def max_value(self) -> Any:
        return None if self.max is None else read_literal(self.type, self.max)

    @cached_property
    def allowed_values(self) -> tuple[Any, ...] | None:
        return None if self.values is None else tuple(read_literal(self.type, value) for value in self.values)


def settle_checks(given: Mapping[str, object]) -> dict[str, object]:
    """The column's literal with `min`, `max` and `values` in canonical spelling. Raises ValueError for an invalid one."""
    from casparian_protocol.contract.types import read_type

    settled = dict(given)
    checks = [check for check in ("min", "max", "values") if settled.get(check) is not None]
    if not checks or "type" not in settled:
        return settled
    data_type = read_type(settled["type"])
    kinds = ORDERED_KINDS | {"string", "boolean"}
    for check in checks:
        if data_type.kind not in (kinds if check == "values" else ORDERED_KINDS):
            raise ValueError(f"{check} is not for {describe(data_type)}")
        if check != "values":
            settled[check] = write_literal(data_type, read_literal(data_type, settled[check]))
            if settled[check] in ("nan", "inf", "-inf"):
                raise ValueError(f"{check} must be a finite number")
        elif isinstance(values := settled[check], (list, tuple)):
            settled[check] = tuple(write_literal(data_type, read_literal(data_type, each)) for each in values)
    return settled


class PolicyLiteral(TypedDict, total=False):
    """A quarantine policy in canonical form: the keys that were given."""

    allow: bool
    max_pct: float | None
    max_count: int | None
    dir: str | None
    keep_days: int | None


class ColumnLiteral(TypedDict, total=False):
    """A column in canonical form: `name` and `type`, and the keys that are not their defaults."""

    name: Required[str]
    type: Required[JsonValue]
    nullable: bool
    format: JsonValue
    null_values: list[str]
    pattern: str
    values: list[JsonValue]
    min: JsonValue
    max: JsonValue
    unique: bool
    lossy: bool
    description: str


class ContractLiteral(TypedDict, total=False):
    """A contract in canonical form: `columns`, and the keys that are not their defaults."""

    columns: Required[list[ColumnLiteral]]
    mode: Mode
    primary_key: list[str]
    quarantine: PolicyLiteral


class Contract(BaseModel):
    """The schema and the checks that rows of one output must satisfy."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    columns: Annotated[tuple[Column, ...], BeforeValidator(_tupled), Field(min_length=1, max_length=MAX_COLUMNS_COUNT)]
    mode: Mode = "strict"
    primary_key: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    quarantine: QuarantinePolicy | None = None

    @model_validator(mode="after")
    def _judge(self, info: ValidationInfo) -> Self:
        for one, other in case_twins(column.name for column in self.columns):
            if one == other and info.context == STORED:
                continue  # earlier versions accepted it
            raise ValueError(
                f"the column {one!r} appears twice"
                if one == other
                else f"the columns {one!r} and {other!r} differ only in case"
            )
        for name in self.primary_key:
            column = self.column(name)
            if column is None:
                raise ValueError(f"primary_key names {name[:80]!r}, which is not a column")
            if column.type.kind in NESTED_KINDS:
                raise ValueError(f"primary_key names {name!r}, which is a {column.type.kind}")
        if len(set(self.primary_key)) < len(self.primary_key):
            raise ValueError("primary_key names a column twice")
        return self

    @field_serializer("quarantine")
    def _only_what_was_set(self, policy: QuarantinePolicy | None) -> dict[str, JsonValue] | None:
        return None if policy is None else policy.model_dump(exclude_unset=True)

    @classmethod
    def from_literal(cls, literal: object, *, place: str = "contract", is_stored: bool = False) -> Contract:
        """The contract of a literal. Raises `ContractInvalid`, which names every fault with its place."""
        try:
            contract = cls.model_validate(literal, context=STORED if is_stored else None)
        except ValidationError as faults:
            raise ContractInvalid(say(faults, literal), place=place) from faults
        try:
            contract.canonical_json().encode()
        except UnicodeEncodeError as fault:
            found = fault.object[fault.start : fault.end]
            raise ContractInvalid([f"a text contains {found!a}, which is half a character"], place=place) from fault
        if not is_stored and (unbuilt := unbuilt_keys(contract.quarantine)):
            raise ContractInvalid(
                [f"quarantine.{key}: not implemented yet, so it would have no effect; leave it out" for key in unbuilt],
                place=place,
            )
        return contract

    @classmethod
    def from_json(cls, text: str | bytes, *, place: str = "contract", is_stored: bool = False) -> Contract:
        """The contract in a `<output>.schema.json` or in canonical form (`is_stored`: it was validated when it was stored)."""
        try:
            literal = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise ContractInvalid([f"not JSON: {fault}"], place=place) from fault
        return cls.from_literal(literal, place=place, is_stored=is_stored)

    def column(self, name: str) -> Column | None:
        """The column with this name."""
        return next((column for column in self.columns if column.name == name), None)

    def literal(self) -> ContractLiteral:
        """The canonical form as plain values: no aliases, no defaults."""
        plain = self.model_dump(mode="json", exclude_defaults=True)
        return cast(ContractLiteral, {key: value for key, value in plain.items() if value is not None})

    def canonical_json(self) -> str:
        """The canonical text: sorted keys, no spaces, no aliases, no defaults."""
        return json.dumps(self.literal(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def hash(self) -> str:
        """BLAKE3 of the canonical JSON, in hex."""
        return blake3(self.canonical_json().encode()).hexdigest()


def _pattern_fault(pattern: str) -> str | None:
    """Why RE2 refuses a pattern, or None. It is tried on one empty text, because an empty array does not compile the pattern."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as refusal:
        return str(refusal)
    return None


# --- messages for faults ----------------------------------------------------------------------------------------------

#: The keys at each depth; a test compares them with the models.
CONTRACT_KEYS = ("columns", "mode", "primary_key", "quarantine")
COLUMN_KEYS = (
    "name", "type", "nullable", "format", "null_values", "pattern", "values", "min", "max", "unique", "lossy",
    "description",
)  # fmt: skip
POLICY_KEYS = ("allow", "max_pct", "max_count", "dir", "keep_days")
MAX_PROBLEMS = 20
#: pydantic's error types, in messages for the author of a literal.
_IN_WORDS = {
    "missing": "it must be given",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "dict_type": "it must be a dictionary",
    "model_type": "it must be a dictionary",
    "string_type": "it must be text",
    "bool_type": "it must be True or False",
    "int_type": "it must be a whole number",
    "float_type": "it must be a number",
}


def say(faults: ValidationError, literal: object) -> list[str]:
    """One line for each fault."""
    errors = faults.errors(include_url=False, include_context=False)
    lines = list(dict.fromkeys(_line(error, literal) for error in errors))
    return [*lines[:MAX_PROBLEMS], f"and {len(lines) - MAX_PROBLEMS} more"] if len(lines) > MAX_PROBLEMS else lines


def _line(error: ErrorDetails, literal: object) -> str:
    place = _place(error["loc"], literal)
    if error["type"] == "extra_forbidden":
        return _unknown_key(error["loc"], place)
    message = _IN_WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _unknown_key(loc: Sequence[str | int], place: str) -> str:
    keys = POLICY_KEYS if loc[0] == "quarantine" and len(loc) > 1 else COLUMN_KEYS if len(loc) > 1 else CONTRACT_KEYS
    nearest = difflib.get_close_matches(str(loc[-1]), keys, 1, 0.0)
    return f"{place}: there is no such key; did you mean {nearest[0]!r}?" if nearest else f"{place}: no such key"


def _place(loc: Sequence[str | int], literal: object) -> str:
    """`columns[3] 'price'.min`: where it is, with the column's own name when it has one."""
    place, here = "", literal
    for step in loc:
        if isinstance(step, int):
            place += f"[{step}]"
        elif str(step) not in {"str", "int", "float", "bool", "tuple"} and "[" not in str(step):
            place += f"{'.' if place else ''}{str(step)[:80]}"
        try:
            here = here[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(step, int) and isinstance(here, dict) and isinstance(here.get("name"), str):
            place += f" {here['name'][:80]!r}"
    return place
