"""A task that nobody keeps may vanish while it runs, and nobody hears of its error."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("protocol", "shim", "worker", "sentinel", "console", "cli")
_MAKERS = frozenset({"create_task", "ensure_future"})
#: What waits for a disk: a loop that does it stands still.
_BLOCKING = frozenset({"rmtree", "posix_fallocate", "statvfs", "sleep"})


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def calls(tree: ast.AST, names: frozenset[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node


def test_every_task_is_kept_by_somebody() -> None:
    dropped = [
        f"{path}:{statement.lineno}"
        for path, tree in sources()
        for made in [{id(call) for call in calls(tree, _MAKERS)}]
        for statement in ast.walk(tree)
        if isinstance(statement, ast.Expr) and id(statement.value) in made
    ]

    assert dropped == []


def test_in_the_daemon_one_class_makes_tasks_and_hears_of_their_errors() -> None:
    made = {path for path, tree in sources() if path.startswith("sentinel/") and any(calls(tree, _MAKERS))}

    assert made == {"sentinel/casparian_sentinel/daemon/failures.py"}


def test_no_coroutine_waits_for_the_disk_on_its_loop() -> None:
    waits = [
        f"{path}:{call.lineno}"
        for path, tree in sources()
        for function in ast.walk(tree)
        if isinstance(function, ast.AsyncFunctionDef)
        for call in calls(function, _BLOCKING)
        if not (isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "asyncio")
    ]

    assert waits == []
