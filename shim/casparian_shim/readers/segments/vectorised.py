"""The fast path: a region of a file in which nothing is unusual becomes columns, with no Python code for each segment.

Unusual is whatever `judging` would not take as a good segment, and also what is merely rare: mixed line ends, other separators
than before. Then `region_of` declines, and the careful path reads the same bytes. What both give is equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.blocks import Skip
from casparian_shim.readers.segments.charsets import hl7_charset
from casparian_shim.readers.segments.joined import ids_of_set
from casparian_shim.readers.segments.judging import Judge
from casparian_shim.readers.segments.separators import HL7_FIELDS_MIN, Separators, is_ascii_superset
from casparian_shim.readers.segments.syntaxes import EdifactSyntax, Hl7Syntax
from casparian_shim.readers.tape import What

REGION_BYTES = 256 * 1024
#: Below that the careful path is faster.
REGION_BYTES_MIN = 2 * 1024
_FIELDS = pa.list_(pa.string())
#: Stands for a separator that is data while a text is split. A region that has it in its data is not read here.
_STAND_IN = "\x01"
#: A line of its own in MLLP.
_FRAME_END = "\x1c"
_LENGTHS_INSIDE = frozenset({"BIN", "BDS"})


@dataclass(frozen=True, slots=True)
class Region:
    """Good segments in a row. `skips` are blank lines and ends of frames between them."""

    size: int
    ids: pa.StringArray
    messages: pa.Int64Array
    positions: pa.Int64Array
    fields: pa.ListArray
    separators: Separators
    rows: pa.Int64Array
    ends: pa.Int64Array
    skips: list[Skip]
    encoding: str


def region_of(judge: Judge, data: bytes, at: int, is_last: bool) -> Region | None:
    """The good segments from `at` on, all but the last of about `REGION_BYTES`; None if there is anything unusual.

    The last one is checked but left to the careful path, because the piece behind it may show that it is cut.
    """
    syntax = judge.syntax
    separators = syntax.separators
    if separators is None or not judge.is_unjoined(separators) or (judge.is_after_reject and judge.position is None):
        return None
    if judge.is_frame_over and not data.startswith((b"MSH", b"\x0bMSH"), at):
        return None
    cut = _hl7_cut(data, at, is_last) if isinstance(syntax, Hl7Syntax) else _terminated_cut(judge, data, at, is_last)
    if cut is None:
        return None
    region, end = cut
    over = _FRAME_END.encode() + end
    headers = region.count(over + b"\x0bMSH") + region.count(over + b"MSH") + region.endswith(over)
    if isinstance(syntax, Hl7Syntax) and region.count(_FRAME_END.encode()) != headers:
        return None  # a frame begins without a header
    if judge.charset.may_be_utf_8(region):
        return None
    text, is_single_byte = _as_utf8(region, judge.encodings[0])
    if text is None or _STAND_IN.encode() in text:
        return None
    stand_ins: list[tuple[bytes, bytes]] = []
    if isinstance(syntax, Hl7Syntax):
        text = _with_separator_fields(text, separators)
        stand_ins = [(_STAND_IN.encode(), separators.field.encode())]
    elif separators.escape and separators.escape.encode() in text:
        text, stand_ins = _with_released(text, separators)
    if text is None:
        return None
    found = _Found.of(judge, text, len(region), end, separators, is_single_byte)
    made = found.numbered(judge, stand_ins) if found is not None else None
    if made is not None:
        begun, ended = (data.rfind(mark, at, at + made.size) for mark in (b"\x0b", b"\x1c"))
        judge.is_in_frame = begun > ended or (judge.is_in_frame and begun == ended)
        judge.is_frame_over = ended >= 0 and data.rfind(b"MSH", ended, at + made.size) < 0
    return made


# --- where the region ends ---


def _hl7_cut(data: bytes, at: int, is_last: bool) -> tuple[bytes, bytes] | None:
    """The bytes of the region, and the line end that all of its lines have."""
    limit = min(len(data) - (not is_last), at + REGION_BYTES)
    stop = max(data.rfind(b"\n", at, limit), data.rfind(b"\r", at, limit)) + 1
    if stop - at < REGION_BYTES_MIN:
        return None
    cr, lf = data.count(b"\r", at, stop), data.count(b"\n", at, stop)
    if not lf:
        end = b"\r"
        if data[stop : stop + 1] == b"\n":
            return None
    elif not cr:
        end = b"\n"
    elif cr == lf == data.count(b"\r\n", at, stop):
        end = b"\r\n"
    else:
        return None
    return data[at:stop], end


def _terminated_cut(judge: Judge, data: bytes, at: int, is_last: bool) -> tuple[bytes, bytes] | None:
    """The bytes of the region, and the terminator of its segments with the line end that all of them have."""
    syntax = judge.syntax
    assert syntax.separators is not None
    mark = syntax.separators.terminator.encode("latin-1")
    limit = min(len(data), at + REGION_BYTES)
    heads = (b"UNA", b"UNB") if isinstance(syntax, EdifactSyntax) else (b"ISA",)
    for head in heads:
        header = data.find(head, at, limit)
        if header >= 0:
            limit = header
    first = data.find(mark, at, limit)
    if first < 0 or limit - at < REGION_BYTES_MIN:
        return None
    line = re.compile(rb"\r\n|\r|\n").match(data, first + 1)
    end = mark + (line.group() if line is not None else b"")
    release = syntax.separators.escape.encode()
    last = _last_end(data, end, release, at, limit)
    behind = data[last + len(end) : last + len(end) + 1]
    if behind in (b"\r", b"\n") or (
        not behind and not is_last
    ):  # another line end stands, or may stand, behind the last one
        last = _last_end(data, end, release, at, last)
    if last < 0:
        return None
    region = data[at : last + len(end)]
    count = region.count(mark) - (region.count(release + mark) if release else 0)
    if end != mark and region.count(end) != count:
        return None
    for byte in (b"\r", b"\n"):
        if region.count(byte) != (count if byte in end else 0):
            return None
    return region, end


def _last_end(data: bytes, end: bytes, release: bytes, at: int, limit: int) -> int:
    """The last `end` that certainly ends a segment; -1 if there is none."""
    last = data.rfind(end, at, limit) if limit > at else -1
    while release and last > at and data[last - 1 : last] == release:
        last = data.rfind(end, at, last)
    return last


# --- the text that is split ---


def _as_utf8(region: bytes, encoding: str) -> tuple[bytes | None, bool]:
    """The region in UTF-8, and whether a character was one byte and may now be several."""
    if region.isascii() and is_ascii_superset(encoding):
        return region, False
    try:
        if encoding == "utf-8":
            region.decode("utf-8")
            return region, False
        if _is_single_byte(encoding):
            return region.decode(encoding).encode("utf-8"), True
    except UnicodeError:
        return None, False
    return None, False


@lru_cache
def _is_single_byte(encoding: str) -> bool:
    """Whether each byte is a character by itself, and ASCII is ASCII."""
    pairs = (bytes([lead, trail]) for lead in range(128, 256) for trail in (0x41, 0xA2, 0xA9))
    return is_ascii_superset(encoding) and all(len(pair.decode(encoding, "replace")) == 2 for pair in pairs)


def _with_separator_fields(text: bytes, separators: Separators) -> bytes | None:
    """MSH-1 is the separator itself: a stand-in makes it a field. None if something but an MSH looks like a header."""
    marks = separators.text[3:].encode() + separators.field.encode()
    header = b"MSH" + marks
    if text.count(marks) != text.count(header):
        return None
    return text.replace(header, b"MSH" + separators.field.encode() + _STAND_IN.encode() + marks)


def _with_released(text: bytes, separators: Separators) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    """EDIFACT's released characters that would split the text, as stand-ins of the same length."""
    release = separators.escape.encode()
    stand_in = _STAND_IN.encode()
    swaps = [(release + mark, stand_in + name) for mark, name in (
        (release, b"\x02"), (separators.terminator.encode(), b"\x03"), (separators.field.encode(), b"\x04")
    )]  # fmt: skip
    for written, swapped in swaps:
        text = text.replace(written, swapped)
    return text, [(swapped, written) for written, swapped in swaps]


