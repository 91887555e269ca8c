"""A guest comes through the spawner's port, with the environment of its own assignment, on any kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casparian_worker.execute import Finished
from casparian_worker.guest import BASE_ENVIRONMENT, Environment
from tests.worker.attempts import Desk


def test_a_parser_imports_what_its_own_environment_has_and_another_one_does_not(tmp_path: Path) -> None:
    library = tmp_path / "site"
    library.mkdir()
    (library / "dates_of_ours.py").write_text("ANSWER = 42\n")
    source = "import dates_of_ours\ndef parse(path):\n    yield {'a': 'x', 'n': dates_of_ours.ANSWER}\n"
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with_it, without = Desk(tmp_path / "one"), Desk(tmp_path / "other")
    environment = Environment(BASE_ENVIRONMENT.python, (*BASE_ENVIRONMENT.sys_paths, str(library)), "f" * 64)
    assert isinstance(with_it.run(source, environment=environment), Finished)
    assert with_it.table("data.rows.0.parquet")["n"].to_pylist() == [42]
    assert without.failed(source).error.code == "DEPENDENCY_MISSING"


def test_an_attempt_is_the_same_without_descriptors_of_processes_and_files_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.delattr(os, "memfd_create")
    desk = Desk(tmp_path)
    desk.finished("def parse(path):\n    print('said')\n    yield {'a': 'x', 'n': 1}\n")
    assert desk.table("data.rows.0.parquet")["a"].to_pylist() == ["x"]
    assert "said" in desk.log()


def test_a_guest_that_dies_is_understood_without_descriptors_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    error = Desk(tmp_path).failed("import os, signal\ndef parse(path): os.kill(os.getpid(), signal.SIGSEGV)\n").error
    assert "SIGSEGV" in error.message
