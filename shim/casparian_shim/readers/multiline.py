"""Records of several lines, such as log entries with a stack trace: joined by the pattern of their first or their last line.

Which record a line belongs to depends on the lines alone, never on time or on blocks. Patterns are RE2's, so that matching takes
time in proportion to the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.blocks import RAW_ENCODING, Block, BlockBuilder
from casparian_shim.readers.lines import LineBlock, LineEnds, line_blocks
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import RAW_BYTES_MAX, RECORD_BYTES_MAX, Encoding, Input, Source
from casparian_shim.readers.tape import What


def read_records(
    source: Source,
    *,
    start: str | None = None,
    end: str | None = None,
    encoding: Encoding = "utf-8",
    line_ends: LineEnds = "any",
    record_bytes_max: int = RECORD_BYTES_MAX,
    **common: Unpack[Common],
) -> Any:
    """Each record as `{"text", "offset", "__cf_row_id"}`: its lines with the line ends between them, and where it begins.

    `start` matches the beginning of a record's first line, `end` something in its last line; give one or both, in RE2's syntax.
    With `start`, the lines before the first record are a declared preamble; with both, so are lines between records. Rejected: a
    record that is longer than `record_bytes_max`, has a line that is not valid text, or has no last line; and lines outside
    records that cannot be read. A file in which no line matches `start` is one rejected record.
    """
    if start is None and end is None:
        raise ValueError("read_records needs start=, end= or both: the pattern of a record's first or last line")
    for name, pattern in (("start", start), ("end", end)):
        if pattern is not None:
            try:
                pc.match_substring_regex(pa.array([""]), pattern)
            except pa.ArrowInvalid as cause:
                raise ValueError(f"{pattern!r:.200} is not a valid {name}: {cause}") from None

    def blocks(input: Input) -> Iterator[Block]:
        joined = _Joined(start, end, input, record_bytes_max)
        for lines in line_blocks(input, line_ends=line_ends, record_bytes_max=record_bytes_max):
            joined.take(lines)
            yield from joined.blocks()
        joined.finish(input.cut)
        yield from joined.blocks()

    common.setdefault("offsets", True)
    return records(source, blocks, encoding=encoding, **common)


class _Open:
    """The record that has begun last."""

    def __init__(self, row_id: int) -> None:
        self.row_id = row_id
        self.end = 0
        self.size = 0
        self.parts: list[str] = []
        self.line_end = ""
        self.raw = bytearray()
        self.has_all_raw = False
        self.reason: str | None = None
        self.encodings: dict[str, None] = {}


class _Joined:
    """Lines in, records out."""

    def __init__(self, start: str | None, end: str | None, input: Input, record_bytes_max: int) -> None:
        self._start, self._end = start, end
        self._record_bytes_max = record_bytes_max
        self._too_long = f"is longer than {record_bytes_max:,} bytes"
        self._has_fallback = input.has_fallback
        self.made = BlockBuilder(["text", RAW_ENCODING] if input.has_fallback else ["text"])
        self._ended: list[Block] = []
        self._open: _Open | None = None
        #: What comes before the first record, while there is none.
        self._before = _Open(input.lines_before + 1) if start is not None else None

    def blocks(self) -> Iterator[Block]:
        """What was made since the last time."""
        ended, self._ended = self._ended, []
        yield from ended
        yield self.made.block()

    def take(self, lines: LineBlock) -> None:
        at = 0
        borders = self._borders(lines)
        if self._end is None and lines.is_utf8 and not self._has_fallback and len(borders) > 1:
            at, last = self._whole(lines, [place for place, _ in borders])
            borders = [(last, True)]
        for place, is_start in borders:
            self._extend(lines, at, place)
            at = place
            if is_start:
                self._begin(lines.first + place)
            elif self._open is not None:
                self._close(None)
        self._extend(lines, at, len(lines))

    def _whole(self, lines: LineBlock, starts: list[int]) -> tuple[int, int]:
        """The records that begin and end in this block. Returns up to where, and where the last one begins."""
        self._extend(lines, 0, starts[0])
        if starts[0] or self._open is not None or self._before is not None:
            self._begin(lines.first + starts[0])
            self._open = None
        data, begin = lines.data, lines.begin
        firsts = pa.array(starts[:-1], pa.int64())
        record_ends = lines.ends.take(pc.subtract(pa.array(starts[1:], pa.int64()), 1))
        at = lines.ends[starts[0] - 1].as_py() if starts[0] else begin
        borders = pc.subtract(pa.concat_arrays([pa.array([at], pa.int64()), record_ends]), begin)
        if lines.separator is not None and pc.max(pc.pairwise_diff(borders)).as_py() <= self._record_bytes_max:
            offsets = borders.cast(pa.int32()).buffers()[1]
            whole = pa.Array.from_buffers(pa.binary(), len(firsts), [None, offsets, pa.py_buffer(data)])
            texts = pc.binary_slice(whole, 0, -len(lines.separator)).view(pa.string())
            self._ended += [self.made.block(), Block({"text": texts}, pc.add(firsts, lines.first), record_ends)]
            return starts[-1], starts[-1]
        ends = record_ends.to_pylist()
        for place, end in zip(starts, ends, strict=False):
            if end - at > self._record_bytes_max:
                self.made.reject(lines.first + place, end, self._too_long, data[at - begin : end - begin])
            else:
                text = data[at - begin : end - begin].decode()
                text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text.removesuffix("\r")
                self.made.row((text,), lines.first + place, end)
            at = end
        return starts[-1], starts[-1]

    def finish(self, cut: str | None) -> None:
        """The input has ended; `cut` says why too early. The last record may have had more lines then."""
        before = self._before
        if before is not None and before.size:
            reason = f"has no line that matches start={self._start!r:.80}"
            self.made.reject(before.row_id, before.end, reason, bytes(before.raw))
        elif self._open is not None:
            self._close("ends with the file, before its last line" if self._end is not None else cut)

    def _borders(self, lines: LineBlock) -> list[tuple[int, bool]]:
        """The places where a record begins (True), and those after the last line of one."""
        borders: list[tuple[int, bool]] = []
        texts = lines.texts
        if lines.bad:  # they are judged by what can be read of them, so that they cost no record before them
            raws = lines.raw.filter(texts.is_null()).to_pylist()
            encoding = lines.encodings[0].as_py()
            readable = [raw[:RAW_BYTES_MAX].decode(encoding, "replace") for raw in raws]
            texts = pc.replace_with_mask(texts, texts.is_null(), pa.array(readable, pa.string()))
        if self._start is not None:
            found = pc.match_substring_regex(texts, f"^(?:{self._start})")
            borders += [(place, True) for place in pc.indices_nonzero(found).to_pylist()]
        if self._end is not None:
            found = pc.match_substring_regex(texts, self._end)
            borders += [(place + 1, False) for place in pc.indices_nonzero(found).to_pylist()]
            borders.sort()  # where one record ends and the next begins, the end comes first
        return borders

    def _begin(self, row_id: int) -> None:
        if self._before is not None:
            before, self._before = self._before, None
            if before.reason is not None:  # the first record's first line may be among these lines
                self.made.reject(before.row_id, before.end, before.reason, bytes(before.raw))
            elif before.size:
                self.made.skip(What.PREAMBLE, before.row_id, before.end)
        if self._open is not None:
            self._close(None if self._end is None else f"is not ended where the next begins, on line {row_id:,}")
        self._open = _Open(row_id)

    def _extend(self, lines: LineBlock, first: int, stop: int) -> None:
        """These lines belong to the record that is open, or to none."""
        if self._open is None and self._start is None:
            while first < stop and (text := lines.texts[first].as_py()) is not None and not text.strip(" \t"):
                self.made.skip(What.BLANK_LINE, lines.first + first, lines.ends[first].as_py())
                first += 1
            if first < stop:
                self._open = _Open(lines.first + first)
        if first == stop:
            return
        if self._open is not None:
            self._add(self._open, lines, first, stop)
        elif self._before is not None:
            self._add(self._before, lines, first, stop)
            self._before.parts.clear()
        else:
            lines.texts  # noqa: B018 - it finds the bad ones
            for place in range(first, stop):
                number, end = lines.first + place, lines.ends[place].as_py()
                if place in lines.bad:
                    self.made.reject(number, end, lines.bad[place], lines.raw[place].as_py())
                else:
                    self.made.skip(What.BETWEEN_RECORDS, number, end)

    def _add(self, record: _Open, lines: LineBlock, first: int, stop: int) -> None:
        begin = lines.begin if not first else lines.ends[first - 1].as_py()
        record.end = lines.ends[stop - 1].as_py()
        record.size += record.end - begin
        lines.texts  # noqa: B018 - it finds the bad ones
        bad = [place for place in sorted(lines.bad) if first <= place < stop]
        self._keep_raw(record, lines, begin, bad)
        if record.size > self._record_bytes_max and record is not self._before:
            record.reason = self._too_long
        elif bad and record.reason is None:
            number, reason = lines.first + bad[0], lines.bad[bad[0]]
            record.reason = reason if number == record.row_id else f"has line {number:,}, which {reason}"
        if record.reason is not None:
            record.parts.clear()
            return
        if lines.is_utf8:
            record.parts.append(lines.data[begin - lines.begin : record.end - lines.begin].decode())
        else:
            texts = lines.texts.slice(first, stop - first).to_pylist()
            record.parts += [text + lines.line_end(place) for place, text in enumerate(texts, first)]
        record.line_end = lines.line_end(stop - 1)
        if self._has_fallback:
            record.encodings |= dict.fromkeys(lines.encodings.slice(first, stop - first).to_pylist())

    def _keep_raw(self, record: _Open, lines: LineBlock, begin: int, bad: list[int]) -> None:
        """The record's beginning, up to and including the first line that is too long to be held."""
        if record.has_all_raw:
            return
        stop = record.end
        giant = next((place for place in bad if lines.sizes[place].as_py() > self._record_bytes_max), None)
        if giant is not None:
            stop = lines.ends[giant].as_py() - lines.sizes[giant].as_py()
        room = RAW_BYTES_MAX - len(record.raw)
        record.raw += lines.data[begin - lines.begin : min(stop - begin, room) + begin - lines.begin]
        if giant is not None:
            record.raw += lines.raw[giant].as_py()[: RAW_BYTES_MAX - len(record.raw)]
        record.has_all_raw = giant is not None or len(record.raw) >= RAW_BYTES_MAX

    def _close(self, reason: str | None) -> None:
        record, self._open = self._open, None
        assert record is not None
        reason = record.reason or reason
        if reason is not None:
            self.made.reject(record.row_id, record.end, reason, bytes(record.raw))
            return
        text = "".join(record.parts)
        text = text[: len(text) - len(record.line_end)]
        self.made.row((text, ", ".join(record.encodings)) if self._has_fallback else (text,), record.row_id, record.end)
