"""Where segments begin and end in HL7 v2, X12 and EDIFACT, and what their ids look like: bytes in, places out.

A syntax cuts a buffer into pieces, one after the other and without a gap, so that every byte belongs to a piece. It knows the
separators of the place where it is, because each header may change them. What a piece means, and whether it is good, is decided
in `judging`. Where a piece ends does not depend on how the file was cut into blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from casparian_shim.readers.segments.segment import split_released
from casparian_shim.readers.segments.separators import (
    EDIFACT_USUAL,
    HL7_USUAL,
    NO_GS,
    Format,
    Separators,
    hl7_header,
    isa_header,
    separators_of,
    una_header,
    unb_defaults,
)

#: A piece of a buffer: where its text begins and stops, and where its end (a terminator, a line end) is over.
Piece = tuple[int, int, int]

_HL7_IDS = """
ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BHS BLC BLG BPO BPX BTS BTX BUI CDM CDO CER CM0 CM1 CM2 CNS CON CSP CSR
CSS CTD CTI CTR DB1 DEV DG1 DMI DON DPS DRG DSC DSP DST ECD ECR EDU EQL EQP EQU ERQ ERR EVN FAC FHS FT1 FTS GOL GP1 GP2 GT1
IAM IAR IIM ILT IN1 IN2 IN3 INV IPC IPR ISD ITM IVC IVT LAN LCC LCH LDP LOC LRL MCP MFA MFE MFI MRG MSA MSH NCK NDS NK1 NPU NSC
NST NTE OBR OBX ODS ODT OH1 OH2 OH3 OH4 OM1 OM2 OM3 OM4 OM5 OM6 OM7 OMC ORC ORG ORL OVR PAC PCE PCR PD1 PDA PDC PEO PES PID PKG
PM1 PMT PR1 PRA PRB PRC PRD PRT PSG PSH PSL PSS PTH PV1 PV2 PYE QAK QID QPD QRD QRF QRI RCP RDF RDT REL RF1 RFI RGS RGV RMI ROL
RQ1 RQD RXA RXC RXD RXE RXG RXO RXR RXV SAC SCD SCH SCP SDD SFT SGH SGT SHP SID SLT SPM SPR STF STZ TCC TCD TQ1 TQ2 TXA UAC UB1
UB2 URD URS VAR VND VTQ
"""
_SITE_ID = re.compile("Z[A-Z0-9]{2}")
_X12_ID = re.compile("[A-Z][A-Z0-9]{1,2}")
_TAG = re.compile("[A-Z]{3}")
_MARKS = "[!-/:-@\\[-`{-~\x01-\x1f]"
_LINE_END = re.compile(rb"\r\n?|\n")
_HL7_END = re.compile(rb"\x1c?(?:\r\n?|\n)|\x1c")
_GS = re.compile(rb"(" + _MARKS.encode() + rb")(?:\r\n?|\n)?GS(" + _MARKS.encode() + rb")")
_LINE_OR_ISA = re.compile(rb"(\r\n?|\n)|ISA" + _MARKS.encode())
_UNB_START = re.compile(rb"UNA[^A-Za-z0-9 ]{2}[.,][^A-Za-z0-9]{3}|UNB[+\x1d]")
_LINE_OR_UNB = re.compile(rb"(\r\n?|\n)|" + _UNB_START.pattern)
_INTERCHANGE_START = re.compile(rb"(?:UNA[^A-Za-z0-9 ]{2}[.,][^A-Za-z0-9]{2})?UNB[+\x1d]UNO[A-Z][:\x1f]")
_MESSAGE_START = re.compile(rb"'(?:\r\n?|\n)?(UN[GH]\+)")
_START_BYTES = 8
_GUESS_BYTES = 1024
_ISA_BYTES = 106


@dataclass(slots=True)
class Syntax:
    """What the three formats have in common. `separators` are those of the place that was reached; None before any header."""

    #: Ids that programs add to the standard's own.
    own_ids: frozenset[str] = frozenset()
    separators: Separators | None = None
    #: What is wrong with the header that was passed last, until the judge takes it.
    header_fault: str | None = None

    format: Format = field(default="hl7", init=False)
    #: The segment that begins a message, and the one that ends it.
    message_start: str = field(default="", init=False)
    message_end: str = field(default="", init=False)
    #: Segments of the envelope around messages.
    outside: frozenset[str] = field(default=frozenset(), init=False)

    def pieces(self, data: bytes, at: int, is_last: bool) -> Iterator[Piece]:
        """The pieces of `data` from `at` that are certainly complete; with `is_last` the rest too."""
        raise NotImplementedError

    def begin_of(self, data: bytes, at: int) -> int:
        """Where the text of the piece at `at` begins."""
        raise NotImplementedError

    def end_of_long(self, data: bytes, at: int, is_last: bool) -> tuple[int | None, int]:
        """Where a piece that is too long to hold ends, if it does in `data`; and from where on the bytes are still needed."""
        raise NotImplementedError

    def is_id(self, text: str) -> bool:
        raise NotImplementedError

    def is_site_id(self, id: str) -> bool:
        """Whether a site has made up this id; the standard reserves ids for that."""
        return False

    def is_damaged_start(self, content: bytes) -> bool:
        """Whether a segment outside of messages has the shape of the one that begins a message."""
        return False

    def split(self, text: str) -> list[str]:
        """The id and the fields of a segment."""
        assert self.separators is not None
        return text.split(self.separators.field)

    def id_of(self, content: bytes) -> str:
        """The text before the first field separator; ids are never longer than three characters."""
        mark = self.separators.field.encode() if self.separators is not None else b""
        head = content[:8]
        return (head.partition(mark)[0] if mark else head).decode("latin-1")


@dataclass(slots=True)
class Hl7Syntax(Syntax):
    """Segments are lines. CR, LF and CRLF end one, and so does MLLP's FS (with the CR behind it); MLLP's VT begins a message."""

    known: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        self.format, self.message_start = "hl7", "MSH"
        self.outside = frozenset({"FHS", "BHS", "BTS", "FTS"})
        self.known = frozenset(_HL7_IDS.split()) | self.own_ids

    def pieces(self, data: bytes, at: int, is_last: bool) -> Iterator[Piece]:
        size = len(data)
        has_end = any(data.find(mark, at) >= 0 for mark in (b"\r", b"\n", b"\x1c"))  # much faster than the pattern
        for found in _HL7_END.finditer(data, at) if has_end else ():
            end = found.end()
            if end == size and not is_last and data[end - 1] != 10:
                return  # half of a CRLF, perhaps
            yield min(self.begin_of(data, at), found.start()), found.start(), end
            at = end
        if is_last and at < size:
            yield self.begin_of(data, at), size, size

    def begin_of(self, data: bytes, at: int) -> int:
        while data[at : at + 1] == b"\x0b":
            at += 1
        return at

    def end_of_long(self, data: bytes, at: int, is_last: bool) -> tuple[int | None, int]:
        places = [place for mark in (b"\r", b"\n", b"\x1c") if (place := data.find(mark, at)) >= 0]
        found = _HL7_END.match(data, min(places)) if places else None
        if found is None:
            return None, len(data)
        if found.end() == len(data) and not is_last and data[-1] != 10:
            return None, found.start()
        return found.end(), found.end()

    def is_id(self, text: str) -> bool:
        return text in self.known or _SITE_ID.fullmatch(text) is not None

    def is_site_id(self, id: str) -> bool:
        return id[0] == "Z"

    def read_header(self, content: bytes) -> str | None:
        """Take the separators of a header line. A damaged one leaves those of the header before it, or else the usual ones."""
        found = hl7_header(content)
        if isinstance(found, str):
            self.separators = self.separators or HL7_USUAL
            return found
        self.separators = found
        return None

    def holds_a_header(self, content: bytes) -> bool:
        """Whether a line that is no header has a header's first two fields: its id or a segment end is lost."""
        separators = self.separators or HL7_USUAL
        if separators.text[3:].encode() + separators.field.encode() not in content:
            return False
        self.separators = separators
        return True


