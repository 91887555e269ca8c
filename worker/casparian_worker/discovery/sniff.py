"""What a file is, judged only by its first bytes, with the evidence.

Signatures are checked first, then the encoding and the shape of the text. `sniff` returns a kind for any bytes and never raises.
A kind is a hint for rules and people: parsers are chosen by tags, and no file is refused because of its kind.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from casparian_worker.discovery.files import open_regular

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is a prefix of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Control bytes that text formats use: tab, line ends, page feed, FIX's SOH, HL7's framing, separators of ASCII.
_USED_CONTROLS = frozenset(b"\t\n\r\x0b\x0c\x01\x1a\x1b\x1c\x1d\x1e\x1f\x08")
_CONTROLS = bytes(byte for byte in range(32) if byte not in _USED_CONTROLS) + b"\x7f"
_UNDEFINED_IN_CP1252 = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))


def detect_encoding(head: bytes, *, is_whole: bool) -> str | None:
    """The name of a Python codec, or None. A multi-byte character that the head cuts in two is not an error."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding if _decodes(head, encoding, is_whole) else None
    if (unmarked := _utf16_without_mark(head, is_whole)) is not None:
        return unmarked
    if len(head) - len(head.translate(None, _CONTROLS)) > len(head) // 1000:
        return None
    if _decodes(head, "utf-8", is_whole):
        return "utf-8"
    high = sum(byte >= 0x80 for byte in head)
    if high > len(head) * 3 // 10:
        return None  # Western text has few letters beyond ASCII, so this is something else
    has_c1 = any(0x80 <= byte <= 0x9F for byte in head)
    if has_c1 and not any(byte in _UNDEFINED_IN_CP1252 for byte in head):
        return "cp1252"
    return "iso-8859-1"


def decode_head(head: bytes, encoding: str) -> str:
    """The text of a head; undecodable bytes (a cut character) become U+FFFD or are dropped."""
    return codecs.getincrementaldecoder(encoding)("replace").decode(head, False)


