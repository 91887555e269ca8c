"""The tutorial is true: its commands, run in an empty directory, print what it says they print."""

from pathlib import Path

import pytest

from tests.end_to_end.tutorial import play, without_accidents

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorial").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_tutorial_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert without_accidents(play(text, tmp_path)) == without_accidents(text)
