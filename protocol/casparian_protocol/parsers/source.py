"""A parser's source as a syntax tree: its entry point, its imports, and the literals it declares. The source is never run.

`find_entry_point` finds the function `parse` or the class with that method. `find_imports` lists the imported modules: all except
the standard library, pyarrow and the shim need a lock file. It does not find dynamic imports, which the gatekeeper reports.
`collect_literals` reads the metadata fields: plain assignments at the top level or in the class body (`name = …`,
`name: str = …`, `name, version = …, …`). A computed value is refused with its line.
"""

from __future__ import annotations

import ast
import io
import math
import sys
import tokenize
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from casparian_protocol.parsers.errors import (
    MetadataInvalid,
    MetadataNotLiteral,
    MetadataTwice,
    NotAParser,
    SeveralParsers,
    SourceHasSyntaxError,
    SourceNotText,
    SourceTooLarge,
    UnusableParse,
)

SOURCE_CHARACTERS_MAX = 2_000_000


def source_text(data: bytes, filename: str) -> str:
    """Decode source bytes the way Python does: byte order mark, coding line, else UTF-8."""
    try:
        encoding, _lines = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as cause:
        raise SourceNotText(filename, str(cause)) from cause
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_source(source: str, filename: str) -> ast.Module:
    """The syntax tree of `source`. Python's errors are raised as `ParserSourceError`s with their place."""
    if len(source) > SOURCE_CHARACTERS_MAX:
        raise SourceTooLarge(filename, len(source), SOURCE_CHARACTERS_MAX)
    if "\0" in source:  # Python's own message depends on its version
        raise SourceNotText(filename, "it contains null characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # do not warn about odd escapes in docstrings
            return ast.parse(source, filename=filename)
    except SyntaxError as cause:
        text = (cause.text or "").rstrip("\n")
        raise SourceHasSyntaxError(filename, cause.lineno or 1, cause.offset or 1, cause.msg, text) from cause
    except (ValueError, RecursionError, MemoryError) as cause:  # nesting too deep for Python's stack
        why = "it is nested too deeply" if isinstance(cause, RecursionError | MemoryError) else str(cause)
        raise SourceNotText(filename, why) from cause


PARSE = "parse"
METADATA_FIELDS = ("name", "version", "topics", "outputs", "params", "dependencies", "include", "may_drop_records")

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class EntryPoint(BaseModel):
    """The entry point that the shim calls: `parse`, or `parse` of one instance of a class."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["function", "class"]
    #: The name of the function (`parse`) or of the class.
    name: str
    line: int
    #: Whether `parse` gets a context: `parse(path, ctx)`, or any method.
    takes_context: bool


def find_entry_point(tree: ast.Module, filename: str) -> EntryPoint:
    """The only parser of this module. Raises an error with a place if there are none or several.

    A class with a `name` is a parser; without one, the function `parse` is; without both, the only class with a method
    `parse` is, and its metadata are at the top level.
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
    """The statements of the entry's class; empty for a function."""
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
    """How many arguments `parse` gets. Raises an error if it does not accept them."""
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


#: Available in every environment without a lockfile.
BASE_MODULES = frozenset({"pyarrow", "casparian_shim"})

_IMPORT_FAILURES = frozenset({"ImportError", "ModuleNotFoundError"})


class ImportFound(BaseModel):
    """One module named by one import statement."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    #: The dotted name as written, without the leading dots of a relative import.
    module: str
    line: int
    #: `from . import x`: a sibling in the bundle, never a dependency.
    is_relative: bool = False
    #: Whether it is guarded by `try … except ImportError` or `if TYPE_CHECKING`, so that the parser works without it.
    is_optional: bool = False

    @property
    def top_level(self) -> str:
        """The first part of the dotted name: what an installer would have to supply."""
        return self.module.partition(".")[0]


def find_imports(tree: ast.Module) -> tuple[ImportFound, ...]:
    """Every import statement of the module, at any depth, in the order of its lines."""
    found = list(_imports_below(tree, is_optional=False))
    return tuple(sorted(found, key=lambda one: (one.line, one.module)))


def foreign_imports(imports: Iterable[ImportFound], own_modules: Collection[str]) -> tuple[ImportFound, ...]:
    """Imports that need a lockfile: not Casparian's, not in the standard library, not in the bundle, not optional."""
    return tuple(
        one
        for one in imports
        if not one.is_relative
        and not one.is_optional
        and one.top_level not in sys.stdlib_module_names
        and one.top_level not in BASE_MODULES
        and one.top_level not in own_modules
    )


def _imports_below(node: ast.AST, *, is_optional: bool) -> Iterator[ImportFound]:
    match node:
        case ast.Import(names=names, lineno=line):
            for alias in names:
                yield ImportFound(module=alias.name, line=line, is_optional=is_optional)
        case ast.ImportFrom(module=module, level=level, lineno=line):
            yield ImportFound(module=module or "", line=line, is_relative=level > 0, is_optional=is_optional)
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
            guarded = is_optional or any(_catches_import_error(handler) for handler in handlers)
            yield from _imports_in(body, is_optional=guarded)
            yield from _imports_in([*handlers, *orelse, *finalbody], is_optional=is_optional)
        case ast.If(test=test, body=body, orelse=orelse):
            yield from _imports_in(body, is_optional=is_optional or _is_type_checking(test))
            yield from _imports_in(orelse, is_optional=is_optional)
        case _:
            yield from _imports_in(ast.iter_child_nodes(node), is_optional=is_optional)


def _imports_in(nodes: Iterable[ast.AST], *, is_optional: bool) -> Iterator[ImportFound]:
    for node in nodes:
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _imports_below(node, is_optional=is_optional)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(one, ast.Name) and one.id in _IMPORT_FAILURES for one in caught)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


# --- literals ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LiteralFound:
    """One field, its value, and its place."""

    value: object
    line: int


@dataclass(frozen=True, slots=True)
class Literals:
    """Every metadata field in the source, each once."""

    filename: str
    found: Mapping[str, LiteralFound]

    def get(self, field: str) -> LiteralFound | None:
        """The field, or None if the source does not have it."""
        return self.found.get(field)


def collect_literals(tree: ast.Module, entry: EntryPoint, filename: str) -> Literals:
    """The metadata of the parser at `entry`. A field may be in the class body or at the top level, but not in both."""
    lines: dict[str, int] = {}
    found: dict[str, LiteralFound] = {}
    for field, node, line in (*_assignments(tree.body), *_assignments(body_of(tree, entry))):
        if field in lines:
            raise MetadataTwice(filename, line, field, lines[field])
        lines[field] = line
        found[field] = LiteralFound(_literal(node, field, line, filename), line)
    return Literals(filename, found)


def json_value(value: object, filename: str, line: int, field: str) -> JsonValue:
    """The value as JSON (tuples become lists). Raises an error for a value that JSON cannot express."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [json_value(item, filename, line, field) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: json_value(item, filename, line, field) for key, item in value.items()}
    why = f"it contains a {type(value).__name__} that JSON cannot express"
    raise MetadataInvalid(
        filename, line, field, why, "text, finite numbers, True/False/None, lists, dicts with text keys"
    )


def _assignments(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr | None, int]]:
    """(field, value, line) of each assignment to a metadata field; the value is None if it cannot be separated."""
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
    """Refuse two equal keys, of which Python would silently keep the last."""
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
