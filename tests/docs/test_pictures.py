"""Every picture is there, is one, and stands in a page. That they show what the console draws is checked by CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.pictures import PICTURES, PLACE, words_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_there_and_stands_in_a_page(name: str) -> None:
    assert {"Home", "Discover", "Parser", "Jobs", "Inspect"} <= words_of(PLACE / f"{name}.svg")
    assert f"pictures/{name}.svg" in (ROOT / "docs" / "how-to" / "console.md").read_text("utf-8")


def test_no_other_picture_is_there() -> None:
    assert {file.stem for file in PLACE.iterdir()} == set(PICTURES)
    assert not [file.name for file in PLACE.iterdir() if "/root/" in file.read_text() or "/work/" in file.read_text()]


def test_words_are_read_without_numbers_and_times(tmp_path: Path) -> None:
    picture = tmp_path / "a.svg"
    picture.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><text><tspan>3 jobs failed,</tspan> 27s ago</text></svg>'
    )
    assert words_of(picture) == {"jobs", "failed,", "ago"}
