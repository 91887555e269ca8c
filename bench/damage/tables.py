"""Clean tables of delimited text, seeded, and how a record is written and strictly read.

Each table has the fields that make CSV hard: nothing, empty text, a delimiter, quotes and a line end in a quoted field,
letters outside ASCII. Which record has which is the seed's choice. `strict_row` reads one record by RFC 4180 and nothing more
lenient: what it reads in damaged text, no reader can tell from a clean record.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from bench.damage.case import Case, Delimited, Dialect, Row, Stretch, lines_in

COLUMNS = ("id", "name", "city", "note", "amount")
_NAMES = ("Anna", "Bert", "Zoë", "Dora", "Émile", "Frans", "Jürgen", "Mary Ann", "O'Neil", "Päivi")
_CITIES = ("Köln", "Rome", "São Paulo", "Lyon", "Zürich", "Bergen", "Málaga", "New York")
_DIALECTS = {
    "commas": Dialect(),
    "semicolons": Dialect(delimiter=";", line_end="\r\n", encoding="cp1252", is_quoted=True),
    "tabs": Dialect(delimiter="\t", quote=None),
    "pipes": Dialect(delimiter="|", escape="\\"),
    "apostrophes": Dialect(quote="'", encoding="latin-1"),
    "utf-16": Dialect(delimiter="\t", line_end="\r\n", encoding="utf-16"),
    "double bars": Dialect(delimiter="||"),
}
#: The column with line ends and quotes in it may also be the first or the last.
_ORDERS = {"note first": ("note", "id", "name", "amount"), "note last": ("id", "name", "amount", "note")}
#: The table whose cells hold lines that are records by themselves.
_NESTED = "records in cells"
#: What is left in a damaged record to tell it from the lines of its cells.
Told = Literal["quotes", "lines", "nothing"]
#: Dialects that some peer has no option for; a comparison leaves them out.
RARE = ("utf-16", "double bars")


@dataclass(frozen=True)
class Table:
    """A clean table, and the means to write its parts."""

    name: str
    rows: tuple[Row, ...]
    dialect: Dialect
    columns: tuple[str, ...] = COLUMNS
    #: Some cells have lines that are records by themselves.
    has_records_in_cells: bool = False

    @property
    def codec(self) -> str:
        """The encoding of a part of the file, without a byte order mark."""
        return "utf-16-le" if self.dialect.encoding == "utf-16" else self.dialect.encoding

    @cached_property
    def start(self) -> tuple[Stretch, ...]:
        """What comes before the first line: UTF-16's byte order mark."""
        return (Stretch(b"\xff\xfe"),) if self.dialect.encoding == "utf-16" else ()

    @cached_property
    def header(self) -> Stretch:
        return Stretch(self.line(self.fields(self.columns)))

    @cached_property
    def records(self) -> tuple[Stretch, ...]:
        return tuple(Stretch(self.line(self.fields(row)), (row,)) for row in self.rows)

    @cached_property
    def whole(self) -> tuple[Stretch, ...]:
        """The clean file."""
        return (*self.start, self.header, *self.records)

    def fields(self, row: Row) -> list[str]:
        """The fields of a record as they are written."""
        return [written(value, self.dialect) for value in row]

    def line(self, fields: Sequence[str], end: str | None = None) -> bytes:
        return self.encoded(self.dialect.delimiter.join(fields) + (self.dialect.line_end if end is None else end))

    def encoded(self, text: str) -> bytes:
        return text.encode(self.codec)

    def damaged(
        self, raw: bytes, records: Iterable[Row] = (), readings: Iterable[Row] = (), *, told_by: Told = "lines"
    ) -> Stretch:
        """A stretch that the damage touched. What the strict rules read in some of its lines is right too.

        In a table with records in cells, `told_by` says what the damage has left to tell these from records: if quotes, a part
        of the stretch is no record; if lines, a line of a cell is none; if nothing, any line may be right.
        """
        held, lines = tuple(records), lines_in(raw, self.dialect.encoding)
        pieces = [b"".join(lines[first : last + 1]) for last in range(len(lines)) for first in range(last + 1)]
        if told_by == "quotes" and self.has_records_in_cells:
            pieces = [raw]
        strict = {row for piece in pieces if (row := strict_row(piece, self)) is not None}
        strict -= self._records_in_cells if told_by != "nothing" else frozenset()
        return Stretch(raw, held, frozenset({*held, *readings, *strict}))

    @cached_property
    def _records_in_cells(self) -> frozenset[Row]:
        if not self.has_records_in_cells:
            return frozenset()
        lines = [line for row in self.rows for value in row for line in (value or "").split("\n")]
        return frozenset(tuple(line.split(",")) for line in lines if line.count(",") == len(self.columns) - 1)

    def with_record(self, number: int, *stretches: Stretch) -> tuple[Stretch, ...]:
        """The clean file with other stretches in the place of one record."""
        return (*self.start, self.header, *self.records[:number], *stretches, *self.records[number + 1 :])

    def case(
        self, damage: str, place: str, stretches: Iterable[Stretch], *, may_refuse: bool = False, **told: Any
    ) -> Case:
        """A case of this table; `told` changes what the reader is told."""
        declared = replace(Delimited(self.columns, self.dialect), **told)
        return Case(self.name, damage, place, declared, tuple(stretches), may_refuse)


