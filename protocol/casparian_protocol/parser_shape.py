"""Where a parser begins: its function or its class, found by AST.

The shape only: what the metadata say is `parser_literals`' and `parser_metadata`'s business.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from casparian_protocol.parser_errors import NotAParser, SeveralParsers, UnusableParse

PARSE = "parse"
METADATA_FIELDS = ("name", "version", "topics", "outputs", "params", "dependencies", "include", "may_drop_records")

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class EntryPoint(BaseModel):
    """What the shim calls: `parse`, or `parse` of one instance of a class."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["function", "class"]
    #: The name of the function (`parse`) or of the class.
    name: str
    line: int
    #: Whether `parse` is given a context: `parse(path, ctx)`, or any method.
    takes_context: bool


def find_entry_point(tree: ast.Module, filename: str) -> EntryPoint:
    """The single parser of this module; none and several are errors with a place.

    A class that carries a `name` is a parser; without such a class the function `parse` is; without both, a
    single class with a method `parse` is, and its metadata stand at the top level.
    """
    functions = [one for one in functions_in(tree.body) if one.name == PARSE]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and _parse_method(node) is not None]
    named = [node for node in classes if "name" in assigned_names(node.body)]
    functions_named = functions if "name" in assigned_names(tree.body) else []
    candidates: Sequence[_Function | ast.ClassDef] = [*functions_named, *named] or functions or classes
    if not candidates:
        raise NotAParser(filename)
    if len(candidates) > 1:
        labels = [f"{one.name} (line {one.lineno})" for one in candidates]
        raise SeveralParsers(filename, candidates[-1].lineno, labels)
    return _entry(candidates[0], filename)


def body_of(tree: ast.Module, entry: EntryPoint) -> Sequence[ast.stmt]:
    """The statements of the entry's class; nothing for a function."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and entry.kind == "class" and node.lineno == entry.line:
            return node.body
    return []


def functions_in(body: Sequence[ast.stmt]) -> list[_Function]:
    """The functions defined directly in `body`, async ones too."""
    return [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def assigned_names(body: Sequence[ast.stmt]) -> frozenset[str]:
    """The plain names that the statements of `body` bind by assignment."""
    names: set[str] = set()
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            names.update(part.id for part in parts if isinstance(part, ast.Name))
    return frozenset(names)


def _parse_method(node: ast.ClassDef) -> _Function | None:
    return next((one for one in functions_in(node.body) if one.name == PARSE), None)


def _entry(node: _Function | ast.ClassDef, filename: str) -> EntryPoint:
    if isinstance(node, ast.ClassDef):
        method = _parse_method(node)
        assert method is not None  # only classes with the method are candidates
        _positional_count(method, filename, at_least=2, at_most=2)
        return EntryPoint(kind="class", name=node.name, line=node.lineno, takes_context=True)
    count = _positional_count(node, filename, at_least=1, at_most=2)
    return EntryPoint(kind="function", name=node.name, line=node.lineno, takes_context=count == 2)


def _positional_count(node: _Function, filename: str, *, at_least: int, at_most: int) -> int:
    """How many arguments `parse` is given; raises when it cannot take them."""
    if isinstance(node, ast.AsyncFunctionDef):
        raise UnusableParse(filename, node.lineno, "it is async")
    arguments = node.args
    accepted = len(arguments.posonlyargs) + len(arguments.args)
    needed = accepted - len(arguments.defaults)
    if any(default is None for default in arguments.kw_defaults):
        raise UnusableParse(filename, node.lineno, "it has keyword arguments without defaults")
    if needed > at_most or (accepted < at_least and arguments.vararg is None):
        raise UnusableParse(filename, node.lineno, f"it needs {needed} and takes {accepted} positional arguments")
    return at_most if arguments.vararg is not None else min(accepted, at_most)
