"""What a parser declares (name, version, topics, outputs, parameters, …), and values for the parameters it declares.

`read_metadata` checks the literals that `source` found in the code. `accept_parameter` checks a value from a user, a source or a
rule against the declared default. `contract` checks the types of contracts; the gatekeeper checks the code.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Mapping
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from casparian_protocol.bounds import Json
from casparian_protocol.errors import CasparianError
from casparian_protocol.globs import BadGlob, compile_glob
from casparian_protocol.parsers.bundle import name_problem
from casparian_protocol.parsers.errors import (
    MetadataInvalid,
    MetadataMissing,
    SourceNotText,
)
from casparian_protocol.parsers.source import (
    EntryPoint,
    ImportFound,
    Literals,
    collect_literals,
    find_entry_point,
    find_imports,
    json_value,
    parse_source,
)

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")
VERSION_CHARACTERS_MAX = 64
_PATTERNS_MAX = 64
_PATTERN_CHARACTERS_MAX = 240
#: What a registration may hold (`wire.operations.registry`).
TOPIC_CHARACTERS_MAX = 128
_TOPICS_MAX = 64
_NAMES_MAX = 256
_ANY_JSON: TypeAdapter[JsonValue] = TypeAdapter(Json)

_NAME_RULE = 'text that starts with a-z and continues with a-z, 0-9 or _, at most 63 characters, as in "fix_parser"'
#: The name of a `ctx.params` entry: an ordinary identifier, so that `--param k=v` needs no quoting.
_PARAM_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class ParserParam(BaseModel):
    """One entry of `params`: a default, or a file that is granted read-only at run time."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["value", "file"] = "value"
    default: JsonValue = None


