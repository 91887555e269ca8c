"""Messages that the troubleshooting page quotes are messages that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.test_remedies import texts

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "troubleshooting.md").read_text("utf-8")


def test_every_quoted_message_is_one_of_the_codes() -> None:
    said = [each.text for each in texts()]
    quoted = [words for words in re.findall("“([^”]+)”", PAGE) if words != "quotation marks"]
    assert len(quoted) > 12
    lacking = [words for words in quoted if not any(fits(words, text) for text in said)]
    assert lacking == []


def fits(words: str, text: str) -> bool:
    """Whether the text holds these words in their order; `…` stands for whatever the code puts in."""
    parts = [part.strip() for part in words.split("…")]
    if any(part not in text for part in parts):
        return False
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None
