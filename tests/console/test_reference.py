"""docs/reference/console.md is what the tables of actions say."""

from __future__ import annotations

from pathlib import Path

from casparian_console.shell_actions import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "console.md"


def test_the_page_of_keys_is_made_from_the_actions() -> None:
    remedy = "run: python -m docs.generated"
    assert PAGE.read_text(encoding="utf-8") == reference(), remedy