# --- segments ---


@dataclass(frozen=True, slots=True)
class _Lines:
    """What each line of an HL7 region is. `is_frame_end` is None if all lines are segments; the others are blank."""

    is_header: pa.BooleanArray
    is_segment: pa.BooleanArray
    is_frame_end: pa.BooleanArray | None

    @classmethod
    def of(
        cls, text: bytes, lines: pa.StringArray, lengths: pa.Int32Array, split: pa.ListArray, ids: pa.StringArray
    ) -> _Lines | None:
        """None if a header is cut or stands within a line, or if a frame begins or ends elsewhere than at a line of its own."""
        is_header = pc.equal(ids, "MSH")
        header_fields = pc.list_value_length(split.filter(is_header))
        if len(header_fields) != text.count(_STAND_IN.encode()):
            return None
        if len(header_fields) and pc.min(header_fields).as_py() < HL7_FIELDS_MIN + 1:
            return None
        is_frame_end, is_blank = pc.equal(lines, _FRAME_END), pc.equal(ids, "")
        if text.count(b"\x1c") != is_frame_end.true_count or text.count(b"\x0b") != text.count(b"\x0bMSH"):
            return None
        if pc.and_(is_blank, pc.greater(lengths, 0)).true_count:
            return None
        if not is_frame_end.true_count and not is_blank.true_count:
            return cls(is_header, pc.invert(is_blank), None)
        return cls(is_header, pc.invert(pc.or_(is_blank, is_frame_end)), is_frame_end)


