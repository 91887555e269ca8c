"""The gallery of damaged files has every kind of damage that the benchmark makes; `test_generated_pages` compares its page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pytest

from bench.damage import Case
from bench.damage.documents import document_cases, documents
from bench.damage.files import file_cases
from bench.damage.lines import fixed_width_lines, json_lines, line_cases, odd_json_cases
from bench.damage.messages import message_cases, syntaxes
from bench.damage.records import record_cases
from bench.damage.tables import tables
from docs.gallery import SECTIONS, Section


def cases(title: str) -> Iterator[Case]:
    """The cases of one clean file of each format, which have all kinds of damage."""
    match title:
        case "Delimited text":
            table = next(each for each in tables() if each.name == "commas")
            yield from chain(file_cases(table), record_cases(table))
        case "Fixed width":
            yield from line_cases(fixed_width_lines(0)[0])
        case "JSON lines":
            yield from chain(line_cases(json_lines(0)[0]), odd_json_cases(json_lines(0)[0]))
        case "JSON documents" | "XML":
            yield from document_cases(next(each for each in documents() if each.name.startswith(title.split()[0])))
        case "HL7" | "X12" | "EDIFACT":
            yield from message_cases(next(each for each in syntaxes() if each.declared.format == title.lower()))


@pytest.mark.parametrize("section", [each for each in SECTIONS if any(cases(each.title))], ids=lambda each: each.title)
def test_every_kind_of_damage_has_a_file(section: Section) -> None:
    assert {case.damage for case in cases(section.title)} - {sample.damage for sample in section.samples} == set()
