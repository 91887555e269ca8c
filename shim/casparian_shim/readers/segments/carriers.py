"""X12 and EDIFACT as mainframes write them: in EBCDIC, and in lines of one width that break segments anywhere.

The bytes are changed before they are cut into segments. EBCDIC becomes Latin-1 byte by byte, so that offsets stay. Lines are
joined, and the ends of segments are counted back to the bytes of the file; each line end belongs to what stands before it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from casparian_shim.readers.blocks import Block
from casparian_shim.readers.segments.separators import Format

#: Text in EBCDIC is read as this once its bytes are changed.
INNER_ENCODING = "latin-1"
_LINE_END = re.compile(rb"\r\n?|\n")
_ISA_ELEMENTS = 16
_WIDTH_MIN = 20
_LINES_MIN = 3
#: How many bytes tell whether lines are of one width.
TOLD_FROM_BYTES = 2048
#: Places of line ends that are no longer needed are dropped by so many.
_PLACES_DROPPED = 4096


class Ebcdic(NamedTuple):
    """Tables of 256 bytes, as `bytes.translate` takes them."""

    to_latin_1: bytes
    from_latin_1: bytes

    def restored(self, block: Block) -> Block:
        """A block with rejected records as they are written."""
        rejects = [each._replace(raw=each.raw.translate(self.from_latin_1)) for each in block.rejects]
        return replace(block, rejects=rejects) if rejects else block


@lru_cache
def ebcdic(encoding: str) -> Ebcdic | None:
    """The tables of a code page in which each byte is a character of Latin-1; None for other encodings.

    NEL, which ends lines in EBCDIC, becomes a line feed.
    """
    try:
        characters = "".join(bytes([each]).decode(encoding) for each in range(256))
        table = characters.encode("latin-1")
    except (UnicodeError, LookupError):
        return None
    if len(set(table)) != 256 or table[ord("A")] == ord("A"):
        return None
    back = bytearray(256)
    for written, character in enumerate(table):
        back[character] = written
    back[ord("\n")] = table.index(0x85)
    return Ebcdic(table.replace(b"\x85", b"\n"), bytes(back))


def line_width(head: bytes, format: Format) -> int | None:
    """The width of the lines that carry an interchange, if they break its segments: all are of one width but the last.

    A line end within an ISA is proof. In EDIFACT the first line must not end with a terminator.
    """
    *lines, last = _LINE_END.split(head[:TOLD_FROM_BYTES])
    if not last:  # the last line has its end
        last = lines.pop() if lines else b""
    if not lines or len(last) > len(lines[0]) or any(len(line) != len(lines[0]) for line in lines):
        return None
    first, width = lines[0], len(lines[0])
    if format == "x12":
        return width if first.startswith(b"ISA") and first.count(first[3:4]) < _ISA_ELEMENTS else None
    is_edifact = format == "edifact" and first[:3] in (b"UNA", b"UNB") and len(lines) >= _LINES_MIN
    return width if is_edifact and width >= _WIDTH_MIN and not first.endswith(b"'") else None


@dataclass(slots=True)
class Unwrapped:
    """Chunks without their line ends, and the way back from an offset in them to one in the file."""

    #: Where the unwrapped bytes that come next begin, as if there were no line ends.
    _at: int
    #: Where line ends were taken out, and how many bytes of them all in all.
    _places: list[int] = field(default_factory=list)
    _removed: list[int] = field(default_factory=list)
    _total: int = 0

    def chunks(self, chunks: Iterator[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
        held = b""
        for chunk, is_last in chunks:
            data = held + chunk
            held = b"\r" if data.endswith(b"\r") and not is_last else b""  # half of a CRLF, perhaps
            yield self._without_ends(data[: len(data) - len(held)]), is_last
        if held:  # the content is cut
            yield self._without_ends(held), False

    def _without_ends(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        begin = 0
        for found in _LINE_END.finditer(data):
            parts.append(data[begin : found.start()])
            self._at += found.start() - begin
            self._total += found.end() - found.start()
            self._places.append(self._at)
            self._removed.append(self._total)
            begin = found.end()
        parts.append(data[begin:])
        self._at += len(data) - begin
        return b"".join(parts)

    def restored(self, block: Block) -> Block:
        """A block with ends that count the bytes of the file."""
        given = block.ends.to_pylist() if isinstance(block.ends, pa.Array) else block.ends
        ends = [self._back(end) for end in given]
        rejects = [each._replace(end=self._back(each.end)) for each in block.rejects]
        skips = [each._replace(end=self._back(each.end)) for each in block.skips]
        last = max(
            [*given[-1:], *(each.end for each in block.rejects[-1:]), *(each.end for each in block.skips[-1:])],
            default=0,
        )
        passed = bisect_right(self._places, last) - 1
        if passed > _PLACES_DROPPED:
            del self._places[:passed], self._removed[:passed]
        return replace(block, ends=ends, rejects=rejects, skips=skips)

    def _back(self, end: int) -> int:
        before = bisect_right(self._places, end)
        return end + (self._removed[before - 1] if before else 0)