def _decodes(head: bytes, encoding: str, is_whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(head, is_whole)
    except UnicodeError:
        return False
    return True


def _utf16_without_mark(head: bytes, is_whole: bool) -> str | None:
    """Recognise Latin text in UTF-16 by a zero in every second byte and in no other byte."""
    sample = head[:4096]
    if len(sample) < 8 or b"\0" not in sample:
        return None
    even, odd = sample[0::2], sample[1::2]
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        is_likely = zeros.count(0) > 0.7 * len(zeros) and others.count(0) == 0
        if is_likely and _decodes(head, encoding, is_whole):
            return encoding
    return None


HEAD_BYTES = 64 * 1024
_LINES_LOOKED_AT = 100
_FIELD_CHARACTERS_MAX = 32 * 1024
DELIMITERS = (",", "\t", "|", ";", "\x1f", "\x01")

KINDS = (
    "empty",
    "fix",
    "hl7",
    "x12",
    "evtx",
    "pcap",
    "gzip",
    "zip",
    "zstd",
    "tar",
    "parquet",
    "sqlite",
    "json",
    "ndjson",
    "xml",
    "delimited",
    "fixed_width",
    "text",
    "binary",
)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A kind, the evidence, and its details. None means unknown."""

    kind: str
    why: str
    encoding: str | None = None
    delimiter: str | None = None
    has_header: bool | None = None
    #: The first character of each column; fixed width only.
    column_starts: tuple[int, ...] = ()


_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"ElfFile\x00", "evtx", "begins with ElfFile"),
    (0, b"\xd4\xc3\xb2\xa1", "pcap", "begins with the pcap magic (little-endian, µs)"),
    (0, b"\xa1\xb2\xc3\xd4", "pcap", "begins with the pcap magic (big-endian, µs)"),
    (0, b"\x4d\x3c\xb2\xa1", "pcap", "begins with the pcap magic (little-endian, ns)"),
    (0, b"\xa1\xb2\x3c\x4d", "pcap", "begins with the pcap magic (big-endian, ns)"),
    (0, b"\x0a\x0d\x0d\x0a", "pcap", "begins with a pcapng section header"),
    (0, b"\x1f\x8b", "gzip", "begins with 1f 8b"),
    (0, b"PK\x03\x04", "zip", "begins with PK 03 04"),
    (0, b"PK\x05\x06", "zip", "begins with PK 05 06 (an empty archive)"),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "begins with the zstd magic"),
    (0, b"PAR1", "parquet", "begins with PAR1"),
    (0, b"SQLite format 3\x00", "sqlite", "begins with SQLite format 3"),
    (257, b"ustar", "tar", "has ustar at byte 257"),
)
_FIX = re.compile(r"(?<![0-9])8=FIX")
_HL7 = re.compile(r"(?:^|[\r\n])[\x0b\x1c]?(?:MSH|FHS|BHS)([^\w\s])")


def sniff(head: bytes, *, is_whole: bool) -> Sniffed:
    """Judge the first bytes of a file; `is_whole` says that there are no more."""
    if not head:
        return Sniffed("empty", "has no bytes")
    for offset, magic, kind, why in _SIGNATURES:
        if head.startswith(magic, offset):
            return Sniffed(kind, why)
    encoding = detect_encoding(head, is_whole=is_whole)
    if encoding is None:
        # A FIX log may contain raw data fields; the tag is still plain text.
        if _FIX.search(head[:4096].decode("latin-1")):
            return Sniffed("fix", "has 8=FIX among bytes that are not text")
        return Sniffed("binary", "has bytes that do not occur in text")
    return replace(_judge_text(decode_head(head, encoding), is_whole), encoding=encoding)


def sniff_file(path: str) -> Sniffed:
    """Judge a file by its first `HEAD_BYTES`. Raises `OSError` if it cannot be read."""
    head, is_whole = read_head(path, HEAD_BYTES)
    return sniff(head, is_whole=is_whole)


def read_head(path: str, limit_bytes: int) -> tuple[bytes, bool]:
    """The first bytes of a regular file, and whether they are the whole file."""
    handle = open_regular(path)
    try:
        head = os.read(handle, limit_bytes + 1)
        while len(head) <= limit_bytes and (more := os.read(handle, limit_bytes + 1 - len(head))):
            head += more
    finally:
        os.close(handle)
    return head[:limit_bytes], len(head) <= limit_bytes


def complete_lines(text: str, is_whole: bool, limit: int = _LINES_LOOKED_AT) -> list[str]:
    """The first lines, without the last one if the head may have cut it."""
    lines = re.split(r"\r\n|\n|\r", text)
    if not is_whole and len(lines) > 1:
        lines.pop()
    while lines and not lines[-1]:
        lines.pop()
    return lines[:limit]


def _judge_text(text: str, is_whole: bool) -> Sniffed:
    lines = complete_lines(text, is_whole)
    if not text.strip():
        return Sniffed("text", "has only blanks")
    for number, line in enumerate(lines, 1):
        if _FIX.search(line):
            return Sniffed("fix", f"has 8=FIX in line {number}")
    if found := _HL7.search(text[:8192]):
        return Sniffed("hl7", f"has a message header MSH{found[1]}", delimiter=found[1])
    judges: tuple[Callable[[], Sniffed | None], ...] = (
        lambda: _judge_x12(text),
        lambda: _judge_json(text, lines, is_whole),
        lambda: _judge_xml(text),
        lambda: _judge_delimited([line for line in lines if line and not line.startswith("#")]),
        lambda: _judge_fixed_width(lines),
    )
    for judge in judges:
        if (verdict := judge()) is not None:
            return verdict
    return Sniffed("text", "is readable text of no known form")


def _judge_x12(text: str) -> Sniffed | None:
    text = text.lstrip()
    if len(text) < 106 or not text.startswith("ISA") or text[3].isalnum() or text[:105].count(text[3]) != 16:
        return None
    return Sniffed("x12", f"begins with an interchange header ISA{text[3]} of 16 elements", delimiter=text[3])


def _judge_json(text: str, lines: Sequence[str], is_whole: bool) -> Sniffed | None:
    body = text.lstrip()
    if body[:1] not in ("{", "["):
        return None
    records = [line for line in lines if line.strip()]
    if len(records) > 1 and all(_is_json(line) for line in records[:20]):
        return Sniffed("ndjson", f"each of the first {min(len(records), 20)} lines is a JSON value")
    if is_whole:
        if not _is_json(body):
            return None
        return Sniffed("json", "is one JSON " + ("object" if body[0] == "{" else "array"))
    if re.match(r'\{\s*(?:"|\})|\[\s*(?:[\[{"\]\-0-9]|true|false|null)', body):
        return Sniffed("json", "begins like a JSON " + ("object" if body[0] == "{" else "array"))
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _judge_xml(text: str) -> Sniffed | None:
    body = text.lstrip()
    if body.startswith("<?xml"):
        return Sniffed("xml", "begins with an XML declaration")
    if re.match(r"<!DOCTYPE\s+(?!html)|<!--", body, re.IGNORECASE) or (
        re.match(r"<[A-Za-z_][\w:.-]*(?:\s[^<>]*)?/?>", body) and not re.match(r"<html", body, re.IGNORECASE)
    ):
        return Sniffed("xml", "begins with an XML element")
    return None


def split_delimited(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Rows of quoted fields; a line that the csv reader refuses counts as one field."""
    rows: list[list[str]] = []
    for line in lines:
        try:
            rows.extend(csv.reader([line], delimiter=delimiter))
        except csv.Error:
            rows.append([line])
    return rows


def _judge_delimited(lines: Sequence[str]) -> Sniffed | None:
    """The delimiter that gives (nearly) all lines the same number of columns; the highest number of columns wins."""
    best: tuple[int, str, list[list[str]]] | None = None
    for delimiter in DELIMITERS:
        if not lines or delimiter not in lines[0] or max(map(len, lines)) > _FIELD_CHARACTERS_MAX:
            continue
        rows = split_delimited(lines, delimiter)
        width, agreeing = Counter(map(len, rows)).most_common(1)[0]
        enough = agreeing >= 2 or (len(rows) == 1 and width >= 3)
        if width >= 2 and enough and agreeing >= 0.9 * len(rows) and (best is None or width > best[0]):
            best = (width, delimiter, [row for row in rows if len(row) == width])
    if best is None:
        return None
    width, delimiter, rows = best
    # Most lines of prose contain a comma; two columns of sentences are not a table.
    if width == 2 and delimiter in ",;" and sum(cell.count(" ") > 3 for row in rows for cell in row) > len(rows) / 2:
        return None
    why = f"{len(rows)} of {len(lines)} lines have {width} columns by {delimiter!r}"
    return Sniffed("delimited", why, delimiter=delimiter, has_header=_has_header(rows))


_NUMBER_OR_DATE = re.compile(r"\s*[-+]?[0-9][0-9.,:/TZ+ -]*%?\s*")


def _has_header(rows: Sequence[Sequence[str]]) -> bool | None:
    """Whether the first row has names above values; None if the columns give no clue."""
    first, rest = rows[0], rows[1:]
    names = [cell.strip() for cell in first]
    if any(not name or _NUMBER_OR_DATE.fullmatch(name) for name in names) or len(set(names)) < len(names):
        return False
    valued = [cell for row in rest for cell in row if cell.strip()]
    if any(_NUMBER_OR_DATE.fullmatch(cell) for cell in valued):
        return True
    if all(re.fullmatch(r"[A-Za-z_][\w .-]*", name) for name in names) and rest:
        return None
    return False


def _judge_fixed_width(lines: Sequence[str]) -> Sniffed | None:
    """Lines of equal length with columns that are always blank or always digits."""
    if len(lines) < 3:
        return None
    length, agreeing = Counter(map(len, lines)).most_common(1)[0]
    rows = [line for line in lines if len(line) == length]
    if length < 10 or length > 4096 or agreeing < 0.9 * len(lines):
        return None
    blank = [all(row[at] == " " for row in rows) for at in range(length)]
    starts = tuple(at for at in range(length) if not blank[at] and (at == 0 or blank[at - 1]))
    figures = sum(all(row[at].isdigit() for row in rows) for at in range(length))
    if len(starts) < 2 and figures < 4:
        return None
    why = f"{agreeing} of {len(lines)} lines have {length} characters in {max(len(starts), 1)} columns"
    return Sniffed("fixed_width", why, column_starts=starts)
