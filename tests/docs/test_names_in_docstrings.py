"""Docstrings lead somewhere: the pages, files, modules and names that they put into backticks exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.test_map import FOLDERS, ROOT

SOURCES = [file for folder in FOLDERS.values() for file in sorted((ROOT / folder).rglob("*.py"))]
PAGES = {file.name for file in (ROOT / "docs").rglob("*.md")} | {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
#: Words of the wire, of Python, of libraries and of the shell, which no code of ours has to repeat.
WORDS = frozenset(
    [
        "cat",
        "fg",
        "inf",
        "nan",
        "strptime",
        "str_",
        "utf_8",
        "iso8859_1",
        "x5c",
        "zipfile",
        "orders.py",
        "model_fields_set",
        "state.duckdb",
        "daemon.log.1",
        "quarantine.x",
    ]
)
_PAGE = re.compile(r"\b[\w-]+\.md\b")
_FILE = re.compile(r"`((?!casparian_)[\w/.-]+\.(?:py|sql|toml))`")
_NAME = re.compile(r"`([a-z_]\w*(?:\.\w+)*)`('s\b)?")


@cache
def words_of(file: Path) -> frozenset[str]:
    """Identifiers of a module, and the words of its texts; what docstrings say does not count."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        for part in ("id", "attr", "name", "arg"):
            words.update(str(getattr(node, part, "")).split("."))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "`" not in node.value:
            words.update(re.findall(r"\w+", node.value))
    return frozenset(words)


@cache
def all_words() -> frozenset[str]:
    return frozenset().union(*map(words_of, SOURCES))


@cache
def modules() -> dict[str, list[Path]]:
    """Modules and packages by their own name; a package has the files of its folder."""
    found: dict[str, list[Path]] = {}
    for file in SOURCES:
        is_package = file.stem == "__init__"
        files = file.parent.rglob("*.py") if is_package else [file]
        found.setdefault(file.parent.name if is_package else file.stem, []).extend(files)
    return found


def docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def dangling(text: str) -> Iterator[str]:
    """What a docstring names that is not there. "`x`'s work" says that a module `x` does it."""
    for name in _FILE.findall(text):
        if name not in WORDS and not (ROOT / name).exists() and not any(ROOT.glob(f"*/**/{name}")):
            yield name
    for name, is_owner in _NAME.findall(re.sub(_FILE, "", text)):
        first, *rest = name.split(".")
        if name in WORDS:
            continue
        if is_owner and not rest and first not in modules() and not first.startswith("casparian"):
            yield f"{name}'s"
        elif first in modules() and rest:
            known = frozenset().union(*map(words_of, modules()[first])) | modules().keys()
            if not known.issuperset(rest):
                yield name
        elif not all(part in all_words() or part in modules() for part in (first, *rest)):
            yield name


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_docstring_names_exists(folder: str) -> None:
    files = [file for file in SOURCES if (ROOT / FOLDERS[folder]) in file.parents]
    missing = [
        f"{file.relative_to(ROOT)}: {name}" for file in files for text in docstrings(file) for name in dangling(text)
    ]
    assert missing == []


def test_pages_that_code_names_exist() -> None:
    named = {(file, page) for file in SOURCES for page in _PAGE.findall(file.read_text("utf-8"))}
    assert len(named) > 20
    assert [f"{file.relative_to(ROOT)}: {page}" for file, page in sorted(named) if page not in PAGES] == []


def test_a_name_that_leads_nowhere_is_found() -> None:
    text = (
        "`sinks` writes; the rest is `nobody_here`'s work. `leases.LeaseTable.step` and `leases.gone`, `operations.py`."
    )
    assert list(dangling(text)) == ["operations.py", "nobody_here's", "leases.gone"]
