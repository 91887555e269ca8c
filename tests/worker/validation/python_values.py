"""The specification of one Python value: the verdict as a pure function of the value and the column, a slow second opinion.

What a text means is `reference`'s. Nothing here knows rows, columns, batches or Arrow.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.worker.validation.reference import Bad, Spec, Verdict, checks, days_from_civil, judge_text, value_of_text

_INT64 = range(-(2**63), 2**63)


def verdict(value: object, spec: Spec) -> Verdict:
    """The value in the contract's type (temporal ones as counts, decimals as fractions) and the codes of what is wrong."""
    if value is None:
        return None, (set() if spec.nullable else {"null_not_allowed"})
    if isinstance(value, str) and is_told(value) and not is_nested(spec.type):
        return judge_text(spec, str.__str__(value))
    try:
        read = typed(value, spec.type, spec)
    except Bad as bad:
        return None, {bad.args[0]}
    except BadParts as bad:
        return None, bad.codes
    return read, checks(spec, read)


class BadParts(Exception):
    """Faults of several items or fields of one value."""

    def __init__(self, codes: set[str]) -> None:
        self.codes = codes


def is_nested(kind: Any) -> bool:
    return isinstance(kind, dict) and kind["kind"] in ("list", "struct")


def is_told(text: str) -> bool:
    """Whether a text can be written down: a lone surrogate cannot."""
    return not any(0xD800 <= ord(each) <= 0xDFFF for each in text)


def typed(value: Any, kind: Any, spec: Spec) -> Any:
    name = kind["kind"] if isinstance(kind, dict) else kind
    match value:
        case str():
            raise Bad("type_mismatch")
        case bool():
            return only(name == "boolean", bool(value))
        case int():
            return whole(int(value), kind, name)
        case float():
            if name == "decimal" and spec.lossy:
                return value_of_text(kind, repr(float(value)))
            return only(name == "float64", float(value))
        case Decimal():
            return only(name == "decimal" and value.is_finite(), None) or value_of_text(kind, str(value))
        case dt.datetime():
            return moment(
                value, name, is_fine=name == "timestamp_ns" or (isinstance(kind, dict) and kind.get("unit") == "ns")
            )
        case dt.date():
            return only(name == "date", days_from_civil(value.year, value.month, value.day))
        case dt.time():
            count = ((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond
            return only(name == "time" and value.tzinfo is None, count)
        case dt.timedelta():
            count = (value.days * 86_400 + value.seconds) * 10**6 + value.microseconds
            if name == "duration" and count not in _INT64:
                raise Bad("out_of_range")
            return only(name == "duration", count)
        case bytes() | bytearray() | memoryview():
            return only(name == "binary", bytes(value))
        case list() | tuple():
            only(name == "list", None)
            return joined([verdict(each, Spec(kind["item"])) for each in value])
        case dict():
            only(name == "struct", None)
            fields = {each["name"]: each for each in kind["fields"]}
            if value.keys() != fields.keys():
                raise Bad("type_mismatch")
            given = [value[key] for key in fields]
            specs = [Spec(each["type"], each.get("nullable", True)) for each in fields.values()]
            pairs = zip(given, specs, strict=True)
            return dict(zip(fields, joined([verdict(each, part) for each, part in pairs]), strict=True))
    raise Bad("type_mismatch")


def only(holds: bool, value: Any) -> Any:
    if not holds:
        raise Bad("type_mismatch")
    return value


def joined(verdicts: list[Verdict]) -> list[Any]:
    codes = set().union(*(codes for _, codes in verdicts))
    if codes:
        raise BadParts(codes)
    return [value for value, _ in verdicts]


def whole(value: int, kind: Any, name: str) -> Any:
    if name == "int64":
        if value not in _INT64:
            raise Bad("out_of_range")
        return value
    if name == "float64":
        if abs(value) > 2**53:
            raise Bad("out_of_range" if abs(value) >= 2**1024 else "precision_exceeded")
        return float(value)
    only(name == "decimal", None)
    if abs(value) * 10 ** kind["scale"] >= 10 ** kind["precision"]:
        raise Bad("precision_exceeded")
    return Fraction(value)


def moment(value: dt.datetime, name: str, *, is_fine: bool) -> int:
    days = days_from_civil(value.year, value.month, value.day)
    seconds = ((days * 24 + value.hour) * 60 + value.minute) * 60 + value.second
    offset = value.utcoffset()
    if name == "timestamp_tz" and offset is None:
        raise Bad("timezone_required")
    only(name == "timestamp_tz" or (name in ("timestamp", "timestamp_ns") and offset is None), None)
    shift = 0 if offset is None else (offset.days * 86_400 + offset.seconds) * 10**6 + offset.microseconds
    instant = seconds * 10**6 + value.microsecond - shift
    first, last = days_from_civil(1, 1, 1), days_from_civil(9999, 12, 31) + 1
    if not first * 86_400 * 10**6 <= instant < last * 86_400 * 10**6:
        raise Bad("out_of_range")
    if is_fine and abs(instant * 1000) > 2**63 - 2:
        raise Bad("out_of_range")
    return instant * 1000 if is_fine else instant
