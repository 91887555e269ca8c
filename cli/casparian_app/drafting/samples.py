"""The samples of a draft: which files they are, the excerpt of one that becomes a test, and the sheets of a workbook.

A workbook's sheets, and where the table on each begins, are seen in the XML at their beginning, without the library that a
parser needs; a damaged one has no sheets here, and its trial says what is wrong. What a sample is, the detector says.
"""

from __future__ import annotations

import gzip
import html
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casparian_worker import EBCDIC, Detected, Dialect, Sample, Segments

#: Of a directory or a long list of samples at most so many are looked at.
SAMPLES_DETECTED_MAX = 200
EXCERPT_RECORDS = 20
#: A file of this size is taken whole if its format cannot be cut.
WHOLE_BYTES_MAX = 256 * 1024
_HEAD_BYTES = 1 << 20
_CUT_BY_LINES = ("delimited", "fixed_width", "ndjson", "syslog", "key_value", "multiline", "text", "fix")
_BYTES_JUDGED = 512 * 1024
_ROWS_JUDGED = 60
_SHEETS_MAX = 50
_SHEET = re.compile(r"<(?:\w+:)?sheet\s[^>]*>")
_RELATION = re.compile(r"<(?:\w+:)?Relationship\s[^>]*>")
_ATTRIBUTE = re.compile(r"""([\w:]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_ROW = re.compile(r"<(?:\w+:)?row(\s[^>]*?)?>(.*?)</(?:\w+:)?row>", re.DOTALL)
#: A cell with a value.
_CELL = re.compile(r"<(?:\w+:)?(?:v|t)(?:\s[^>]*)?>")


def find_samples(paths: Sequence[Path]) -> list[Path]:
    """The samples themselves: a directory stands for the regular files below it, hidden ones left out."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = (Path(folder) / name for name in sorted(names) if not name.startswith("."))
            found += [file for file in files if file.is_file() and not file.is_symlink()]
            if len(found) >= SAMPLES_DETECTED_MAX:
                break
    return found[:SAMPLES_DETECTED_MAX]


# --- excerpts ---


def excerpt(detected: Detected, sample: Sample) -> bytes | None:
    """The first records; None if the file is large and its format cannot be cut. `sample` holds the content of a gzip file."""
    content = detected.content
    head = sample.head[:_HEAD_BYTES]
    is_whole = sample.is_whole and len(head) == sample.sampled_bytes
    data: bytes | None
    if content.kind in _CUT_BY_LINES and content.codec is not None:
        data = _first_lines(content, head, is_whole)
    elif content.kind in ("hl7", "x12", "edifact"):
        data = _first_messages(content, head, is_whole)
    else:
        data = head if is_whole and len(head) <= WHOLE_BYTES_MAX else None
    if data is None or detected.kind != "gzip":
        return data
    return gzip.compress(data, mtime=0)


def _first_lines(content: Detected, head: bytes, is_whole: bool) -> bytes:
    """The first lines, with those before the table and the ones that end it."""
    details = content.details
    before = after = 0
    if isinstance(details, Dialect):
        before, after = details.preamble_lines + (details.header_lines or 0), details.footer_lines
    ends = _line_ends(head, content.codec or "utf-8")
    if not ends:
        return head
    wanted = before + EXCERPT_RECORDS
    if is_whole and len(ends) <= wanted + after:
        return head
    cut = head[: ends[min(wanted, len(ends)) - 1]]
    if isinstance(details, Dialect) and details.quote is not None:
        # A record over several lines is not cut: quotes pair in whole records only.
        quote, place = details.quote.encode(content.codec or "utf-8")[-1:], min(wanted, len(ends)) - 1
        while cut.count(quote) % 2 and place + 1 < min(len(ends), wanted + EXCERPT_RECORDS):
            place += 1
            cut = head[: ends[place]]
    if after and is_whole and len(ends) > after:
        cut += head[ends[-after - 1] :]
    return cut


def _line_ends(head: bytes, codec: str) -> list[int]:
    """Where lines end, in bytes; by code units where a character has several."""
    if codec.startswith(("utf-16", "utf-32")):
        width = 2 if codec.startswith("utf-16") else 4
        is_big = codec.endswith("be") or head[:width] in (b"\xfe\xff", b"\0\0\xfe\xff")
        unit = b"\0" * (width - 1) + b"\n" if is_big else b"\n" + b"\0" * (width - 1)
        found = [match.end() for match in re.finditer(re.escape(unit), head)]
        return [end for end in found if end % width == 0]
    if codec in EBCDIC:
        return [match.end() for match in re.finditer(rb"[\x15\x25]", head)]
    return [match.end() for match in re.finditer(rb"\r\n|\n|\r", head)]


def _first_messages(content: Detected, head: bytes, is_whole: bool) -> bytes | None:
    """The first messages of HL7; of X12 and EDIFACT the interchange, which has to be whole."""
    if content.kind != "hl7" or not isinstance(content.details, Segments):
        return head if is_whole and len(head) <= WHOLE_BYTES_MAX else None
    begins = [match.start(1) for match in re.finditer(rb"(?:^|[\r\n\x0b])(MSH)", head)]
    if len(begins) <= EXCERPT_RECORDS:
        return head if is_whole else head[: begins[-1]] if len(begins) > 1 else None
    cut = head[: begins[EXCERPT_RECORDS]]
    return cut[:-1] if cut.endswith(b"\x0b") else cut


# --- workbooks ---


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
