"""The page about the command line is the command line's own."""

from pathlib import Path

from casparian.reference import text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run: python -m casparian.reference > docs/reference/cli.md"


def test_every_command_shows_an_example() -> None:
    sections = text().split("\n## ")[1:]

    assert [section.splitlines()[0] for section in sections if section.count("```") < 4] == []