class ParserMetadata(BaseModel):
    """The metadata of one parser. It depends on the source alone: the same text gives the same model everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    version: str
    topics: tuple[str, ...] = ()
    #: Output name → contract literal; `contract.Contract.from_literal` validates it.
    outputs: dict[str, dict[str, JsonValue]] = {}
    params: dict[str, ParserParam] = {}
    #: None: not declared. Empty: declared to need nothing.
    dependencies: tuple[str, ...] | None = None
    #: Patterns of further files for the bundle, relative to the parser: `rates/*.csv`.
    include: tuple[str, ...] = ()
    #: Whether records from a reader may become neither a row, nor a rejected row, nor a declared skip.
    may_drop_records: bool = False
    entry: EntryPoint
    imports: tuple[ImportFound, ...] = ()
    #: The line of `outputs` in the source, for messages about contracts.
    outputs_line: int = 1


def read_metadata(source: str, filename: str) -> ParserMetadata:
    """The metadata of the parser in `source`. Raises a `ParserSourceError` with the line and a remedy."""
    tree = parse_source(source, filename)
    try:
        return _metadata_of(tree, filename)
    except RecursionError as cause:
        raise SourceNotText(filename, "it is nested too deeply") from cause


def _metadata_of(tree: ast.Module, filename: str) -> ParserMetadata:
    entry = find_entry_point(tree, filename)
    literals = collect_literals(tree, entry, filename)
    outputs = literals.get("outputs")
    return ParserMetadata(
        name=_name(literals, entry),
        version=_version(literals, entry),
        topics=_topics(literals),
        outputs=_outputs(literals),
        params=_params(literals),
        dependencies=_dependencies(literals),
        include=_include(literals),
        may_drop_records=_may_drop_records(literals),
        entry=entry,
        imports=find_imports(tree),
        outputs_line=outputs.line if outputs else entry.line,
    )


def _name(literals: Literals, entry: EntryPoint) -> str:
    found = literals.get("name")
    if found is None:
        raise MetadataMissing(literals.filename, entry.line, "name", 'name = "fix_parser"')
    if not isinstance(found.value, str) or not NAME_PATTERN.fullmatch(found.value):
        raise MetadataInvalid(literals.filename, found.line, "name", f"it is {_brief(found.value)}", _NAME_RULE)
    return found.value


def _version(literals: Literals, entry: EntryPoint) -> str:
    found = literals.get("version")
    if found is None:
        raise MetadataMissing(literals.filename, entry.line, "version", 'version = "1.0.0"')
    value = found.value
    expected = 'text such as "1.2.0" (PEP 440), at most 64 characters'
    if not isinstance(value, str) or value != value.strip() or len(value) > VERSION_CHARACTERS_MAX:
        raise MetadataInvalid(literals.filename, found.line, "version", f"it is {_brief(value)}", expected)
    try:
        Version(value)
    except InvalidVersion as cause:
        why = f"{_brief(value)} is not a version"
        raise MetadataInvalid(literals.filename, found.line, "version", why, expected) from cause
    return value


def _topics(literals: Literals) -> tuple[str, ...]:
    found = literals.get("topics")
    if found is None:
        return ()
    expected = f'a list of tags, as in ["fix"], at most {_TOPICS_MAX}'
    if not isinstance(found.value, list | tuple) or len(found.value) > _TOPICS_MAX:
        raise MetadataInvalid(literals.filename, found.line, "topics", f"it is {_brief(found.value)}", expected)
    topics: list[str] = []
    for topic in found.value:
        usable = isinstance(topic, str) and topic.strip() == topic and topic.isprintable() and topic
        if not usable or len(topic) > TOPIC_CHARACTERS_MAX or topic in topics:
            why = f"{_brief(topic)} is not a valid tag, or appears twice"
            raise MetadataInvalid(literals.filename, found.line, "topics", why, expected)
        topics.append(topic)
    return tuple(topics)


def _outputs(literals: Literals) -> dict[str, dict[str, JsonValue]]:
    found = literals.get("outputs")
    if found is None:
        return {}
    expected = 'a dict of output name to contract, as in {"fix_orders": {"columns": [...]}}'
    if not isinstance(found.value, Mapping) or len(found.value) > _NAMES_MAX:
        raise MetadataInvalid(literals.filename, found.line, "outputs", f"it is {_brief(found.value)}", expected)
    outputs: dict[str, dict[str, JsonValue]] = {}
    for name, contract in found.value.items():
        if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
            why = f"{_brief(name)} cannot name an output"
            raise MetadataInvalid(literals.filename, found.line, "outputs", why, _NAME_RULE)
        value = json_value(contract, literals.filename, found.line, f"outputs[{name!r}]")
        if not isinstance(value, dict):
            why = f"the contract of {name} is {_brief(contract)}"
            raise MetadataInvalid(literals.filename, found.line, "outputs", why, expected)
        outputs[name] = value
    return outputs


def _params(literals: Literals) -> dict[str, ParserParam]:
    found = literals.get("params")
    if found is None:
        return {}
    expected = 'a dict of name to default, as in {"tz": "UTC"}; a file is {"type": "file"}'
    if not isinstance(found.value, Mapping) or len(found.value) > _NAMES_MAX:
        raise MetadataInvalid(literals.filename, found.line, "params", f"it is {_brief(found.value)}", expected)
    params: dict[str, ParserParam] = {}
    for name, default in found.value.items():
        if not isinstance(name, str) or not _PARAM_PATTERN.fullmatch(name):
            why = f"{_brief(name)} cannot name a parameter"
            raise MetadataInvalid(literals.filename, found.line, "params", why, expected)
        value = json_value(default, literals.filename, found.line, f"params[{name!r}]")
        if not isinstance(value, dict) or "type" not in value:
            params[name] = ParserParam(default=_storable(value, literals.filename, found.line, name))
        elif value == {"type": "file"}:
            params[name] = ParserParam(kind="file")
        else:
            why = f"{name} is {_brief(value)}; the only type that is declared is file, and it has no default"
            raise MetadataInvalid(literals.filename, found.line, "params", why, expected)
    return params


def _storable(value: JsonValue, filename: str, line: int, name: str) -> JsonValue:
    """The default of a parameter, as a registration can hold it. Raises `MetadataInvalid`."""
    try:
        return _ANY_JSON.validate_python(value)
    except ValidationError as cause:
        why = cause.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        expected = "numbers of 64 bits, texts of at most 65,536 characters, lists and dicts at most 16 deep"
        raise MetadataInvalid(filename, line, f"params[{name!r}]", why, expected) from cause


def _dependencies(literals: Literals) -> tuple[str, ...] | None:
    found = literals.get("dependencies")
    if found is None or found.value is None:
        return None
    expected = 'a list of requirements, as in ["polars>=1"], or [] for none'
    if not isinstance(found.value, list | tuple):
        raise MetadataInvalid(literals.filename, found.line, "dependencies", f"it is {_brief(found.value)}", expected)
    dependencies: list[str] = []
    for one in found.value:
        try:
            dependencies.append(str(Requirement(one)) if isinstance(one, str) else _refuse(one))
        except InvalidRequirement as cause:
            why = f"{_brief(one)} is not a requirement"
            raise MetadataInvalid(literals.filename, found.line, "dependencies", why, expected) from cause
    return tuple(dependencies)


def _include(literals: Literals) -> tuple[str, ...]:
    found = literals.get("include")
    if found is None:
        return ()
    expected = 'a list of patterns below the parser\'s directory, as in ["rates.csv", "codes/*.txt"], at most 64'
    if not isinstance(found.value, list | tuple) or len(found.value) > _PATTERNS_MAX:
        raise MetadataInvalid(literals.filename, found.line, "include", f"it is {_brief(found.value)}", expected)
    for one in found.value:
        if (
            not isinstance(one, str)
            or not one
            or len(one) > _PATTERN_CHARACTERS_MAX
            or name_problem(one)
            or not _is_glob(one)
        ):
            why = f"{_brief(one)} is not a pattern of relative names"
            raise MetadataInvalid(literals.filename, found.line, "include", why, expected)
    return tuple(found.value)


def _is_glob(pattern: str) -> bool:
    try:
        compile_glob(pattern)
    except BadGlob:
        return False
    return True


def _may_drop_records(literals: Literals) -> bool:
    found = literals.get("may_drop_records")
    if found is None:
        return False
    if not isinstance(found.value, bool):
        why = f"it is {_brief(found.value)}"
        raise MetadataInvalid(literals.filename, found.line, "may_drop_records", why, "True or False")
    return found.value


def _refuse(value: object) -> str:
    raise InvalidRequirement(f"{_brief(value)} is not text")


def _brief(value: object) -> str:
    """A value from the source, shortened and safe for a terminal."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


