"""The page that finds a reader: the detector takes each of its files for what the page says, and drafts use what it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import casparian_shim
from casparian_app.drafting.plans import plans_for
from casparian_app.drafting.premade import premade_parsers
from casparian_worker.detection import Sample, detect

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "which-reader.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(.*?)(?<!\\)` \| (\w+) \| `(\w+)` \| ([^|]*) \|", PAGE, re.MULTILINE)
PREMADE = premade_parsers(ROOT / "parsers")


def test_the_table_names_every_reader() -> None:
    assert len(ROWS) == PAGE.split("## By its first bytes")[0].count("\n| `")
    found = {reader for _, _, reader, _ in ROWS} | set(re.findall(r"`(read_excel|open_member)`", PAGE))
    assert found == {name for name in casparian_shim.__all__ if name.startswith("read_")} | {"open_member"}


@pytest.mark.parametrize(("lines", "kind", "reader", "premade"), ROWS, ids=lambda text: text[:20])
def test_a_file_is_what_the_page_says_and_a_draft_uses_what_it_names(
    lines: str, kind: str, reader: str, premade: str
) -> None:
    text = lines.replace("\\|", "|").replace("↵", "\n") + "\n"
    found = detect(Sample.of_bytes(text.encode()))
    assert found.kind == kind, found
    assert plans_for(found)[0].readers == (reader,)
    shown = [f"**`{each.kind}`**" if each.manifest.is_drafted else f"`{each.kind}`" for each in PREMADE]
    known = [each for each, one in zip(shown, PREMADE, strict=True) if kind in one.manifest.reads]
    assert premade == (known[0] if known else "–")
