"""The glossary has each word once, in order, and explains none by itself."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "glossary.md"
ENTRIES = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)[1:]
WORDS = [word.strip("` ").lower() for word, _ in ENTRIES if word != "---"]


def test_words_come_once_and_in_order() -> None:
    assert sorted(set(WORDS)) == WORDS


def test_every_meaning_is_a_sentence_that_does_not_use_its_own_word() -> None:
    for word, meaning in zip(WORDS, (meaning for word, meaning in ENTRIES if word != "---"), strict=True):
        assert meaning.endswith("."), word
        assert not re.search(rf"\b{re.escape(word)}\b", meaning), word
