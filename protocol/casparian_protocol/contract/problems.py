"""Errors and codes: what can be wrong with a contract, a name or a value.

`say` turns pydantic's errors into one line each, with the place and a suggestion. `ViolationCode` lists the codes of
values that do not fit, for code, command line, console and MCP.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from casparian_protocol.errors import CasparianError, ErrorCode


class ContractInvalid(CasparianError):
    """A contract's literal breaks the format; `problems` has one line a fault, each with its place."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, problems: Sequence[str], *, place: str = "contract") -> None:
        self.problems = tuple(problems)
        self.place = place
        super().__init__(
            f"The {place} is not valid: " + "; ".join(self.problems),
            remedy="Correct the named places; docs/reference/contract-format.md has every key, type and check.",
        )


class NameInvalid(CasparianError):
    """A name of an output or column that the rules refuse."""

    code = ErrorCode.OUTPUT_NAME

    def __init__(self, kind: str, name: str, rule: str) -> None:
        self.name = name
        super().__init__(f"The {kind} name {name[:80]!r} {rule}.", remedy=f"Rename the {kind} in the parser.")


class ViolationCode(StrEnum):
    TYPE_MISMATCH = "type_mismatch"
    NULL_NOT_ALLOWED = "null_not_allowed"
    FORMAT_MISMATCH = "format_mismatch"
    PRECISION_EXCEEDED = "precision_exceeded"
    TIMEZONE_REQUIRED = "timezone_required"
    VALUE_NOT_ALLOWED = "value_not_allowed"
    OUT_OF_RANGE = "out_of_range"
    NOT_UNIQUE = "not_unique"
    COLUMN_MISSING = "column_missing"
    COLUMN_EXTRA = "column_extra"
    PARSER_REJECTED = "parser_rejected"


@dataclass(frozen=True, slots=True)
class Judged:
    """What one text means to one type: a value, or the code that says why it has none."""

    value: object = None
    code: ViolationCode | None = None


#: the keys at each depth; kept beside the models by a test
CONTRACT_KEYS = ("columns", "mode", "primary_key", "quarantine")
COLUMN_KEYS = (
    "name", "type", "nullable", "format", "null_values", "pattern", "values", "min", "max", "unique", "lossy",
    "description",
)  # fmt: skip
POLICY_KEYS = ("allow", "max_pct", "max_count", "dir", "keep_days")
MAX_PROBLEMS = 20
#: What pydantic says of Python, as somebody says it who wrote a literal.
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
    """One line a fault."""
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
