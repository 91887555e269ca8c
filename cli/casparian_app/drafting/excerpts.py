"""The sample that a draft takes into its `tests/`: the first records of a file, cut where a record ends."""

from __future__ import annotations

import gzip
import re

from casparian_worker import Detected, Dialect, Sample, Segments

EXCERPT_RECORDS = 20
#: A file of this size is taken whole if its format cannot be cut.
WHOLE_BYTES_MAX = 256 * 1024
_HEAD_BYTES = 1 << 20
_CUT_BY_LINES = ("delimited", "fixed_width", "ndjson", "syslog", "key_value", "multiline", "text", "fix")


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
    if codec in ("cp037", "cp500", "cp1140"):
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