@dataclass(frozen=True, slots=True)
class _Found:
    """The pieces of a region, split."""

    ids: pa.StringArray
    fields: pa.ListArray
    sizes: pa.Int64Array
    #: What the pieces are in HL7.
    lines: _Lines | None
    separators: Separators

    @classmethod
    def of(
        cls, judge: Judge, text: bytes, size: int, end: bytes, separators: Separators, is_single_byte: bool
    ) -> _Found | None:
        """Split the text, whose bytes in the file are `size`; None if a piece has no id, is too long, or is unusual."""
        syntax = judge.syntax
        pieces = pc.split_pattern(_one_text(text), end.decode()).values
        pieces = pieces.slice(0, len(pieces) - 1)
        if len(pieces) < 2:
            return None
        lengths = pc.utf8_length(pieces) if is_single_byte else pc.binary_length(pieces)
        if pc.max(lengths).as_py() > judge.bytes_max:
            return None
        sizes = pc.add(lengths.cast(pa.int64()), len(end))
        if isinstance(syntax, Hl7Syntax) and b"\x0b" in text:
            pieces = pc.ascii_ltrim(pieces, characters="\x0b")
        split = pc.split_pattern(pieces, separators.field)
        ids = pc.list_element(split, 0)
        lines: _Lines | None = None
        if isinstance(syntax, Hl7Syntax):
            lines = _Lines.of(text, pieces, lengths, split, ids)
            if lines is None:
                return None
            sizes = pc.subtract(sizes, pc.multiply(lines.is_header.cast(pa.int64()), 2))
            if lines.is_frame_end is not None:
                split, ids = split.filter(lines.is_segment), ids.filter(lines.is_segment)
        known = pc.unique(ids).to_pylist()
        if not all(map(syntax.is_id, known)) or _LENGTHS_INSIDE.intersection(known):
            return None
        if any(map(judge.is_new_site_id, known)):
            return None  # from the first of them on, others are looked for inside of segments
        if isinstance(syntax, Hl7Syntax) and syntax.outside.intersection(known):
            return None
        if len(ids) < 2 or pc.sum(sizes).as_py() != size:
            return None
        kept, kept_pieces = len(ids) - 1, len(sizes) - 1
        if lines is not None and lines.is_frame_end is not None:
            kept_pieces = pc.indices_nonzero(lines.is_segment)[kept].as_py()
        fields = pc.list_slice(split.slice(0, kept), 1)
        return cls(ids.slice(0, kept), fields, sizes.slice(0, kept_pieces), lines, separators)

    def numbered(self, judge: Judge, stand_ins: list[tuple[bytes, bytes]]) -> Region | None:
        """The region with the numbers of its messages and segments, and the judge behind it; None if an envelope is wrong."""
        row, offset, size = judge.row, judge.offset, pc.sum(self.sizes).as_py()
        count = len(self.sizes)
        rows = _numbers(row + 1, count)
        ends = pc.add(pc.cumulative_sum(self.sizes), offset)
        skips: list[Skip] = []
        if self.lines is not None and self.lines.is_frame_end is not None:
            is_segment = self.lines.is_segment.slice(0, count)
            is_passed = pc.invert(is_segment)
            whats = pc.if_else(self.lines.is_frame_end.slice(0, count), int(What.ENVELOPE), int(What.BLANK_LINE))
            passed = (values.filter(is_passed).to_pylist() for values in (whats, rows, ends))
            skips = [Skip(What(what), number, end) for what, number, end in zip(*passed, strict=True)]
            rows, ends = rows.filter(is_segment), ends.filter(is_segment)
        fields = _restored(self.fields, stand_ins)
        if judge.is_declared and not self._is_declared_alike(judge, fields):
            return None
        numbers = self._numbers(judge, fields, rows)
        if numbers is None:
            return None
        judge.row, judge.offset = row + count, offset + size
        judge.is_after_reject = False
        judge.release(is_inside=self.ids[0].as_py() not in judge.headers_and_trailers)
        return Region(size, self.ids, *numbers, fields, self.separators, rows, ends, skips, judge.encodings[0])

    def _is_declared_alike(self, judge: Judge, fields: pa.ListArray) -> bool:
        """Whether the region is in the character set in force, and its headers declare no other."""
        if judge.charset.codec is None or judge.charset.has_switches:
            return False
        headers = pc.indices_nonzero(pc.equal(self.ids, "MSH"))  # there is no UNB in a region
        lengths, starts = pc.list_value_length(fields).take(headers), fields.offsets.take(headers)
        texts = fields.values.take(pc.if_else(pc.greater(lengths, 17), pc.add(starts, 17), None))
        declared = (hl7_charset(text or "", self.separators.repetition) for text in pc.unique(texts).to_pylist())
        return all(each.codec == judge.charset.codec and not each.has_switches for each in declared)

    def _numbers(
        self, judge: Judge, fields: pa.ListArray, rows: pa.Int64Array
    ) -> tuple[pa.Int64Array, pa.Int64Array] | None:
        """The message and the position of each segment. The judge is moved, unless something is wrong."""
        if isinstance(judge.syntax, Hl7Syntax):
            return self._numbers_by_headers(judge, rows)
        saved = judge.envelopes, judge.messages, judge.position, judge.set_id
        judge.envelopes = judge.envelopes.copy()
        is_turn = pc.is_in(self.ids, pa.array([*judge.headers_and_trailers, *judge.syntax.outside]))
        turns = _Turns(judge)
        places = pc.indices_nonzero(is_turn)
        columns = (places, self.ids.take(places), fields.take(places), rows.take(places))
        for place, id, its_fields, row in zip(*(each.to_pylist() for each in columns), strict=True):
            if not turns.take(place, id, its_fields, row):
                judge.envelopes, judge.messages, judge.position, judge.set_id = saved
                return None
        if not turns.pass_over(len(self.ids)) or not turns.may_have(self.ids, is_turn):
            judge.envelopes, judge.messages, judge.position, judge.set_id = saved
            return None
        return turns.numbers(is_turn)

    def _numbers_by_headers(self, judge: Judge, rows: pa.Int64Array) -> tuple[pa.Int64Array, pa.Int64Array] | None:
        """The same for HL7, whose messages end where the next one begins."""
        is_header = pc.equal(self.ids, "MSH")
        places = pc.indices_nonzero(is_header).cast(pa.int64())
        if judge.position is None and not (len(places) and places[0].as_py() == 0):
            return None
        count = pc.cumulative_sum(is_header.cast(pa.int64()))
        begins = pa.concat_arrays([pa.array([-(judge.position or 0)]), places]).take(count)
        messages = pc.add(count, judge.messages)
        positions = pc.subtract(_numbers(1, len(self.ids)), begins)
        if len(places):
            judge.envelopes.begin_messages(len(places), rows[places[-1].as_py()].as_py())
        judge.messages, judge.position = messages[-1].as_py(), positions[-1].as_py()
        return messages, positions


