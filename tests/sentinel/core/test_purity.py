"""The core is pure, and its tables are complete."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import msgpack
import pytest

import casparian_sentinel.core
from casparian_protocol.events import CATALOGUE, JobDue, Unknown
from casparian_sentinel.core import commands, worker_commands
from casparian_sentinel.core.folding import HANDLERS as EVOLVERS
from casparian_sentinel.core.folding import NOT_FOLDED, UnfoldableLog, apply
from casparian_sentinel.core.handlers import _HANDLERS as DECIDERS
from casparian_sentinel.core.snapshot import UnreadableSnapshot, dump, load
from casparian_sentinel.core.state import State
from tests.sentinel.core.play import Table, spec

CORE = Path(casparian_sentinel.core.__file__).parent
#: Standard-library modules that reach no clock, file, socket, process or randomness.
PURE = {
    "__future__",
    "abc",
    "collections",
    "collections.abc",
    "dataclasses",
    "functools",
    "heapq",
    "operator",
    "re",
    "typing",
    "zlib",
}
#: `packaging.version` compares versions by PEP 440 and does nothing else.
ALSO = {"packaging.version"}


_CONTAINERS = {"dict", "list", "set", "deque", "OrderedDict", "Counter", "defaultdict"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_a_module_of_the_core_imports_nothing_that_touches_the_world(path: Path) -> None:
    allowed = PURE | ALSO
    ours = ("casparian_protocol", "casparian_sentinel.core")
    assert {name for name in _imports(path) if name not in allowed and not name.startswith(ours)} == set()


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_a_module_of_the_core_remembers_nothing(path: Path) -> None:
    """What is to be remembered is in the state: a module has no container that begins empty, and no cache."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    values = [node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    begin_empty = [
        ast.unparse(value)
        for value in values
        if (isinstance(value, ast.Dict) and not value.keys)
        or (isinstance(value, ast.List | ast.Set) and not value.elts)
        or (isinstance(value, ast.Call) and not value.args and ast.unparse(value.func) in _CONTAINERS)
    ]
    caches = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in ("cache", "lru_cache")]
    assert begin_empty + caches == []
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))


def test_importing_the_core_loads_no_heavy_library() -> None:
    code = "import sys, casparian_sentinel.core.handlers; print({'duckdb', 'pyarrow', 'zmq', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_command_has_a_handler() -> None:
    bases = get_args(commands.Command)
    defined = {
        each
        for module in (commands, worker_commands)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, bases) and each not in bases
    }
    assert defined == set(DECIDERS)
    assert all(dataclasses.is_dataclass(command) for command in DECIDERS)


def test_every_event_is_folded_or_known_to_change_nothing() -> None:
    assert set(EVOLVERS) | NOT_FOLDED == set(CATALOGUE.values())
    assert not set(EVOLVERS) & NOT_FOLDED


def test_every_handler_takes_the_class_that_it_is_listed_for() -> None:
    for kind, handler in EVOLVERS.items():
        taken = get_type_hints(handler)["event"]
        assert kind in (get_args(taken) or (taken,)), handler


def test_an_unknown_event_and_an_impossible_step_are_refused() -> None:
    with pytest.raises(UnfoldableLog, match="not a type of event"):
        apply(State(), 1, 0, Unknown("JobVanished", 1, {}))
    with pytest.raises(UnfoldableLog, match="is not open"):
        apply(State(), 1, 0, JobDue(job_id="0" * 16))


def test_events_carry_the_fields_that_the_catalogue_names() -> None:
    table = Table().with_parser()
    lease = table.running()
    table.fail(lease)
    table.wait(2)
    table.queue(spec(2))
    table.finish(table.running(spec(3)))

    for event in table.log:
        fields = CATALOGUE[event.type].about.fields
        required = {field.name for field in fields if not field.may_be_missing}
        assert required <= set(event.data) <= {field.name for field in fields}, event.type


def test_a_snapshot_survives_msgpack_and_says_the_same() -> None:
    table = Table().with_parser()
    table.running(spec(1))
    table.queue(spec(2, priority=3), spec(3))
    table.finish(table.running(spec(4)))
    kept = msgpack.unpackb(msgpack.packb(dump(table.state)))

    again = load(kept)
    assert dump(again) == dump(table.state)
    assert again.ready.peek(9) == table.state.ready.peek(9)
    assert again.epochs_held == table.state.epochs_held
    with pytest.raises(UnreadableSnapshot):
        load({**kept, "jobs": [[1]]})
    with pytest.raises(UnreadableSnapshot):
        load({"format": 0})
