"""Packages of the sentinel are imported by their faces."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("sentinel", "cli", "console", "bench")
#: Run as a program too, which a face that imports it would do twice.
PROGRAM = "casparian_sentinel.daemon.main"


@pytest.mark.parametrize("face", ["core", "daemon", "log"])
def test_other_packages_import_the_face(face: str) -> None:
    name, own = f"casparian_sentinel.{face}", ROOT / "sentinel" / "casparian_sentinel" / face
    insides = [
        f"{path.relative_to(ROOT)}: {node.module}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if own not in path.parents
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{name}.") and node.module != PROGRAM
    ]
    assert insides == []


@pytest.mark.parametrize("face", ["core", "daemon", "log"])
def test_a_face_lists_what_it_has(face: str) -> None:
    module = import_module(f"casparian_sentinel.{face}")
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
