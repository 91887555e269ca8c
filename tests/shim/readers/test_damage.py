"""The readers on damaged files: intact records arrive exactly, damaged ones are right or rejected, every byte is accounted for.

A part of the cases of `bench.damage` here; with `-m campaign` all of them, with other seeds and with the smallest blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import pytest

from bench.damage import Case, Format, cases_of, judge, sample
from bench.damage.own import read_case

#: How many cases of each format the suite reads. They take about three seconds.
FEW: dict[Format, int] = {"csv": 700, "fixed width": 200, "jsonl": 200, "hl7": 200, "x12": 200}
READERS: dict[Format, str] = {
    "csv": "read_csv",
    "fixed width": "read_fixed_width",
    "jsonl": "read_jsonl",
    "hl7": "read_segments",
    "x12": "read_segments",
}
LANDED: tuple[Format, ...] = ("fixed width", "jsonl", "hl7", "x12")
SEEDS = range(int(os.environ.get("DAMAGE_SEEDS", "3")))


def problems(cases: Iterable[Case]) -> Iterator[str]:
    """What is wrong, case by case."""
    for case in cases:
        verdict = judge(case, read_case(case))
        if not verdict.is_good:
            yield f"{case.name}: {'; '.join(verdict.problems)}\n    {case.data!r:.400}"


def assert_none(found: Iterator[str]) -> None:
    told = list(found)
    assert not told, f"{len(told)} cases, of which\n" + "\n".join(told[:5])


@pytest.mark.parametrize("format", LANDED)
def test_one_damaged_record_never_costs_another(format: Format) -> None:
    assert_none(problems(sample(cases_of(format), FEW[format])))


@pytest.mark.parametrize("format", LANDED)
def test_damage_is_the_same_in_the_smallest_blocks(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", 7)
    small = (case for case in sample(cases_of(format, seed=1), FEW[format] // 4) if len(case.data) < 4096)
    assert_none(problems(small))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("format", LANDED)
def test_every_case_of_every_seed(format: Format, seed: int) -> None:
    assert_none(problems(cases_of(format, seed)))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block_bytes", [1, 2, 64])
@pytest.mark.parametrize("format", LANDED)
def test_every_case_in_blocks_of_every_size(format: Format, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
    assert_none(problems(case for case in cases_of(format, seed=7) if len(case.data) < 4096))
