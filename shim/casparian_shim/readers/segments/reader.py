"""`read_segments`: HL7 v2, X12 and EDIFACT as rows, one for each segment.

The careful path (`syntaxes` and `judging`) and the fast one (`vectorised`) take turns; here their results become blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Unpack

import pyarrow as pa

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.blocks import RAW_ENCODING, Block, Reject, Skip, Values
from casparian_shim.readers.pieces import check_names
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.segments.carriers import INNER_ENCODING, TOLD_FROM_BYTES, Unwrapped, ebcdic, line_width
from casparian_shim.readers.segments.joined import may_hold_joined
from casparian_shim.readers.segments.judging import Bad, Found, Judge, Passed
from casparian_shim.readers.segments.separators import Format, Separators, detected, is_ascii_superset
from casparian_shim.readers.segments.syntaxes import SYNTAXES, Piece, Syntax
from casparian_shim.readers.segments.vectorised import REGION_BYTES, Region, region_of
from casparian_shim.readers.source import RAW_BYTES_MAX, RECORD_BYTES_MAX, Encoding, Input, Source, codec_names

_DETECTED_FROM_BYTES = 64 * 1024
#: What the careful path takes alone: headers that change the separators, blank lines, the end of an MLLP frame.
_HEADERS = (b"ISA", b"UNA", b"UNB")
_BLANKS = (b"\r", b"\n", b"\x1c")
_SHORT = (*_HEADERS, *_BLANKS)
#: A segment of the longest allowed size may be this much longer with its end and what may stand before it.
_END_BYTES_MAX = 64
#: How many entries of the careful path are gathered at least before they are a block.
_JUDGED_MAX = 8 * 1024
_FIELDS = pa.list_(pa.string())


class NotSegments(CasparianError):
    """The file is none of the formats that `read_segments` reads."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, head: bytes) -> None:
        shown = head[:60].decode("ascii", "backslashreplace")
        super().__init__(
            f"The file has no header of HL7 (MSH, BHS, FHS), X12 (ISA) or EDIFACT (UNA, UNB); it begins with {shown!r}.",
            remedy="Name its format if it is one of them: read_segments(source, format='hl7').",
        )


def read_segments(
    source: Source,
    format: Format | None = None,
    *,
    encoding: Encoding | None = None,
    ids: Iterable[str] = (),
    record_bytes_max: int = RECORD_BYTES_MAX,
    **common: Unpack[Common],
) -> Any:
    """Each segment as a row: `segment` (its id), `message` and `position` (numbers from 1), `fields`, `separators`.

    `fields` are texts as they are written, so `fields[0]` is the first field after the id, in MSH the separator itself;
    `Segment(row)` gives fields by the standard's numbers, components and plain values. `format` is "hl7", "x12" or "edifact";
    without it the file's first header decides. Without `encoding` MSH-18 and UNB say the encoding; it is UTF-8 where they
    do not, and in X12. `ids` adds ids of segments that HL7 does not know and that do not begin with Z.

    Separators are read from each header. `__cf_row_id` is the number of the segment in the file, blank lines included. A damaged
    segment is rejected alone, and so is a trailer whose count or control number is wrong.
    """
    if format is not None and format not in SYNTAXES:
        raise ValueError(f"format is hl7, x12 or edifact, not {format!r:.40}")
    if encoding is not None:
        codec_names(encoding)
    for name in [encoding] if isinstance(encoding, str) else encoding or []:
        if not is_ascii_superset(name) and (name != encoding or ebcdic(name) is None):
            raise ValueError(
                f"encoding is a superset of ASCII or an EBCDIC code page with the characters of Latin-1 (cp037, cp500), "
                f"which {name!r:.40} is not"
            )
    ids = ids if isinstance(ids, str) else tuple(ids)
    check_names("ids", ids)
    own_ids = frozenset(ids)
    if "" in own_ids:
        raise ValueError("'' is not a valid id of a segment")
    tables = ebcdic(encoding) if isinstance(encoding, str) else None

    def blocks(input: Input) -> Iterator[Block]:
        chunks = input.chunks()
        if tables is not None:
            chunks = (chunk.translate(tables.to_latin_1) for chunk in chunks)
        head = b""
        needed = _DETECTED_FROM_BYTES if format is None else TOLD_FROM_BYTES
        while len(head) < needed and (chunk := next(chunks, b"")):
            head += chunk
        found = format or detected(head)
        if found is None:
            if head.strip():
                raise NotSegments(head)
            found = "hl7"
        input.unit = "line" if found == "hl7" else "segment"
        following = _following(head, chunks, input)
        unwrapped = Unwrapped(input.offset) if line_width(head, found) is not None else None
        if unwrapped is not None:
            following = unwrapped.chunks(following)
        encodings = tuple(input.encodings) if tables is None else (INNER_ENCODING,)
        judge = Judge(SYNTAXES[found](own_ids), encodings, record_bytes_max, is_declared=encoding is None)
        for block in _blocks(input, following, judge):
            if unwrapped is not None:
                block = unwrapped.restored(block)
            yield block if tables is None else tables.restored(block)

    return records(source, blocks, encoding=encoding or "utf-8", **common)


def _following(head: bytes, chunks: Iterator[bytes], input: Input) -> Iterator[tuple[bytes, bool]]:
    """The chunks, each with whether it is the last. A content that is cut has no last one."""
    before = head
    for chunk in chunks:
        if before:
            yield before, False
        before = chunk
    yield before, input.cut is None


