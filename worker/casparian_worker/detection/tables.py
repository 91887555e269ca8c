"""What stands around the records of a table: preamble, header, footer, comments, and other tables in the same file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from casparian_worker.detection.records import Record
from casparian_worker.detection.result import Table

_COMMENTS = ("#", "//", "--", "%", "!")
_FOOTER_MAX = 20
_HEADER_MAX = 3
#: Words in the names of columns that hardly any value is.
_USUAL_NAME = re.compile(
    r"(?i)(?:^|[_\W])(?:id|nr|no|name|code|date|datum|time|type|typ|status|state|city|ort|country|land|address|email|phone|"
    r"description|comment|note|title|value|amount|betrag|price|qty|quantity|currency|account|customer|user|key)(?:$|[_\W])"
)
VALUE = re.compile(r"\s*[-+$€£]?(?:[0-9][0-9.,:/TZ+ -]*%?|\.[0-9]+)\s*")


@dataclass(frozen=True, slots=True)
class Region:
    """The records of the table, as first and last place in the list, and the lines around it."""

    first: int
    last: int
    preamble_lines: int
    footer_lines: int
    tables: tuple[Table, ...]


def comment_prefix(lines: Sequence[str]) -> str | None:
    """The prefix of comment lines: at the beginning of the file, or in few lines among others."""
    filled = [line for line in lines if line.strip()]
    begins = {line[0] for line in filled}
    for prefix in _COMMENTS:
        if prefix[0] not in begins:
            continue
        count = sum(line.startswith(prefix) for line in filled)
        if count and count * 2 < len(filled) and (prefix in "#//" or filled[0].startswith(prefix)):
            return prefix
    return None


def find_tables(records: Sequence[Record], width: int) -> Region | None:
    """Where the table begins and ends. The first of two records that follow each other with `width` fields begins it."""
    fits = [record.width == width for record in records]
    if not any(fits):
        return None
    tables = tuple(_tables(records))
    if len(tables) < 2:
        tables = ()
    first, last = _begin(records, fits, width), len(fits) - 1 - fits[::-1].index(True)
    if tables:
        last = max(at for at in range(first, len(fits)) if all(fits[first : at + 1]))
    else:
        # A record with a field too many or too few at the end is a bad record; a footer has another form altogether.
        footer = len(records)
        while footer > last + 1 and _is_footer(records[footer - 1], width):
            footer -= 1
        if len(records) - footer > _FOOTER_MAX:
            footer = len(records)
        last = footer - 1
    preamble = records[first].at if records[first].stretch == 0 else 0
    return Region(first, last, preamble, sum(record.line_count for record in records[last + 1 :]), tables)


def _begin(records: Sequence[Record], fits: Sequence[bool], width: int) -> int:
    """The first record of the table: one with `width` fields of which at least half of the next ones have as many.

    What stands before it and is like a record belongs to the table, unless a blank line is between them.
    """
    likely = (at for at, is_fit in enumerate(fits) if is_fit and 2 * sum(fits[at : at + 6]) >= len(fits[at : at + 6]))
    first = next(likely, fits.index(True))
    while first > 0 and not records[first].is_after_blank and not _is_apart(records[first - 1], width):
        first -= 1
    return first


def _is_apart(record: Record, width: int) -> bool:
    """Whether a record has another form than the table: no delimiter, or far fewer fields."""
    return record.width == 1 or record.width * 2 < width + 1


_TOTAL = re.compile(
    r"(?i)\W*(?:(?:grand |sub-?)?total|sum|summe|count|anzahl|end of|ende|rows?|records?|trailer|trl|eof)\b"
)


def _is_footer(record: Record, width: int) -> bool:
    """Whether a record after the last good one ends the table and is none of its records."""
    if record.is_bad or not _is_apart(record, width):
        return False
    if _TOTAL.match(record.text) or record.is_after_blank:
        return True
    # A single word or number may be the beginning of a record that was cut.
    return record.width == 1 and len(record.text.split()) > 2


def _tables(records: Sequence[Record]) -> Iterator[Table]:
    """Groups of at least two records between blank lines in which all have the same shape, where shapes differ."""
    groups: list[list[Record]] = []
    for record in records:
        if record.stretch:
            break
        if record.is_after_blank or not groups:
            groups.append([])
        groups[-1].append(record)
    if len(groups) < 2 or len(groups) > 50:
        return
    found: list[Table] = []
    for group in groups:
        width, count = Counter(record.width for record in group).most_common(1)[0]
        if width < 2 or count < 2 or count * 5 < len(group) * 4:
            continue
        begin = next(record for record in group if record.width == width)
        is_header = not any(VALUE.fullmatch(cell) for cell in re.split(r"[,;|\t]", begin.text))
        header = begin.text if is_header else ""
        found.append(Table(begin.at + 1, group[-1].at + group[-1].line_count, width, header))
    if len({table.column_count for table in found}) > 1:
        yield from found


def header_of(rows: Sequence[Sequence[str]]) -> int | None:
    """How many of the first rows are names above values (0 to 3); None if the columns give no clue.

    Values below are the clue: above a column of numbers or dates, what is neither must be a name (or a group, or a unit).
    """
    if not rows:
        return 0
    columns = list(zip(*rows, strict=True))
    below = [_is_value_column(column[_HEADER_MAX:] or column[1:]) for column in columns]
    count = 0
    while any(below) and count < min(_HEADER_MAX, len(rows) - 1) and _is_above_values(rows[count], below):
        count += 1
    if any(_has_names(row) for row in rows[:count]):
        return count
    if any(below) or not _has_names(rows[0]):
        return 0
    rest = rows[1:]
    if not rest:
        return 1 if any(_USUAL_NAME.search(name) for name in rows[0]) else None
    if any(VALUE.fullmatch(cell) for row in rest for cell in row if cell.strip()):
        return 1
    if any(_USUAL_NAME.search(name) for name in rows[0]):
        return 1
    if len(rows) > 3 and all(map(_is_identifier, rows[0])) and any(_is_of_sentences(column[1:]) for column in columns):
        return 1
    if all(re.fullmatch(r"[^\W\d][\w .\-/()]*", name.strip()) for name in rows[0] if name.strip()):
        return None
    return 0


def _is_identifier(cell: str) -> bool:
    return re.fullmatch(r"[^\W\d]\w*", cell) is not None


def _is_of_sentences(cells: Sequence[str]) -> bool:
    """Whether the cells of a column are no names."""
    return sum(map(_is_identifier, cells)) * 10 <= len(cells)


def is_header_of(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether cells are names above the rows, although there are more or fewer of them than fields in a row."""
    named = list(cells[:-1] if cells and not cells[-1].strip() else cells)
    columns = list(zip(*rows, strict=True))[: len(named)]
    below = [_is_value_column(column) for column in columns]
    return len(named) > 1 and any(below) and _has_names(named) and _is_above_values(named[: len(below)], below)


