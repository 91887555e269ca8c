"""A first look at one file: what the detector says of it, its first records as columns, its bytes.

Reads are bounded, whatever the file's size. All returned text is scrubbed, so that a caller may print it unchanged; drawing
tables is the caller's work. A column gets a type only if every value seen leaves no doubt.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from casparian_shim.safe import scrub
from casparian_worker.detection import Detected, Layout, detect_descriptor
from casparian_worker.detection.columns import infer_column
from casparian_worker.detection.fixed_width import ruler
from casparian_worker.detection.rows import first_rows
from casparian_worker.detection.text import read_text
from casparian_worker.discovery.files import open_regular, path_os

PREVIEW_BYTES = 1 << 20
MAX_RECORDS = 1000
MAX_COLUMNS = 500
MAX_CELL_CHARACTERS = 2000
_RAW_LINE_BYTES = 160


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
    #: The verdict; its sentences and texts are scrubbed.
    detected: Detected
    columns: tuple[PreviewColumn, ...]
    records: tuple[tuple[str | None, ...], ...]
    #: The first lines unchanged except for scrubbing; of bytes that are not text, the bytes with escapes.
    lines: tuple[str, ...]
    #: Two lines that show the columns of fixed width; empty for other kinds.
    ruler: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HexRow:
    """Sixteen bytes: their offset, in hex, and as text with dots."""

    offset: int
    hex: str
    text: str


def preview(path: str, record_count: int = 20) -> Preview:
    """The first records of a file (path as text, see `path_text`). Raises `OSError` if it cannot be read."""
    record_count = max(0, min(record_count, MAX_RECORDS))
    handle = open_regular(path_os(path))
    try:
        size_bytes = os.fstat(handle).st_size
        detected, sample, inflated = detect_descriptor(handle, PREVIEW_BYTES)
    finally:
        os.close(handle)
    if inflated is not None:
        sample = inflated.content
    content = detected.content
    if content.codec is None:
        raw = _raw_lines(sample.head, record_count)
        return Preview(scrub(path), size_bytes, _scrubbed(detected), (), (), raw)
    text = read_text(sample, content.codec)
    names, rows = first_rows(content, text, record_count)
    names, rows = names[:MAX_COLUMNS], [row[:MAX_COLUMNS] for row in rows]
    columns = tuple(
        PreviewColumn(_cell(name) or "", infer_type([row[at] if at < len(row) else None for row in rows]))
        for at, name in enumerate(names)
    )
    records = tuple(tuple(_cell(value) for value in row) for row in rows)
    lines = tuple(scrub(line[:MAX_CELL_CHARACTERS]) for line in text.lines[:record_count])
    marks = tuple(ruler(content.details)) if isinstance(content.details, Layout) else ()
    return Preview(scrub(path), size_bytes, _scrubbed(detected), columns, records, lines, marks)


def _scrubbed(detected: Detected) -> Detected:
    """The verdict with sentences that a terminal survives; they quote the file."""
    encoding = detected.encoding
    if encoding is not None:
        encoding = replace(encoding, evidence=_each(encoding.evidence), doubts=_each(encoding.doubts))
    return replace(
        detected,
        evidence=_each(detected.evidence),
        doubts=_each(detected.doubts),
        encoding=encoding,
        inner=None if detected.inner is None else _scrubbed(detected.inner),
    )


def _each(sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(scrub(sentence) for sentence in sentences)


def _raw_lines(head: bytes, limit: int) -> tuple[str, ...]:
    """Bytes that are not text, in lines: ASCII as it is, every other byte as an escape."""
    lines: list[str] = []
    for line in head[: limit * _RAW_LINE_BYTES * 4].split(b"\n"):
        for at in range(0, max(1, len(line)), _RAW_LINE_BYTES):
            if len(lines) == limit:
                return tuple(lines)
            lines.append(scrub(line[at : at + _RAW_LINE_BYTES].decode("ascii", "backslashreplace")))
    return tuple(lines)


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


def infer_type(values: Sequence[str | None]) -> str:
    """The type that all values certainly have, otherwise `text`. `00123` is text, because the zeros would be lost."""
    found = infer_column("c", values)
    if not found.value_count:
        return ""
    kind = found.column["type"]
    name = str(kind["kind"]) if isinstance(kind, dict) else str(kind)
    return "text" if name == "string" else name


def _cell(value: str | None) -> str | None:
    if value is None:
        return None
    return scrub(value if len(value) <= MAX_CELL_CHARACTERS else value[:MAX_CELL_CHARACTERS] + "…")
