"""The page about CSV: each damage in its table becomes what it says. `test_how_to_read` runs its examples."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from casparian_shim import read_csv

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "read-csv.md"
TEXT = PAGE.read_text("utf-8")
DAMAGES = re.findall(r"^\| `(2[^`]*)` \| (.*) \|$", TEXT, re.MULTILINE)


def test_the_table_has_every_kind_of_damage() -> None:
    assert len(DAMAGES) > 18


@pytest.mark.parametrize(("record", "becomes"), DAMAGES)
def test_a_damaged_record_becomes_what_the_page_says(record: str, becomes: str) -> None:
    data = b"id,name,city\n1,Ann,Rome\n" + as_bytes(record) + b"\n3,Cay,Bern\n"

    reader = read_csv(io.BytesIO(data))
    rows = {row["id"]: row for row in reader}
    assert [rows[number]["name"] for number in ("1", "3")] == ["Ann", "Cay"]
    assert set(rows) <= {"1", "2", "3"}
    reasons = [bad.reason for bad in reader.rejected.first]
    if becomes.startswith("rejected: "):
        assert reasons == [becomes.removeprefix("rejected: ")]
    else:
        assert reasons == []
        assert rows["2"]["name"] == name_in(becomes)


def as_bytes(text: str) -> bytes:
    """The text of the page as bytes: `↵` is a line end and `\\xEB` a byte."""
    text = text.replace("↵", "\n")
    return re.sub(rb"\\x([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())


def name_in(becomes: str) -> str | None:
    _, _, said = becomes.partition("`name` is ")
    values = {"": "Bob", "NULL": None, "an empty text": ""}
    return values[said] if said in values else as_bytes(said.strip("`")).decode()
