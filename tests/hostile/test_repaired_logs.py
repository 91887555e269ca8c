"""After a repair or a restored copy of the log, every row of every input is in the tables again, and once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.homes import VISITS, Home


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("filled"))
    home.fill()
    home.assert_every_row_once()
    return home


@pytest.fixture
def home(filled: Home, tmp_path: Path) -> Iterator[Home]:
    home = filled.copy(tmp_path)
    yield home
    home.kill([process.pid for process in home.processes()])  # only after a failure


@pytest.mark.parametrize("has_caches", [True, pytest.param(False, marks=pytest.mark.campaign)])
def test_after_a_flipped_bit_and_a_repair_every_row_is_there_again(home: Home, has_caches: bool) -> None:
    before = home.parts()
    offset, end = home.batches_with("JobOutputsCommitted")[0]
    home.flip((offset + end) // 2)
    if not has_caches:
        for cache in ("log/open-state.snapshot", "log/clean-shutdown.seal", "state.duckdb", "state.position"):
            (home.home / cache).unlink()

    assert "log repair" in home.run("log", "verify", status=1).stderr
    assert "log repair" in home.run("start", "--detach", status=1).stderr
    home.run("log", "repair", "--yes")
    home.process_again()

    home.assert_every_row_once()
    home.assert_only_named_parts_lie_in_the_outputs()
    assert before <= home.parts() | home.aside()  # nothing is removed


def test_a_log_restored_from_an_older_copy_is_refused_and_then_gone_on_with(home: Home, tmp_path: Path) -> None:
    older = tmp_path / "yesterday"
    shutil.copytree(home.log, older)
    end_then = json.loads(home.run("log", "verify", "--json").stdout)["last_seq"]
    later = home.add_file()
    home.run("process")
    end_now = json.loads(home.run("log", "verify", "--json").stdout)["last_seq"]
    shutil.rmtree(home.log)
    shutil.copytree(older, home.log)

    for command in (("start", "--detach"), ("jobs",), ("log", "verify"), ("log", "repair", "--yes")):
        told = home.run(*command, status=1).stderr.replace("\n", " ")
        assert f"ends with event {end_then:,}" in told, command
        assert f"the tables (state.duckdb) knew event {end_now:,}" in told
        assert "log repair --accept-loss" in told
    home.run("log", "repair", "--accept-loss")  # shows only
    assert (home.home / "state.duckdb").exists()
    home.run("log", "repair", "--accept-loss", "--yes")

    kept = next((home.log / "damaged").glob("*/state.duckdb"))
    assert kept.with_name("state.position").exists()
    [repaired] = home.sql("select data from cf_audit where type = 'LogRepaired'")
    assert json.loads(repaired["data"])["last_seen_seq"] == end_now
    home.run("scan", later, "--tag", "visits")
    home.run("process")
    assert home.sql("select ward from wards where ward = 'W9'") == [{"ward": "W9"}]
    [counts] = home.sql("select count(*) as n, count(distinct patient) as patients from visits")
    assert counts == {"n": VISITS + 1, "patients": VISITS + 1}


@pytest.mark.parametrize(
    "witness",
    ["state.duckdb", *(pytest.param(name, marks=pytest.mark.campaign) for name in ("state.position", "parts"))],
)
def test_a_log_that_is_gone_is_refused_by_whoever_is_left(home: Home, witness: str) -> None:
    shutil.rmtree(home.log)
    others = {"state.position": ["state.duckdb"], "state.duckdb": ["state.position"]}
    for name in others.get(witness, ["state.duckdb", "state.position", "catalog.duckdb"]):
        (home.home / name).unlink()

    for command in (("start", "--detach"), ("status",), ("log", "verify")):
        told = home.run(*command, status=1).stderr
        assert "is missing, but" in told.replace("\n", " "), command
    home.run("log", "repair", "--accept-loss", "--yes")
    home.run("parser", "register", home.root / "visits.py")
    home.run("contract", "approve", "visits")
    home.process_again()
    home.assert_every_row_once()
    home.assert_only_named_parts_lie_in_the_outputs()


def test_whole_batches_lost_without_seal_and_snapshot_are_known_to_the_tables(home: Home, tmp_path: Path) -> None:
    home.serve(1)
    home.add_file()
    home.run("process")
    home.sql("select count(*) from cf_audit")  # the tables are as far as the log
    home.kill_daemon()
    for cache in ("open-state.snapshot", "clean-shutdown.seal"):
        (home.log / cache).unlink(missing_ok=True)
    segment = home.segment()
    whole = segment.read_bytes()
    ends = sorted(
        {end for kind in ("JobQueued", "JobLeased", "JobOutputsCommitted") for _, end in home.batches_with(kind)}
    )
    for end in ends:
        if end == len(whole):
            continue
        segment.write_bytes(whole[:end])
        assert "the tables (state.duckdb) knew event" in home.run("jobs", status=1).stderr.replace("\n", " ")
    segment.write_bytes(whole)
    home.run("start", "--detach", "--workers", "0")  # what a crash left is not a loss
    home.run("stop")
