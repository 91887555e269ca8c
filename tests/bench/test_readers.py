"""The programs of `bench readers` in this process: tools on a few damaged files, and generated input of any size."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bench.damage import Delimited, Score, cases_of, csv_cases, judge, sample
from bench.damage.own import read_case
from bench.programs.damaged_csv import TOOLS, read, scored
from bench.programs.damaged_own import score_of
from bench.programs.reading import ENDLESS, Generated, peak_rss_bytes, read_endless, read_pyarrow, read_whole

CLEAN = [case for case in csv_cases(is_rare_included=False) if case.damage == "none"]


@pytest.mark.parametrize("tool", ["csv", "duckdb"])
def test_a_peer_reads_clean_files_of_every_dialect(tool: str) -> None:
    for case in CLEAN:
        verdict = judge(case, read(TOOLS[tool], case, is_declared=True))
        assert verdict.problems == (), case.name


@pytest.mark.parametrize("tool", ["csv", "duckdb"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_peer_is_scored_on_damaged_files(tool: str, is_declared: bool) -> None:
    score = Score()
    chosen = sample(csv_cases(is_rare_included=False), 12)
    for case in chosen:
        score.add(judge(case, read(TOOLS[tool], case, is_declared)))

    fates = scored(score)["fates"]
    assert scored(score)["files"] == 12
    assert sum(fates.values()) - fates.get("invented", 0) == sum(case.record_count for case in chosen)
    assert fates["right"] > 0


def test_a_peer_that_fails_refuses_the_file() -> None:
    def broken(*_given: object) -> object:
        raise RuntimeError("no")

    said = read(broken, CLEAN[0], is_declared=True)  # type: ignore[arg-type]
    assert (said.failed, said.rows) == ("RuntimeError: no", ())


def test_casparian_is_scored_on_the_same_files() -> None:
    told = score_of("jsonl", "declared", 20, seed=0)

    assert told["good"] == told["files"] == 20
    assert {"lost", "different", "invented"}.isdisjoint(told["fates"])


def test_the_account_of_a_clean_file_names_each_part() -> None:
    said = read_case(CLEAN[0])

    assert isinstance(CLEAN[0].declared, Delimited)
    assert said.accounted is not None
    assert [part.what for part in said.accounted] == ["header", *["record"] * len(said.rows)]
    assert [taken.offset for taken in said.rows] == [part.begin for part in said.accounted[1:]]


def test_a_format_that_no_reader_reads_is_named() -> None:
    with pytest.raises(NotImplementedError, match="FIX is read by its premade parser"):
        read_case(next(iter(cases_of("fix"))))


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
def test_generated_input_is_head_blocks_and_tail(size: int) -> None:
    stream = io.BufferedReader(Generated(b"head\n", b"block\n", 18, b"tail\n"), size)

    assert stream.read() == b"head\n" + b"block\n" * 3 + b"tail\n"


def test_endless_records_are_counted() -> None:
    told = read_endless("csv", "records", 2_100_000)

    assert (told["records"], told["rejected"]) == (27_776, 0)
    assert peak_rss_bytes() > 1 << 20


@pytest.mark.parametrize("name", ENDLESS)
def test_a_long_record_is_rejected_by_every_reader(name: str) -> None:
    told = read_endless(name, "long", 3_000_000, record_bytes_max=100_000)

    assert (told["records"], told["rejected"]) == ENDLESS[name].expected


def test_a_clean_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    line = "1,2,3,4,2024-05-01,2024-05-01T12:00:00Z,BUY,AC-000001\n"
    path.write_text("id,qty,price,amount,day,ts,side,acct\n" + line * 100)

    for told in (read_whole("read_csv", str(path)), read_pyarrow(str(path))):
        assert (told["records"], told["rejected"]) == (100, 0)
        assert told["seconds"] > 0 and told["cpu_seconds"] > 0
