"""Promotion on real files: complete, idempotent, never replacing, never hiding what is missing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import PART_NAMES, PLAIN_PART_NAMES, Manifest, OutputAccounting, StagedFile, published_path
from casparian_sentinel import ports
from casparian_sentinel.commit.offers import problem_of_files
from casparian_sentinel.commit.promote import (
    Promotion,
    PromotionStopped,
    keep_uncommitted,
    move_aside,
    promote_group,
    published_parts,
)
from casparian_sentinel.commit.staging import (
    StagingElsewhere,
    check_one_file_system,
    set_unknown_aside,
    sweep,
    take_over,
)
from casparian_sentinel.core import Kept, Promoted
from casparian_sentinel.ports import RealFs

JOB, EPOCH = "00112233aabbccdd", 5
FS = RealFs()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    make_home(home)
    return home


def stage(home: Home, *names: str, job: str = JOB, epoch: int = EPOCH, content: bytes = b"") -> Manifest:
    staged = []
    for name in names:
        written = content or f"{job} {name}".encode()
        home.staged(job, epoch, name).write_bytes(written)
        kind, output = name.split(".")[:2]
        digest = blake3(written).hexdigest()
        staged.append(
            StagedFile.model_validate(
                {"name": name, "kind": kind, "output": output, "rows": 1, "bytes": len(written), "digest": digest}
            )
        )
    outputs = {file.output: OutputAccounting(status="success", received=1, valid=1, quarantined=0) for file in staged}
    return Manifest(files=staged, outputs=outputs)


def promotion(manifest: Manifest, *, job: str = JOB, version: int = 1) -> Promotion:
    return Promotion(job, EPOCH, manifest, dict.fromkeys(manifest.outputs, version))


def part(manifest: Manifest, number: int = 0, version: int = 1) -> str:
    return published_path(manifest.files[number], JOB, version)


def published(home: Home) -> list[str]:
    trees = (home.outputs, home.quarantine)
    return sorted(str(path.relative_to(home.root)) for tree in trees for path in tree.glob("*/v*/*"))


def test_files_go_to_their_version_and_staging_goes_away(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet", "quarantine.orders.0.parquet")

    assert promote_group(FS, home, [promotion(manifest, version=3)]) == [Promoted(JOB, EPOCH)]

    assert published(home) == [
        part(manifest, 0, 3),
        part(manifest, 1, 3),
    ]
    assert os.readlink(home.outputs / "orders" / "current") == "v3"
    assert not list(home.staging.iterdir())


def test_promoting_again_changes_nothing(home: Home) -> None:
    once = promotion(stage(home, "data.orders.0.parquet"))
    promote_group(FS, home, [once])
    before = published(home)

    assert promote_group(FS, home, [once]) == [Promoted(JOB, EPOCH)]
    assert published(home) == before


@pytest.mark.parametrize("crash_before", [0, 1, 2])
def test_a_crash_between_renames_is_completed(home: Home, crash_before: int) -> None:
    manifest = stage(home, "data.orders.0.parquet", "data.orders.1.parquet", "quarantine.orders.0.parquet")

    class FullAfterSome(RealFs):
        done = 0

        def rename_new(self, source: int, name: str, target: int, new_name: str) -> None:
            if self.done == crash_before:
                raise OSError(28, "No space left on device")
            self.done += 1
            super().rename_new(source, name, target, new_name)

    with pytest.raises(PromotionStopped):
        promote_group(FullAfterSome(), home, [promotion(manifest)])

    assert promote_group(FS, home, [promotion(manifest)]) == [Promoted(JOB, EPOCH)]
    assert len(published(home)) == 3


def test_a_crash_between_link_and_unlink_is_completed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_libc", None)  # as on file systems that cannot rename without replacing
    manifest = stage(home, "data.orders.0.parquet", "quarantine.orders.0.parquet")

    for _ in manifest.files:
        with monkeypatch.context() as dying, pytest.raises(PromotionStopped):
            dying.setattr(os, "unlink", _fail)
            promote_group(FS, home, [promotion(manifest)])

    assert promote_group(FS, home, [promotion(manifest)]) == [Promoted(JOB, EPOCH)]
    assert published(home) == [part(manifest, 0), part(manifest, 1)]
    assert [(home.root / path).stat().st_nlink for path in published(home)] == [1, 1]


def test_a_file_moved_aside_has_one_name_after_a_crash_between_link_and_unlink(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_libc", None)
    (home.outputs / "orders" / "v1").mkdir(parents=True)
    (home.outputs / "orders" / "v1" / "stray").write_bytes(b"stray")
    with monkeypatch.context() as dying, pytest.raises(OSError, match="error"):
        dying.setattr(os, "unlink", _fail)
        move_aside(FS, home, ["outputs/orders/v1/stray"])

    aside = move_aside(FS, home, ["outputs/orders/v1/stray"])

    assert aside == ["quarantine/_orphans/outputs/orders/v1/stray"]
    assert (home.root / aside[0]).stat().st_nlink == 1
    assert not list((home.outputs / "orders" / "v1").iterdir())


def _fail(*_arguments: object, **_more: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_missing_file_is_damaged_and_named(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet", "data.orders.1.parquet")
    home.staged(JOB, EPOCH, "data.orders.1.parquet").unlink()

    [result] = promote_group(FS, home, [promotion(manifest)])

    assert result.damaged == (part(manifest, 1),)


@pytest.mark.parametrize("part_names", [PLAIN_PART_NAMES, PART_NAMES])
def test_other_content_under_a_parts_name_is_moved_aside_and_blocks_nothing(home: Home, part_names: int) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    path = published_path(manifest.files[0], JOB, 1, part_names)
    place, aside = home.root / path, home.orphans / path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"somebody else's")

    [result] = promote_group(FS, home, [replace(promotion(manifest), part_names=part_names)])

    assert not result.damaged
    assert blake3(place.read_bytes()).hexdigest() == manifest.files[0].digest
    assert aside.read_bytes() == b"somebody else's"


def test_parts_of_an_older_logs_commits_keep_their_names(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    promote_group(FS, home, [replace(promotion(manifest), part_names=PLAIN_PART_NAMES)])
    assert published(home) == [f"outputs/orders/v1/part-{JOB}-0.parquet"]


def test_a_job_that_is_processed_again_is_not_blocked_by_what_it_published_before(home: Home) -> None:
    before = stage(home, "data.orders.0.parquet", content=b"made yesterday")
    promote_group(FS, home, [promotion(before)])
    again = stage(home, "data.orders.0.parquet", content=b"made today")

    assert promote_group(FS, home, [promotion(again)]) == [Promoted(JOB, EPOCH)]

    assert published(home) == sorted([part(before), part(again)])
    assert move_aside(FS, home, [part(before)]) == [f"quarantine/_orphans/{part(before)}"]
    assert published(home) == [part(again)]


def test_what_is_moved_aside_twice_is_kept_twice(home: Home) -> None:
    path = "outputs/orders/v1/part-00000000000000aa-0.parquet"
    for content in (b"one", b"two"):
        (home.root / path).parent.mkdir(parents=True, exist_ok=True)
        (home.root / path).write_bytes(content)
        move_aside(FS, home, [path])
    kept = (home.orphans / path).parent
    assert sorted(each.read_bytes() for each in kept.iterdir()) == [b"one", b"two"]


def test_only_parts_are_found_and_only_where_outputs_are_published(home: Home) -> None:
    parts = [
        "outputs/orders/v1/part-00000000000000aa-0.parquet",
        "quarantine/orders/v2/part-00000000000000aa-1-" + "a" * 16 + ".parquet",
    ]
    others = [
        "outputs/orders/v1/mine.parquet",
        "outputs/orders/v1/.empty-1.parquet",
        "quarantine/_damaged/x/part-00000000000000aa-0.parquet",
    ]
    for path in (*parts, *others):
        (home.root / path).parent.mkdir(parents=True, exist_ok=True)
        (home.root / path).touch()
    assert [path for found in published_parts(FS, home) for path in found] == parts


def test_staging_of_leases_that_the_log_never_gave_is_moved_aside(home: Home) -> None:
    for epoch in (5, 6):
        for name in ("data.orders.0.parquet", "quarantine.orders.0.parquet"):
            home.staged(JOB, epoch, name).write_bytes(b"x")
    assert set_unknown_aside(FS, home, last_seq=5) == [f"{JOB}/6"]
    assert {path.name.split(".")[1] for path in home.staging.iterdir()} == {"5"}
    for name in ("data.orders.0.parquet", "quarantine.orders.0.parquet"):
        assert (home.orphans / ".staging" / f"{JOB}-6" / name).is_file()


def test_what_an_earlier_version_staged_can_be_published(home: Home) -> None:
    """It had a directory for each attempt."""
    manifest = stage(home, "data.orders.0.parquet", "quarantine.orders.0.parquet")
    folder = home.staging / JOB / str(EPOCH)
    folder.mkdir(parents=True)
    for file in manifest.files:
        home.staged(JOB, EPOCH, file.name).rename(folder / file.name)

    for _again in range(2):
        take_over(FS, home)
    [result] = promote_group(FS, home, [promotion(manifest)])

    assert not result.damaged
    assert len(published(home)) == 2
    sweep(FS, home, (), upto_epoch=EPOCH)
    assert not list(home.staging.iterdir())


def test_content_that_is_not_what_was_committed_is_not_published(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    home.staged(JOB, EPOCH, "data.orders.0.parquet").write_bytes(b"x" * manifest.files[0].bytes)

    [result] = promote_group(FS, home, [promotion(manifest)])

    assert result.damaged
    assert not published(home)


@pytest.mark.parametrize("trick", ["symlink", "hard link", "directory", "fifo", "missing", "longer"])
def test_the_check_refuses_all_but_regular_files_with_one_link_and_the_declared_size(home: Home, trick: str) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    path = home.staged(JOB, EPOCH, "data.orders.0.parquet")
    assert problem_of_files(FS, home, JOB, EPOCH, manifest) == ""
    aside = path.with_name("aside")
    if trick == "longer":
        path.write_bytes(path.read_bytes() + b"!")
    else:
        path.rename(aside)
    if trick == "symlink":
        path.symlink_to(aside)
    elif trick == "hard link":
        os.link(aside, path)
    elif trick == "directory":
        path.mkdir()
    elif trick == "fifo":
        os.mkfifo(path)

    assert "data.orders.0.parquet" in problem_of_files(FS, home, JOB, EPOCH, manifest)


def test_without_a_staging_directory_nothing_is_accepted(home: Home, tmp_path: Path) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    home.staging.rename(tmp_path / "elsewhere")

    assert "cannot be opened" in problem_of_files(FS, home, JOB, EPOCH, manifest)


def test_quarantine_of_a_failed_attempt_is_kept_apart(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet", "quarantine.orders.0.parquet")

    for _repeated in range(2):
        assert keep_uncommitted(FS, home, JOB, EPOCH, manifest) == Kept(JOB, EPOCH)
        assert (home.root / f"quarantine/_uncommitted/{JOB}/quarantine.orders.0.parquet").is_file()
    assert not list(home.staging.iterdir())


def test_quarantine_that_is_not_what_its_manifest_says_is_set_aside_and_not_deleted(home: Home) -> None:
    name = "quarantine.orders.0.parquet"
    manifest = stage(home, name)
    home.staged(JOB, EPOCH, name).write_bytes(b"something else")

    assert keep_uncommitted(FS, home, JOB, EPOCH, manifest) == Kept(
        JOB, EPOCH, (f"quarantine/_uncommitted/{JOB}/{name}",)
    )
    assert (home.quarantine / "_damaged" / f"{JOB}-{EPOCH}" / name).read_bytes() == b"something else"
    assert not list(home.staging.iterdir())


def test_the_sweep_spares_what_is_alive_or_younger(home: Home) -> None:
    for job, epoch in (("aaaaaaaaaaaaaaaa", 3), ("aaaaaaaaaaaaaaaa", 4), ("bbbbbbbbbbbbbbbb", 11)):
        stage(home, "data.orders.0.parquet", job=job, epoch=epoch)
    (home.staging / "not-a-job").write_bytes(b"")
    (home.staging / "link").symlink_to(home.outputs)

    removed = sweep(FS, home, {("aaaaaaaaaaaaaaaa", 4)}, upto_epoch=10)

    (home.staging / "aaaaaaaaaaaaaaaa").mkdir()

    assert removed == ["aaaaaaaaaaaaaaaa.3.data.orders.0.parquet", "link", "not-a-job"]
    assert sweep(FS, home, {("aaaaaaaaaaaaaaaa", 4)}, upto_epoch=10) == ["aaaaaaaaaaaaaaaa"]
    left = ["aaaaaaaaaaaaaaaa.4.data.orders.0.parquet", "bbbbbbbbbbbbbbbb.11.data.orders.0.parquet"]
    assert sorted(path.name for path in home.staging.iterdir()) == left
    assert home.outputs.is_dir()


def test_staging_on_another_file_system_is_refused(home: Home) -> None:
    check_one_file_system(FS, home)
    other = Path("/dev/shm")  # a file system that is certainly another one
    if not other.is_dir() or other.stat().st_dev == home.root.stat().st_dev:
        pytest.skip("there is no other file system here")
    home.staging.rmdir()
    home.staging.symlink_to(other)
    with pytest.raises(StagingElsewhere):
        check_one_file_system(FS, home)
