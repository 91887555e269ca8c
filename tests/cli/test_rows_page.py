"""docs/reference/rows.md names every column that a home's tables, quarantines and lineage have, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.calls import Caller

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "rows.md").read_text("utf-8")
#: The parser's own.
OWN = {"id", "amount"}


def columns(title: str) -> set[str]:
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    firsts = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    return {name for first in firsts for name in re.findall(r"`(\w+)`", first)}


def columns_of(call: Caller, table: str) -> set[str]:
    return {row["column_name"] for row in call("sql", f"describe select * from {table}", "--json").document}


def test_the_page_has_the_columns_of_every_kind_of_row(lived: Caller) -> None:
    assert columns("Published rows") == columns_of(lived, "advices") - OWN
    assert columns("Quarantined rows") == columns_of(lived, "quarantine.advices") - OWN
    assert columns("From a row to its file") == columns_of(lived, "lineage.files")


def test_a_row_leads_to_its_file_as_the_page_says(lived: Caller) -> None:
    joined = "select a.id, f.source_path from advices a join lineage.files f using (_cf_job_id) order by a.id limit 1"
    (row,) = lived("sql", joined, "--json").document
    assert (row["id"], Path(row["source_path"]).name) == ("A0", "good.txt")
