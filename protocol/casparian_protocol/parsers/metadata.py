"""What a parser declares: literals at the top level of its module or in the body of its class, read by AST.

Only plain assignments count (`name = …`, `name: str = …`, `name, version = …, …`). A value that would have to be
computed is refused with its line. Whether a contract's types make sense is checked in `contract`, whether the code is
dangerous by the gatekeeper.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, JsonValue

from casparian_protocol.globs import BadGlob, compile_glob
from casparian_protocol.parsers.bundle import name_problem
from casparian_protocol.parsers.errors import (
    MetadataInvalid,
    MetadataMissing,
    MetadataNotLiteral,
    MetadataTwice,
    SourceNotText,
)
from casparian_protocol.parsers.source import (
    METADATA_FIELDS,
    EntryPoint,
    ImportFound,
    body_of,
    find_entry_point,
    find_imports,
    parse_source,
)

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")
VERSION_CHARACTERS_MAX = 64
_PATTERNS_MAX = 64
_PATTERN_CHARACTERS_MAX = 240
TOPIC_CHARACTERS_MAX = 255

_NAME_RULE = 'text that starts with a-z and continues with a-z, 0-9 or _, at most 63 characters, as in "fix_parser"'
#: The name of a `ctx.params` entry: an ordinary identifier, so that `--param k=v` needs no quoting.
_PARAM_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class ParserParam(BaseModel):
    """One entry of `params`: a default, or a file that is granted read-only at run time."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["value", "file"] = "value"
    default: JsonValue = None


class ParserMetadata(BaseModel):
    """What one parser declares. A frozen fact of its source: the same text gives the same model everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    version: str
    topics: tuple[str, ...] = ()
    #: Output name → contract literal as written; `contract.Contract.from_literal` judges it.
    outputs: dict[str, dict[str, JsonValue]] = {}
    params: dict[str, ParserParam] = {}
    #: None: the parser does not say. Empty: it says that it needs nothing.
    dependencies: tuple[str, ...] | None = None
    #: Patterns of further files that belong into the bundle, relative to the parser: `rates/*.csv`.
    include: tuple[str, ...] = ()
    #: Records that a reader gave out may end as no row, no rejected row and no declared skip.
    may_drop_records: bool = False
    entry: EntryPoint
    imports: tuple[ImportFound, ...] = ()
    #: Where `outputs` stands in the source, for messages about contracts.
    outputs_line: int = 1


def read_metadata(source: str, filename: str) -> ParserMetadata:
    """What the parser in `source` declares; raises a `ParserSourceError` that names the line and the remedy."""
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
    expected = 'a list of tags, as in ["fix"]'
    if not isinstance(found.value, list | tuple):
        raise MetadataInvalid(literals.filename, found.line, "topics", f"it is {_brief(found.value)}", expected)
    topics: list[str] = []
    for topic in found.value:
        usable = isinstance(topic, str) and topic.strip() == topic and topic.isprintable() and topic
        if not usable or len(topic) > TOPIC_CHARACTERS_MAX or topic in topics:
            why = f"{_brief(topic)} is not a tag, or is there twice"
            raise MetadataInvalid(literals.filename, found.line, "topics", why, expected)
        topics.append(topic)
    return tuple(topics)


def _outputs(literals: Literals) -> dict[str, dict[str, JsonValue]]:
    found = literals.get("outputs")
    if found is None:
        return {}
    expected = 'a dict of output name to contract, as in {"fix_orders": {"columns": [...]}}'
    if not isinstance(found.value, Mapping):
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
    if not isinstance(found.value, Mapping):
        raise MetadataInvalid(literals.filename, found.line, "params", f"it is {_brief(found.value)}", expected)
    params: dict[str, ParserParam] = {}
    for name, default in found.value.items():
        if not isinstance(name, str) or not _PARAM_PATTERN.fullmatch(name):
            why = f"{_brief(name)} cannot name a parameter"
            raise MetadataInvalid(literals.filename, found.line, "params", why, expected)
        value = json_value(default, literals.filename, found.line, f"params[{name!r}]")
        if not isinstance(value, dict) or "type" not in value:
            params[name] = ParserParam(default=value)
        elif value == {"type": "file"}:
            params[name] = ParserParam(kind="file")
        else:
            why = f"{name} is {_brief(value)}; the only type that is declared is file, and it has no default"
            raise MetadataInvalid(literals.filename, found.line, "params", why, expected)
    return params


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
    """A value from the source, short, and without anything that a terminal would obey."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