@dataclass(slots=True)
class _TerminatedSyntax(Syntax):
    """Segments end with a terminator, and perhaps a line end behind it. Blanks before a segment are passed over."""

    #: A line end (its group 1), or where a header seems to begin.
    line_or_start: ClassVar[re.Pattern[bytes]]

    def pieces(self, data: bytes, at: int, is_last: bool) -> Iterator[Piece]:
        while at < len(data):
            start = self.begin_of(data, at)
            if start == len(data) and not is_last:
                return
            if self._is_header(data, start, is_last) is None:
                return
            found = self._stop(data, start, is_last) if self.separators is not None else self._junk(data, at, is_last)
            if found is None:
                return
            stop, end = found
            yield min(start, stop), stop, end
            at = end

    def end_of_long(self, data: bytes, at: int, is_last: bool) -> tuple[int | None, int]:
        if self.separators is None:
            places = [place for mark in (b"\r", b"\n") if (place := data.find(mark, at)) >= 0]
            found = _LINE_END.match(data, min(places)) if places else None
            return (None, len(data)) if found is None else (found.end(), found.end())
        stop = self._find(data, at, self.separators.terminator.encode("latin-1"))
        if stop < 0:
            release = self.separators.escape.encode()
            run = len(data) - len(data.rstrip(release)) if release else 0
            return None, len(data) - run % 2
        if not is_last and stop + 3 > len(data):
            return None, stop
        line = _LINE_END.match(data, stop + 1)
        end = line.end() if line is not None else stop + 1
        return end, end

    def begin_of(self, data: bytes, at: int) -> int:
        while data[at : at + 1] in (b" ", b"\t"):
            at += 1
        return at

    def _is_header(self, data: bytes, at: int, is_last: bool) -> bool | None:
        """Read the separators of a header at `at`. None if more of the file is needed to tell."""
        raise NotImplementedError

    def _stop(self, data: bytes, start: int, is_last: bool) -> tuple[int, int] | None:
        """Where the segment stops, and where its terminator with the line end is over."""
        assert self.separators is not None
        line = _LINE_END.match(data, start)  # a blank line is a piece of its own
        mark = self.separators.terminator.encode("latin-1")
        stop = start if line is not None else self._find(data, start, mark)
        if data[start : start + 3] in (b"IEA", b"UNZ"):  # its terminator may be lost
            limit = stop if stop >= 0 else len(data)
            header = self._next_interchange(data, start, limit, is_last)
            if header is None:
                return None
            if header > 0:
                return header, header
        if stop < 0:
            return (len(data), len(data)) if is_last else None
        end = stop if line is not None else stop + 1
        line = _LINE_END.match(data, end)
        if line is not None:
            end = line.end()
        if not is_last and end == len(data) and (line is None or data[end - 1] != 10):
            return None
        return stop, end

    def _next_interchange(self, data: bytes, start: int, stop: int, is_last: bool) -> int | None:
        """Where a header begins in the text of a segment that should have ended before it; -1 if none does."""
        raise NotImplementedError

    def _find(self, data: bytes, start: int, mark: bytes) -> int:
        return data.find(mark, start)

    def _junk(self, data: bytes, at: int, is_last: bool) -> tuple[int, int] | None:
        """A line of what comes before the first header, or what of it stands before a header.

        Whichever comes first is searched for, and no farther: headers that follow each other on one line cost linear time.
        """
        found = self.line_or_start.search(data, at)
        if found is not None and found.start() == at and found[1] is None:  # here is no header, or not a whole one
            found = self.line_or_start.search(data, at + 1)
        if not is_last and (found is None or len(data) - found.end() < _GUESS_BYTES):
            return None
        message = self._next_message(data, at, found.start() if found is not None else len(data))
        if message is not None or found is None:
            return message or (len(data), len(data))
        return found.span() if found[1] is not None else (found.start(), found.start())

    def _next_message(self, data: bytes, at: int, stop: int) -> tuple[int, int] | None:
        """Where a message begins up to `stop`, its header being lost; its separators are taken."""
        raise NotImplementedError


