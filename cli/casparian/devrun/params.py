"""`--param name=value` held against what the parser declares. Pure, but for looking whether a file is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from casparian.exits import UsageProblem
from casparian_protocol.parsers import ParameterRefused, ParserParam
from casparian_protocol.parsers.parameters import read


class ParamRefused(UsageProblem):
    """A parameter that the parser does not have, or a value that it cannot have."""


def read_params(given: Sequence[str], declared: Mapping[str, ParserParam]) -> dict[str, JsonValue]:
    """Every declared parameter with its value: the default, unless the command line gives another."""
    defaults: dict[str, JsonValue] = {
        name: "" if param.kind == "file" else param.default for name, param in declared.items()
    }
    values = {name: default for name, default in defaults.items() if declared[name].kind == "value"}
    for text in given:
        try:
            name, value = read(defaults, text)
        except ParameterRefused as refused:
            raise ParamRefused(f"--param: {refused.problem}", remedy=refused.remedy or "") from refused
        values[name] = _file(name, str(value)) if declared[name].kind == "file" else value
    missing = [name for name in declared if name not in values]
    if missing:
        raise ParamRefused(f"The parser needs the file {missing[0]}.", remedy=f"Give --param {missing[0]}=PATH.")
    return values


def _file(name: str, text: str) -> str:
    path = Path(text)
    if not path.is_file():
        raise ParamRefused(f"--param {name}: {text} is no file.", remedy="Name a file that you may read.")
    return str(path.absolute())
