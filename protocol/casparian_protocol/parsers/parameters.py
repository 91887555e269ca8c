"""Values for a parser's declared parameters, checked against the types of the declared defaults."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping

from pydantic import JsonValue

from casparian_protocol.errors import CasparianError


class ParameterRefused(CasparianError):
    """The parser has no such parameter, or the value does not fit it."""


def accept(declared: Mapping[str, JsonValue], name: str, value: JsonValue, origin: str = "") -> JsonValue:
    """The value as the parser gets it: of the declared default's type. Raises `ParameterRefused`.

    A text stands for what it says in JSON where the default is not text (sources and rules may have been given before the
    parser was known); a whole number is a float where the default is one.
    """
    if name not in declared:
        raise _unknown(declared, name)
    default = declared[name]
    if isinstance(value, str) and default is not None and not isinstance(default, str):
        value = guess(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        told = f" (from {origin})" if origin else ""
        raise ParameterRefused(
            f"The parameter {name}{told} is {_short(value)}; it must be {_type_of(default)}, as its default"
            f" {_short(default)} is.",
            remedy=_how_to_write(name, default),
        )
    return value


def read(declared: Mapping[str, JsonValue], text: str) -> tuple[str, JsonValue]:
    """`name=value` as a name and a value: text where the default is text, else JSON; without a default whichever fits."""
    name, has_value, value = text.partition("=")
    if not has_value:
        raise ParameterRefused(f"{text[:80]!r} gives no value.", remedy="Write name=value.")
    if name not in declared:
        raise _unknown(declared, name)
    default = declared[name]
    if isinstance(default, str):
        return name, value
    return name, accept(declared, name, guess(value))


def guess(text: str) -> JsonValue:
    """JSON when it is JSON, else the text itself: for values whose parser is not known yet."""
    try:
        value: JsonValue = json.loads(text)
        return value
    except (ValueError, RecursionError):
        return text


def _type_of(value: object) -> str:
    return {
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "a map",
    }.get(type(value), "as declared")


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def _how_to_write(name: str, default: object) -> str:
    if isinstance(default, str):
        return f"Write {name}=TEXT."
    return f"Write {name}= and JSON, for example {name}={_short(default)}."


def _unknown(declared: Mapping[str, JsonValue], name: str) -> ParameterRefused:
    near = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
    if near:
        remedy = f"Did you mean {near[0]}?"
    elif declared:
        remedy = f"It has: {', '.join(declared)}."
    else:
        remedy = 'It declares none: params = {"tz": "UTC"} would be one.'
    return ParameterRefused(f"The parser has no parameter {name[:80]!r}.", remedy=remedy)
