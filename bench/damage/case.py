"""A damaged file as a value: its bytes, what its reader is told, and what may become of each stretch of it.

A file is a sequence of stretches. An intact stretch holds clean records, which must arrive exactly, or something that is no
record (a header, a blank line). A damaged stretch holds records that the damage touched: the rows in `readings` are right, and
so is a rejection; any other row is silently different. Making cases is the work of the other modules, judging is `judge`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Literal

#: The values of one record in the order of its columns; None is a field with nothing in it.
Row = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a delimited file is written. A quote in a quoted field is doubled, unless there is an escape character."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    line_end: str = "\n"
    encoding: str = "utf-8"
    #: Quote all fields, not only those that need it.
    is_quoted: bool = False


@dataclass(frozen=True, slots=True)
class Delimited:
    """What a reader of a delimited file is told."""

    columns: tuple[str, ...]
    dialect: Dialect
    #: The lines of the header; 0: the reader is given `columns`.
    header_lines: int = 1
    #: The lines before the header.
    skip_lines: int = 0
    comment: str | None = None
    record_bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class FixedWidth:
    """What a reader of a fixed-width file is told: name → where the field begins and ends."""

    fields: tuple[tuple[str, int, int], ...]
    unit: Literal["bytes", "chars"] = "chars"
    encoding: str = "utf-8"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.fields)


@dataclass(frozen=True, slots=True)
class JsonLines:
    """What a reader of JSON lines is told: nothing but the columns that are compared."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What a reader of a document is told: the columns that are compared, and the path of the array or the name of elements."""

    format: Literal["json", "xml"]
    columns: tuple[str, ...]
    at: str = ""


@dataclass(frozen=True, slots=True)
class Entries:
    """What a reader of text is told: the pattern of a record's first line; None: each line is a record."""

    start: str | None
    columns: tuple[str, ...] = ("text",)


@dataclass(frozen=True, slots=True)
class Segments:
    """What a reader of messages is told. A row is `(segment, its text)`; for FIX `(kind of message, its text)`."""

    format: Literal["hl7", "x12", "edifact", "fix"]
    columns: tuple[str, ...]
    #: Ends a segment in the place of a line end. Segments are then numbered in the place of lines.
    terminator: bytes | None = None


Declared = Delimited | FixedWidth | JsonLines | Document | Entries | Segments


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the file: some whole lines."""

    raw: bytes
    #: The clean records that it holds or held.
    records: tuple[Row, ...] = ()
    #: The rows that are right although the stretch is damaged; None: it is intact.
    readings: frozenset[Row] | None = None

    @property
    def is_damaged(self) -> bool:
        return self.readings is not None


@dataclass(frozen=True, slots=True)
class Span:
    """Where a stretch lies: byte offsets and the number of its first line."""

    begin: int
    end: int
    line: int
    line_count: int


@dataclass(frozen=True)
class Case:
    """One file with one piece of damage."""

    table: str
    damage: str
    place: str
    declared: Declared
    stretches: tuple[Stretch, ...]
    #: A reader may refuse the whole file by name, because what is damaged is what it is told by (the header).
    may_refuse: bool = False
    #: The bytes of the file if they are not those of its stretches: the file is compressed.
    packed: bytes | None = None

    @property
    def name(self) -> str:
        return f"{self.table}: {self.damage}: {self.place}"

    @cached_property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self.content if self.packed is None else self.packed

    @cached_property
    def content(self) -> bytes:
        """The bytes that the reader gets."""
        return b"".join(stretch.raw for stretch in self.stretches)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Where each stretch lies."""
        told = self.declared
        if isinstance(told, Segments) and told.terminator is not None:
            return tuple(_spans(self.stretches, partial(_pieces, told.terminator)))
        encoding = told.dialect.encoding if isinstance(told, Delimited) else "utf-8"
        return tuple(_spans(self.stretches, partial(_lines_and_ends, encoding)))

    @property
    def record_count(self) -> int:
        return sum(len(stretch.records) for stretch in self.stretches)


_LINE_END = re.compile(rb"\r\n|\r|\n")
_UNIT_BYTES = {"utf-16": 2, "utf-16-le": 2, "utf-32": 4, "utf-32-le": 4}


def lines_in(raw: bytes, encoding: str = "utf-8") -> list[bytes]:
    """The physical lines with their ends. UTF-16 and UTF-32 are little-endian here, and a line end is a whole code unit."""
    width = _UNIT_BYTES.get(encoding, 1)
    units = raw if width == 1 else bytes(_narrow(raw[at : at + width]) for at in range(0, len(raw), width))
    cuts = [0, *(min(found.end() * width, len(raw)) for found in _LINE_END.finditer(units))]
    lines = [raw[begin:end] for begin, end in pairwise(cuts)]
    return [*lines, raw[cuts[-1] :]] if cuts[-1] < len(raw) else lines


def _narrow(unit: bytes) -> int:
    """A code unit as one byte if it is a line end, else any other byte."""
    return unit[0] if unit[0] in b"\r\n" and not any(unit[1:]) else 0


def _lines_and_ends(encoding: str, raw: bytes) -> tuple[int, int]:
    """The number of lines that are begun, and of those that end: a byte order mark goes on in the next stretch."""
    lines, width = lines_in(raw, encoding), _UNIT_BYTES.get(encoding, 1)
    return len(lines), len(lines) - (bool(lines) and not _narrow(lines[-1][-width:]))


def _pieces(terminator: bytes, raw: bytes) -> tuple[int, int]:
    ended = raw.count(terminator)
    return ended + bool(raw.rpartition(terminator)[2].strip()), ended


def _spans(stretches: tuple[Stretch, ...], counted: Callable[[bytes], tuple[int, int]]) -> Iterator[Span]:
    begin, line = 0, 1
    for stretch in stretches:
        begun, ended = counted(stretch.raw)
        yield Span(begin, begin + len(stretch.raw), line, begun)
        begin, line = begin + len(stretch.raw), line + ended
