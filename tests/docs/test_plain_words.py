"""Phrases that a native speaker would not say to a colleague stay out of code and pages."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("shim", "protocol", "worker", "sentinel", "console", "cli")
#: The phrase → what to write.
_REPLACED = {
    r"\bis no (?:CSV|JSON|Python|TOML)\b": "is not valid ...",
    r"\bmade anew\b": "rebuilt",
    r"\bsay hello first\b": "send hello first",
    r"\bgiven out by the reader\b": "returned by the reader",
    r"\bThis should not happen\b": "This is a bug.",
    r"\bfor ever\b": "forever",
    r"\bwith empty hands\b": "holding no leases",
    r"\bkeeper tells\b": "reports",
    r"\bheld against\b": "compared with, checked against, validated against",
    r"\bof ours\b": "Casparian's, or say whose",
    r"\b[Ww]hoever\b": "name the caller, the reader or the user",
    r"\blest\b": "so that ... not",
    r"\bthereby\b": "a sentence with a subject",
    r"\bof before\b": "older than",
    r"\bbelongs into\b": "belongs in",
    r"\bknows? nothing of\b": "does not know, does not contain",
}

#: What is odd in the text of code, comments and messages included → what to write.
_ODD = {
    r"\b(?:some|no)body\b": "someone, no one; better: name the role",
    r"\banew\b": "again",
    r"\bmade again\b": "rebuilt, created again",
    r"\bbeside\b": "next to, in addition to, other than",
    r"\btold\b": "sent, reported, notified, or tell apart: distinguished",
    r"\b(?:lies|lay|lie) (?:in|at|on|below|there|here|behind|under|beyond)\b": "is in, is at",
    r"\b(?:goes|go|went) on\b": "continues, keeps running",
    r"(?<![`\w])Pure\.": "nothing: the package's docstring says it once",
}
#: The packages in which no odd phrase may stand.
_CLEAN = _PACKAGES


@cache
def lines_of(folder: str) -> list[tuple[str, str]]:
    """(place, line) of every line of Python in a folder."""
    return [
        (f"{file.relative_to(ROOT)}:{number}", line)
        for file in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
    ]


@cache
def lines_of_pages() -> list[tuple[str, str]]:
    """(place, line) of every line of the pages for users and contributors; decisions and the changelog are history."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    pages += sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions")
    return [
        (f"{page.relative_to(ROOT)}:{number}", line)
        for page in pages
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
    ]


@pytest.mark.parametrize("phrase", _ODD)
def test_no_page_has_an_odd_phrase(phrase: str) -> None:
    odd = re.compile(phrase)
    assert [place for place, line in lines_of_pages() if odd.search(line)] == [], f"write: {_ODD[phrase]}"


@pytest.mark.parametrize("phrase", _ODD)
def test_no_clean_package_has_an_odd_phrase(phrase: str) -> None:
    odd = re.compile(phrase)
    found = [place for folder in _CLEAN for place, line in lines_of(folder) if odd.search(line)]
    assert found == [], f"write: {_ODD[phrase]}"


@pytest.mark.parametrize("phrase", _REPLACED)
def test_no_text_has_this_phrase(phrase: str) -> None:
    wrong = re.compile(phrase)
    files = [file for folder in _PACKAGES for file in sorted((ROOT / folder).rglob("*.py"))]
    files += sorted(file for file in (ROOT / "docs").rglob("*.md") if file.parent.name != "decisions")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in files
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if wrong.search(line)
    ]
    assert found == [], f"write: {_REPLACED[phrase]}"
