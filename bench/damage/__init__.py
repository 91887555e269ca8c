"""Damaged files, and a judge of what readers make of them.

From clean files `cases_of` makes files with one piece of damage each, at each place where it can be. A `Case` knows its bytes,
what a reader is told, the clean records with their places, and which readings of damaged ones are right. `judge` compares what
a tool returned with that. Everything is a pure function of a seed and needs only Python, so that peers are judged in their own
environment. This face also puts the cases of a format together (`cases_of`) and takes samples of them.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from typing import Literal, get_args

from bench.damage.case import (
    Case,
    Delimited,
    Dialect,
    Document,
    Entries,
    FixedWidth,
    JsonLines,
    Row,
    Segments,
    Span,
    Stretch,
)
from bench.damage.documents import document_cases, documents
from bench.damage.files import file_cases, packed_cases
from bench.damage.judge import Accounted, Rejected, Returned, Score, Taken, Verdict, judge
from bench.damage.lines import entry_cases, fixed_width_lines, json_lines, line_cases, odd_json_cases
from bench.damage.messages import message_cases, syntaxes
from bench.damage.records import record_cases
from bench.damage.tables import RARE, tables

__all__ = [
    "CSV_TABLES",
    "FORMATS",
    "Accounted",
    "Case",
    "Delimited",
    "Dialect",
    "Document",
    "Entries",
    "FixedWidth",
    "Format",
    "JsonLines",
    "Rejected",
    "Returned",
    "Row",
    "Score",
    "Segments",
    "Span",
    "Stretch",
    "Taken",
    "Verdict",
    "cases_of",
    "csv_cases",
    "judge",
    "sample",
]

Format = Literal["csv", "fixed width", "jsonl", "hl7", "x12", "fix", "edifact", "json", "xml", "text", "archives"]
FORMATS: tuple[Format, ...] = get_args(Format)
CSV_TABLES = tuple(table.name for table in tables())


def csv_cases(seed: int = 0, *, is_rare_included: bool = True) -> Iterator[Case]:
    """Delimited files. The rare dialects are those for which some peer has no option."""
    for table in tables(seed):
        if is_rare_included or table.name not in RARE:
            yield from chain(file_cases(table), record_cases(table))


def cases_of(format: Format, seed: int = 0) -> Iterator[Case]:
    """The cases of one format."""
    match format:
        case "csv":
            yield from csv_cases(seed)
        case "fixed width":
            yield from chain.from_iterable(map(line_cases, fixed_width_lines(seed)))
        case "jsonl":
            for lines in json_lines(seed):
                yield from chain(line_cases(lines), odd_json_cases(lines))
        case "json" | "xml":
            mine = (each for each in documents(seed) if each.declared.format == format)
            yield from chain.from_iterable(map(document_cases, mine))
        case "text":
            yield from entry_cases()
        case "archives":
            yield from packed_cases(tables(seed)[0])
        case "hl7" | "x12" | "edifact" | "fix":
            chosen = (syntax for syntax in syntaxes() if syntax.declared.format == format)
            yield from chain.from_iterable(map(message_cases, chosen))


def sample(cases: Iterable[Case], count: int, seed: int = 0) -> list[Case]:
    """`count` cases in their order: as many of each kind of damage and table as there are, before more of any."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    listed = list(cases)
    for number, case in enumerate(listed):
        groups[case.table, case.damage].append(number)
    chosen = random.Random(seed)
    for numbers in groups.values():
        chosen.shuffle(numbers)
    orders = list(groups.values())
    chosen.shuffle(orders)
    in_turns = (number for turn in zip_longest(*orders) for number in turn if number is not None)
    return [listed[number] for number in sorted(number for number, _ in zip(in_turns, range(count), strict=False))]
