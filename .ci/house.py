"""Figures of the house: how many modules there are and how large, how much of them tests hold, and habits that must not return.

Run from anywhere: `python .ci/house.py [REVISION]` prints them for the working tree, beside those of an earlier revision if one
is named; `python .ci/house.py --circles` lists the import circles. `tests/test_house.py` holds the limits. Modules are the
tracked Python files outside `tests/`, sizes are lines as `wc -l` counts them.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Folders of packages that are installed.
PACKAGES = ("shim", "protocol", "worker", "sentinel", "console", "cli")
#: Folders whose code is shown by people's commands and screens.
FRONT_ENDS = ("console", "cli")
LARGEST_LINES = 450
#: Where a front end may hold SQL: the SQL command and screen, and what the demo shows to its reader.
SQL_BELONGS = ("cli/casparian_app/sql.py", "cli/casparian/demo/", "console/casparian_console/screens/inspect/")

_LOOSE = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")
_JOB_TYPE = re.compile(r"\bJobType\.[A-Z]")
_MAX_VERSION = re.compile(r"max\(\s*(?:\w+\.)?version\b", re.IGNORECASE)
_SQL = re.compile(
    r"\s*(?:select\s.+\sfrom\s|select \* from|with\s+\w+\s+as\s|from\s+\w+_\w+|insert\s+into|update\s+\w+\s+set|delete\s+from)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Sources:
    """Every tracked Python file: path → text."""

    texts: Mapping[str, str]

    @classmethod
    def of_revision(cls, revision: str) -> Sources:
        names = [name for name in _git("ls-tree", "-r", "--name-only", revision).splitlines() if name.endswith(".py")]
        return cls({name: _git("show", f"{revision}:{name}") for name in names})

    @classmethod
    def of_working_tree(cls) -> Sources:
        names = _git("ls-files", "*.py").splitlines()
        return cls({name: (ROOT / name).read_text(encoding="utf-8") for name in names if (ROOT / name).is_file()})

    def below(self, *folders: str) -> dict[str, str]:
        return {name: text for name, text in self.texts.items() if name.split("/")[0] in folders}

    @cached_property
    def modules(self) -> dict[str, str]:
        return {name: text for name, text in self.texts.items() if not name.startswith("tests/")}

    @cached_property
    def installed(self) -> dict[str, str]:
        """Dotted name → path, for the modules of the packages."""
        return {_dotted(name): name for name in self.below(*PACKAGES)}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def _dotted(path: str) -> str:
    return ".".join(Path(path).with_suffix("").parts[1:]).removesuffix(".__init__")


def lines_of(texts: Iterable[str]) -> int:
    return sum(text.count("\n") for text in texts)


def imported(module: str, tree: ast.AST, known: Mapping[str, str]) -> set[str]:
    """Modules of ours that `module` imports outside functions, `TYPE_CHECKING` included."""
    found: set[str] = set()
    for node in _outside_functions(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in whole}
    return {name for name in found if name in known and name != module}


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _outside_functions(child)


def circles(sources: Sources) -> list[tuple[str, ...]]:
    """Groups of modules that import each other, each group sorted."""
    known = sources.installed
    graph = {name: imported(name, ast.parse(sources.texts[path]), known) for name, path in known.items()}
    return sorted(tuple(sorted(group)) for group in _knots(graph) if len(group) > 1)


def _knots(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Strongly connected components (Tarjan's, without recursion)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    for start in graph:
        if start in order:
            continue
        work: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(graph[start])))]
        order[start] = lowest[start] = len(order)
        path.append(start)
        on_path.add(start)
        while work:
            node, onward = work[-1]
            for other in onward:
                if other not in order:
                    order[other] = lowest[other] = len(order)
                    path.append(other)
                    on_path.add(other)
                    work.append((other, iter(sorted(graph[other]))))
                    break
                if other in on_path:
                    lowest[node] = min(lowest[node], order[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == order[node]:
                    cut = path.index(node)
                    yield path[cut:]
                    on_path.difference_update(path[cut:])
                    del path[cut:]


def sql_texts(sources: Sources) -> dict[str, int]:
    """Modules of the front ends that hold SQL where none belongs, with the number of texts."""
    found: Counter[str] = Counter()
    for name, text in sources.below(*FRONT_ENDS).items():
        if name.startswith(SQL_BELONGS):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value):
                found[name] += 1
    return dict(found)


def insides(sources: Sources) -> int:
    """Imports of the front ends that reach past the faces (`__init__`) of sentinel and worker."""
    count = 0
    for text in sources.below(*FRONT_ENDS).values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                is_theirs = node.module.split(".")[0] in {"casparian_sentinel", "casparian_worker"}
                count += is_theirs and not sources.installed.get(node.module, "").endswith("__init__.py")
    return count


def figures(sources: Sources) -> dict[str, float]:
    """Name → figure, in the order in which they are shown."""
    sizes = {name: text.count("\n") for name, text in sources.modules.items()}
    told: dict[str, float] = {
        "modules": len(sizes),
        "median lines of a module": statistics.median(sizes.values()),
        "lines of the largest module": max(sizes.values()),
        f"modules over {LARGEST_LINES} lines": sum(size > LARGEST_LINES for size in sizes.values()),
        "import circles": len(circles(sources)),
        "lines of code": lines_of(sources.modules.values()),
        "lines of tests": lines_of(sources.below("tests").values()),
    }
    told["tests per line"] = round(told["lines of tests"] / told["lines of code"], 2)
    for package in (*PACKAGES, "bench"):
        own = sources.below(package)
        about = {name: text for name, text in sources.texts.items() if name.startswith(f"tests/{package}/")}
        told[f"{package}: modules"] = len(own)
        told[f"{package}: median lines"] = statistics.median([text.count("\n") for text in own.values()] or [0])
        told[f"{package}: tests per line"] = round(lines_of(about.values()) / max(1, lines_of(own.values())), 2)
    for package in PACKAGES:
        told[f"{package}: dict[str, Any]"] = _count(_LOOSE, sources.below(package).values())
    outside = {
        name: text for name, text in sources.below(*PACKAGES).items() if "kinds" not in Path(name).with_suffix("").parts
    }
    told["JobType.X outside kinds"] = _count(_JOB_TYPE, outside.values())
    told["max(version)"] = _count(_MAX_VERSION, sources.below(*PACKAGES).values())
    told["SQL texts in front ends"] = sum(sql_texts(sources).values())
    told["imports of insides by front ends"] = insides(sources)
    return told


def _count(pattern: re.Pattern[str], texts: Iterable[str]) -> int:
    return sum(len(pattern.findall(text)) for text in texts)


def main(arguments: list[str]) -> int:
    now = Sources.of_working_tree()
    if arguments == ["--circles"]:
        for group in circles(now):
            print(len(group), *group)
        return 0
    told = figures(now)
    before = figures(Sources.of_revision(arguments[0])) if arguments else {}
    width = max(map(len, told))
    if before:
        print(f"{'':{width}}  {arguments[0][:10]:>10}  {'now':>10}")
    for name, figure in told.items():
        earlier = f"  {before[name]:>10,}" if before else ""
        print(f"{name:{width}}{earlier}  {figure:>10,}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
