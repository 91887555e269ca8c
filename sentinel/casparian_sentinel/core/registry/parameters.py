"""Parameters of a parser in production: the values that are set, and the values that a job gets.

From lowest to highest precedence: the declared default, the value set for the parser, the source's, and that of the rule which
gave the tag. Each value must have the type of the declared default, so that a parser never gets a type it does not expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from casparian_protocol.bounds import Json
from casparian_protocol.events import ParserParametersSet
from casparian_protocol.packing import pack
from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.parsers.metadata import accept_parameter, guess_value
from casparian_sentinel.core.commands import SetParameters
from casparian_sentinel.core.decision import DecisionBuilder
from casparian_sentinel.core.state import ParserLine, State

_PARAMETERS_BYTES = 8 * 1024
#: A parameter type that is refused today; versions registered before that may have it, and their jobs never got it.
_FILE = {"type": "file"}


def set_parameters(decision: DecisionBuilder, command: SetParameters) -> None:
    """Store values for the jobs that are queued from now on."""
    line = decision.state.parsers.get(command.parser)
    if line is None:
        decision.reject(
            f"There is no parser {command.parser!r}.", "`casparian parser list` shows them.", code="NOT_FOUND"
        )
        return
    declared = declared_of(line)
    stored = {} if command.is_reset else dict(line.params)
    try:
        for name in command.unset:
            accept_parameter(declared, name, declared.get(name))
            stored.pop(name, None)
        for name, value in command.values.items():
            stored[name] = accept_parameter(declared, name, value)
    except ParameterRefused as refused:
        decision.reject(refused.problem, refused.remedy or "", code="INVALID_PARAMETER")
        return
    if len(pack(stored)) > _PARAMETERS_BYTES:
        decision.reject("The parameters exceed 8 KiB.", "Give shorter values.", code="TOO_LARGE")
        return
    if stored != line.params:
        decision.record(ParserParametersSet(name=line.name, params=stored, reason=command.reason[:512]))


def declared_of(line: ParserLine) -> Mapping[str, Json]:
    """The parameters that the current version declares; without one, those of the version registered last."""
    version = line.versions.get(line.current) or next(reversed(line.versions.values()))
    return version.params


def refusal_of(state: State, tag: str, given: Mapping[str, Json]) -> ParameterRefused | None:
    """Why a source (no tag) or a rule with this tag cannot give these parameters: no parser of its files accepts them.

    Before any such parser is registered everything is allowed; the values are checked again when jobs are queued.
    """
    takers = [
        declared
        for line in state.parsers.values()
        if line.versions and (not tag or any(tag in version.topics for version in line.versions.values()))
        for declared in (declared_of(line),)
    ]
    for name, value in given.items() if takers else ():
        refusals = []
        for declared in takers:
            try:
                accept_parameter(declared, name, value)
            except ParameterRefused as refused:
                if name in declared:
                    return refused
                refusals.append(refused)
        if len(refusals) == len(takers):
            return refusals[0]
    return None


def effective(
    declared: Mapping[str, Json], layers: Sequence[tuple[str, Mapping[str, Json]]]
) -> tuple[dict[str, Json], dict[str, str]]:
    """Every declared parameter with its value, and the origin of each value that is not a default.

    `layers` are (origin, values), lowest precedence first. Values for parameters that the version does not declare are ignored.
    Raises `ParameterRefused` for a value whose type is not the declared one.
    """
    values = {name: value for name, value in declared.items() if value != _FILE}
    origins: dict[str, str] = {}
    for origin, given in layers:
        for name, value in given.items():
            if name in values:
                if declared[name] is None and isinstance(value, str) and origin != "set":
                    value = guess_value(value)  # like `parser set`: JSON if it is valid JSON
                values[name] = accept_parameter(declared, name, value, origin)
                origins[name] = origin
    return values, origins