@dataclass(frozen=True, slots=True)
class LiteralFound:
    """One field, its value, and where the value stands."""

    value: object
    line: int


@dataclass(frozen=True, slots=True)
class Literals:
    """Every metadata field that the source gives, each once."""

    filename: str
    found: Mapping[str, LiteralFound]

    def get(self, field: str) -> LiteralFound | None:
        """The field, or None when the source does not give it."""
        return self.found.get(field)


def collect_literals(tree: ast.Module, entry: EntryPoint, filename: str) -> Literals:
    """The metadata of the parser at `entry`; the class body and the top level may each give a field, not both."""
    lines: dict[str, int] = {}
    found: dict[str, LiteralFound] = {}
    for field, node, line in (*_assignments(tree.body), *_assignments(body_of(tree, entry))):
        if field in lines:
            raise MetadataTwice(filename, line, field, lines[field])
        lines[field] = line
        found[field] = LiteralFound(_literal(node, field, line, filename), line)
    return Literals(filename, found)


def json_value(value: object, filename: str, line: int, field: str) -> JsonValue:
    """The value as JSON would hold it (tuples become lists); what JSON cannot hold is an error, not a guess."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [json_value(item, filename, line, field) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: json_value(item, filename, line, field) for key, item in value.items()}
    why = f"it contains a {type(value).__name__} that JSON cannot hold"
    raise MetadataInvalid(
        filename, line, field, why, "text, finite numbers, True/False/None, lists, dicts with text keys"
    )


def _assignments(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr | None, int]]:
    """(field, value, line) of each assignment to a metadata field; the value is None when it has none of its own."""
    for node in body:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _unpacked(target, value)
            case ast.AnnAssign(target=ast.Name(id=field), value=ast.expr() as value) if field in METADATA_FIELDS:
                yield field, value, node.lineno
            case ast.AugAssign(target=ast.Name(id=field)) if field in METADATA_FIELDS:
                yield field, None, node.lineno


def _unpacked(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr | None, int]]:
    if isinstance(target, ast.Name) and target.id in METADATA_FIELDS:
        yield target.id, value, target.lineno
    if not isinstance(target, ast.Tuple | ast.List):
        return
    values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
    is_plain = len(values) == len(target.elts) and not any(
        isinstance(one, ast.Starred) for one in (*values, *target.elts)
    )
    for index, part in enumerate(target.elts):
        if isinstance(part, ast.Name) and part.id in METADATA_FIELDS:
            yield part.id, values[index] if is_plain else None, part.lineno


def _literal(node: ast.expr | None, field: str, line: int, filename: str) -> object:
    if node is None:
        raise MetadataNotLiteral(filename, line, field)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Dict):
            _refuse_repeated_keys(inner, field, filename)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as cause:  # TypeError: an unhashable key
        raise MetadataNotLiteral(filename, _first_computed(node) or line, field) from cause


def _refuse_repeated_keys(node: ast.Dict, field: str, filename: str) -> None:
    """Python would keep the last of two equal keys, in silence."""
    lines: dict[str, int] = {}
    for key in node.keys:
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            continue
        if key.value in lines:
            raise MetadataTwice(filename, key.lineno, f"{field}[{key.value!a}]", lines[key.value])
        lines[key.value] = key.lineno


def _first_computed(node: ast.expr) -> int | None:
    """The line of the first name, call or other computed part inside what should be a literal."""
    plain = ast.Constant | ast.Dict | ast.List | ast.Tuple | ast.Set | ast.expr_context | ast.UnaryOp | ast.unaryop
    lines = [inner.lineno for inner in ast.walk(node) if isinstance(inner, ast.expr) and not isinstance(inner, plain)]
    return min(lines, default=None)
