"""The literals that carry a parser's metadata: from the top level of its module and the body of its class.

Only plain assignments count (`name = …`, `name: str = …`, `name, version = …, …`); whatever would have to be run to
know the value is refused with its line. What the values mean is `parser_metadata`'s question.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from casparian_protocol.parser_errors import MetadataInvalid, MetadataNotLiteral, MetadataTwice
from casparian_protocol.parser_shape import METADATA_FIELDS, EntryPoint, body_of


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
