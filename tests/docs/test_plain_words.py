"""Phrases that a native speaker would not say to a colleague stay out of code and pages."""

import re
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
}


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
