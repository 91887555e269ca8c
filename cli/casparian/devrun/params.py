"""`--param name=value` held against what the parser declares. Pure, but for looking whether a file is there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from casparian.exits import UsageProblem
from casparian_protocol.parser_metadata import ParserParam


class ParamRefused(UsageProblem):
    """A parameter that the parser does not have, or a value that it cannot have."""


def read_params(given: Sequence[str], declared: Mapping[str, ParserParam]) -> dict[str, JsonValue]:
    """Every declared parameter with its value: the default, unless the command line gives another."""
    values = {name: param.default for name, param in declared.items() if param.kind == "value"}
    for text in given:
        name, has_value, value = text.partition("=")
        if not has_value:
            raise ParamRefused(f"--param {text[:80]!r} has no value.", remedy="Write --param name=value.")
        param = declared.get(name)
        if param is None:
            raise _unknown(name, declared)
        values[name] = _file(name, value) if param.kind == "file" else _value(name, value, param.default)
    missing = [name for name in declared if name not in values]
    if missing:
        raise ParamRefused(f"The parser needs the file {missing[0]}.", remedy=f"Give --param {missing[0]}=PATH.")
    return values


def _value(name: str, text: str, default: JsonValue) -> JsonValue:
    """As text when the default is text, else as JSON of the default's type; without a default, whichever fits."""
    if isinstance(default, str):
        return text
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        if default is None:
            return text
        raise _of_other_type(name, text, default) from None
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise _of_other_type(name, text, default)
    return value


def _file(name: str, text: str) -> str:
    path = Path(text)
    if not path.is_file():
        raise ParamRefused(f"--param {name}: {text} is no file.", remedy="Name a file that you may read.")
    return str(path.absolute())


def _of_other_type(name: str, text: str, default: JsonValue) -> ParamRefused:
    return ParamRefused(
        f"--param {name}={text[:80]} is not of the type of its default, {json.dumps(default)}.",
        remedy="Write it as JSON does: a number, true or false, [1, 2].",
    )


def _unknown(name: str, declared: Mapping[str, ParserParam]) -> ParamRefused:
    near = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
    if near:
        remedy = f"Did you mean {near[0]}?"
    elif declared:
        remedy = f"It has: {', '.join(declared)}."
    else:
        remedy = 'It declares none: params = {"tz": "UTC"} would be one.'
    return ParamRefused(f"The parser has no parameter {name[:80]!r}.", remedy=remedy)
