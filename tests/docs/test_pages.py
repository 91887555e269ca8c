"""Links of the pages lead somewhere, README and CI run the same tests, and nothing private has slipped into a file."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
_MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|work)/\w+")
_INDEX_HOST = re.compile("py" + r"pi\.org|python" + r"hosted\.org", re.IGNORECASE)
_TEST_COMMAND = re.compile(r"^pip install .*&& .*pytest.*$", re.MULTILINE)


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def anchors(page: Path) -> set[str]:
    """What a heading is called in links: small letters, words joined by hyphens, all else left out."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        for target, anchor in _LINK.findall(line):
            place = f"{page.relative_to(ROOT)}:{number}"
            if "://" in target or target.startswith("mailto:"):
                continue
            file = page.parent / target if target else page
            if not file.exists():
                yield f"{place}: link to {target} leads nowhere"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{place}: {target} has no heading #{anchor}"


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    pages = tracked("*.md")
    assert len(pages) > 40
    assert [dead for page in pages for dead in dead_links(page)] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in tracked("*.md")
        for target, _ in _LINK.findall(page.read_text("utf-8"))
        if target
    }
    alone = [page for page in tracked("docs/*.md") if page.resolve() not in linked]
    assert [str(page.relative_to(ROOT)) for page in alone] == []


def test_readme_and_ci_run_the_same_tests() -> None:
    readme, ci = ((ROOT / name).read_text("utf-8") for name in ("README.md", ".ci/run"))
    assert _TEST_COMMAND.findall(readme) == _TEST_COMMAND.findall(ci) != []


@pytest.mark.parametrize(("pattern", "what"), [(_MACHINE_PATH, "a machine's path"), (_INDEX_HOST, "an index's host")])
def test_nothing_private_is_in_a_file(pattern: re.Pattern[str], what: str) -> None:
    found = []
    for file in tracked("*.py", "*.md", "*.toml", "*.lock", ".ci/run", "*.sql", "*.json", "*.svg"):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if file != Path(__file__) and pattern.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {what}")
    assert found == []


_READ: dict[str, Callable[[str], object]] = {"python": ast.parse, "json": json.loads, "toml": tomllib.loads}
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("language", _READ)
def test_every_example_in_a_page_can_be_read(language: str) -> None:
    unreadable = []
    for page in tracked("*.md"):
        for number, (found, text) in enumerate(_FENCE.findall(page.read_text("utf-8")), 1):
            if found == language:
                try:
                    _READ[language](text)
                except (SyntaxError, ValueError) as wrong:
                    unreadable.append(f"{page.relative_to(ROOT)}, example {number}: {wrong}")
    assert unreadable == []
