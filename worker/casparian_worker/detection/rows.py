"""The first records of a sample as rows of texts, cut by what was detected: for a preview, and to judge types by.

A kind without records has one column with its lines. Records that do not have the detected form are shown as they are, never
repaired.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from casparian_worker.detection.documents import parsed
from casparian_worker.detection.fixed_width import cut_line
from casparian_worker.detection.logs import SYSLOG_HEADERS, pairs_of
from casparian_worker.detection.messages import edifact_elements, fix_fields, hl7_fields, segments_of
from casparian_worker.detection.records import Cutter, cut_records
from casparian_worker.detection.result import Detected, Dialect, Json, Layout, Log, Segments, Xml
from casparian_worker.detection.text import Stretch, Text

Row = list[str | None]
Table = tuple[list[str], list[Row]]


def first_rows(detected: Detected, text: Text, limit: int) -> Table:
    """The names of the columns and the first `limit` records of the head."""
    details = detected.details
    match details:
        case Dialect():
            return _delimited(details, text, limit)
        case Layout():
            return _fixed_width(details, text, limit)
        case Json():
            return _json(details, text, limit)
        case Segments():
            return _BY_SEGMENTS[detected.kind](details, text, limit)
        case Xml() if details.element:
            return _xml(details, text.head, limit)
        case Log():
            return _log(details, text.lines, limit)
        case _:
            return ["line"], [[line] for line in text.lines[:limit]]


def _delimited(dialect: Dialect, text: Text, limit: int) -> Table:
    lines = text.lines[dialect.preamble_lines :]
    if dialect.comment is not None:
        lines = tuple("" if line.startswith(dialect.comment) else line for line in lines)
    if dialect.footer_lines and text.is_whole and not dialect.tables:
        lines = lines[: len(lines) - dialect.footer_lines]
    cutter = Cutter(dialect.delimiter, dialect.quote, dialect.escape)
    records = cut_records(cutter, [Stretch(lines, 0, text.is_whole)])
    rows: list[Row] = [
        [cell for cell, _ in cutter.cells(record.text)]
        for record in islice(records, dialect.header_lines or 0, (dialect.header_lines or 0) + limit)
    ]
    return _widened(list(dialect.names), rows)


def _fixed_width(layout: Layout, text: Text, limit: int) -> Table:
    lines: Iterable[str] = text.lines
    if layout.record_bytes is not None:
        body = text.lines[0]
        lines = (body[at : at + layout.width] for at in range(0, len(body), layout.width))
    rows: list[Row] = [list(cut_line(layout, line)) for line in islice((line for line in lines if line), limit)]
    return [field.name for field in layout.fields], rows


def _json(details: Json, text: Text, limit: int) -> Table:
    if details.shape == "lines":
        values = (parsed(line) for line in text.lines if line.strip())
        return _objects(list(islice((value for value in values if value is not None), limit)))
    return _objects(first_values(text.head, limit))


def first_values(body: str, limit: int) -> list[object]:
    """The first elements of a JSON array, also of one that is cut; or the one value."""
    if not body.lstrip().startswith("["):
        whole = parsed(body)
        return [] if whole is None else [whole]
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    at = body.index("[") + 1
    values: list[object] = []
    while len(values) < limit:
        found = re.compile(r"[\s,]*").match(body, at)
        at = found.end() if found else at
        try:
            value, at = decoder.raw_decode(body, at)
        except (ValueError, RecursionError):
            break
        values.append(value)
    return values


def _objects(values: Sequence[object]) -> Table:
    if not all(isinstance(value, Mapping) for value in values):
        return ["value"], [[_json_text(value)] for value in values]
    return _named(
        [{str(name): _json_text(each) for name, each in value.items()} for value in values if isinstance(value, dict)]
    )


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _named(records: Sequence[Mapping[str, str | None]]) -> Table:
    """Names as columns, in order of appearance."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return names, [[record.get(name) for name in names] for record in records]


