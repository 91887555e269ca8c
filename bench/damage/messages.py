"""Damage in messages of segments: HL7 v2, X12, EDIFACT and FIX.

A record is a segment as it is written (for FIX a whole message). Damaged text inside a segment is its literal text: whether a
value is right, its contract says. What may not happen is that a neighbour changes, that a segment disappears, or that a FIX
message passes whose check sum is not its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.damage.case import Case, Row, Segments, Stretch

_COLUMNS = ("segment", "text")
_HL7 = (
    "MSH|^~\\&|LAB|HOSP|EHR|HOSP|202405011200||ORU^R01|{id}|P|2.5",
    "PID|1||{id}^^^HOSP||DOE^JOHN^Q||19800515|M",
    "OBR|1|||GLU^Glucose",
    "OBX|1|NM|GLU||5.4|mmol/L|||||F",
    "NTE|1||a \\T\\ b ~ repeated",
)
_X12 = (
    "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240501*1200*U*00401*000000001*0*P*>",
    "GS*PO*SENDER*RECEIVER*20240501*1200*1*X*004010",
    "ST*850*0001",
    "BEG*00*NE*PO1001**20240501",
    "PO1*1*10*EA*9.95**VN*AB-12",
    "SE*4*0001",
    "ST*850*0002",
    "BEG*00*NE*PO1002**20240502",
    "PO1*1*3*EA*1.50**VN*CD-34",
    "SE*4*0002",
    "GE*2*1",
    "IEA*1*000000001",
)
_EDIFACT = (
    "UNB+UNOA:2+SENDER:14+RECEIVER:14+240501:1200+REF1",
    "UNH+1+ORDERS:D:96A:UN",
    "BGM+220+PO1001+9",
    "DTM+137:20240501:102",
    "FTX+AAI+++it?'s 50?+1?: a ?? b",
    "LIN+1++4000862141404:SRV",
    "UNT+6+1",
    "UNH+2+ORDERS:D:96A:UN",
    "BGM+220+PO1002+9",
    "LIN+1++4000862141405:SRV",
    "UNT+4+2",
    "UNZ+2+REF1",
)
_X12_ENDS = ("SE", "GE", "IEA")
_EDIFACT_ENDS = ("UNT", "UNE", "UNZ")
_EDIFACT_ENVELOPE = ("UNA", "UNB", "UNH", *_EDIFACT_ENDS)
_X12_ENVELOPE = ("ISA", "GS", "ST", *_X12_ENDS)
_FIX = "35=D|49=BANK|56=VENUE|34={id}|52=20240501-12:00:00.000|11=ORD{id}|55=ABC|54=1|38=100|44=9.95|58=a note|"


@dataclass(frozen=True)
class Syntax:
    """A clean file of messages, each with its segments, and what is a segment by itself."""

    name: str
    declared: Segments
    messages: tuple[tuple[str, ...], ...]
    terminator: bytes
    #: The row of a segment's text, if it is one.
    row: Callable[[str], Row | None]
    #: Segments that are judged by the others: a wrong count or number rejects them.
    trailers: tuple[str, ...] = ()
    #: Segments without which the others are in no message.
    envelope: tuple[str, ...] = ()
    encoding: str = "utf-8"

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return tuple(text for message in self.messages for text in message)

    def intact(self, text: str, terminator: bytes | None = None) -> Stretch:
        row = self.row(text)
        assert row is not None
        return Stretch(text.encode(self.encoding) + (self.terminator if terminator is None else terminator), (row,))

    def damaged(self, raw: bytes, texts: Iterable[str] = (), others: Sequence[str] = ()) -> Stretch:
        """A damaged stretch that held `texts`. They, the literal text of its parts, and `others` are right.

        With `others` it is several segments in one, whose literal text is no segment: the second one would be lost in it.
        """
        held = tuple(row for text in texts if (row := self.row(text)) is not None)
        parts = [] if others else [raw, *re.split(rb"[\r\n]+", raw), *self.pieces(raw)]
        literal = {
            part: self.row(part.decode(self.encoding, "replace").strip("\r\n"))
            for part in [*parts, *(text.encode(self.encoding) for text in others)]
        }
        return Stretch(raw, held, frozenset({*held, *(row for row in literal.values() if row is not None)}))

    def pieces(self, raw: bytes) -> list[bytes]:
        """What is between terminators; one that is released is text."""
        if self.declared.format == "edifact":
            return re.findall(rb"(?:\?.|[^'?])+", raw.replace(b"\r", b"").replace(b"\n", b""), re.DOTALL)
        return raw.split(self.terminator.strip() or b"\n")

    def whole(self) -> list[Stretch]:
        return [self.intact(text) for text in self.texts]

    def case(self, damage: str, place: str, stretches: Sequence[Stretch], *, may_refuse: bool = False) -> Case:
        return Case(self.name, damage, place, self.declared, tuple(stretches), may_refuse)

    def replaced(self, damage: str, place: str, number: int, raw: bytes, count: int = 1) -> Case:
        """The file with `count` segments written as `raw`. What depends on a damaged segment may be rejected with it."""
        texts = self.texts
        stretches = [
            self.maybe(text) if self._depends(at, number, count, raw) else self.intact(text)
            for at, text in enumerate(texts)
        ]
        # Of two that became one, one record is left; if it is the other, its text is right as well.
        others = texts[number + 1 : number + count]
        stretches[number : number + count] = [self.damaged(raw, texts[number : number + 1], others)] if raw else []
        return self.case(damage, place, stretches, may_refuse=number == 0)

    def maybe(self, text: str) -> Stretch:
        """A segment that is intact, and may be rejected for the damage of others."""
        return self.damaged(text.encode(self.encoding) + self.terminator, [text])

    def _depends(self, at: int, number: int, count: int, raw: bytes) -> bool:
        """Whether the segment at a place may be rejected with a damaged one.

        The trailers of its envelope, which count; all of the message if it is its header or a part of the envelope; and the
        segment before it, which may be cut, if what follows does not begin with an id.
        """
        first = 0
        for message in self.messages:
            last = first + len(message)
            is_mine = first <= at < last and first < number + count and number < last
            envelope = any(self.texts[each].startswith(self.envelope) for each in range(number, number + count))
            if is_mine and (number <= first or envelope or self.texts[at].startswith(self.trailers)):
                return True
            first = last
        return at == number - 1 and self.row(raw.decode(self.encoding, "replace").strip()) is None


def message_cases(syntax: Syntax) -> Iterator[Case]:
    yield syntax.case("none", "the clean file", syntax.whole())
    for kind in (_in_segments, _terminators, _between, _cut_ends):
        yield from kind(syntax)


def _in_segments(syntax: Syntax) -> Iterator[Case]:
    for number, text in enumerate(syntax.texts):
        raw, end = text.encode(syntax.encoding), syntax.terminator
        for at in range(len(raw) + 1):
            place = f"segment {number + 1}, byte {at + 1}"
            if at < len(raw):
                yield syntax.replaced("missing byte", place, number, raw[:at] + raw[at + 1 :] + end)
            extra = (b"|", b"*", b"^", b"\\", b"x")[(number + at) % 5]
            yield syntax.replaced("extra byte", f"{place}: {extra.decode()}", number, raw[:at] + extra + raw[at:] + end)
            odd = (b"\0", b"\xe9", b"\xff", b"\x85", b" ")[(number + at) % 5]
            yield syntax.replaced("odd byte", f"{place}: {odd.hex()}", number, raw[:at] + odd + raw[at:] + end)


def _terminators(syntax: Syntax) -> Iterator[Case]:
    texts, end = syntax.texts, syntax.terminator
    for number, text in enumerate(texts):
        raw = text.encode(syntax.encoding)
        for at in range(1, len(raw), 3):
            yield syntax.replaced(
                "torn segment", f"segment {number + 1}, byte {at + 1}", number, raw[:at] + end + raw[at:] + end
            )
        if number + 1 < len(texts):
            both = raw + texts[number + 1].encode(syntax.encoding) + end
            yield syntax.replaced("missing segment end", f"after segment {number + 1}", number, both, 2)
        yield syntax.replaced("missing segment", f"segment {number + 1}", number, b"")


def _between(syntax: Syntax) -> Iterator[Case]:
    kinds = {"blank": b"", "words": b"-- page 2 --", "binary": bytes(range(128, 160)), "NULs": bytes(16)}
    for number in range(1, len(syntax.texts) + 1):
        for kind, raw in kinds.items():
            stretches = [
                syntax.maybe(text) if syntax.trailers and text.startswith(syntax.trailers) else syntax.intact(text)
                for text in syntax.texts
            ]
            if raw or number == 1:  # the segment before it may be cut, for all that anybody can tell
                stretches[number - 1] = syntax.maybe(syntax.texts[number - 1])
            stretches.insert(number, syntax.damaged(raw + syntax.terminator))
            yield syntax.case("foreign text", f"{kind} after segment {number}", stretches)


def _cut_ends(syntax: Syntax) -> Iterator[Case]:
    whole, at = syntax.whole(), 0
    for number, (text, stretch) in enumerate(zip(syntax.texts, whole, strict=True)):
        for size in range(len(stretch.raw)):
            rest = stretch.raw[:size]
            is_whole = not text.startswith("UNA") and rest.rstrip(b"\r\n") == (
                text.encode(syntax.encoding) + syntax.terminator
            ).rstrip(b"\r\n")
            last = Stretch(rest, stretch.records) if is_whole else syntax.damaged(rest, [text])
            stretches = [*whole[:number], *([last] if rest else [])]
            if rest and syntax.row(rest.decode(syntax.encoding, "replace").strip()) is None:
                stretches[:number] = [
                    *whole[: number - 1],
                    *map(syntax.maybe, syntax.texts[max(0, number - 1) : number]),
                ]
            yield syntax.case("cut end", f"at byte {at + size}", stretches, may_refuse=number == 0)
        at += len(stretch.raw)


# --- the formats


def syntaxes() -> tuple[Syntax, ...]:
    hl7 = tuple(tuple(text.format(id=f"MSG{number}") for text in _HL7) for number in range(1, 4))
    ends = {"CR": b"\r", "LF": b"\n", "CRLF": b"\r\n"}
    made = [Syntax(f"HL7, {name}", Segments("hl7", _COLUMNS), hl7, end, _hl7_row) for name, end in ends.items()]
    for name, end in (("one line", b"~"), ("lines", b"~\n")):
        made.append(
            Syntax(f"X12, {name}", Segments("x12", _COLUMNS, b"~"), (_X12,), end, _x12_row, _X12_ENDS, _X12_ENVELOPE)
        )
    for name, end, head in (("one line", b"'", ()), ("lines", b"'\r\n", ()), ("UNA", b"'\n", ("UNA:+.? ",))):
        told = Segments("edifact", _COLUMNS, b"'")
        segments = (*head, *_EDIFACT)
        made.append(Syntax(f"EDIFACT, {name}", told, (segments,), end, _edifact_row, _EDIFACT_ENDS, _EDIFACT_ENVELOPE))
    messages = tuple((_with_check_sum(_FIX.format(id=number)),) for number in range(1, 6))
    made.append(Syntax("FIX", Segments("fix", _COLUMNS), messages, b"\n", _fix_row))
    return tuple(made)


def _hl7_row(text: str) -> Row | None:
    found = re.match(r"[A-Z][A-Z0-9]{2}(?=\||$)", text)
    return (found.group(), text) if found else None


def _x12_row(text: str) -> Row | None:
    found = re.match(r"[A-Z][A-Z0-9]{1,2}(?=\*|$)", text)
    return (found.group(), text) if found else None


def _edifact_row(text: str) -> Row | None:
    found = re.match(r"UNA|[A-Z]{3}(?=[+:]|$)", text)
    return (found.group(), text) if found else None


def _with_check_sum(body: str) -> str:
    fields = body.replace("|", "\x01")
    message = f"8=FIX.4.4\x019={len(fields)}\x01{fields}"
    return f"{message}10={sum(message.encode()) % 256:03d}\x01"


def _fix_row(text: str) -> Row | None:
    """A message is one only if its length and its check sum are right."""
    found = re.fullmatch(r"8=FIX\.4\.4\x019=([0-9]+)\x01(35=([^\x01]+)\x01.*)10=[0-9]{3}\x01", text, re.DOTALL)
    if found is None or text != _with_check_sum(found.group(2).replace("\x01", "|")):
        return None
    return (found.group(3), text)
