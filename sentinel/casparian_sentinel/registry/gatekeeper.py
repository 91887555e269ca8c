"""The gatekeeper: a lint over a parser's source that shows a reviewer where it reaches beyond its file.

It is lint, **never a boundary**: Python has more ways to hide an intention than an AST can show, and what contains a
parser is its sandbox. It finds the honest mistakes and the clumsy attacks, each with line, column, rule and reason.
Pure: source text in, findings out. What is looked for stands in `rules`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from casparian_protocol.errors import CasparianError
from casparian_protocol.parsers import parse_source
from casparian_sentinel.registry import rules
from casparian_sentinel.registry.rules import Rule, Severity

Mode = Literal["strict", "warn"]

_SHOWN_MAX = 5
_OPENERS = frozenset({"open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open", "builtins.open"}) | {
    "tarfile.open",
    "zipfile.ZipFile",
}
_WRITING = frozenset("wax+")
_MODE_LETTERS = frozenset("rwaxbt+")
_SCRATCH = "scratch"


class Finding(BaseModel):
    """One place in the source that a reviewer should look at."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str
    line: int
    #: From 1, as editors count.
    column: int
    rule: str
    severity: Severity
    #: What was found there, as named in the source.
    what: str
    why: str


class GatekeeperRefused(CasparianError):
    """In mode `strict` the source reaches beyond what parsers may do."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        shown = "; ".join(f"{f.file}:{f.line}:{f.column} {f.what} ({f.rule}: {f.why})" for f in findings[:_SHOWN_MAX])
        more = f"; and {len(findings) - _SHOWN_MAX} more" if len(findings) > _SHOWN_MAX else ""
        super().__init__(
            f"The gatekeeper refuses this parser: {shown}{more}.",
            remedy='Remove what it names, or set [gatekeeper] mode = "warn", where findings are recorded and reviewed.',
        )


def check(sources: Mapping[str, str], mode: Mode) -> tuple[Finding, ...]:
    """Findings over all modules of a bundle (name → text); raises `GatekeeperRefused` when `mode` is strict."""
    findings = tuple(finding for name in sorted(sources) for finding in inspect_source(sources[name], name))
    refused = tuple(finding for finding in findings if finding.severity == "refuse")
    if mode == "strict" and refused:
        raise GatekeeperRefused(refused)
    return findings


def inspect_source(source: str, filename: str) -> tuple[Finding, ...]:
    """Every finding in one module, in the order of the source."""
    tree = parse_source(source, filename)
    view = _View.of(tree)
    found = {
        (getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, what, rule)
        for node in ast.walk(tree)
        for what, rule in _findings_at(node, view)
    }
    return tuple(
        Finding(
            file=filename, line=line, column=column, rule=rule.name, severity=rule.severity, what=what, why=rule.why
        )
        for line, column, what, rule in sorted(found)
    )


@dataclass(frozen=True, slots=True)
class _View:
    """What the names of one module stand for."""

    #: Local name → the dotted name that an import gave it.
    imported: Mapping[str, str]
    #: Names that were assigned something made from `ctx.scratch`.
    scratch: frozenset[str]
    #: Functions that are called on a path below scratch, by identity of their node: no finding there.
    excused: frozenset[int]

    @staticmethod
    def of(tree: ast.Module) -> _View:
        scratch = _scratch_names(tree)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        excused = (id(call.func) for call in calls if any(_is_scratch(argument, scratch) for argument in call.args))
        return _View(_imported_names(tree), scratch, frozenset(excused))

    def dotted(self, node: ast.expr) -> str:
        """`os.path.join` for an attribute chain that begins with an imported name; empty for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        base = self.imported.get(node.id, "") if isinstance(node, ast.Name) else ""
        return ".".join([base, *reversed(parts)]) if base else ""