@dataclass(slots=True)
class X12Syntax(_TerminatedSyntax):
    line_or_start = _LINE_OR_ISA

    def __post_init__(self) -> None:
        self.format, self.message_start, self.message_end = "x12", "ST", "SE"
        self.outside = frozenset({"ISA", "GS", "GE", "IEA", "TA1"})

    def is_id(self, text: str) -> bool:
        return _X12_ID.fullmatch(text) is not None

    def is_damaged_start(self, content: bytes) -> bool:
        fields = self.split(content.decode("latin-1"))
        return len(fields) in (3, 4) and len(fields[1]) == 3 and fields[1].isdigit()

    def _is_header(self, data: bytes, at: int, is_last: bool) -> bool | None:
        head = data[at : at + 4]
        if self.separators is None and b"GS".startswith(head[:2]) and not head[2:3].isalnum():
            if not is_last and len(data) - at < _GUESS_BYTES:
                return None
            self.separators = _guessed(data[at : at + _GUESS_BYTES], head[2:3])  # the ISA is lost
            return False
        if head[:3] != b"ISA":
            return None if not is_last and b"ISA".startswith(head[:3]) and len(head) < 3 else False
        if head[3:4].isalnum():
            return False
        found = isa_header(data, at, is_last)
        if found is None:
            return None
        if isinstance(found, Separators):
            self.separators = found
            return True
        if len(data) - at < _GUESS_BYTES and not is_last:
            return None
        guessed = _guessed(data[at : at + _GUESS_BYTES], head[3:4])
        own = data[at + _ISA_BYTES - 2 : at + _ISA_BYTES].decode("latin-1")
        if guessed is not None and guessed.component + guessed.terminator == own and found == NO_GS:
            self.separators = guessed  # what is damaged is the GS
            return True
        self.header_fault = found
        self.separators = guessed or self.separators
        return True

    def _stop(self, data: bytes, start: int, is_last: bool) -> tuple[int, int] | None:
        if self.header_fault is None or self.separators is None:
            return _TerminatedSyntax._stop(self, data, start, is_last)
        terminator, mark = self.separators.terminator.encode("latin-1"), self.separators.field.encode("latin-1")
        end = b"%s(?:\r\n?|\n)?|\r\n?|\n|(?=GS%s)" % (re.escape(terminator), re.escape(mark))
        found = re.compile(end).search(data, start + 3)  # a damaged ISA may have lost its own terminator
        if found is None:
            return (len(data), len(data)) if is_last else None
        return found.span()

    def _next_interchange(self, data: bytes, start: int, stop: int, is_last: bool) -> int | None:
        isa = data.find(b"ISA", start + 3, stop)
        if isa < 0:
            return -1
        found = isa_header(data, isa, is_last)
        return None if found is None else isa if isinstance(found, Separators) else -1

    def _find(self, data: bytes, start: int, mark: bytes) -> int:
        """BIN and BDS say how many bytes of data they hold."""
        stop = data.find(mark, start)
        if data[start : start + 3] in (b"BIN", b"BDS") and self.separators is not None:
            field_mark = re.escape(self.separators.field.encode())
            shape = rb"BIN%s(\d{1,12})%s" if data[start : start + 3] == b"BIN" else rb"BDS%s[^%s]{1,3}%s(\d{1,12})%s"
            found = re.compile(shape % ((field_mark,) * shape.count(b"%s"))).match(data, start)
            if found is not None:
                after = found.end() + int(found[1])
                return after if data[after : after + 1] == mark else stop if after < len(data) else -1
        return stop

    def _next_message(self, data: bytes, at: int, stop: int) -> tuple[int, int] | None:
        gs = _GS.search(data, at, min(len(data), stop + _START_BYTES))
        separators = None if gs is None or gs.start() > stop else _guessed(data[at : gs.end() + _GUESS_BYTES], gs[2])
        if gs is None or separators is None:
            return None
        self.separators = separators
        return gs.start(), gs.start(2) - 2


