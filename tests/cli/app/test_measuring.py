"""What doctor measures, on real directories, files and processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zoneinfo
from pathlib import Path

import pytest

from casparian_app import measuring
from casparian_app.gateway import open_gateway
from casparian_app.measuring import (
    Disk,
    HomeFacts,
    PublishedFacts,
    count_orphans,
    daemon_of,
    measure_clock,
    measure_disk,
    measure_home,
    measure_machine,
    measure_published,
    measure_sandbox,
    now_pair,
    objection_to_log,
    pid_of_file,
    socket_path_bytes,
    status_of,
    time_zones,
    versions,
)
from casparian_protocol.home import Home
from tests.homes import copy_home


def home_below(directory: Path) -> Home:
    home = Home(directory / "home")
    home.root.mkdir(mode=0o700)
    return home


def names_in(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


# --- the home's directory ---------------------------------------------------------------------------------------------


def test_a_home_is_described_as_the_kernel_has_it(tmp_path: Path) -> None:
    home = home_below(tmp_path)
    home.root.chmod(0o750)
    assert measure_home(home) == HomeFacts(True, True, os.getuid(), 0o750, config_exists=False)
    home.config_file.write_text("")
    assert measure_home(home).config_exists


def test_a_home_that_is_not_there_and_one_that_is_a_file_differ(tmp_path: Path) -> None:
    assert measure_home(Home(tmp_path / "none")) == HomeFacts(exists=False)
    (tmp_path / "file").write_text("")
    found = measure_home(Home(tmp_path / "file"))
    assert (found.exists, found.is_directory) == (True, False)


# --- its disk ---------------------------------------------------------------------------------------------------------


def test_syncs_are_timed_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_SYNC_COUNT", 3)
    home = home_below(tmp_path)
    disk = measure_disk(home)
    assert len(disk.sync_seconds) == 3 and list(disk.sync_seconds) == sorted(disk.sync_seconds)
    assert disk.free_bytes > 0 and disk.why_unmeasured == ""
    assert names_in(home.root) == []


def test_the_disk_of_a_home_to_be_is_looked_at_and_not_written_to(tmp_path: Path) -> None:
    disk = measure_disk(Home(tmp_path / "not" / "yet"))
    assert (disk.sync_seconds, disk.why_unmeasured) == ((), "there is no home yet")
    assert disk.file_system == measure_disk(home_below(tmp_path)).file_system
    assert names_in(tmp_path) == ["home"]


def test_a_disk_that_refuses_the_sync_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(directory: Path) -> tuple[float, ...]:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(measuring, "_time_syncs", refuses)
    disk = measure_disk(home_below(tmp_path))
    assert isinstance(disk, Disk) and disk.sync_seconds == ()
    assert disk.why_unmeasured == "Read-only file system"


# --- clock and machine ------------------------------------------------------------------------------------------------


def test_the_newest_file_of_the_log_is_known_by_its_own_time(tmp_path: Path) -> None:
    home = home_below(tmp_path)
    assert measure_clock(home, now_pair()).newest_log_seconds is None
    home.log.mkdir()
    for number, moment in ((1, 1_000.0), (2, 3_000.0), (3, 2_000.0)):
        segment = home.log / f"{number}.caslog"
        segment.write_bytes(b"")
        os.utime(segment, (moment, moment))
    (home.log / "other.txt").write_text("")
    assert measure_clock(home, now_pair()).newest_log_seconds == 3_000.0


def test_a_wall_clock_that_was_set_while_watched_has_drifted(tmp_path: Path) -> None:
    wall, monotonic = now_pair()
    clock = measure_clock(home_below(tmp_path), (wall - 60, monotonic))  # since then it moved a minute ahead
    assert clock.drift_seconds == pytest.approx(60, abs=1)
    assert 0 <= clock.watched_seconds < 10


def test_limits_of_the_process_are_told_and_unlimited_is_none() -> None:
    code = (
        "import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1];"
        "r.setrlimit(r.RLIMIT_NOFILE, (200, hard)); r.setrlimit(r.RLIMIT_FSIZE, (1 << 30, r.RLIM_INFINITY));"
        "from casparian_app.measuring import measure_machine as m; f = m();"
        "print(f.open_files_soft, f.file_bytes, f.address_space_bytes, f.cores > 0, f.memory_bytes > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["200", str(1 << 30), str(measure_machine().address_space_bytes), "True", "True"]


def test_the_system_and_the_versions_of_the_parts_are_told() -> None:
    facts = measure_sandbox()
    assert facts.level in facts.missing and facts.missing[facts.level] == []
    told = versions()
    assert set(told) == {"python", *measuring.PACKAGES, "libzmq"} and told["pyarrow"]


def test_an_absent_package_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PACKAGES", ("no-such-package-of-ours",))
    assert versions()["no-such-package-of-ours"] == ""


def test_zones_that_cannot_be_loaded_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_ZONES_TRIED", ("UTC", "Nowhere/Never"))
    assert time_zones()[1] == ["Nowhere/Never"]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [("+VERSION", "2026a\n", "2026a"), ("tzdata.zi", "# version 2025c\nR x", "2025c"), ("version", "2024b", "2024b")],
)
def test_the_version_of_the_zones_is_read_where_zoneinfo_reads_them(
    file: str, text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_text(text, encoding="ascii")
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path / "none"), str(tmp_path)))
    assert time_zones()[0] == told


# --- who runs ---------------------------------------------------------------------------------------------------------


def test_without_a_daemon_there_is_a_reason_and_no_status(tmp_path: Path) -> None:
    home = home_below(tmp_path)
    pid, why = daemon_of(home)
    assert pid is None and "it is not running" in why
    assert status_of(home) is None
    longest, limit = socket_path_bytes(home)
    assert 0 < longest <= limit


def test_a_pid_counts_while_its_process_lives(tmp_path: Path) -> None:
    home = home_below(tmp_path)
    assert pid_of_file(home) is None
    home.pid_file.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        home.pid_file.write_text(f"{child.pid} {time.time()}\n", encoding="ascii")
        assert pid_of_file(home) == child.pid
        child.communicate(b"\n")
    assert pid_of_file(home) is None


@pytest.mark.parametrize("text", ["", "\n", "none", "12x"])
def test_a_damaged_pid_file_names_nobody(text: str, tmp_path: Path) -> None:
    home = home_below(tmp_path)
    home.pid_file.parent.mkdir(parents=True, exist_ok=True)
    home.pid_file.write_text(text, encoding="ascii")
    assert pid_of_file(home) is None


# --- what lies in the home --------------------------------------------------------------------------------------------


def test_orphans_are_counted_at_any_depth(tmp_path: Path) -> None:
    home = home_below(tmp_path)
    assert count_orphans(home) == 0
    deep = home.orphans / "job" / "1"
    deep.mkdir(parents=True)
    for place in (home.orphans / "a", deep / "b", deep / "c"):
        place.write_text("")
    assert count_orphans(home) == 3


@pytest.mark.parametrize(
    ("content", "is_whole"),
    [(b"PAR1rowsPAR1", True), (b"PAR1", True), (b"PAR1row", False), (b"PA", False), (b"", False)],
)
def test_a_published_file_is_whole_by_its_last_bytes(content: bytes, is_whole: bool, tmp_path: Path) -> None:
    (tmp_path / "part.parquet").write_bytes(content)
    assert measuring._ends_like_parquet(str(tmp_path / "part.parquet")) is is_whole
    assert not measuring._ends_like_parquet(str(tmp_path / "gone.parquet"))


def test_a_home_without_a_log_has_nothing_published_and_no_objection(tmp_path: Path) -> None:
    home = home_below(tmp_path)
    assert measure_published(home) == PublishedFacts()
    assert objection_to_log(home) is None


def test_a_catalog_that_is_absent_is_not_read_as_an_empty_one(original_home: Path, tmp_path: Path) -> None:
    home = Home(copy_home(original_home, tmp_path / "home"))
    home.catalog_db.unlink(missing_ok=True)
    assert measure_published(home) == PublishedFacts(why_not="it does not exist yet")


def test_a_catalog_of_another_place_is_not_read_as_an_empty_one(original_home: Path, tmp_path: Path) -> None:
    home, moved = (Home(copy_home(original_home, tmp_path / name)) for name in ("home", "moved"))
    with open_gateway(home) as gateway:
        gateway.publish_output_views()
    found = measure_published(home)
    assert found.files > 0 and (found.damaged, found.why_not) == ((), "")
    shutil.copy(home.catalog_db, moved.catalog_db)

    found = measure_published(moved)

    assert found.files == 0 and found.why_not.startswith(f"it shows files outside this home, such as {home.root}/")


def test_a_published_file_that_was_deleted_is_missed(original_home: Path, tmp_path: Path) -> None:
    home = Home(copy_home(original_home, tmp_path / "home"))
    with open_gateway(home) as gateway:
        gateway.publish_output_views()
    part = min(home.outputs.glob("*/*/part-*.parquet"))
    part.unlink()
    assert measure_published(home).damaged == (part.relative_to(home.outputs).parts[0],)