def _findings_at(node: ast.AST, view: _View) -> Iterator[tuple[str, Rule]]:
    match node:
        case ast.Import(names=aliases):
            yield from _import_findings(alias.name for alias in aliases)
        case ast.ImportFrom(module=str(module), level=0, names=aliases):
            yield from _import_findings(module if alias.name == "*" else f"{module}.{alias.name}" for alias in aliases)
        case ast.Name(id=name, ctx=ast.Load()) if name in rules.BUILTINS:
            yield name, rules.BUILTINS[name]
        case ast.Attribute(attr=attribute):
            yield from _attribute_findings(node, attribute, view)
        case ast.Call():
            yield from _call_findings(node, view)


def _import_findings(modules: Iterable[str]) -> Iterator[tuple[str, Rule]]:
    for module in modules:
        parts = module.split(".")
        prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        rule = next((rules.DOTTED[prefix] for prefix in prefixes if prefix in rules.DOTTED), None)
        if rule is not None:
            yield module, rule


def _attribute_findings(node: ast.Attribute, attribute: str, view: _View) -> Iterator[tuple[str, Rule]]:
    dotted = view.dotted(node)
    rule = rules.DOTTED.get(dotted)
    if rule is not None and not (rule is rules.WRITE and id(node) in view.excused):
        yield dotted, rule
    elif attribute in rules.ATTRIBUTES:
        yield attribute, rules.ATTRIBUTES[attribute]
    elif attribute == "__dict__" and dotted:
        yield dotted, rules.INTROSPECTION


def _call_findings(node: ast.Call, view: _View) -> Iterator[tuple[str, Rule]]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in {"getattr", "setattr", "vars", "delattr"}:
        if node.args and view.dotted(node.args[0]):
            yield f"{function.id}({view.dotted(node.args[0])}, …)", rules.INTROSPECTION
        return
    name = view.dotted(function) or (function.id if isinstance(function, ast.Name) else "")
    if name in _OPENERS:
        yield from _open_findings(name, _argument(node, 1, "mode"), _argument(node, 0, "file"), view)
    elif isinstance(function, ast.Attribute) and not _is_scratch(function.value, view.scratch):
        if function.attr == "open" and not name:
            mode = _argument(node, 0, "mode")
            if isinstance(mode, ast.Constant) and isinstance(mode.value, str) and not set(mode.value) - _MODE_LETTERS:
                yield from _open_findings(".open", mode, function.value, view)
        elif function.attr in rules.WRITING_METHODS and id(function) not in view.excused:
            yield f".{function.attr}", rules.WRITE


def _open_findings(name: str, mode: ast.expr | None, path: ast.expr | None, view: _View) -> Iterator[tuple[str, Rule]]:
    if mode is None or (path is not None and _is_scratch(path, view.scratch)):
        return
    if not isinstance(mode, ast.Constant) or not isinstance(mode.value, str):
        yield name, rules.UNCLEAR_WRITE
    elif _WRITING & set(mode.value):
        yield f"{name}(…, {mode.value!a})", rules.WRITE


def _argument(node: ast.Call, position: int, keyword: str) -> ast.expr | None:
    named = next((one.value for one in node.keywords if one.arg == keyword), None)
    return named if named is not None or len(node.args) <= position else node.args[position]


def _imported_names(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _scratch_names(tree: ast.Module) -> frozenset[str]:
    """Names assigned from `….scratch`, directly or by way of each other; the flow of control is not followed."""
    assignments = [
        (target.id, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    names: frozenset[str] = frozenset()
    for _ in range(len(assignments)):
        more = names | {name for name, value in assignments if _is_scratch(value, names)}
        if more == names:
            break
        names = more
    return names


def _is_scratch(node: ast.expr, names: frozenset[str]) -> bool:
    return any(
        (isinstance(inner, ast.Attribute) and inner.attr == _SCRATCH)
        or (isinstance(inner, ast.Name) and inner.id in names)
        for inner in ast.walk(node)
    )