def _widened(names: list[str], rows: list[Row]) -> Table:
    """Rows with more fields than names get further columns."""
    width = max(map(len, rows), default=0)
    return [*names, *(f"column_{at + 1}" for at in range(len(names), width))], rows


def _fix(details: Segments, text: Text, limit: int) -> Table:
    """Tags as columns. If a tag is repeated, its first value is shown."""
    records: list[dict[str, str | None]] = []
    for line in text.lines:
        if len(records) < limit and "8=FIX" in line:
            record: dict[str, str | None] = {}
            for tag, value in fix_fields(line, details.element):
                record.setdefault(tag, value)
            records.append(record)
    return _named(records)


def _hl7(details: Segments, text: Text, limit: int) -> Table:
    lines = (line.strip("\x0b\x1c") for line in text.lines)
    return _segments(
        [hl7_fields(line, details.element) for line in islice((each for each in lines if each.strip()), limit)]
    )


def _x12(details: Segments, text: Text, limit: int) -> Table:
    return _segments([each.split(details.element) for each in segments_of(text.head, details)[:limit]])


def _edifact(details: Segments, text: Text, limit: int) -> Table:
    return _segments([edifact_elements(each, details) for each in segments_of(text.head, details)[:limit]])


_BY_SEGMENTS: dict[str, Callable[[Segments, Text, int], Table]] = {
    "fix": _fix,
    "hl7": _hl7,
    "x12": _x12,
    "edifact": _edifact,
}


def _segments(segments: Sequence[Sequence[str]]) -> Table:
    rows: list[Row] = [list(each) for each in segments]
    width = max(map(len, rows), default=0)
    return ["segment", *(f"field{at}" for at in range(1, width))][:width], rows


_ATTRIBUTE = re.compile(r"([\w:.\-]+)\s*=\s*(?:\"([^\"<>]*)\"|'([^'<>]*)')")
_CHILD = re.compile(r"<([A-Za-z_][\w:.\-]*)(?:\s[^<>]*)?>([^<]*)</\1\s*>")


def _xml(details: Xml, head: str, limit: int) -> Table:
    """The repeating element: its attributes, and the text of its children."""
    opening = re.compile(rf"<{re.escape(details.element)}((?:\s[^<>]*)?)>")
    closing = f"</{details.element}"
    records: list[dict[str, str | None]] = []
    at = 0
    while len(records) < limit and (found := opening.search(head, at)) is not None:
        is_empty = found[1].endswith("/")
        end = found.end() if is_empty else head.find(closing, found.end())
        if end < 0:
            break
        inside = "" if is_empty else head[found.end() : end]
        record: dict[str, str | None] = {pair[0]: pair[1] or pair[2] for pair in _ATTRIBUTE.findall(found[1])}
        for child in _CHILD.finditer(inside):
            record.setdefault(child[1], child[2])
        records.append(record or {"text": inside.strip()})
        at = end
    return _named(records)


def _log(details: Log, lines: Sequence[str], limit: int) -> Table:
    filled = [line for line in lines if line.strip()]
    if details.style == "key_value":
        return _named([dict(pairs_of(line)) for line in filled[:limit]])
    if details.style == "multiline":
        return ["record"], [[record] for record in joined_records(lines, details.start)[:limit]]
    pattern = re.compile(f"{SYSLOG_HEADERS[details.style]}(?P<message>.*)", re.DOTALL)
    records: list[dict[str, str | None]] = []
    for line in filled[:limit]:
        found = pattern.match(line)
        records.append(found.groupdict() if found else {"message": line})
    return _named(records)


def joined_records(lines: Sequence[str], start: str) -> list[str]:
    """Lines joined to records that begin where the pattern matches."""
    pattern = re.compile(start)
    records: list[list[str]] = []
    for line in lines:
        if pattern.match(line) or not records:
            records.append([])
        records[-1].append(line)
    return ["\n".join(record).rstrip("\n") for record in records]
