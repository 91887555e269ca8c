"""The one vocabulary of violations, for code, command line, console and MCP."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