# --- values for parameters --------------------------------------------------------------------------------------------


class ParameterRefused(CasparianError):
    """The parser has no such parameter, or the value is invalid."""


def accept_parameter(declared: Mapping[str, JsonValue], name: str, value: JsonValue, origin: str = "") -> JsonValue:
    """The value in the type of the declared default, as the parser gets it. Raises `ParameterRefused`.

    Text is read as JSON if the default is not text, because sources and rules may have been set before the parser was
    known. A whole number becomes a float if the default is a float.
    """
    if name not in declared:
        raise _no_such_parameter(declared, name)
    default = declared[name]
    if isinstance(value, str) and default is not None and not isinstance(default, str):
        value = guess_value(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        source = f" (from {origin})" if origin else ""
        raise ParameterRefused(
            f"The parameter {name}{source} is {_as_json(value)}; it must be {_kind_of_default(default)}, as its default"
            f" {_as_json(default)} is.",
            remedy=_how_to_write(name, default),
        )
    return value


def read_parameter(declared: Mapping[str, JsonValue], text: str) -> tuple[str, JsonValue]:
    """Read `name=value`: the value is text if the default is text, else JSON; without a default, JSON if valid, else text."""
    name, has_value, value = text.partition("=")
    if not has_value:
        raise ParameterRefused(f"{text[:80]!r} has no value.", remedy="Write NAME=VALUE.")
    if name not in declared:
        raise _no_such_parameter(declared, name)
    default = declared[name]
    if isinstance(default, str):
        return name, value
    return name, accept_parameter(declared, name, guess_value(value))


def guess_value(text: str) -> JsonValue:
    """The value as JSON if it is valid JSON, else the text itself: for values whose parser is not known yet."""
    try:
        value: JsonValue = json.loads(text)
        return value
    except (ValueError, RecursionError):
        return text


def _kind_of_default(value: object) -> str:
    return {
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "a map",
    }.get(type(value), "as declared")


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def _how_to_write(name: str, default: object) -> str:
    if isinstance(default, str):
        return f"Write {name}=TEXT."
    return f"Write {name}= and JSON, for example {name}={_as_json(default)}."


def _no_such_parameter(declared: Mapping[str, JsonValue], name: str) -> ParameterRefused:
    near = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
    if near:
        remedy = f"Did you mean {near[0]}?"
    elif declared:
        remedy = f"It has: {', '.join(declared)}."
    else:
        remedy = 'It declares none; a declaration looks like params = {"tz": "UTC"}.'
    return ParameterRefused(f"The parser has no parameter {name[:80]!r}.", remedy=remedy)
