"""A first look at one file: its kind, its first records as columns, its bytes.

Reads are bounded, whatever the file's size. All returned text is scrubbed, so that a caller may print it unchanged; drawing
tables is the caller's work. A column gets a type only if every value seen leaves no doubt.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from casparian_shim.safe import scrub
from casparian_worker.discovery.files import open_regular, path_os
from casparian_worker.discovery.sniff import (
    HEAD_BYTES,
    Sniffed,
    complete_lines,
    decode_head,
    read_head,
    sniff,
    split_delimited,
)

PREVIEW_BYTES = 1 << 20
MAX_RECORDS = 1000
MAX_COLUMNS = 500
MAX_CELL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class PreviewColumn:
    """A column and its type: a contract's type, `text` if none is certain, empty if there were no values."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The preview of a file. `records` are cut to the columns; None marks a missing value."""

    path: str
    size_bytes: int
    sniffed: Sniffed
    columns: tuple[PreviewColumn, ...]
    records: tuple[tuple[str | None, ...], ...]
    #: The first lines unchanged except for scrubbing; empty for binary files.
    lines: tuple[str, ...]
    #: The kind of a gzip file's content; the records are then those of the content.
    inner: Sniffed | None = None


@dataclass(frozen=True, slots=True)
class HexRow:
    """Sixteen bytes: their offset, in hex, and as text with dots."""

    offset: int
    hex: str
    text: str


def preview(path: str, record_count: int = 20) -> Preview:
    """The first records of a file (path as text, see `path_text`). Raises `OSError` if it cannot be read."""
    record_count = max(0, min(record_count, MAX_RECORDS))
    real = path_os(path)
    head, is_whole = read_head(real, PREVIEW_BYTES)
    sniffed = sniff(head[:HEAD_BYTES], is_whole=is_whole and len(head) <= HEAD_BYTES)
    inner: Sniffed | None = None
    size_bytes = len(head) if is_whole else _size_of(real)
    if sniffed.kind == "gzip":
        head, is_whole = _inflate(head, is_whole)
        inner = sniff(head[:HEAD_BYTES], is_whole=is_whole and len(head) <= HEAD_BYTES)
    shown = inner or sniffed
    if shown.encoding is None:
        return Preview(scrub(path), size_bytes, sniffed, (), (), (), inner)
    text = decode_head(head, shown.encoding)
    lines = complete_lines(text, is_whole, max(record_count + 1, 100))
    names, rows = _records(shown, text, lines, is_whole, record_count)
    names, rows = names[:MAX_COLUMNS], [row[:MAX_COLUMNS] for row in rows]
    columns = tuple(
        PreviewColumn(_cell(name) or "", infer_type([row[at] if at < len(row) else None for row in rows]))
        for at, name in enumerate(names)
    )
    records = tuple(tuple(_cell(value) for value in row) for row in rows)
    raw = tuple(scrub(line[:MAX_CELL_CHARACTERS]) for line in lines[:record_count])
    return Preview(scrub(path), size_bytes, sniffed, columns, records, raw, inner)


def hex_rows(path: str, offset: int = 0, byte_count: int = 512) -> list[HexRow]:
    """Bytes of any file, from any offset; at most `PREVIEW_BYTES` of them."""
    handle = open_regular(path_os(path))
    try:
        data = os.pread(handle, max(0, min(byte_count, PREVIEW_BYTES)), max(0, offset))
    finally:
        os.close(handle)
    rows: list[HexRow] = []
    for at in range(0, len(data), 16):
        piece = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        rows.append(HexRow(offset + at, piece.hex(" "), text))
    return rows


_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")


def infer_type(values: Sequence[str | None]) -> str:
    """The type that all values certainly have, otherwise `text`. `00123` is text, because the zeros would be lost."""
    seen = [value for value in values if value is not None and value != ""]
    if not seen:
        return ""
    if all(_INTEGER.fullmatch(value) for value in seen):
        return "int64"
    if all(_INTEGER.fullmatch(value) or _DECIMAL.fullmatch(value) for value in seen):
        return "decimal"
    if all(_DATE.fullmatch(value) and _is_real(date.fromisoformat, value) for value in seen):
        return "date"
    if all(_TIMESTAMP.fullmatch(value) and _is_real(datetime.fromisoformat, value) for value in seen):
        return "timestamp"
    if all(value in ("true", "false") for value in seen):
        return "boolean"
    return "text"


