"""Messages that the troubleshooting page quotes are messages that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.test_remedies import modules, texts_of

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "troubleshooting.md").read_text("utf-8")


def test_every_quoted_message_is_one_of_the_codes() -> None:
    texts = [text for _name, tree in modules() for _line, text in texts_of(tree)]
    quoted = [words for words in re.findall("“([^”]+)”", PAGE) if words != "quotation marks"]
    assert len(quoted) > 12
    lacking = [words for words in quoted if not any(fits(words, text) for text in texts)]
    assert lacking == []


def fits(words: str, text: str) -> bool:
    """Whether the text holds these words in their order; `…` stands for whatever the code puts in."""
    return re.search(".*".join(re.escape(part.strip()) for part in words.split("…")), text, re.DOTALL) is not None
