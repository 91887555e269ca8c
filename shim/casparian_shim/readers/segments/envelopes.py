"""The envelopes around messages: what a trailer says is compared with what it ends.

A trailer names a count and, in X12 and EDIFACT, the control number of its header. A trailer that is wrong is rejected alone: the
segments before it are good. A missing trailer is a fault of the next trailer around it, or of the end of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from casparian_shim.readers.segments.separators import Format


@dataclass(frozen=True, slots=True)
class Level:
    """A kind of envelope. Fields are numbered from 1; 0 is none."""

    article: str
    name: str
    header: str
    header_reference: int
    trailer: str
    count: int
    reference: int
    #: What the trailer counts.
    counted: str
    #: Whether an inner level proves that this one is open: if its header was not seen, it was damaged.
    is_required: bool = False


#: From the outside to the inside. The innermost level of X12 and EDIFACT is the message, whose trailer counts segments.
LEVELS: dict[Format, tuple[Level, ...]] = {
    "hl7": (
        Level("a", "file", "FHS", 0, "FTS", 1, 0, "batches"),
        Level("a", "batch", "BHS", 0, "BTS", 1, 0, "messages"),
        Level("a", "message", "MSH", 0, "", 0, 0, "segments"),
    ),
    "x12": (
        Level("an", "interchange", "ISA", 13, "IEA", 1, 2, "groups", True),
        Level("a", "group", "GS", 6, "GE", 1, 2, "transaction sets", True),
        Level("a", "transaction set", "ST", 2, "SE", 1, 2, "segments"),
    ),
    "edifact": (
        Level("an", "interchange", "UNB", 5, "UNZ", 1, 2, "messages", True),
        Level("a", "group", "UNG", 5, "UNE", 1, 2, "messages"),
        Level("a", "message", "UNH", 1, "UNT", 1, 2, "segments"),
    ),
}

_HEADER_LEVELS = {format: {level.header: at for at, level in enumerate(levels)} for format, levels in LEVELS.items()}
_TRAILER_LEVELS = {format: {level.trailer: at for at, level in enumerate(levels)} for format, levels in LEVELS.items()}


@dataclass(slots=True)
class _Open:
    #: The control number; None for an envelope whose header is damaged or lost.
    reference: str | None
    row: int
    #: How many of each level it contains.
    counts: list[int]


@dataclass(slots=True)
class Envelopes:
    """The envelopes that are open, and what is wrong with those that were left open."""

    format: Format
    _open: list[_Open | None] = field(default_factory=lambda: [None, None, None])
    _left_open: list[str] = field(default_factory=list)

    def copy(self) -> Envelopes:
        opened = [_Open(each.reference, each.row, [*each.counts]) if each is not None else None for each in self._open]
        return Envelopes(self.format, opened, [*self._left_open])

    @property
    def may_hold_messages(self) -> bool:
        """Whether a message may begin here: in X12 within a group, in EDIFACT within an interchange."""
        place = {"hl7": None, "x12": 1, "edifact": 0}[self.format]
        return place is None or self._open[place] is not None

    def begin(self, id: str, fields: Sequence[str] | None, row: int, *, is_after_reject: bool) -> None:
        """A header; its fields are None if it is damaged.

        Envelopes of its level that are still open have no trailer, unless that was just rejected.
        """
        at = _HEADER_LEVELS[self.format][id]
        reference = LEVELS[self.format][at].header_reference
        self._begin(at, _field(fields, reference) if reference and fields is not None else None, row, is_after_reject)

    def begin_headless(self, row: int) -> None:
        """A message whose header is damaged."""
        self._begin(2, None, row, True)

    def begin_messages(self, count: int, last_row: int) -> None:
        """Headers of HL7 messages, one after the other without another header or trailer between them."""
        self._begin(2, None, last_row, False)
        for outer in self._open[:2]:
            if outer is not None:
                outer.counts[2] += count - 1

    def end(self, id: str, fields: Sequence[str], segments: int, row: int, *, is_after_reject: bool) -> str | None:
        """A trailer: None if it is right, or what is wrong with it."""
        at = _TRAILER_LEVELS[self.format][id]
        level = LEVELS[self.format][at]
        self._close_inner(at + 1, is_after_reject)
        left_open, self._left_open = self._left_open, []
        opened, self._open[at] = self._open[at], None
        if opened is None:
            return f"ends {level.article} {level.name} that did not begin"
        faults: list[str] = []
        self._compare_count(level, at, opened, _field(fields, level.count), segments, faults)
        said = _field(fields, level.reference)
        if level.reference and opened.reference is not None and said != opened.reference:
            faults.append(
                f"has the control number {said!r:.40}, and {level.header} (segment {opened.row:,}) has {opened.reference!r:.40}"
            )
        return "; ".join(faults + left_open) or None

    def finish(self, *, is_after_reject: bool) -> list[str]:
        """At the end of the file: what has no trailer."""
        self._close_inner(0, is_after_reject)
        left_open, self._left_open = self._left_open, []
        return left_open

    def _begin(self, at: int, reference: str | None, row: int, is_after_reject: bool) -> None:
        self._close_inner(at, is_after_reject)
        for place in range(at):
            if self._open[place] is None and LEVELS[self.format][place].is_required:
                self._begin(place, None, row, True)
            if (outer := self._open[place]) is not None:
                outer.counts[at] += 1
        self._open[at] = _Open(reference, row, [0, 0, 0])

    def _close_inner(self, at: int, is_after_reject: bool) -> None:
        levels = LEVELS[self.format]
        for place in range(at, 3):
            opened, self._open[place] = self._open[place], None
            if opened is not None and levels[place].trailer and not is_after_reject:
                number = f" {opened.reference}" if opened.reference else ""
                self._left_open.append(
                    f"the {levels[place].name}{number} of segment {opened.row:,} has no {levels[place].trailer}"
                )

    def _compare_count(self, level: Level, at: int, opened: _Open, said: str, segments: int, faults: list[str]) -> None:
        if at == 2:
            found, counted = segments, level.counted
            if opened.reference is None:
                return  # how many of its segments came before the damage is unknown
        else:
            inner = next((place for place in range(at + 1, 3) if opened.counts[place]), at + 1)
            if self.format == "hl7" and inner != at + 1:
                return  # messages without a batch in a file: the standard does not say what is counted
            found, counted = (
                opened.counts[inner],
                f"{LEVELS[self.format][inner].name}" + ("es" if inner == 1 and self.format == "hl7" else "s"),
            )
        if not said:
            if self.format != "hl7":
                faults.append(f"has no count of {counted} ({level.trailer}-{level.count})")
        elif not (said.isascii() and said.isdigit()) or len(said) > 18:
            faults.append(f"has a count that is no number: {said!r:.40}")
        elif int(said) != found:
            faults.append(f"counts {int(said):,} {counted}, but there are {found:,}")


def _field(fields: Sequence[str], number: int) -> str:
    return fields[number - 1].strip() if 0 < number <= len(fields) else ""