class _Long:
    """A piece that is longer than the limit, while its end is looked for: only its beginning is held."""

    def __init__(self) -> None:
        self.begin = b""
        self._end = 0

    def start(self, syntax: Syntax, rest: bytes, offset: int) -> None:
        at = syntax.begin_of(rest, 0)
        self.begin = rest[at : at + RAW_BYTES_MAX]
        self._end = offset

    def advance(self, judge: Judge, data: bytes, is_last: bool) -> int:
        """Look for the end in `data`. Returns from where on its bytes are still needed."""
        found, needed = judge.syntax.end_of_long(data, 0, is_last)
        if found is None and is_last:
            found = needed = len(data)
        self._end += needed
        if found is not None:
            judge.take_long(self.begin, self._end)
            self.begin = b""
        return needed


def _blocks(input: Input, chunks: Iterator[tuple[bytes, bool]], judge: Judge) -> Iterator[Block]:
    syntax, judge.offset, judge.row = judge.syntax, input.offset, input.lines_before
    rest = b""
    gathered: list[bytes] = []
    long = _Long()
    for chunk, is_last in chunks:
        gathered.append(chunk)
        if not is_last and sum(map(len, gathered)) < len(rest):
            continue  # what is looked at again is no more than what is new, so that time is linear in bytes
        data = b"".join((rest, *gathered))
        gathered.clear()
        at = long.advance(judge, data, is_last) if long.begin else 0
        may_hold: dict[tuple[Separators, frozenset[str]], bool] = {}
        while at < len(data) and not long.begin:
            separators = syntax.separators
            judge.unjoined_for = None
            if separators is not None:
                key = separators, judge.site_ids
                if key not in may_hold:
                    may_hold[key] = may_hold_joined(data, *key)
                judge.unjoined_for = None if may_hold[key] else key
            is_one = separators is None or data.startswith(_SHORT, at)
            region = None if is_one else region_of(judge, data, at, is_last)
            if region is not None or len(judge.taken) > _JUDGED_MAX:
                yield from _judged(judge, input.has_fallback)
            if region is not None:
                at += region.size
                yield _block_of(region, input.has_fallback or judge.coded_from is not None)
            is_one = is_one or region is not None
            taken = judge.take(data, at, _some(syntax.pieces(data, at, is_last), data, at, is_one), is_last=is_last)
            if taken == at:
                break
            at = taken
        yield from _judged(judge, input.has_fallback)
        rest = data[at:]
        if len(rest) > judge.bytes_max + _END_BYTES_MAX and not long.begin:
            long.start(syntax, rest, judge.offset)
            rest = rest[long.advance(judge, rest, False) :]
    if input.cut is not None and (rest := b"".join((rest, *gathered))):
        judge.release()
        yield from _judged(judge, input.has_fallback)
        begin, judge.row, judge.offset = judge.offset, judge.row + 1, judge.offset + len(rest)
        bad = Bad(judge.row, begin, judge.offset, input.cut, rest[:RAW_BYTES_MAX])
        yield _block_of_judged([bad], input.has_fallback)
    judge.finish()
    yield from _judged(judge, input.has_fallback)
    if judge.ended:  # a block of their own, because they have no bytes
        yield _block_of_judged(judge.ended, input.has_fallback)


def _some(pieces: Iterator[Piece], data: bytes, at: int, is_one: bool) -> Iterator[Piece]:
    """One piece with the blank lines behind it, or those of about a region, up to a header with other separators."""
    for piece in pieces:
        yield piece
        if data.startswith(_BLANKS, piece[2]) and piece[2] - at < REGION_BYTES:
            continue
        if is_one or piece[2] - at > REGION_BYTES or data.startswith(_HEADERS, piece[2]):
            return


def _judged(judge: Judge, has_fallback: bool) -> Iterator[Block]:
    """What was judged since the last time."""
    taken, judge.taken = judge.taken, []
    first = judge.coded_from
    count = len(taken) if first is None else sum(each.row < first for each in taken)
    for some, is_coded in ((taken[:count], has_fallback), (taken[count:], True)):
        if some:
            yield _block_of_judged(some, is_coded)


def _block_of_judged(taken: Sequence[Found | Bad | Passed], is_coded: bool) -> Block:
    found = [each for each in taken if isinstance(each, Found)]
    columns: dict[str, Values] = {
        "segment": pa.array([each.id for each in found], pa.string()),
        "message": pa.array([each.message for each in found], pa.int64()),
        "position": pa.array([each.position for each in found], pa.int64()),
        "fields": pa.array([each.fields for each in found], _FIELDS),
        "separators": pa.array([each.separators.text for each in found], pa.string()),
    }
    if is_coded:
        columns[RAW_ENCODING] = pa.array([each.encoding for each in found], pa.string())
    rejects = [Reject(each.row, each.end, each.reason, each.raw) for each in taken if isinstance(each, Bad)]
    skips = [Skip(each.what, each.row, each.end) for each in taken if isinstance(each, Passed)]
    return Block(columns, [each.row for each in found], [each.end for each in found], rejects, skips)


def _block_of(region: Region, is_coded: bool) -> Block:
    count = len(region.ids)
    columns: dict[str, Values] = {
        "segment": region.ids,
        "message": region.messages,
        "position": region.positions,
        "fields": region.fields,
        "separators": pa.repeat(region.separators.text, count),
    }
    if is_coded:
        columns[RAW_ENCODING] = pa.repeat(region.encoding, count)
    return Block(columns, region.rows, region.ends, (), region.skips)
