"""Which piece of a file is a segment, which is rejected, and which is passed over; messages and segments are numbered here.

A segment is judged by itself, with one exception. A piece without an id may be a damaged segment, or the rest of the segment
before it, cut by a stray line end or terminator. Both readings are possible, so both are rejected: a value that is silently too
short is worse than a rejected segment. A trailer whose count and control number are right is complete, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from casparian_shim.readers.segments.charsets import UNDECLARED, Charset, edifact_charset, hl7_charset
from casparian_shim.readers.segments.envelopes import LEVELS, Envelopes
from casparian_shim.readers.segments.joined import ABOUT_SEGMENTS, ids_of_set, joined_with
from casparian_shim.readers.segments.separators import Separators
from casparian_shim.readers.segments.syntaxes import Hl7Syntax, Piece, Syntax
from casparian_shim.readers.source import RAW_BYTES_MAX, not_the_encoding
from casparian_shim.readers.tape import What

NO_ID = "does not begin with a segment id"
CUT = "may be cut: the text behind it does not begin with a segment id"
_NO_HEADER = "begins a frame of MLLP and is no MSH: the header of its message is lost"
_CUT_BY_FOREIGN = "may be cut: the text behind it begins with an id that no segment of such a transaction set has"
#: A segment with so many blank lines behind it is taken as complete.
_WAITING_MAX = 1_000
_SITE_IDS_MAX = 64
#: How far into a header its declaration of a character set is looked for.
_HEADER_BYTES_MAX = 4096
#: What is left of a segment if the file ends within its id.
_BEGUN_ID = re.compile(rb"[A-Z][A-Z0-9]?")
#: A line between messages; whether it is one depends on what follows.
_RULE = re.compile(rb"\s*([-=_*#+.~])\1{2,}\s*")
_BLANK_BYTES = b" \t\r\n"
_PADDING_BYTES = b"\0\x1a \t\r\n"


class Bad(NamedTuple):
    """A piece that is rejected."""

    row: int
    start: int
    end: int
    reason: str
    raw: bytes


class Passed(NamedTuple):
    """A piece that is no segment and is passed over."""

    row: int
    end: int
    what: What


class Ruled(NamedTuple):
    """A line of dashes or the like behind a segment: a rule between two messages, or the rest of the segment."""

    row: int
    start: int
    end: int
    raw: bytes


class Found(NamedTuple):
    """A good segment. `message` and `position` are None outside of messages."""

    row: int
    start: int
    end: int
    id: str
    fields: list[str]
    message: int | None
    position: int | None
    separators: Separators
    encoding: str
    raw: bytes


@dataclass(slots=True)
class Judge:
    """Takes the pieces of a file in their order. `taken` has what they became, except what waits for the next piece."""

    syntax: Syntax
    #: The codecs that are tried one after the other; those of the file's own headers if the caller named none.
    encodings: tuple[str, ...]
    bytes_max: int
    is_declared: bool = False
    offset: int = 0
    row: int = 0
    messages: int = 0
    #: X12: the kind of the open transaction set, such as 837.
    set_id: str | None = None
    #: What the header in force declares.
    charset: Charset = UNDECLARED
    #: The first piece in another encoding than UTF-8 that a header declares. From it on each row says its codec.
    coded_from: int | None = None
    #: How many pieces the open message has so far; None if no message is open.
    position: int | None = None
    #: Whether the last piece that is not blank was rejected.
    is_after_reject: bool = False
    is_in_frame: bool = False
    #: Whether a frame of MLLP has ended and no header has come since: its message is over.
    is_frame_over: bool = False
    #: Ids of this file that are not the standard's: those that the caller names, and those with Z that it has had so far.
    site_ids: frozenset[str] = field(init=False)
    #: The separators and site ids with which no segment of the present bytes holds another one; then segments need no look.
    unjoined_for: tuple[Separators, frozenset[str]] | None = None
    envelopes: Envelopes = field(init=False)
    #: Rejected records of no bytes at the end of the file.
    ended: list[Bad] = field(default_factory=list)
    taken: list[Found | Bad | Passed] = field(default_factory=list)
    #: The last segment and what was passed over behind it: the next piece may show that it is cut.
    waiting: list[Found | Bad | Passed | Ruled] = field(default_factory=list)
    _headers: frozenset[str] = field(init=False)
    _trailers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.envelopes = Envelopes(self.syntax.format)
        levels = LEVELS[self.syntax.format]
        self._headers = frozenset(level.header for level in levels)
        self._trailers = frozenset(level.trailer for level in levels if level.trailer)
        self.site_ids = self.syntax.own_ids

    def take(self, data: bytes, at: int, pieces: Iterable[Piece], *, is_last: bool) -> int:
        """Judge pieces of `data` from `at`, which is at `offset` in the file. Returns where they end in `data`."""
        base = self.offset - at
        is_hl7 = self.syntax.format == "hl7"
        for start, stop, end in pieces:
            self.row += 1
            self.offset = base + at
            content = data[start:stop]
            ends_frame = is_hl7 and b"\x1c" in data[stop:end]
            if not content.strip(_BLANK_BYTES):
                is_envelope = ends_frame or (is_hl7 and start > at)
                self._pass_over(base + end, What.ENVELOPE if is_envelope else What.BLANK_LINE)
            elif is_last and end == len(data) and not content.strip(_PADDING_BYTES):
                self._pass_over(base + end, What.PADDING)
            elif len(content) > self.bytes_max:
                self._judge_long(content[:RAW_BYTES_MAX], base + end)
            else:
                begins_frame = is_hl7 and start > at
                self.is_in_frame = self.is_in_frame or begins_frame
                self.is_frame_over = self.is_frame_over or begins_frame
                self._judge(content, base + end, is_last and end == stop == len(data))
            self.is_in_frame = self.is_in_frame and not ends_frame
            self.is_frame_over = self.is_frame_over or ends_frame
            at = end
        self.offset = base + at
        return at

    def take_long(self, begin: bytes, end: int) -> None:
        """A piece of which only the beginning was held, because it is too long."""
        self.row += 1
        self._judge_long(begin, end)
        self.offset = end

    def finish(self) -> None:
        """The end of the file: what waits is complete, and each envelope without a trailer is a rejected record of no bytes."""
        self.release()
        for fault in self.envelopes.finish(is_after_reject=self.is_after_reject):
            self.row += 1
            self.ended.append(
                Bad(self.row, self.offset, self.offset, f"is missing at the end of the file: {fault}", b"")
            )

    def _pass_over(self, end: int, what: What) -> None:
        if len(self.waiting) > _WAITING_MAX:
            self.release()
        (self.waiting if self.waiting else self.taken).append(Passed(self.row, end, what))

    @property
    def headers_and_trailers(self) -> frozenset[str]:
        return self._headers | self._trailers

    def release(self, *, is_inside: bool = False) -> None:
        """The segment that waits is complete. `is_inside`: the message is not over, so that there is no rule behind it."""
        if is_inside and any(isinstance(each, Ruled) for each in self.waiting):
            self._doubt()
        self.taken += [
            Passed(each.row, each.end, What.BETWEEN_RECORDS) if isinstance(each, Ruled) else each
            for each in self.waiting
        ]
        self.waiting.clear()

    def _doubt(self, reason: str = CUT) -> None:
        """The segment that waits may be cut, and so lines of dashes behind it are no rules."""
        last = self.waiting[0] if self.waiting else None
        if isinstance(last, Found) and last.id not in self._trailers:
            self.waiting[0] = Bad(last.row, last.start, last.end, reason, last.raw[:RAW_BYTES_MAX])
        self.waiting = [
            Bad(each.row, each.start, each.end, NO_ID, each.raw) if isinstance(each, Ruled) else each
            for each in self.waiting
        ]

    def _reject(self, end: int, content: bytes, reason: str) -> None:
        self.release()
        self.taken.append(Bad(self.row, self.offset, end, reason, content[:RAW_BYTES_MAX]))
        self.is_after_reject = True

    def _judge(self, content: bytes, end: int, is_open: bool) -> None:
        syntax = self.syntax
        fault, syntax.header_fault = syntax.header_fault, None
        id = content[:3].decode("latin-1")
        if isinstance(syntax, Hl7Syntax) and id in ("MSH", "BHS", "FHS"):
            fault = syntax.read_header(content)
        elif syntax.separators is not None:
            id = syntax.id_of(content)
        if fault is not None:
            self._damaged_header(id, content, end, fault)
            return
        if self.is_declared and id in ("MSH", "BHS", "FHS", "UNB") and syntax.separators is not None:
            self._declare(self._charset_of(id, content, syntax.separators))
        if isinstance(syntax, Hl7Syntax) and id not in self._headers and syntax.holds_a_header(content):
            self._damaged_header("MSH", content, end, "holds the beginning of a message, whose id or line end is lost")
            return
        if isinstance(syntax, Hl7Syntax) and self._is_rule(content):
            self._rule(content, end)
            return
        if syntax.separators is None:
            self._reject(end, content, f"comes before the first {_FIRST[syntax.format]}")
            return
        if self.is_frame_over and (id in syntax.outside or id == syntax.message_start):
            self.is_frame_over = False
        elif self.is_frame_over and syntax.is_id(id):
            self._damaged_header("MSH", content, end, _NO_HEADER)
            return
        if not syntax.is_id(id):
            self._count_piece()
            if is_open and _BEGUN_ID.fullmatch(content):
                self._reject(end, content, "is cut: the file ends within it")
                return
            shown = f": {id!r}" if id.strip() else ""
            self._reject_with_cut_one(content, end, f"{NO_ID}{shown}")
            return
        self._segment(id, content, end, is_open)

    def _is_rule(self, content: bytes) -> bool:
        separators = self.syntax.separators
        return _RULE.fullmatch(content) is not None and (separators is None or separators.field.encode() not in content)

    def _rule(self, content: bytes, end: int) -> None:
        """A line of dashes: a rule between messages if a header, a trailer or nothing follows."""
        self._count_piece()
        if self.waiting:
            self.waiting.append(Ruled(self.row, self.offset, end, content[:RAW_BYTES_MAX]))
        elif self.syntax.separators is None:
            self.taken.append(Passed(self.row, end, What.BETWEEN_RECORDS))
        else:
            self._reject(end, content, NO_ID)

    def _judge_long(self, begin: bytes, end: int) -> None:
        syntax = self.syntax
        syntax.header_fault = None
        reason = f"is longer than {self.bytes_max:,} bytes"
        id = syntax.id_of(begin)
        if id in self._headers:
            self._damaged_header(id, begin, end, reason)
        elif syntax.is_id(id):
            self.release(is_inside=True)
            self._begin_if_outside()
            self._count_piece()
            self._reject(end, begin, reason)
        else:
            self._count_piece()
            self._reject_with_cut_one(begin, end, reason)

    def _segment(self, id: str, content: bytes, end: int, is_open: bool) -> None:
        syntax = self.syntax
        assert syntax.separators is not None
        if id not in syntax.outside and id != syntax.message_start and id != syntax.message_end:
            self._begin_if_outside()
            if self.position is None:
                reason = f"is outside of a {LEVELS[syntax.format][2].name}"
                if syntax.is_damaged_start(content):
                    self._reject(end, content, reason)
                else:
                    self._reject_with_cut_one(content, end, reason)
                return
            if (known := ids_of_set(self.set_id)) is not None and id not in known | syntax.own_ids:
                self._count_piece()
                self._doubt(_CUT_BY_FOREIGN)
                self._reject(end, content, f"has the id {id}, which no segment of an {self.set_id} has")
                return
            self.release(is_inside=True)
        else:
            self.release()
        separators = syntax.separators
        text, encoding, fault = self._decoded(content)
        fields = syntax.split(text)[1:]
        if id in self._headers and syntax.format == "hl7":
            fields = [separators.field, *fields]
        numbered = self.number(id, fields if fault is None else None, self.row)
        fault = fault or numbered
        if fault is None and is_open and (syntax.format != "hl7" or self.is_in_frame):
            fault = "is cut: the file ends within it"
        elif fault is None and len(content) > self.bytes_max:
            fault = f"is longer than {self.bytes_max:,} bytes"
        elif fault is None and not self.is_unjoined(separators) and id not in ABOUT_SEGMENTS:
            other = joined_with(content, separators, self.site_ids)
            fault = f"holds the beginning of another segment ({other}): the end before that is lost" if other else None
        if fault is None and syntax.format != "hl7" and id != "UNA" and (b"\n" in content or b"\r" in content):
            fault = "has a line break inside"
        if fault is not None:
            self.after_numbering(id)
            self._reject(end, content, fault)
            self.is_after_reject = False  # its place in the message is known
            return
        position = self.position
        message = self.messages if position is not None else None
        self.waiting.append(
            Found(self.row, self.offset, end, id, fields, message, position, separators, encoding, content)
        )
        self.is_after_reject = False
        if self.is_new_site_id(id):
            self.site_ids |= {id}
        self.after_numbering(id)

    def is_new_site_id(self, id: str) -> bool:
        return id not in self.site_ids and self.syntax.is_site_id(id) and len(self.site_ids) < _SITE_IDS_MAX

    def is_unjoined(self, separators: Separators) -> bool:
        """Whether it is known of the present bytes that no segment holds another one."""
        known = self.unjoined_for
        return known is not None and known[0] is separators and known[1] is self.site_ids

    def number(self, id: str, fields: list[str] | None, row: int) -> str | None:
        """Move to the place of this segment, whose fields may be unreadable; says what is wrong with a trailer."""
        syntax = self.syntax
        if id in self._headers:
            self.envelopes.begin(id, fields, row, is_after_reject=self.is_after_reject)
            self.position = self.set_id = None
            if id == syntax.message_start:
                self.messages += 1
                self.position = 1
                self.set_id = fields[0] if fields else None
            return None
        if id in self._trailers and id != syntax.message_end:
            self.position = None
            return self.envelopes.end(id, fields or [], 0, row, is_after_reject=self.is_after_reject)
        self._count_piece()
        if id == syntax.message_end:
            return self.envelopes.end(id, fields or [], self.position or 0, row, is_after_reject=self.is_after_reject)
        return None

    def after_numbering(self, id: str) -> None:
        if self.syntax.message_end and id == self.syntax.message_end:
            self.position = None

    def _count_piece(self) -> None:
        if self.position is not None:
            self.position += 1

    def _begin_if_outside(self) -> None:
        """A segment behind a rejected one opens a message if none is open: its header is what was rejected."""
        if self.position is None and self.is_after_reject and self.envelopes.may_hold_messages:
            self._begin_headless(0)

    def _begin_headless(self, position: int) -> None:
        self.messages += 1
        self.position, self.set_id = position, None
        self.envelopes.begin_headless(self.row)

    def _charset_of(self, id: str, content: bytes, separators: Separators) -> Charset:
        fields = self.syntax.split(content[:_HEADER_BYTES_MAX].decode("latin-1"))
        if id == "UNB":
            return edifact_charset(fields[1].partition(separators.component)[0] if len(fields) > 1 else "")
        if id == "MSH" and len(fields) > 17:
            return hl7_charset(fields[17], separators.repetition)
        return UNDECLARED

    def _declare(self, charset: Charset) -> None:
        """What a header declares holds for the segments behind it."""
        if charset != UNDECLARED and charset.codec != UNDECLARED.codec and self.coded_from is None:
            self.coded_from = self.row
        self.charset = charset
        self.encodings = (charset.codec or "ascii",)

    def _damaged_header(self, id: str, content: bytes, end: int, fault: str) -> None:
        """The segments behind a damaged header are not those of the message before it."""
        self.is_frame_over = False
        if self.is_declared:
            self._declare(UNDECLARED)
        if id == "MSH":
            self._begin_headless(1)
        else:
            self.position = None
            if id in self._headers:
                self.envelopes.begin(id, None, self.row, is_after_reject=True)
        self._reject(end, content, fault)

    def _reject_with_cut_one(self, content: bytes, end: int, reason: str) -> None:
        """Reject a piece without an id, and the segment before it, which may be cut."""
        self._doubt()
        self._reject(end, content, reason)

    def _decoded(self, content: bytes) -> tuple[str, str, str | None]:
        """The text, the codec that read it, and what is wrong if none did: then the text is only good for ids and counts."""
        first: UnicodeError | None = None
        if (fault := self.charset.fault(content)) is not None:
            return content.decode("latin-1"), "latin-1", fault
        for encoding in self.encodings:
            try:
                return content.decode(encoding), encoding, None
            except UnicodeError as cause:
                first = first or cause
        assert first is not None
        return content.decode("latin-1"), "latin-1", not_the_encoding(self.encodings, first)


_FIRST = {"hl7": "MSH, BHS or FHS", "x12": "ISA", "edifact": "UNA or UNB"}
