"""A home with one part damaged or gone at a time: a clear refusal or all rows, never a traceback, never fewer rows unsaid."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.world import Done, run_here
from tests.hostile.homes import VISITS, WARDS, Home

#: What the daemon rebuilds or does not need: everything must be as before.
DISPOSABLE = [
    "state.duckdb", "state.position", "catalog.duckdb", "artifacts", "parsers", "log/open-state.snapshot",
    ".staging", ".scratch", "logs", "run/sentinel.lock", "outputs/visits/current", "config.toml",
]  # fmt: skip
#: Facts: gone or damaged, somebody must say so.
FACTS = [
    "log",
    "log/00000000000000000001.caslog",
    "outputs",
    "outputs/visits",
    "quarantine/visits",
    "blobs",
    "run/keys",
]


def removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def truncated(path: Path) -> None:
    for each in _files(path):
        os.chmod(each, 0o600)
        os.truncate(each, each.stat().st_size // 2)


def flipped(path: Path) -> None:
    for each in _files(path):
        content = bytearray(each.read_bytes())
        if content:
            content[len(content) // 2] ^= 4
            os.chmod(each, 0o600)
            each.write_bytes(content)


def _files(path: Path) -> list[Path]:
    if path.is_symlink():
        return []  # what it leads to is another part
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file() and not each.is_symlink()]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("filled"))
    home.fill()
    return home


@pytest.fixture
def home(filled: Home, tmp_path: Path) -> Iterator[Home]:
    home = filled.copy(tmp_path)
    yield home
    home.kill([process.pid for process in home.processes()])  # only after a failure


def asked(home: Home, *arguments: str) -> Done:
    done = run_here("--home", home.home, *arguments)
    assert "Traceback" not in done.stderr, (arguments, done.stderr)
    if done.code not in (0, 1, 3):
        raise AssertionError((arguments, done))
    if done.code and arguments[0] != "doctor":
        assert done.stderr.startswith("casparian: "), (arguments, done)
    return done


@pytest.mark.parametrize("damage", [removed, truncated, flipped])
@pytest.mark.parametrize("part", DISPOSABLE)
@pytest.mark.campaign
def test_without_a_part_that_is_computed_all_rows_are_there(
    home: Home, part: str, damage: Callable[[Path], None]
) -> None:
    if part == "config.toml" and damage is not removed:
        pytest.skip("settings that cannot be read are refused by their own tests")
    damage(home.home / part)
    asked(home, "doctor")
    asked(home, "status")
    if part == "log/open-state.snapshot" or damage is removed or part != "log/clean-shutdown.seal":
        home.run("log", "verify")
    home.assert_every_row_once()
    home.serve(1)
    home.assert_every_row_once()
    home.run("stop")


@pytest.mark.parametrize("damage", [removed, truncated, flipped])
@pytest.mark.parametrize("part", FACTS)
@pytest.mark.campaign
def test_a_damaged_fact_is_told_or_its_rows_are_there(home: Home, part: str, damage: Callable[[Path], None]) -> None:
    """Either every row is answered, or the command that would answer fewer says why not."""
    damage(home.home / part)
    said = [asked(home, *command) for command in (("doctor",), ("log", "verify"), ("status",))]
    done = asked(
        home, "sql", "select (select count(*) from visits) as v, (select count(*) from wards) as w", "--format", "json"
    )
    if done.code == 0:
        assert f'"v": {VISITS}' in done.stdout and f'"w": {WARDS}' in done.stdout, (part, done, said)
    started = home._run_as_a_process("start", "--detach", "--workers", "0")
    assert "Traceback" not in started.stderr
    if started.code == 0:
        home.run("stop")
    else:
        assert started.stderr.startswith("casparian: ")


@pytest.mark.parametrize("damage", [removed, truncated])
def test_a_query_over_a_damaged_file_names_the_rerun_that_brings_its_rows_back(
    home: Home, damage: Callable[[Path], None]
) -> None:
    home.serve(1)
    try:
        part = min((home.home / "outputs" / "visits").glob("v*/part-*.parquet"))
        job_id = part.name.split("-")[1]
        damage(part)
        refused = run_here("--home", home.home, "sql", "select count(distinct patient) from visits")
        assert refused.code == 1
        assert "Correct the query" not in refused.stderr
        assert "`casparian verify visits`" in refused.stderr
        assert "published files of visits are missing" in home.run("doctor", status=1).stdout
        # A catalogue that was made anew meanwhile leaves the output out, and names `verify` for the id.
        assert re.search(rf"`casparian job rerun ({job_id}|ID)`", refused.stderr)
        assert f"job {job_id}: NOT REPRODUCED" in home.run("verify", "visits", status=1).stdout
        home.run("job", "rerun", job_id)
        home.run("process")
        [counts] = home.sql("select count(*) as n, count(distinct patient) as patients from visits")
        assert counts == {"n": VISITS, "patients": VISITS}
        assert home.sql("select count(*) as n from wards") == [{"n": WARDS}]
    finally:
        home.run("stop")


def test_an_output_whose_folder_is_gone_is_said_to_be_damaged_until_it_is_brought_back(
    home: Home, tmp_path: Path
) -> None:
    folder, kept = home.home / "outputs" / "visits", tmp_path / "kept"
    folder.rename(kept)
    home.serve(1)
    try:
        refused = run_here("--home", home.home, "sql", "select count(*) from visits")
        assert refused.code != 0
        assert "visits cannot be shown" in refused.stderr and "`casparian verify visits`" in refused.stderr
        assert home.sql("select count(*) as n from wards") == [{"n": WARDS}]
        doctor = home.run("doctor", status=1).stdout
        assert "published files of visits are missing or truncated" in doctor
        assert [row["output"] for row in home.sql("select output from lineage.unpublished")] == ["visits"]
    finally:
        home.run("stop")
    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)
    assert home.sql("select count(*) as n from visits") == [{"n": VISITS}]
    assert "unpublished" not in home.run("outputs", "list").stdout


def test_a_link_that_a_backup_made_a_directory_stops_no_commit(home: Home) -> None:
    current = home.home / "outputs" / "visits" / "current"
    target = current.readlink()
    current.unlink()
    shutil.copytree(current.with_name(target.name), current)
    copied = len(list(current.glob("part-*")))
    home.add_file()
    home.run("process")
    assert home.sql("select count(*) as n, count(distinct patient) as patients from visits") == [
        {"n": VISITS + 1, "patients": VISITS + 1}
    ]
    assert current.readlink() == target
    assert len(list((current.parent / ".current.aside-1").glob("part-*"))) == copied, "nothing is thrown away"
