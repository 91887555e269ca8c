"""The page that finds a reader: the detector takes each of its files for what the page says, and the draft uses that reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import casparian_shim
from casparian_app.drafting.plans import plans_for
from casparian_worker.detection import Sample, detect

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "which-reader.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(.*?)(?<!\\)` \| (\w+) \| `(\w+)` \|", PAGE, re.MULTILINE)


def test_the_table_names_every_reader_of_text() -> None:
    assert len(ROWS) == PAGE.split("## By its first bytes")[0].count("\n| `")
    found = {reader for *_, reader in ROWS} | set(re.findall(r"`(read_excel|open_member)`", PAGE))
    assert found == {name for name in casparian_shim.__all__ if name.startswith("read_")} | {"open_member"}


@pytest.mark.parametrize(("lines", "kind", "reader"), ROWS, ids=lambda text: text[:20])
def test_a_file_is_what_the_page_says_and_is_read_by_this_reader(lines: str, kind: str, reader: str) -> None:
    text = lines.replace("\\|", "|").replace("↵", "\n") + "\n"
    found = detect(Sample.of_bytes(text.encode()))
    assert found.kind == kind, found
    assert plans_for(found)[0].readers == (reader,)
