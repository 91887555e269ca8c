"""One segment as an author of parsers uses it: fields by the numbers of the standard, components, repetitions, plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casparian_shim.readers.blocks import RAW_ENCODING
from casparian_shim.readers.segments.separators import Separators, separators_of, unescaped


class Segment:
    """A row of `read_segments`, with its fields by number: in `PID`, `segment[5]` is PID-5 as it is written in the file."""

    __slots__ = ("encoding", "fields", "id", "message", "position", "raw_encoding", "row_id", "separators")

    def __init__(self, row: Mapping[str, Any], encoding: str = "utf-8") -> None:
        self.id: str = row["segment"]
        self.fields: Sequence[str] = row["fields"]
        self.message: int | None = row["message"]
        self.position: int | None = row["position"]
        self.row_id: int = row["__cf_row_id"]
        self.separators: Separators = separators_of(row["separators"])
        #: The codec that read this segment, if the reader was given several.
        self.raw_encoding: str | None = row.get(RAW_ENCODING)
        self.encoding = self.raw_encoding or encoding

    def __getitem__(self, number: int) -> str:
        """Field `number` as written; an absent one is empty."""
        if number < 1:
            raise IndexError(f"fields are numbered from 1, not {number}")
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def __repr__(self) -> str:
        return f"<Segment {self.row_id}: {str(self)[:80]!r}>"

    def __str__(self) -> str:
        return segment_text(self.id, self.fields, self.separators)

    def repetitions(self, number: int) -> list[str]:
        """The repetitions of a field as written; none if the field is empty."""
        text = self[number]
        if not text:
            return []
        return [text] if self._is_about_separators(number) else repetitions_of(text, self.separators)

    def components(self, number: int, repetition: int = 1) -> list[str]:
        """The components of one repetition of a field, as written."""
        repetitions = self.repetitions(number)
        if repetition > len(repetitions):
            return []
        if self._is_about_separators(number):
            return repetitions
        return components_of(repetitions[repetition - 1], self.separators)

    def value(self, number: int, component: int = 1, *, repetition: int = 1, subcomponent: int = 1) -> str | None:
        """One value with its escape sequences resolved; None if nothing is written there.

        HL7's `""` (the value is to be deleted) stays `""` in quotes.
        """
        written = self[number]
        if not written or written.isalnum():  # no separator, no escape
            return written or None if component == repetition == subcomponent == 1 else None
        if self._is_about_separators(number):
            return written if component == repetition == 1 else None
        return value_of(written, self.separators, self.encoding, component, repetition, subcomponent)

    def _is_about_separators(self, number: int) -> bool:
        """Whether the field names the separators themselves."""
        match self.separators.format:
            case "hl7":
                return number <= 2 and self.id in ("MSH", "BHS", "FHS")
            case "x12":
                return self.id == "ISA" and number in (11, 16)
            case _:
                return self.id == "UNA"


def repetitions_of(written: str, separators: Separators) -> list[str]:
    return _split(written, separators.repetition, separators)


def components_of(repetition: str, separators: Separators) -> list[str]:
    return _split(repetition, separators.component, separators)


def value_of(
    written: str, separators: Separators, encoding: str, component: int = 1, repetition: int = 1, subcomponent: int = 1
) -> str | None:
    """One value of a field, with its escape sequences resolved; None if nothing is written there."""
    text = written
    for mark, number in (
        (separators.repetition, repetition),
        (separators.component, component),
        (separators.subcomponent, subcomponent),
    ):
        parts = _split(text, mark, separators)
        text = parts[number - 1] if number <= len(parts) else ""
    return unescaped(text, separators, encoding) if text else None


def segment_text(id: str, fields: Sequence[str], separators: Separators) -> str:
    """A segment as it is written in the file, without its end."""
    if id == "UNA" and separators.format == "edifact":
        return id + "".join(fields)
    if separators.format == "hl7" and id in ("MSH", "BHS", "FHS"):
        return id + separators.field.join(("", *fields[1:]))
    return separators.field.join((id, *fields))


def _split(text: str, mark: str, separators: Separators) -> list[str]:
    if not mark or mark not in text:
        return [text]
    if separators.format == "edifact":
        return split_released(text, mark, separators.escape)
    return text.split(mark)


def split_released(text: str, mark: str, release: str) -> list[str]:
    """The parts of a text between marks that no release character stands before."""
    pieces = text.split(mark)
    if not release or release not in text:
        return pieces
    parts: list[str] = []
    held: list[str] = []
    for piece in pieces:
        held.append(piece)
        if (len(piece) - len(piece.rstrip(release))) % 2:
            continue  # an odd number of release characters: the mark behind them is data
        parts.append(mark.join(held))
        held = []
    if held:
        parts.append(mark.join(held))
    return parts
