"""The figures of a page: `python -m bench draw FILE --into FOLDER` writes plots and tables from results into a page of its own.

The folder has `README.md`, written by hand but for what stands between a pair of markers for each benchmark; `results.json`,
from which these parts are made; and a picture for each benchmark. Results that are not in a new file stay as they were. A test
makes the page from the stored results and compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.rows import BENCHMARKS

RESULTS, PAGE = "results.json", "README.md"
_PART = re.compile(r"(<!-- figures of ([\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
_NONE = "Not measured yet.\n"

Document = Mapping[str, Any]


class NoPage(Exception):
    """The folder has no page, or the page no place for a result."""


def fill(folder: Path, documents: Sequence[Document], draw: Callable[[Document], str]) -> None:
    """Merge results into the folder, and write its page and pictures anew."""
    page = folder / PAGE
    if not page.exists():
        raise NoPage(f"there is no {page}")
    results = {each["benchmark"]: each for each in [*stored(folder), *documents] if "failed" not in each}
    text = page.read_text(encoding="utf-8")
    if homeless := results.keys() - places(text):
        raise NoPage(f"{page} has no place for the figures of {', '.join(sorted(homeless))}")
    ordered = [results[name] for name in sorted(results)]
    (folder / RESULTS).write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    for document in ordered:
        (folder / f"{document['benchmark']}.svg").write_text(draw(document), encoding="utf-8")
    page.write_text(filled(text, ordered), encoding="utf-8")


def stored(folder: Path) -> list[Document]:
    path = folder / RESULTS
    found: list[Document] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def places(text: str) -> set[str]:
    """The benchmarks for which a page has a place."""
    return {name for _begin, name, _end in _PART.findall(text)}


def filled(text: str, documents: Sequence[Document]) -> str:
    """The page with these figures, and with none for other benchmarks."""
    parts = {document["benchmark"]: "\n".join([*part(document), ""]) for document in documents}
    return _PART.sub(lambda found: f"{found[1]}{parts.get(found[2], _NONE)}{found[3]}", text)


def part(document: Document) -> Iterator[str]:
    """Where and how one result was measured, its picture, its table and its targets."""
    machine, sizes = document["machine"], document["sizes"]
    said = ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in sizes.items())
    yield (
        f"Measured {document['began_at'][:10]}: {machine['cores']} cores, {machine['processor']}, Python "
        f"{machine['python']}, fdatasync {machine['fdatasync_milliseconds']} ms; {said}; "
        f"each case run {_times(document['runs'])}; load {document['load_before']} before, {document['load_after']} after."
    )
    if is_small(document):
        yield ""
        yield "**Smaller than the default sizes: these figures show that the page is filled, and nothing about speed.**"
    yield ""
    yield f"![{document['title']}]({document['benchmark']}.svg)"
    yield ""
    figures = [
        figure
        for figure in document["figures"]
        if any((case.get("median") or {}).get(figure["name"]) is not None for case in document["cases"])
    ]
    heads = [f"{figure['name']}, {figure['unit']}" for figure in figures]
    yield f"| case | {' | '.join(heads)} |"
    yield f"|---|{'---:|' * len(figures)}"
    for case in document["cases"]:
        yield f"| {case['name']} | {' | '.join(_cell(case, figure['name']) for figure in figures)} |"
    yield ""
    for target in document["targets"]:
        value = "" if target["value"] is None else f", {target['value']:.3g}{_against(target)}"
        yield f"- {target['text']}: {target['verdict']}{value}"


def is_small(document: Document) -> bool:
    """Whether some size is below the default of today's benchmark."""
    sizes = document["sizes"]
    return any(sizes.get(size.name, 0) < size.default for size in BENCHMARKS[document["benchmark"]].sizes)


def _times(runs: int) -> str:
    return "once" if runs == 1 else f"{runs} times"


def _cell(case: Document, name: str) -> str:
    if case.get("unavailable") or case.get("failed"):
        return "not measured"
    value = (case.get("median") or {}).get(name)
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _against(target: Document) -> str:
    return f" × {target['against']}" if target["against"] else ""
