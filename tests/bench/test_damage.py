"""Damaged files and their judge: cases are true to themselves, and no fault of a tool passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest

from bench.damage import (
    FORMATS,
    Accounted,
    Case,
    Delimited,
    Format,
    Rejected,
    Returned,
    Score,
    Taken,
    cases_of,
    judge,
    sample,
)
from bench.damage.tables import Table, strict_fields, tables, written

FEW = 300


@cache
def every(format: Format) -> tuple[Case, ...]:
    return tuple(cases_of(format))


def few(format: Format) -> list[Case]:
    return sample(every(format), FEW)


def perfect(case: Case) -> Returned:
    """What a reader says that gives every intact record and rejects every damaged one."""
    rows, rejects, accounted = [], [], []
    for stretch, span in zip(case.stretches, case.spans, strict=True):
        raw = case.content[span.begin : span.end]
        if stretch.is_damaged and raw:
            rejects.append(Rejected(raw, span.line, span.begin, "is damaged"))
        elif not stretch.is_damaged:
            rows += [Taken(row, span.line, span.begin) for row in stretch.records]
        accounted.append(Accounted(span.begin, span.end, "something"))
    return Returned(tuple(rows), tuple(rejects), None, tuple(accounted))


# --- cases


@pytest.mark.parametrize("format", FORMATS)
def test_a_reader_that_rejects_all_damage_is_good_on_every_case(format: Format) -> None:
    for case in few(format):
        verdict = judge(case, perfect(case))
        gone = sum(len(stretch.records) for stretch in case.stretches if not stretch.raw)  # whose bytes are not there
        assert verdict.problems == () or gone, case.name


@pytest.mark.parametrize("format", FORMATS)
def test_spans_cover_the_file_and_names_are_unique(format: Format) -> None:
    names: Counter[str] = Counter()
    for case in few(format):
        names[case.name] += 1
        assert [span.begin for span in case.spans] == [0, *(span.end for span in case.spans[:-1])]
        assert case.spans[-1].end == len(case.content)
    assert max(names.values()) == 1


def test_the_same_seed_gives_the_same_files_and_another_seed_others() -> None:
    first, again, other = (list(islice(cases_of("csv", seed), FEW)) for seed in (1, 1, 2))

    assert first == again
    assert [case.data for case in first] != [case.data for case in other]


def test_a_sample_has_every_kind_of_damage_before_two_of_one() -> None:
    kinds = {(case.table, case.damage) for case in every("csv")}
    chosen = Counter((case.table, case.damage) for case in sample(every("csv"), len(kinds)))

    assert chosen == dict.fromkeys(kinds, 1)


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_what_is_written_is_strictly_read_again(table: Table) -> None:
    for row in table.rows:
        text = table.dialect.delimiter.join(written(value, table.dialect) for value in row)
        assert strict_fields(text, table.dialect) == list(row)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a,b", ["a", "b"]),
        ('a,"b,c"', ["a", "b,c"]),
        ('"",', ["", None]),
        ('"a""b"', ['a"b']),
        ('a"b', None),
        ('"a"b', None),
        ('"a', None),
    ],
)
def test_the_strict_rules_have_no_lenient_reading(text: str, fields: list[str | None] | None) -> None:
    assert strict_fields(text, tables()[0].dialect) == fields


# --- the judge


def _case() -> Case:
    """Three records; the second has a field too many."""
    return next(case for case in every("csv") if case.name == "commas: extra field: record 2, at the end")


def _without_row(said: Returned) -> Returned:
    return replace(said, rows=said.rows[1:])


def _other_cell(said: Returned) -> Returned:
    first = said.rows[0]
    return replace(said, rows=(replace(first, values=("9", *first.values[1:])), *said.rows[1:]))


def _one_more(said: Returned) -> Returned:
    return replace(said, rows=(*said.rows, Taken(("x",) * 5)))


def _nothing_rejected(said: Returned) -> Returned:
    return replace(said, rejects=())


def _wrong_line(said: Returned) -> Returned:
    return replace(said, rows=(replace(said.rows[0], line=3), *said.rows[1:]))


def _wrong_offset(said: Returned) -> Returned:
    return replace(said, rows=(replace(said.rows[0], offset=1), *said.rows[1:]))


def _wrong_text(said: Returned) -> Returned:
    return replace(said, rejects=(replace(said.rejects[0], raw=b"other"),))


def _gap(said: Returned) -> Returned:
    return replace(said, accounted=(said.accounted or ())[:-1])


def _twice(said: Returned) -> Returned:
    parts = said.accounted or ()
    return replace(said, accounted=(*parts[:1], *parts))


def _intact_rejected(said: Returned) -> Returned:
    first = said.rows[0]
    return replace(said, rows=said.rows[1:], rejects=(Rejected(None, first.line, first.offset, "why"), *said.rejects))


def _gave_up(said: Returned) -> Returned:
    return replace(said, rows=said.rows[:1], rejects=(), failed="an error")


@pytest.mark.parametrize(
    ("fault", "fates", "words"),
    [
        (_without_row, {"right": 4, "rejected": 1, "lost": 1}, "line 2 is lost without a word"),
        (_other_cell, {"right": 4, "rejected": 1, "different": 1}, "is not line 2"),
        (_one_more, {"right": 5, "rejected": 1, "invented": 1}, "is no record"),
        (_nothing_rejected, {"right": 5, "lost": 1}, "line 3 is lost without a word"),
        (_wrong_line, {"right": 5, "rejected": 1}, "the record of line 2 is said to be on line 3"),
        (_wrong_offset, {"right": 5, "rejected": 1}, "is said to begin at byte 1"),
        (_wrong_text, {"right": 5, "rejected": 1}, "is not the file's: b'other'"),
        (_gap, {"right": 5, "rejected": 1}, "not accounted for"),
        (_twice, {"right": 5, "rejected": 1}, "counted twice"),
        (_intact_rejected, {"right": 4, "rejected": 2}, "line 2 is intact and was rejected: why"),
        (_gave_up, {"right": 1, "refused": 5}, "the file was refused: an error"),
    ],
)
def test_a_fault_is_counted_and_named(fault: Callable[[Returned], Returned], fates: dict[str, int], words: str) -> None:
    case = _case()
    assert judge(case, perfect(case)).is_good

    verdict = judge(case, fault(perfect(case)))
    assert verdict.fates == fates
    assert any(words in problem for problem in verdict.problems), verdict.problems


def test_a_damaged_record_may_be_its_value_or_its_literal_text_and_nothing_else() -> None:
    case = next(case for case in every("csv") if case.name == "commas: stray quote: record 1, field 2, character 3")
    damaged = next(stretch for stretch in case.stretches if stretch.is_damaged)
    clean = damaged.records[0]
    said = perfect(case)
    for reading in damaged.readings or ():
        assert judge(case, replace(said, rows=(Taken(reading), *said.rows), rejects=())).is_good
    shifted = (*clean[:1], "x", *clean[2:])
    verdict = judge(case, replace(said, rows=(Taken(shifted), *said.rows), rejects=()))
    assert verdict.fates == {"right": 5, "different": 1}


def test_a_tool_that_tells_nothing_of_empty_text_is_not_blamed_for_it() -> None:
    case = next(iter(every("csv")))
    rows = tuple(Taken(tuple(value or "" for value in row)) for stretch in case.stretches for row in stretch.records)

    assert judge(case, Returned(rows, tells_empty=False)).is_good
    assert not judge(case, Returned(rows)).is_good


def test_a_file_whose_header_is_damaged_may_be_refused() -> None:
    case = next(case for case in every("csv") if case.damage == "damaged header")
    verdict = judge(case, Returned(failed="The header on line 1 …"))

    assert verdict.is_good and verdict.is_refused
    assert verdict.fates == {"refused": case.record_count}


def test_a_score_is_the_sum_of_verdicts() -> None:
    case, score = _case(), Score()
    score.add(judge(case, perfect(case)))
    score.add(judge(case, _gave_up(perfect(case))))

    assert (score.files, score.good_files, score.refused_files) == (2, 1, 1)
    assert score.fates == {"right": 6, "rejected": 1, "refused": 5}
    assert score.share("right", "rejected") == pytest.approx(100 * 7 / 12)


def test_a_case_tells_what_is_declared() -> None:
    case = _case()

    assert isinstance(case.declared, Delimited)
    assert case.declared.columns == ("id", "name", "city", "note", "amount")
