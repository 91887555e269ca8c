"""Places that the explanations name exist: files, functions and classes in them, packages and their modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "explanation").glob("*.md"))
FOLDERS = {
    "shim": "shim/casparian_shim", "protocol": "protocol/casparian_protocol", "worker": "worker/casparian_worker",
    "sentinel": "sentinel/casparian_sentinel", "console": "console/casparian_console", "app": "cli/casparian_app",
    "cli": "cli/casparian",
}  # fmt: skip
_PLACE = re.compile(r"`((?:shim|protocol|worker|sentinel|console|app|cli)/[\w/]*(?:\.\w+)?)(?:::([\w.]+))?`")


def file_of(place: str) -> Path:
    first, _, rest = place.partition("/")
    is_whole = rest.startswith("casparian")
    return ROOT / place if is_whole else ROOT / FOLDERS[first] / rest


def names_in(file: Path) -> set[str]:
    """Functions, classes and tables of a module, and the methods of its classes as `Class.method`."""
    names = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {each.id for each in targets if isinstance(each, ast.Name)}
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return names


def missing_places(page: str) -> Iterator[str]:
    for place, name in _PLACE.findall(page):
        file = file_of(place)
        if not file.exists():
            yield place
        elif name and name not in names_in(file):
            yield f"{place}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_place_that_a_page_names_exists(page: Path) -> None:
    assert list(missing_places(page.read_text("utf-8"))) == []


def test_modules_and_tables_that_adding_a_job_kind_names_exist() -> None:
    """`export.py` is the reader's own file; its folder and the table beside it are ours."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| \w+ \| `(casparian_\w+)/([\w/]+)\.py`[^|]* \| `(\w+)` \|", text, re.MULTILINE)
    folders = {folder.rpartition("/")[2]: ROOT / folder for folder in FOLDERS.values()}
    missing = []
    for package, module, table in rows:
        file = folders[package] / f"{module}.py"
        file = file.parent / "__init__.py" if file.stem == "export" else file
        if not file.exists() or table not in names_in(file):
            missing.append(f"{package}/{module}: {table}")
    assert (len(rows), missing) == (6, [])


def test_the_map_names_many_places() -> None:
    assert len(_PLACE.findall((ROOT / "docs/explanation/map-of-the-code.md").read_text("utf-8"))) > 100


def test_a_place_that_is_gone_is_found() -> None:
    page = "`sentinel/core/handlers.py::decide` `sentinel/core/gone.py` `worker/leases.py::LeaseTable.gone`"
    assert list(missing_places(page)) == ["sentinel/core/gone.py", "worker/leases.py::LeaseTable.gone"]


def test_modules_that_a_package_names_are_there() -> None:
    """A package's docstring leads to its modules; names of fields and functions are words of the package too."""
    unknown = []
    for folder in FOLDERS.values():
        for file in sorted((ROOT / folder).rglob("__init__.py")):
            if file.parent.name == "frames":  # the wire's own fields
                continue
            text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
            source = "\n".join(each.read_text("utf-8") for each in file.parent.rglob("*.py") if each != file)
            source += " ".join(names_in(file))
            near = {each.stem for each in (ROOT / folder).rglob("*.py")} | {each.name for each in file.parent.iterdir()}
            near |= {each.name for each in (ROOT / folder).rglob("*") if each.is_dir()} | {
                Path(each).name for each in FOLDERS.values()
            }
            for word in re.findall(r"`([a-z_]+)`", text):
                if word not in near and not re.search(rf"\b{word}\b", source):
                    unknown.append(f"{file.parent.relative_to(ROOT)}: {word}")
    assert unknown == []