def written(value: str | None, dialect: Dialect) -> str:
    """One field as text."""
    quote, escape = dialect.quote, dialect.escape
    if value is None:
        return ""
    if quote is None:
        return value
    needs_quotes = not value or any(part in value for part in (dialect.delimiter, quote, escape or quote, "\r", "\n"))
    if not needs_quotes and not dialect.is_quoted:
        return value
    inner = (
        value.replace(quote, quote * 2)
        if escape is None
        else value.replace(escape, escape * 2).replace(quote, escape + quote)
    )
    return f"{quote}{inner}{quote}"


def tables(seed: int = 0) -> tuple[Table, ...]:
    """One table for each dialect, some with other columns, and some with records in their cells."""
    whole = [_table(name, dialect, seed) for name, dialect in _DIALECTS.items()]
    reordered = [_reordered(whole[0], name, columns) for name, columns in _ORDERS.items()]
    nested = [
        _nested(_NESTED, COLUMNS, seed),
        *(_nested(f"{_NESTED}, {name}", each, seed) for name, each in _ORDERS.items()),
    ]
    return (*whole, *reordered, *nested)


def _nested(name: str, columns: tuple[str, ...], seed: int) -> Table:
    """Commas, and notes in which one line or two are records between other text."""
    chosen = random.Random(f"{name} {seed}")
    record = [",".join(f"{number}{place}" for place in range(len(columns))) for number in (7, 8)]
    notes = [
        None,
        "plain",
        'say "hi" now',
        f"text\n{record[0]}\nmore",
        f"one, two\n{record[0]}\n{record[1]}\nthree",
        f"text\n\n{record[1]}\n{record[0]}\n\nmore text",
    ]
    chosen.shuffle(notes)
    rows = []
    for number, note in enumerate(notes):
        cells = {"id": str(1001 + number), "name": chosen.choice(_NAMES), "city": chosen.choice(_CITIES), "note": note}
        cells["amount"] = f"{chosen.randrange(1, 999)}.{chosen.randrange(10, 99)}"
        rows.append(tuple(cells[column] for column in columns))
    return Table(name, tuple(rows), Dialect(), columns, has_records_in_cells=True)


def _reordered(table: Table, name: str, columns: tuple[str, ...]) -> Table:
    places = [table.columns.index(column) for column in columns]
    rows = tuple(tuple(row[place] for place in places) for row in table.rows)
    return Table(f"{table.name}, {name}", rows, table.dialect, columns)


def _table(name: str, dialect: Dialect, seed: int) -> Table:
    chosen = random.Random(f"{name} {seed}")
    delimiter, quote = dialect.delimiter, dialect.quote
    notes: list[str | None] = [None, "plain", "two words", '12" pipe', '"Big" Rock', '"']
    if quote is not None:
        end = dialect.line_end
        notes = [
            None,
            "",
            "plain",
            f"one{delimiter} two",
            f"say {quote}hi{quote} now",
            f"{end.join(('first', 'second'))} line",
        ]
    chosen.shuffle(notes)
    rows = []
    for number, note in enumerate(notes):
        person, city = chosen.choice(_NAMES), chosen.choice(_CITIES)
        if quote is not None and number % 3 == 1:
            person = f"{person}{delimiter} {chosen.choice('JKL')}."
        rows.append((str(1001 + number), person, city, note, f"{chosen.randrange(1, 999)}.{chosen.randrange(10, 99)}"))
    return Table(name, tuple(rows), dialect)


def strict_row(raw: bytes, table: Table) -> Row | None:
    """The record that `raw` is by the strict rules, if it has one field for each column."""
    try:
        text = raw.decode(table.codec)
    except UnicodeDecodeError:
        return None
    fields = strict_fields(text.removesuffix("\n").removesuffix("\r"), table.dialect)
    return tuple(fields) if fields is not None and len(fields) == len(table.columns) else None


def strict_fields(text: str, dialect: Dialect) -> list[str | None] | None:
    """The fields of a record by RFC 4180; None if a quote stands where the rules have none."""
    fields: list[str | None] = []
    at = 0
    while True:
        found = (
            _quoted(text, at, dialect)
            if dialect.quote and text.startswith(dialect.quote, at)
            else _plain(text, at, dialect)
        )
        if found is None:
            return None
        value, at = found
        fields.append(value)
        if at == len(text):
            return fields
        if not text.startswith(dialect.delimiter, at):
            return None
        at += len(dialect.delimiter)


def _plain(text: str, at: int, dialect: Dialect) -> tuple[str | None, int] | None:
    end = text.find(dialect.delimiter, at)
    value = text[at:] if end < 0 else text[at:end]
    special = [part for part in (dialect.quote, dialect.escape, "\r", "\n") if part]
    return None if any(part in value for part in special) else (value or None, at + len(value))


def _quoted(text: str, at: int, dialect: Dialect) -> tuple[str, int] | None:
    quote, escape = dialect.quote or "", dialect.escape or ""
    marks = re.compile("[" + re.escape(quote + escape) + "]")
    pieces: list[str] = []
    at += 1
    while (found := marks.search(text, at)) is not None:
        pieces.append(text[at : found.start()])
        following = text[found.end() : found.end() + 1]
        if found.group() == escape:
            if not following:
                return None
            if following not in (quote, escape, dialect.delimiter[0], "\r", "\n"):
                following = escape + following  # the escape is text before a character that needs none
        elif following != quote or escape:
            return "".join(pieces), found.end()
        pieces.append(following)
        at = found.end() + 1
    return None
