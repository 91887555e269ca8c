"""The premade parsers are written with what every author of parsers has."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[2] / "parsers").glob("*/*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_premade_parser_imports_only_the_faces_of_casparian_shim(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not isinstance(node, ast.Import) or not any(name.name.startswith("casparian") for name in node.names)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("casparian"):
            face = import_module(node.module or "")
            assert {name.name for name in node.names} <= set(face.__all__), node.module
