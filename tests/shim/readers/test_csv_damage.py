"""One piece of damage at each place of small tables: no row is ever another than was written, and the other records arrive.

`damaged` says of each file which rows the damaged record may become; every other row is a difference that nobody is told about.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from casparian_shim import read_csv

Record = list[str | None]
TABLES: dict[str, list[Record]] = {
    "plain": [["1", "Ann", "Rome"], ["2", "Bob", "Oslo"], ["3", "Cay", "Bern"], ["4", "Dee", "Ulm"]],
    "quoted": [
        ["1", "Doe, John", "Rome"],
        ["2", "Bob", "a, b, c"],
        ["3", 'say "hi" now', "Bern"],
        ["4", '"x"', None],
        ["5", "Dee", ""],
    ],
    "empty": [["1", None, ""], [None, "b, c", None], ["3", "", "x"], ["4", None, "y"]],
    "lines": [
        ["1", "Ann", "two\nlines"],
        ["2", "x, y\nz", "Oslo"],
        ["3", "Cay", "a\nb\nc, d"],
        ["4", "e\n5,6", "Ulm"],
        ["5", 'q ""\n"r"', "s"],
        ["6", "f", "g"],
    ],
    "wide": [
        ["1", "b,c,d", "x", None, "p"],
        ["2", "p", "5,6", "q", "r"],
        ["3", '5" x', "y", "z", "k"],
        ["4", "k", "l", "m\nn, o", "t"],
        ["5", "a", "b", "c", "d"],
    ],
    "records in cells": [
        ["1", "Ann", "text\n7,8,9\nmore"],
        ["2", "text\n7,8,9\n4,5,6\nmore", "Oslo"],
        ["text\n\n7,8,9\nmore", "Cay", "Bern"],
        ["4", "one, two\n7,8,9\nthree", "Ulm"],
        ["5", "text\n7,8,9", "x"],
        ["6", "f", "g"],
        ["7", "h", "i"],
    ],
}

#: How many intact records are rejected over all files of a table, because nobody can tell that they are in no damaged cell.
DOUBTFUL = {"lines": 4, "wide": 3, "records in cells": 9}


class Damaged(NamedTuple):
    kind: str
    #: The places of the records that the damage concerns.
    places: tuple[int, ...]
    text: str
    #: What the damaged record may be read as; it may always be rejected.
    readings: list[Record]


def written(value: str | None, *, quotes_all: bool) -> str:
    if value is None:
        return '""' if quotes_all else ""
    needs_quotes = quotes_all or value == "" or any(each in value for each in ',"\n')
    return '"' + value.replace('"', '""') + '"' if needs_quotes else value


def damaged(records: list[Record], *, quotes_all: bool) -> Iterator[Damaged]:
    fields = [[written(value, quotes_all=quotes_all) for value in record] for record in records]
    lines = [",".join(each) for each in fields]
    for at, line in enumerate(lines):
        for kind, changed, readings in damaged_line(records[at], fields[at]):
            yield Damaged(kind, (at,), "\n".join([*lines[:at], changed, *lines[at + 1 :]]) + "\n", readings)
        if at + 1 < len(lines):
            joined = "\n".join([*lines[:at], line + lines[at + 1], *lines[at + 2 :]]) + "\n"
            yield Damaged("missing line end", (at, at + 1), joined, [])
    text = "\n".join(lines) + "\n"
    last = len(text) - len(lines[-1]) - 1
    for cut in range(last, len(text)):
        shortened = next(iter(read_csv(io.BytesIO(text[last:cut].encode()), header=False)), None)
        kept = list(shortened.values())[:-1] if shortened is not None else []
        whole_fields = len(kept) == len(records[-1])  # a text that is cut in its last field is still a record
        yield Damaged("cut", (len(lines) - 1,), text[:cut], [kept] if whole_fields else [])


def damaged_line(record: Record, fields: list[str]) -> Iterator[tuple[str, str, list[Record]]]:
    line = ",".join(fields)
    places = [(field, place) for field, text in enumerate(fields) for place in range(len(text) + 1)]
    for at, (field, place) in enumerate(places):
        text = fields[field]
        is_quoted = text.startswith('"')
        yield "extra quote", line[:at] + '"' + line[at:], list(with_quote(record, field, text, place))
        if not is_quoted or place in (0, len(text)):
            yield "extra delimiter", line[:at] + "," + line[at:], []
        if place == len(text) and field + 1 < len(fields):
            yield "missing delimiter", line[:at] + line[at + 1 :], []
        if text[place : place + 1] == '"':
            readings = [record] if 0 < place < len(text) - 1 else []
            yield "missing quote", line[:at] + line[at + 1 :], readings
            if text[place : place + 2] == '""' and 0 < place < len(text) - 2:
                yield "other escape", line[:at] + '\\"' + line[at + 2 :], [record]
    if len(fields) > 1:
        yield "other delimiter", ";".join(fields), []
    others = ["'" + text[1:-1] + "'" if text.startswith('"') else text for text in fields]
    if others != fields and "\n" not in line:
        yield "other quote", ",".join(others), [[text or None for text in others]]


def with_quote(record: Record, field: int, text: str, place: int) -> Iterator[Record]:
    """The record with one more quote as text."""
    if text.startswith('"') and 0 < place < len(text):
        inner = text[1:-1]
        before, after = inner[: place - 1], inner[place - 1 :]
        is_in_pair = before.count('"') % 2 == 1
        value = (before + '"' + after).replace('""', '"') if not is_in_pair else None
        for each in {value, before.replace('""', '"') + '"' + after.replace('""', '"')} - {None}:
            yield [*record[:field], each, *record[field + 1 :]]
    elif not text.startswith('"') and 0 < place < len(text):
        yield [*record[:field], text[:place] + '"' + text[place:], *record[field + 1 :]]


@pytest.mark.parametrize("quotes_all", [False, True], ids=["some quotes", "all quotes"])
@pytest.mark.parametrize("name", TABLES)
def test_no_damage_is_read_as_something_else(name: str, quotes_all: bool) -> None:
    records: list[Record] = [[(value or "") if quotes_all else value for value in record] for record in TABLES[name]]
    logging.disable(logging.WARNING)
    different: list[tuple[str, str, list[Record]]] = []
    counts: Counter[str] = Counter()
    try:
        for each in damaged(records, quotes_all=quotes_all):
            reader = read_csv(
                io.BytesIO(each.text.encode()), columns=[f"c{n}" for n in range(len(records[0]))], header=False
            )
            rows = [list(row.values())[:-1] for row in reader]
            others = [record for place, record in enumerate(records) if place not in each.places]
            new = [row for row in rows if row not in others and row not in each.readings]
            if new:
                different.append((each.kind, each.text, new))
            counts["files"] += 1
            counts["neighbours lost"] += sum(record not in rows for record in others)
    finally:
        logging.disable(logging.NOTSET)

    assert different == []
    assert counts["files"] > 40
    assert counts["neighbours lost"] == (0 if quotes_all else DOUBTFUL.get(name, 0))
