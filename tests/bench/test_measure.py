"""How samples become figures, and how a benchmark counts: all that a published number is computed by, without measuring any."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.children import ROOT, PeerEnvironment, Unavailable, own_environment
from bench.data import BATCH_ROWS, COLUMNS, SIDES, bad_rows, literal, sql, write_arrow, write_files, write_tiny_files
from bench.measure import (
    BEST_PEER,
    Benchmark,
    Case,
    Figure,
    Outcome,
    Sample,
    Setting,
    Size,
    Target,
    document,
    fdatasync_milliseconds,
    judge,
    run,
    show,
)
from bench.stamps import Stamp, Stamps, percentile
from casparian_protocol.contract import Contract, arrow_schema

# --- cases and runs


def never() -> Sample:
    raise AssertionError("not run here")


def outcome(name: str, kind: Any, *values: float, **more: str) -> Outcome:
    return Outcome(Case(name, kind, never), [Sample({"rate": value}, {"n": value}) for value in values], **more)


def benchmark(cases: list[Case], *targets: Target) -> Benchmark:
    figure = Figure("rate", "rows/s", is_higher_better=True, digits=1)
    size = Size("--peer-files", 9, "files")
    return Benchmark("one", 3, "title", [figure], [size], lambda _: cases, targets, ["a note"])


def setting(scratch: Path) -> Setting:
    return Setting(scratch, {"peer_files": 9}, PeerEnvironment(scratch / "peers", is_wanted=False))


def test_cases_take_turns_and_one_that_cannot_run_is_asked_once(tmp_path: Path) -> None:
    began: list[str] = []

    def ours() -> Sample:
        began.append("ours")
        return Sample({"rate": 1.0})

    def absent() -> Sample:
        began.append("absent")
        setting(tmp_path).peers.require("huey")
        return Sample({})

    outcomes = run(benchmark([Case("ours", "casparian", ours), Case("absent", "peer", absent)]), setting(tmp_path), 3)

    assert began == ["ours", "absent", "ours", "ours"]
    assert [len(one.samples) for one in outcomes] == [3, 0]
    assert outcomes[1].unavailable == "peers are switched off (--no-peers)"
    assert outcomes[0].failed == outcomes[1].failed == ""


@pytest.mark.parametrize(
    ("target", "word", "value"),
    [
        (Target("at least", "rate", at_least=200.0), "met", 200.0),
        (Target("at least", "rate", at_least=200.1), "missed", 200.0),
        (Target("at most", "rate", at_most=199.0), "missed", 200.0),
        (Target("between", "rate", at_least=100.0, at_most=300.0), "met", 200.0),
        (Target("of a case", "rate", at_least=1.0, case="other"), "met", 150.0),
        (Target("of no case", "rate", at_least=1.0, case="gone"), "not judged", None),
        (Target("against a case", "rate", at_least=4.0, against="slow"), "met", 4.0),
        (Target("against the best", "rate", at_least=4.0, against=BEST_PEER), "missed", 2.0),
        (Target("against nobody", "rate", at_least=4.0, against="gone"), "not judged", None),
    ],
)
def test_a_target_is_judged_by_medians(target: Target, word: str, value: float | None) -> None:
    outcomes = [
        outcome("casparian", "casparian", 100, 900, 200),
        outcome("other", "casparian", 150),
        outcome("slow", "peer", 50),
        outcome("quick", "peer", 100),
        outcome("none", "peer", unavailable="no network"),
    ]
    (verdict,) = judge(benchmark([], target), outcomes)
    assert (verdict.word, verdict.value) == (word, value)


def test_a_document_has_all_that_was_measured(tmp_path: Path) -> None:
    target = Target("twice", "rate", at_least=2.0, against=BEST_PEER)
    outcomes = [outcome("casparian", "casparian", 30, 10), outcome("peer", "peer", 5, failed="it broke")]
    found = document(benchmark([], target), setting(tmp_path), outcomes, 2, {"load_before": 0.5})

    assert found == {
        "format": 1,
        "benchmark": "one",
        "row": 3,
        "title": "title",
        "sizes": {"peer_files": 9},
        "runs": 2,
        "load_before": 0.5,
        "figures": [{"name": "rate", "unit": "rows/s", "is_higher_better": True}],
        "cases": [
            {
                "name": "casparian",
                "kind": "casparian",
                "differs": "",
                "median": {"rate": 20},
                "samples": [
                    {"figures": {"rate": 30}, "facts": {"n": 30}},
                    {"figures": {"rate": 10}, "facts": {"n": 10}},
                ],
            },
            {
                "name": "peer",
                "kind": "peer",
                "differs": "",
                "failed": "it broke",
                "median": {"rate": 5},
                "samples": [{"figures": {"rate": 5}, "facts": {"n": 5}}],
            },
        ],
        "casparian_times_better_than": {"peer": 4.0},
        "targets": [{"text": "twice", "value": 4.0, "against": "peer", "verdict": "met"}],
        "notes": ["a note"],
    }


def test_the_table_shows_median_and_spread_and_why_a_case_is_missing() -> None:
    outcomes = [
        outcome("casparian", "casparian", 30, 10, 1234.5),
        outcome("peer", "peer", 5),
        outcome("absent", "peer", unavailable="no network"),
    ]
    machine = {"cores": 2, "processor": "p", "python": "3.11", "fdatasync_milliseconds": 1.5}
    out = io.StringIO()
    show(
        Console(file=out, width=120, markup=False, highlight=False),
        benchmark([], Target("twice", "rate", at_least=2.0, against=BEST_PEER)),
        outcomes,
        {"machine": machine, "load_before": 0.1},
    )
    lines = out.getvalue().splitlines()

    assert any("30.0 (10.0..1,234.5)" in line for line in lines)
    assert any("peer (peer)" in line and "6.00×" in line for line in lines)
    assert "target: twice: 6.00× peer, met" in lines
    assert "absent: not measured: no network" in lines
    assert lines[-1] == "2 cores, p, Python 3.11, fdatasync 1.5 ms; load before 0.1"


def test_the_disk_is_measured_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    assert fdatasync_milliseconds(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


def test_peers_that_are_not_wanted_are_not_installed(tmp_path: Path) -> None:
    peers = PeerEnvironment(tmp_path / "peers", is_wanted=False)
    with pytest.raises(Unavailable):
        peers.require("polars")
    assert peers.versions() == {}
    assert not peers.python.exists()


# --- counting across processes


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_and_that_share_lies_below_it(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert percentile(values, 0.0) == min(values)
    assert percentile(values, 1.0) == max(values)


def test_stamps_of_several_processes_are_added_from_a_base(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path / "stamps")
    own = Stamp(tmp_path / "stamps" / "own")
    own.hit()
    script = (
        "import sys; from pathlib import Path; from bench.stamps import Stamp\n"
        "stamp = Stamp(Path(sys.argv[1])); stamp.hit(); stamp.hit(4)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "stamps" / "other")]
    subprocess.run(command, cwd=ROOT, env=own_environment(), check=True)

    stamps.wait_for_writers(2, 5.0)
    count, last_s = stamps.read()
    assert count == 6
    assert stamps.wait(6, 5.0) == last_s
    stamps.rebase()
    assert stamps.read()[0] == 0
    own.hit(3)
    assert stamps.read()[0] == 3
    with pytest.raises(TimeoutError, match="3 of 9 after 0 s"):
        stamps.wait(9, 0.0)


def test_a_process_that_comes_back_counts_on(tmp_path: Path) -> None:
    Stamp(tmp_path / "own").hit(5)
    Stamp(tmp_path / "own").hit()
    assert Stamps(tmp_path).read()[0] == 6


# --- inputs


def test_the_rows_called_bad_are_those_that_the_contract_refuses(tmp_path: Path) -> None:
    """Cases are compared by these counts: a generator that miscounts would refuse honest work, or take less for the same."""
    from bench.programs.validation import casparian, duckdb_try_cast

    for is_distinct in (False, True):
        path = tmp_path / f"{is_distinct}.arrow"
        bad = write_arrow(path, 3000, seed=7, is_distinct=is_distinct)
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        assert table.column_names == arrow_schema(Contract.from_literal(literal(COLUMNS))).names
        for way in (casparian, duckdb_try_cast):
            found = way(table)
            assert (found["valid"], found["bad"]) == (3000 - bad, bad)
        assert 10 < bad < 60


def test_a_seed_makes_the_same_rows_each_time_and_another_seed_makes_others() -> None:
    with duckdb.connect() as database:

        def rows(seed: int) -> list[tuple[Any, ...]]:
            return database.execute(sql(50, seed=seed, first=5, columns=9, is_distinct=False)).fetchall()

        assert rows(1) == rows(1)
        assert rows(1) != rows(2)
        assert {row[6] for row in rows(1)} <= {*SIDES, "HOLD"}
        assert bad_rows(database, BATCH_ROWS, 3) == pytest.approx(BATCH_ROWS / 100, rel=0.2)


def test_files_hold_rows_of_their_own(tmp_path: Path) -> None:
    bad = write_files(tmp_path / "trades", 2, 300, seed=9)
    ids = [
        line.split(",")[0] for path in sorted((tmp_path / "trades").iterdir()) for line in path.read_text().split()[1:]
    ]
    assert len(ids) == len(set(ids) - {"x12"}) + ids.count("x12") == 600
    assert 0 < bad < 30
    write_tiny_files(tmp_path / "tiny", 3)
    contents = {path.read_text() for path in (tmp_path / "tiny").iterdir()}
    assert len(contents) == 3