def _guessed(head: bytes, field: bytes) -> Separators | None:
    """The separators around a damaged ISA: what most often stands before GS, ST, SE and GE is the terminator."""
    mark = re.escape(field)
    if b"ST" + field not in head:
        return None
    before = re.findall(rb"(" + _MARKS.encode() + rb")(?:\r\n?|\n)?(?:GS|ST|SE|GE)" + mark, head)
    terminators = [each for each in before if each != field]
    if not terminators:
        return None
    terminator = max(reversed(terminators), key=terminators.count)
    isa_end = re.search(mark + rb"(.)" + re.escape(terminator) + rb"(?:\r\n?|\n)?GS" + mark, head, re.DOTALL)
    component = isa_end[1] if isa_end is not None and re.fullmatch(_MARKS.encode(), isa_end[1]) else b":"
    marks = (field + component + terminator).decode("latin-1")
    return separators_of("ISA" + marks) if len(set(marks)) == 3 else None


@dataclass(slots=True)
class EdifactSyntax(_TerminatedSyntax):
    line_or_start = _LINE_OR_UNB
    _is_after_una: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.format, self.message_start, self.message_end = "edifact", "UNH", "UNT"
        self.outside = frozenset({"UNA", "UNB", "UNG", "UNE", "UNZ"})

    def is_id(self, text: str) -> bool:
        tag = text.partition(self.separators.component if self.separators else ":")[0]
        return _TAG.fullmatch(tag) is not None

    def is_damaged_start(self, content: bytes) -> bool:
        fields = self.split(content.decode("latin-1"))
        return len(fields) >= 3 and re.match(r"[A-Z]{6}\W", fields[2]) is not None

    def id_of(self, content: bytes) -> str:
        return "UNA" if content.startswith(b"UNA") else Syntax.id_of(self, content)

    def split(self, text: str) -> list[str]:
        assert self.separators is not None
        if text.startswith("UNA"):
            return ["UNA", text[3:]]
        return split_released(text, self.separators.field, self.separators.escape)

    def _is_header(self, data: bytes, at: int, is_last: bool) -> bool | None:
        head = data[at : at + 16]
        if not is_last and len(head) < 16 and head[:2] == b"UN"[: len(head)]:
            return None
        if head[:3] == b"UNA":
            if not is_last and len(data) - at < _GUESS_BYTES and head[8:9] in b"\r\n":
                return None
            found = una_header(head[:9], data[at + 9 : at + _GUESS_BYTES])
            if isinstance(found, Separators):
                self.separators, self._is_after_una = found, True
                return True
            if _UNB_START.match(data, at) is None and head[3:4].isalnum():
                return False
            self.header_fault = found
            self.separators = self.separators or EDIFACT_USUAL
            self._is_after_una = True
        elif head[:3] == b"UNB" and not self._is_after_una:
            self.separators = unb_defaults(head) or self.separators
        else:
            if self.separators is None and head[:4] in (b"UNH+", b"UNG+"):  # the interchange has no beginning
                self.separators = EDIFACT_USUAL
            self._is_after_una = False
        return True

    def _stop(self, data: bytes, start: int, is_last: bool) -> tuple[int, int] | None:
        if data[start : start + 3] == b"UNA" and self.header_fault is None and self.separators is not None:
            if not is_last and len(data) < start + 11:
                return None
            stop = min(start + 9, len(data))
            line = _LINE_END.match(data, stop)
            return stop, line.end() if line is not None else stop
        return _TerminatedSyntax._stop(self, data, start, is_last)

    def _next_interchange(self, data: bytes, start: int, stop: int, is_last: bool) -> int | None:
        found = _INTERCHANGE_START.search(data, start + 3, stop)
        return found.start() if found is not None else -1

    def _find(self, data: bytes, start: int, mark: bytes) -> int:
        assert self.separators is not None
        release = self.separators.escape.encode()
        if not release:
            return data.find(mark, start)
        stop = start
        while (stop := data.find(mark, stop)) >= 0:
            before = stop
            while before > start and data[before - 1 : before] == release:
                before -= 1
            if (stop - before) % 2 == 0:
                return stop
            stop += 1
        return -1

    def _next_message(self, data: bytes, at: int, stop: int) -> tuple[int, int] | None:
        message = _MESSAGE_START.search(data, at, min(len(data), stop + _START_BYTES))
        if message is None or message.start() > stop:
            return None
        self.separators = EDIFACT_USUAL
        return message.start(), message.start(1)


SYNTAXES: dict[Format, type[Syntax]] = {"hl7": Hl7Syntax, "x12": X12Syntax, "edifact": EdifactSyntax}
