"""Which modules a parser's source imports, found by AST and never by importing.

The registry asks because anything beyond the standard library, pyarrow and our shim needs a lockfile; the worker may
ask which libraries to preload. Dynamic imports are invisible here: the gatekeeper points at those.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterable, Iterator

from pydantic import BaseModel, ConfigDict

#: What every environment offers without a lockfile.
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
    #: Guarded by `try … except ImportError` or `if TYPE_CHECKING`: the parser works without it.
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
    """Those imports that only a lockfile can supply: not ours, not Python's, not in the bundle, not optional."""
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
