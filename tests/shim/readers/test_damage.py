"""The readers on damaged files: intact records arrive exactly, damaged ones are right or rejected, every byte is accounted for.

A part of the cases of `bench.damage` here; with `-m campaign` all of them, with other seeds and with the smallest blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from bench.damage import Case, Format, cases_of, judge, sample
from bench.damage.own import read_case

#: How many cases of each format the suite reads. FIX has its own test.
READERS: dict[Format, int] = {
    "csv": 300,
    "fixed width": 120,
    "jsonl": 120,
    "hl7": 120,
    "x12": 120,
    "edifact": 80,
    "json": 120,
    "xml": 120,
    "text": 80,
    "archives": 60,
}
SEEDS = range(int(os.environ.get("DAMAGE_SEEDS", "3")))


#: Of how many files one may reject an intact neighbour of a damaged record, and for which damage: a quote without its partner
#: leaves doubt where its record ends (docs/reference/readers.md), and half a line end of UTF-16 where the next line begins.
DOUBTFUL = 200
QUOTES = {
    "missing quote",
    "stray quote",
    "backslash before the last quote",
    "other delimiter",
    "overlong line",
    "cut end",
}


def assert_good(cases: Iterable[Case]) -> None:
    """Every case is as it should be; in a few, an intact record may be rejected beside the damaged one, by name."""
    wrong: list[str] = []
    doubtful: list[str] = []
    count = 0
    for case in cases:
        count += 1
        problems = judge(case, read_case(case)).problems
        is_doubt = case.damage in QUOTES and all("is intact and was rejected" in problem for problem in problems)
        if problems:
            told = f"{case.name}: {'; '.join(problems)}\n    {case.data!r:.400}"
            (doubtful if is_doubt else wrong).append(told)
    assert not wrong, f"{len(wrong)} cases, of which\n" + "\n".join(wrong[:5])
    assert len(doubtful) <= count // DOUBTFUL, f"{len(doubtful)} of {count} cases\n" + "\n".join(doubtful[:5])


@pytest.mark.parametrize("format", READERS)
def test_one_damaged_record_never_costs_another(format: Format) -> None:
    assert_good(sample(cases_of(format), READERS[format]))


@pytest.mark.parametrize("format", READERS)
def test_damage_is_the_same_in_the_smallest_blocks(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", 7)
    small = (case for case in sample(cases_of(format, seed=1), READERS[format] // 4) if len(case.data) < 4096)
    assert_good(small)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("format", READERS)
def test_every_case_of_every_seed(format: Format, seed: int) -> None:
    assert_good(cases_of(format, seed))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block_bytes", [1, 2, 64])
@pytest.mark.parametrize("format", READERS)
def test_every_case_in_blocks_of_every_size(format: Format, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
    assert_good(case for case in cases_of(format, seed=7) if len(case.data) < 4096)
