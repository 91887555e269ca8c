"""The house is kept: no import circles, modules of a readable size, tests beside the code, and habits that must not return.

`python .ci/house.py` prints the figures. A limit that is not reached yet stands at the present figure and is only ever tightened.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
AT_MOST = {
    "modules": 525,
    "import circles": 0,
    "modules over 450 lines": 0,
    "JobType.X outside kinds": 0,
    "max(version)": 0,
    "SQL texts in front ends": 0,
    "imports of insides by front ends": 0,
    "protocol: dict[str, Any]": 15,
    "sentinel: dict[str, Any]": 7,
    "console: dict[str, Any]": 11,
    "cli: dict[str, Any]": 4,
}
AT_LEAST = {
    "median lines of a module": 140,
    "tests per line": 0.65,
    "shim: tests per line": 0.6,
    "protocol: tests per line": 0.5,
    "cli: tests per line": 0.5,
}


@cache
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def figures() -> dict[str, float]:
    told: dict[str, float] = house().figures(house().Sources.of_working_tree())
    return told


@pytest.mark.parametrize("name", AT_MOST)
def test_a_figure_does_not_grow(name: str) -> None:
    assert figures()[name] <= AT_MOST[name]


@pytest.mark.parametrize("name", AT_LEAST)
def test_a_figure_does_not_shrink(name: str) -> None:
    assert figures()[name] >= AT_LEAST[name]


def sources(**texts: str) -> Any:
    """Modules of a package `a` in the folder `cli`, by their names."""
    return house().Sources({f"cli/a/{name}.py": text for name, text in texts.items()})


def test_a_circle_is_found_through_type_checking_and_through_a_face() -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import one\n"
    assert house().circles(sources(one="from a import two\n", two=typed)) == [("a.one", "a.two")]
    through_the_face = sources(__init__="from a.one import x\n", one="from a import y\n")
    assert house().circles(through_the_face) == [("a", "a.one")]


def test_an_import_inside_a_function_closes_no_circle() -> None:
    late = "def f():\n    from a import one\n"
    assert house().circles(sources(one="from a import two\n", two=late)) == []


def test_each_knot_of_a_graph_is_told_once_however_it_is_entered() -> None:
    around = sources(
        one="import a.two\n", two="import a.three\n", three="import a.one\nimport a.four\n", four="import a.four\n"
    )
    assert house().circles(around) == [("a.one", "a.three", "a.two")]


def test_sql_is_told_from_prose_that_begins_like_it() -> None:
    texts = [
        "select id from cf_files",
        "\\n    with taken as (select 1)",
        "from cf_outputs",
        "From which events on jobs count.",
        "from the console",
        "select a row",
    ]
    found = house().sql_texts(sources(screen="\n".join(f'x = "{text}"' for text in texts)))
    assert found == {"cli/a/screen.py": 3}
    assert house().sql_texts(house().Sources({"cli/casparian_app/sql.py": 'x = "select id from cf_files"'})) == {}