def _is_real(parse: object, value: str) -> bool:
    assert callable(parse)
    try:
        parse(value)
    except ValueError:
        return False
    return True


Rows = list[list[str | None]]


def _records(sniffed: Sniffed, text: str, lines: list[str], is_whole: bool, limit: int) -> tuple[list[str], Rows]:
    """Column names and rows, by kind; a kind without records shows its lines in one column."""
    match sniffed.kind:
        case "delimited" if sniffed.delimiter:
            return _delimited(sniffed, lines, limit)
        case "fixed_width" if sniffed.column_starts:
            return _fixed_width(sniffed.column_starts, lines[:limit])
        case "ndjson":
            return _objects([_parsed(line) for line in lines if line.strip()][:limit])
        case "json":
            whole = _parsed(text) if is_whole else None
            return _objects(whole[:limit] if isinstance(whole, list) else [whole] if whole is not None else [])
        case "fix":
            return _fix(lines, limit)
        case "hl7" if sniffed.delimiter:
            return _split_all([line for line in lines if line.strip("\x0b\x1c")], sniffed.delimiter, limit)
        case "x12" if sniffed.delimiter:
            segments = [segment.strip() for segment in text.lstrip().split(text.lstrip()[105])]
            return _split_all([segment for segment in segments if segment], sniffed.delimiter, limit)
    return ["line"], [[line] for line in lines[:limit]]


def _delimited(sniffed: Sniffed, lines: list[str], limit: int) -> tuple[list[str], Rows]:
    assert sniffed.delimiter is not None
    rows = split_delimited([line for line in lines if line and not line.startswith("#")], sniffed.delimiter)
    width = max(map(len, rows), default=0)
    names = [f"column{at + 1}" for at in range(width)]
    if sniffed.has_header and rows:
        names[: len(rows[0])] = rows.pop(0)
    return names, [list(row) for row in rows[:limit]]


def _fixed_width(starts: tuple[int, ...], lines: list[str]) -> tuple[list[str], Rows]:
    ends = (*starts[1:], None)
    rows: Rows = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    return [f"column{at + 1}" for at in range(len(starts))], rows


def _fix(lines: list[str], limit: int) -> tuple[list[str], Rows]:
    """Tags as columns, in order of appearance. If a tag is repeated, its first value is shown."""
    messages: list[dict[str, str]] = []
    for line in lines:
        begin = line.find("8=FIX")
        if begin < 0 or len(messages) >= limit:
            continue
        body = line[begin:]
        delimiter = next((each for each in ("\x01", "|", "^A", "^", ";") if each in body), "\x01")
        fields: dict[str, str] = {}
        for part in body.split(delimiter):
            tag, is_field, value = part.partition("=")
            if is_field and tag.isdigit():
                fields.setdefault(tag, value)
        messages.append(fields)
    names = list(dict.fromkeys(tag for message in messages for tag in message))
    return names, [[message.get(name) for name in names] for message in messages]


def _split_all(lines: list[str], delimiter: str, limit: int) -> tuple[list[str], Rows]:
    rows: Rows = [list(line.split(delimiter)) for line in lines[:limit]]
    width = max(map(len, rows), default=0)
    return ["segment", *(f"field{at}" for at in range(1, width))][:width], rows


def _parsed(text: str) -> object:
    try:
        # Numbers stay as they are written; a float would show other digits.
        return json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None


def _objects(values: Sequence[object]) -> tuple[list[str], Rows]:
    if not all(isinstance(value, Mapping) for value in values):
        return ["value"], [[_json_text(value)] for value in values]
    objects = [value for value in values if isinstance(value, Mapping)]
    names = list(dict.fromkeys(str(name) for each in objects for name in each))
    return names, [[_json_text(each[name]) if name in each else None for name in names] for each in objects]


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _inflate(head: bytes, is_whole: bool) -> tuple[bytes, bool]:
    """The first bytes inside a gzip file, bounded; output of a damaged file ends where the damage begins."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        data = inflater.decompress(head, PREVIEW_BYTES)
    except zlib.error:
        return b"", False
    return data, is_whole and inflater.eof and not inflater.unused_data


def _size_of(path: str) -> int:
    return os.stat(path).st_size


def _cell(value: str | None) -> str | None:
    if value is None:
        return None
    return scrub(value if len(value) <= MAX_CELL_CHARACTERS else value[:MAX_CELL_CHARACTERS] + "…")