def _has_names(row: Sequence[str]) -> bool:
    """Whether the cells can be names: no values, at most a third of them empty, and at least two thirds different."""
    names = [name for cell in row if (name := cell.strip())]
    if len(names) * 3 < len(row) * 2 and len(names) < len(row) - 1:
        return False
    return len(set(names)) * 3 >= len(names) * 2 > 0 and not any(VALUE.fullmatch(name) for name in names)


def _is_above_values(row: Sequence[str], below: Sequence[bool]) -> bool:
    """Whether no cell above a column of values is one itself."""
    above = [cell for cell, is_value in zip(row, below, strict=True) if is_value]
    return any(cell.strip() for cell in above) and not any(VALUE.fullmatch(cell) for cell in above)


def _is_value_column(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return bool(filled) and sum(bool(VALUE.fullmatch(cell)) for cell in filled) * 10 >= len(filled) * 9


def names_of(header: Sequence[str], width: int) -> tuple[str, ...]:
    """A name for each column that a contract may have: the header's, or its place; twins get a number."""
    names: list[str] = []
    taken: set[str] = set()
    for place in range(width):
        given = header[place].strip() if place < len(header) else ""
        name = given if _is_name(given) else f"column_{place + 1}"
        number = 2
        base = name
        while name.casefold() in taken:
            name = f"{base}_{number}"
            number += 1
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)


def _is_name(text: str) -> bool:
    return bool(text) and text.isprintable() and len(text) <= 255 and not text.casefold().startswith(("_cf_", "__cf_"))