class _Turns:
    """The headers and trailers of a region, and which message and position each of them leaves to the segments behind it."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._places = [-1]
        self._messages: list[int | None] = [judge.messages if judge.position is not None else None]
        self._positions = [judge.position]
        self._set_ids = [judge.set_id]
        self._own_messages: list[int | None] = []
        self._own_positions: list[int | None] = []

    def take(self, place: int, id: str, fields: list[str], row: int) -> bool:
        """A header or a trailer; false if it is wrong, or if a segment before it is in no message."""
        judge = self._judge
        if not self.pass_over(place) or judge.number(id, fields, row) is not None:
            return False
        self._own_messages.append(judge.messages if judge.position is not None else None)
        self._own_positions.append(judge.position)
        judge.after_numbering(id)
        self._set_ids.append(judge.set_id)
        self._places.append(place)
        self._messages.append(judge.messages if judge.position is not None else None)
        self._positions.append(judge.position)
        return True

    def pass_over(self, upto: int) -> bool:
        """The segments before a place; false if there are any and no message is open."""
        count = upto - self._places[-1] - 1
        if count and self._judge.position is None:
            return False
        if self._judge.position is not None:
            self._judge.position += count
        return True

    def may_have(self, ids: pa.StringArray, is_turn: pa.BooleanArray) -> bool:
        """Whether all segments are such as their transaction set has, where that is known."""
        own_ids = self._judge.syntax.own_ids
        inside = pc.if_else(is_turn, None, pa.array(self._set_ids, pa.string()).take(self._turn_of(is_turn)))
        for set_id in set(self._set_ids):
            if (known := ids_of_set(set_id)) is not None:
                found = pc.unique(ids.filter(pc.fill_null(pc.equal(inside, set_id), False)))
                if not known.union(own_ids).issuperset(found.to_pylist()):
                    return False
        return True

    @staticmethod
    def _turn_of(is_turn: pa.BooleanArray) -> pa.Int64Array:
        """For each segment the number of headers and trailers up to it."""
        return pc.cumulative_sum(is_turn.cast(pa.int64()))

    def numbers(self, is_turn: pa.BooleanArray) -> tuple[pa.Int64Array, pa.Int64Array]:
        of = self._turn_of(is_turn)
        places, messages, positions, own_messages, own_positions = (
            pa.array(each, pa.int64())
            for each in (self._places, self._messages, self._positions, self._own_messages, self._own_positions)
        )
        behind = pc.subtract(_numbers(0, len(is_turn)), places.take(of))
        return (
            pc.replace_with_mask(messages.take(of), is_turn, own_messages),
            pc.replace_with_mask(pc.add(positions.take(of), behind), is_turn, own_positions),
        )


def _one_text(text: bytes) -> pa.StringArray:
    offsets = (0).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    return pa.StringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(text))


def _numbers(first: int, count: int) -> pa.Int64Array:
    return pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), count), start=first - 1)


def _restored(fields: pa.ListArray, stand_ins: list[tuple[bytes, bytes]]) -> pa.ListArray:
    """The fields with the data that stand-ins stood for. Each is as long as what it stands for, so offsets stay."""
    if not stand_ins:
        return fields
    values = fields.values
    _, offsets, data = values.buffers()
    if data is None:
        return fields
    text = data.to_pybytes()
    for swapped, written in stand_ins:
        text = text.replace(swapped, written)
    restored = pa.StringArray.from_buffers(len(values), offsets, pa.py_buffer(text), offset=values.offset)
    return pa.ListArray.from_arrays(fields.offsets, restored)
