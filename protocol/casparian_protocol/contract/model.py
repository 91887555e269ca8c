"""The models of a contract: columns with their checks, and the output's mode, key and quarantine policy.

`Contract.from_literal` is the only way in for what others wrote; it reads every spelling, judges every check
against its type, and gives one canonical form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from blake3 import blake3
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    model_validator,
)

from casparian_protocol.contract.arrow import pattern_fault
from casparian_protocol.contract.errors import ContractInvalid
from casparian_protocol.contract.faults import say
from casparian_protocol.contract.formats import Format, compile_format
from casparian_protocol.contract.literals import read_literal, write_literal
from casparian_protocol.contract.names import MAX_COLUMNS_COUNT, case_twins, check_output_name, column_fault
from casparian_protocol.contract.policy import QuarantinePolicy, unbuilt_keys
from casparian_protocol.contract.types import DataType, describe

Mode = Literal["strict", "allow_extra", "allow_missing_optional"]

TEMPORAL_KINDS = frozenset({"date", "time", "timestamp", "timestamp_ns", "timestamp_tz"})
ORDERED_KINDS = TEMPORAL_KINDS | {"int64", "float64", "decimal", "duration"}
NESTED_KINDS = frozenset({"list", "struct"})
#: validation context of a contract that passed once: its patterns are not compiled again, so pyarrow is not imported
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
    #: strptime patterns, tried in order; none means ISO 8601
    format: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    #: texts that mean NULL; the empty text only if it is listed
    null_values: Annotated[tuple[str, ...], BeforeValidator(_tupled)] = ()
    #: RE2, found anywhere in the text unless anchored
    pattern: str | None = None
    values: Annotated[tuple[bool | int | float | str, ...], BeforeValidator(_tupled), Field(min_length=1)] | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None
    unique: bool = False
    #: a decimal column also takes float64, through the float's shortest text
    lossy: bool = False
    description: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _settle_literals(cls, given: Any) -> Any:
        """Checks become canonical literals before the fields are read, so that equal contracts have equal hashes."""
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
            if info.context != STORED and (fault := pattern_fault(self.pattern)):
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


def settle_checks(given: Mapping[str, Any]) -> dict[str, Any]:
    """The column's literal with `min`, `max` and `values` in canonical spelling; ValueError where they do not fit."""
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
        elif isinstance(settled[check], (list, tuple)):
            settled[check] = tuple(write_literal(data_type, read_literal(data_type, each)) for each in settled[check])
    return settled


class Contract(BaseModel):
    """What the rows of one output must be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    columns: Annotated[tuple[Column, ...], BeforeValidator(_tupled), Field(min_length=1, max_length=MAX_COLUMNS_COUNT)]
    mode: Mode = "strict"
    primary_key: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    quarantine: QuarantinePolicy | None = None

    @model_validator(mode="after")
    def _judge(self) -> Self:
        if twins := case_twins(column.name for column in self.columns):
            raise ValueError(f"the columns {twins[0][0]!r} and {twins[0][1]!r} differ by nothing but case")
        for name in self.primary_key:
            column = self.column(name)
            if column is None:
                raise ValueError(f"primary_key names {name[:80]!r}, which is no column")
            if column.type.kind in NESTED_KINDS:
                raise ValueError(f"primary_key names {name!r}, which is a {column.type.kind}")
        if len(set(self.primary_key)) < len(self.primary_key):
            raise ValueError("primary_key names a column twice")
        return self

    @field_serializer("quarantine")
    def _only_what_was_set(self, policy: QuarantinePolicy | None) -> dict[str, Any] | None:
        return None if policy is None else policy.model_dump(exclude_unset=True)

    @classmethod
    def from_literal(cls, literal: object, *, place: str = "contract", is_stored: bool = False) -> Contract:
        """The contract that a literal spells; `ContractInvalid` names every fault with its place."""
        try:
            contract = cls.model_validate(literal, context=STORED if is_stored else None)
        except ValidationError as faults:
            raise ContractInvalid(say(faults, literal), place=place) from faults
        if not is_stored and (unbuilt := unbuilt_keys(contract.quarantine)):
            raise ContractInvalid(
                [f"quarantine.{key}: not built yet, it would have no effect; leave it out" for key in unbuilt],
                place=place,
            )
        return contract

    @classmethod
    def from_json(cls, text: str | bytes, *, place: str = "contract", is_stored: bool = False) -> Contract:
        """The contract in a `<output>.schema.json` or in canonical form (`is_stored`: it was judged when stored)."""
        try:
            literal = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise ContractInvalid([f"not JSON: {fault}"], place=place) from fault
        return cls.from_literal(literal, place=place, is_stored=is_stored)

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    def literal(self) -> dict[str, Any]:
        """The canonical form as plain values: no aliases, no defaults."""
        plain = self.model_dump(mode="json", exclude_defaults=True)
        return {key: value for key, value in plain.items() if value is not None}

    def canonical_json(self) -> str:
        """One text for one meaning: sorted keys, no spaces, no aliases, no defaults."""
        return json.dumps(self.literal(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def hash(self) -> str:
        """BLAKE3 of the canonical JSON, in hex."""
        return blake3(self.canonical_json().encode()).hexdigest()


def contracts_from_outputs(outputs: object) -> dict[str, Contract]:
    """The contracts of a parser's `outputs = {...}` literal, by output."""
    if not isinstance(outputs, Mapping):
        raise ContractInvalid(["outputs is a mapping of names to contracts"], place="outputs")
    contracts = {}
    for name, literal in outputs.items():
        if not isinstance(name, str):
            raise ContractInvalid([f"{name!r} is no name of an output"], place="outputs")
        contracts[check_output_name(name)] = Contract.from_literal(literal, place=f"contract of output {name!r}")
    return contracts
