"""Each reader has a page that says what it promises, and names every option with its default."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

import casparian_shim

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "read_csv": "read-csv",
    "read_fixed_width": "read-fixed-width",
    "read_lines": "read-lines",
    "read_records": "read-lines",
    "read_jsonl": "read-json",
    "read_json": "read-json",
    "read_xml": "read-xml",
    "read_segments": "read-messages",
    "read_excel": "read-excel",
    "open_member": "read-archives",
}
PROMISES = ["a row is", "rejected", "skipped", "positions", "memory", "speed"]
#: Options of all readers, which the reference has once.
COMMON = {"on_bad", "output", "offsets", "as_", "common"}


def page(reader: str) -> str:
    return (DOCS / "how-to" / f"{PAGES[reader]}.md").read_text("utf-8")


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose header begins so."""
    lines = text.split(f"\n{head}")[1].splitlines()[2:]
    ended = next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in re.split(r"(?<!\\\\)\|", line)[1:-1]] for line in lines[:ended]]


def test_every_reader_has_a_page() -> None:
    assert {name for name in casparian_shim.__all__ if name.startswith("read_")} | {"open_member"} == set(PAGES)


@pytest.mark.parametrize("reader", PAGES)
def test_a_page_says_what_its_reader_promises(reader: str) -> None:
    heads = next(line for line in page(reader).splitlines() if line.startswith("| | `"))
    assert f"`{reader}`" in heads
    assert [row[0] for row in table(page(reader), "| | `")] == PROMISES
    assert all(len(cell) > 3 for row in table(page(reader), "| | `") for cell in row)


@pytest.mark.parametrize("reader", PAGES)
def test_every_option_is_named_with_its_default(reader: str) -> None:
    parameters = inspect.signature(getattr(casparian_shim, reader)).parameters.values()
    options = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    options = {name: default for name, default in options.items() if name not in COMMON | {"format", "fields", "sheet"}}
    rows: dict[str, str] = {}
    if reader == "read_csv":  # the reference has them
        listed = table((DOCS / "reference" / "readers.md").read_text("utf-8"), "| option | default |")
        named = {name.strip("` "): default for names, default, _ in listed for name in names.split(",")}
        assert set(named) == set(options)
        return
    for name, default, meaning in table(page(reader), f"| option of `{reader}`"):
        rows[name.strip("`")] = default.strip("`")
        assert len(meaning) > 5
    assert rows == {name: _written(default) for name, default in options.items()}


def _written(default: object) -> str:
    return json.dumps(default) if isinstance(default, str) else repr(default)
