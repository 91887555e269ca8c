"""The sheets of an xlsx workbook, and where the table on each begins, from its XML: without the library that a parser needs.

Only the beginning of each sheet is looked at. A damaged workbook has no sheets here; its trial says what is wrong.
"""

from __future__ import annotations

import html
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_BYTES_JUDGED = 512 * 1024
_ROWS_JUDGED = 60
_SHEETS_MAX = 50
_SHEET = re.compile(r"<(?:\w+:)?sheet\s[^>]*>")
_RELATION = re.compile(r"<(?:\w+:)?Relationship\s[^>]*>")
_ATTRIBUTE = re.compile(r"""([\w:]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_ROW = re.compile(r"<(?:\w+:)?row(\s[^>]*?)?>(.*?)</(?:\w+:)?row>", re.DOTALL)
#: A cell with a value.
_CELL = re.compile(r"<(?:\w+:)?(?:v|t)(?:\s[^>]*)?>")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet with at least one row, and how many rows come before its table."""

    name: str
    rows_before: int


def sheets_of(path: Path) -> list[Sheet]:
    """The sheets that have rows, in their order."""
    try:
        with zipfile.ZipFile(path) as archive:
            relations = {
                each["Id"]: each["Target"]
                for each in _elements(_RELATION, _beginning(archive, "xl/_rels/workbook.xml.rels"))
                if "Id" in each and "Target" in each
            }
            found = []
            for each in _elements(_SHEET, _beginning(archive, "xl/workbook.xml"))[:_SHEETS_MAX]:
                target = relations.get(each.get("r:id", ""), "")
                inside = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
                before = _rows_before(_beginning(archive, inside)) if target else None
                if before is not None and "name" in each:
                    found.append(Sheet(each["name"], before))
            return found
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError, NotImplementedError):
        return []


def _beginning(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as file:
        return file.read(_BYTES_JUDGED).decode("utf-8", "replace")


def _elements(pattern: re.Pattern[str], text: str) -> list[dict[str, str]]:
    return [
        {name: html.unescape(first or second) for name, first, second in _ATTRIBUTE.findall(found[0])}
        for found in pattern.finditer(text)
    ]


def _rows_before(text: str) -> int | None:
    """The rows before the first one with as many cells as most have; None if there are no rows."""
    counts: list[tuple[int, int]] = []
    number = 0
    for attributes, content in _ROW.findall(text):
        own = re.search(r'\br="(\d+)"', attributes)
        number = int(own[1]) if own else number + 1
        cells = len(_CELL.findall(content))
        if cells:
            counts.append((number, cells))
        if len(counts) >= _ROWS_JUDGED:
            break
    if not counts:
        return None
    usual = Counter(cells for _, cells in counts).most_common(1)[0][0]
    widest = max((cells for _, cells in counts if cells <= 2 * usual), default=usual)
    begin = next((number for number, cells in counts if cells >= widest), counts[0][0])
    return begin - 1
