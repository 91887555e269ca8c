"""What sentinel and worker list for the application layer is there, and costs nothing until it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import casparian_sentinel
import casparian_worker
from tests.cli.app.conftest import copy_of, running

ROOT = Path(__file__).resolve().parents[3]
FACES = [casparian_sentinel, casparian_worker]
COMMANDS = sorted(path.stem for path in (ROOT / "cli/casparian/commands").glob("[a-z]*.py"))


@pytest.fixture(scope="module")
def watched_home(original_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a running daemon."""
    with running(copy_of(original_home, tmp_path_factory.mktemp("watched") / "home")) as home:
        yield home.root


def homes(face: ModuleType) -> dict[str, tuple[str, str]]:
    """Public name → its module, and its name there."""
    found: dict[str, str | tuple[str, str]] = face._HOMES
    places = {name: place if isinstance(place, tuple) else place.partition(":")[::2] for name, place in found.items()}
    return {name: (module, there or name) for name, (module, there) in places.items()}


def typed_names(face: ModuleType) -> set[str]:
    """What a type checker sees: the imports below `if TYPE_CHECKING`."""
    assert face.__file__ is not None
    tree = ast.parse(Path(face.__file__).read_text("utf-8"))
    (checking,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {
        alias.asname or alias.name for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_face_lists_one_set_of_names_for_readers_checkers_and_programs(face: ModuleType) -> None:
    assert set(face.__all__) == homes(face).keys() == typed_names(face)
    assert len(face.__all__) == len(set(face.__all__))


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_every_listed_name_is_there_and_is_what_its_module_has(face: ModuleType) -> None:
    for name, (module, there) in homes(face).items():
        assert getattr(face, name) is getattr(importlib.import_module(module), there)


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_no_listed_name_is_that_of_a_module(face: ModuleType) -> None:
    """`from casparian_worker import scan` must mean one thing, whatever was imported before."""
    assert face.__file__ is not None
    folder = Path(face.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    assert set(face.__all__) & modules == set()


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_name_that_is_not_listed_is_an_ordinary_error(face: ModuleType) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        face.no_such_name  # noqa: B018


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_every_listed_name_is_used_by_the_application_layer(face: ModuleType) -> None:
    used = set()
    for path in (ROOT / "cli/casparian_app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == face.__name__:
                used |= {alias.name for alias in node.names}
    assert set(face.__all__) - used == set()


def loaded_by(script: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_help_imports_neither_duckdb_nor_pyarrow_nor_any_command() -> None:
    script = "from casparian.main import casparian, run\nrun(casparian, ['--help'])"
    loaded = loaded_by(script)
    assert loaded & {"duckdb", "pyarrow", "zmq", "casparian_sentinel", "casparian_worker", "pydantic"} == set()
    assert {name for name in loaded if name.startswith("casparian.commands.")} == set()


def test_no_command_imports_duckdb_or_pyarrow_before_it_is_called() -> None:
    loaded = loaded_by("\n".join(f"import casparian.commands.{name}" for name in COMMANDS))
    assert loaded & {"duckdb", "pyarrow", "casparian_sentinel.local", "casparian_worker.agent"} == set()
    assert {f"casparian.commands.{name}" for name in COMMANDS} <= loaded


@pytest.mark.parametrize("program", ["casparian_worker.__main__", "casparian_sentinel.projection.__main__"])
def test_a_process_that_answers_no_client_imports_none_of_a_clients_operations(program: str) -> None:
    """Making their models takes a good part of the start of a process, and each worker's memory."""
    assert {
        name for name in loaded_by(f"import {program}") if name.startswith("casparian_protocol.wire.operations")
    } == set()


@pytest.mark.parametrize("line", ["log tail -n 1", "log stats", "files --limit 1", "jobs --limit 1", "status"])
def test_a_look_at_a_home_beside_a_daemon_imports_neither_duckdb_nor_pyarrow(line: str, watched_home: Path) -> None:
    """What a person types all day must not wait for libraries of tables: those are the daemon's."""
    words = ["--home", str(watched_home), *line.split()]
    script = f"from casparian.main import casparian, run\nassert run(casparian, {words!r}) == 0"
    assert loaded_by(script) & {"duckdb", "pyarrow", "casparian_sentinel.local", "casparian_worker.agent"} == set()
