"""`python -m bench compare A B NAME [sizes]`: one benchmark on the code of two commits, in turns.

Each commit is checked out below the scratch directory, with an environment of its own from its own `requirements.lock`. The runs
take turns (A, B, A, B), so that other load on the machine affects both equally. Bare loops and peers, which do not depend on our
code, are run with both: they show how much the machine itself varies. This module starts the runs and compares their JSON
documents; the benchmarks of each commit say what is measured.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.children import ROOT
from bench.measure import FORMAT

#: By how much the medians of one case must differ to be called a difference.
_NOTEWORTHY = 0.03
#: With so many runs of each, chance alone keeps the values of both apart in 3 of 100 cases (2 : 8 over 4).
_RUNS_TO_TELL = 4


class CannotCompare(Exception):
    """A commit cannot be checked out, installed or measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one case on both commits: all values, and how many times better the second commit is."""

    case: str
    kind: str
    figure: str
    unit: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    times_better: float

    @property
    def word(self) -> str:
        """`better` or `worse`; "" if the difference is small, the values of both overlap, or there are too few."""
        overlap = max(self.before) >= min(self.after) and max(self.after) >= min(self.before)
        runs = min(len(self.before), len(self.after))
        if overlap or abs(self.times_better - 1) < _NOTEWORTHY or runs < _RUNS_TO_TELL:
            return ""
        return "better" if self.times_better > 1 else "worse"


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Change]:
    """What differs between the documents of two commits. Cases and figures that only one of them has are left out."""
    found: list[Change] = []
    old, new = _values(before), _values(after)
    figures = {figure["name"]: figure for document in (*before, *after) for figure in document["figures"]}
    for key in old.keys() & new.keys():
        case, kind, name = key
        mine, theirs = statistics.median(new[key]), statistics.median(old[key])
        if mine and theirs:
            ratio = mine / theirs if figures[name]["is_higher_better"] else theirs / mine
            found.append(Change(case, kind, name, figures[name]["unit"], (*old[key],), (*new[key],), ratio))
    order = list(old)
    return sorted(found, key=lambda change: order.index((change.case, change.kind, change.figure)))


def _values(documents: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], list[float]]:
    """(case, its kind, figure) → the value of each run."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for document in documents:
        for case in document["cases"]:
            for sample in case.get("samples", []):
                for figure, value in sample["figures"].items():
                    found.setdefault((case["name"], case["kind"], figure), []).append(value)
    return found


def compare(
    commits: tuple[str, str], arguments: Sequence[str], runs: int, scratch: Path | None, report: Path | None
) -> int:
    """Measure and print; returns the exit status. `arguments` are the benchmark's name and sizes, as its own command has them."""
    hashes = [_git("rev-parse", "--verify", f"{commit}^{{commit}}") for commit in commits]
    names = [f"{commit} ({hash[:8]})" for commit, hash in zip(commits, hashes, strict=True)]
    documents: list[list[dict[str, Any]]] = [[], []]
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="casparian-compare-", dir=scratch)))
        checkouts = [
            stack.enter_context(_checked_out(hash, place / side)) for hash, side in zip(hashes, "ab", strict=True)
        ]
        for number in range(1, runs + 1):
            for name, checkout, taken in zip(names, checkouts, documents, strict=True):
                print(f"compare: run {number} of {runs}: {name} …", file=sys.stderr)
                taken.append(_measured(checkout, arguments, place))
    found = changes(*documents)
    _show(names, documents[0][0], found)
    if report is not None:
        content = {
            "format": FORMAT,
            "commits": [
                {"name": commit, "hash": hash, "documents": taken}
                for commit, hash, taken in zip(commits, hashes, documents, strict=True)
            ],
            "changes": [
                {"case": one.case, "figure": one.figure, "times_better": round(one.times_better, 3), "word": one.word}
                for one in found
            ],
        }
        report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


@contextmanager
def _checked_out(commit: str, place: Path) -> Iterator[Path]:
    """The commit's files with an environment in `.venv`; removed at the end."""
    print(f"compare: preparing {commit[:8]} …", file=sys.stderr)
    _git("worktree", "add", "--detach", "--quiet", str(place), commit)
    try:
        venv.create(place / ".venv", with_pip=True)
        pip = [str(place / ".venv/bin/python"), "-m", "pip", "install", "--quiet"]
        _run([*pip, "-r", "requirements.lock"], place)
        _run([*pip, "--no-deps", "--no-build-isolation", "-e", "."], place)
        yield place
    finally:
        _git("worktree", "remove", "--force", str(place))


def _measured(checkout: Path, arguments: Sequence[str], scratch: Path) -> dict[str, Any]:
    """The JSON document of one run of the benchmark on this code."""
    report = checkout / ".venv/report.json"
    command = [str(checkout / ".venv/bin/python"), "-m", "bench", *arguments, "--runs", "1", "--json", str(report)]
    _run([*command, "--scratch", str(scratch)], checkout)
    document: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    if "failed" in document:
        raise CannotCompare(f"{arguments[0]} failed: {document['failed']}")
    return document


def _git(*arguments: str) -> str:
    return _run(["git", *arguments], ROOT).strip()


def _run(command: Sequence[str], place: Path) -> str:
    """What the command prints. Its environment names no other environment, and no other code."""
    names = ("VIRTUAL_ENV", "PYTHONPATH", "GIT_DIR", "GIT_WORK_TREE")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise CannotCompare(f"{' '.join(command[:6])} ended with {done.returncode}: {(words or ['no message'])[-1]}")
    return done.stdout


def _show(names: Sequence[str], document: Mapping[str, Any], found: Sequence[Change]) -> None:
    console = Console(width=160, soft_wrap=True, markup=False, highlight=False)
    table = Table(title=f"row {document['row']}: {document['title']}", title_justify="left")
    table.add_column("case")
    for name in (*names, "times better"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in found:
        case = Text(f"{one.case} ({one.kind}): {one.figure}, {one.unit}")
        table.add_row(case, _cell(one.before), _cell(one.after), f"{one.times_better:.2f}×", one.word)
    console.print(table)
    console.print("Bare loops and peers do not depend on the commit: they show how much the machine itself varies.")


def _cell(values: Sequence[float]) -> str:
    digits = 0 if statistics.median(values) >= 100 else 2
    text = f"{statistics.median(values):,.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"
