"""Promotion on real files: complete, idempotent, never replacing, never hiding what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from casparian_protocol.home import Home, make_home
from casparian_protocol.manifest import Manifest, OutputAccounting, StagedFile
from casparian_sentinel.commit.check import problem_of_files
from casparian_sentinel.commit.promote import Promoted, Promotion, PromotionStopped, keep_uncommitted, promote_group
from casparian_sentinel.commit.staging import StagingElsewhere, check_one_file_system, sweep
from casparian_sentinel.ports import RealFs

JOB, EPOCH = "00112233aabbccdd", 5
FS = RealFs()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    make_home(home)
    return home


def stage(home: Home, *names: str, job: str = JOB, epoch: int = EPOCH) -> Manifest:
    directory = home.staging_of(job, epoch)
    directory.mkdir(parents=True)
    staged = []
    for name in names:
        content = f"{job} {name}".encode()
        (directory / name).write_bytes(content)
        kind, output = name.split(".")[:2]
        digest = blake3(content).hexdigest()
        staged.append(
            StagedFile.model_validate(
                {"name": name, "kind": kind, "output": output, "rows": 1, "bytes": len(content), "digest": digest}
            )
        )
    outputs = {file.output: OutputAccounting(status="success", received=1, valid=1, quarantined=0) for file in staged}
    return Manifest(files=staged, outputs=outputs)


def promotion(manifest: Manifest, *, job: str = JOB, version: int = 1) -> Promotion:
    return Promotion(job, EPOCH, manifest, dict.fromkeys(manifest.outputs, version))


def published(home: Home) -> list[str]:
    trees = (home.outputs, home.quarantine)
    return sorted(str(path.relative_to(home.root)) for tree in trees for path in tree.glob("*/v*/*"))


def test_files_go_to_their_version_and_staging_goes_away(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet", "quarantine.orders.0.parquet")

    assert promote_group(FS, home, [promotion(manifest, version=3)]) == [Promoted(JOB, EPOCH)]

    assert published(home) == [
        f"outputs/orders/v3/part-{JOB}-0.parquet",
        f"quarantine/orders/v3/part-{JOB}-0.parquet",
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


def test_a_missing_file_is_damaged_and_named(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet", "data.orders.1.parquet")
    (home.staging_of(JOB, EPOCH) / "data.orders.1.parquet").unlink()

    [result] = promote_group(FS, home, [promotion(manifest)])

    assert result.damaged == [f"outputs/orders/v1/part-{JOB}-1.parquet"]


def test_what_is_in_place_already_is_never_replaced(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    place = home.output_version("orders", 1) / f"part-{JOB}-0.parquet"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"somebody else's")

    [result] = promote_group(FS, home, [promotion(manifest)])

    assert result.damaged == [f"outputs/orders/v1/part-{JOB}-0.parquet"]
    assert place.read_bytes() == b"somebody else's"
    assert (home.quarantine / "_damaged" / f"{JOB}-{EPOCH}" / "data.orders.0.parquet").is_file()  # kept as evidence


def test_content_that_is_not_what_was_committed_is_not_published(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    (home.staging_of(JOB, EPOCH) / "data.orders.0.parquet").write_bytes(b"x" * manifest.files[0].bytes)

    [result] = promote_group(FS, home, [promotion(manifest)])

    assert result.damaged
    assert not published(home)


@pytest.mark.parametrize("trick", ["symlink", "hard link", "directory", "fifo", "missing", "longer"])
def test_the_check_refuses_all_but_regular_files_with_one_link_and_the_declared_size(home: Home, trick: str) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    path = home.staging_of(JOB, EPOCH) / "data.orders.0.parquet"
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


def test_a_staging_directory_that_is_a_link_is_refused(home: Home, tmp_path: Path) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    real = home.staging_of(JOB, EPOCH)
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")

    assert "cannot be opened" in problem_of_files(FS, home, JOB, EPOCH, manifest)


def test_quarantine_of_a_failed_attempt_is_kept_apart(home: Home) -> None:
    manifest = stage(home, "data.orders.0.parquet", "quarantine.orders.0.parquet")

    for _repeated in range(2):
        kept = keep_uncommitted(FS, home, JOB, EPOCH, manifest)
        assert kept == [f"quarantine/_uncommitted/{JOB}/quarantine.orders.0.parquet"]
    assert not list(home.staging.iterdir())


def test_the_sweep_spares_what_is_alive_or_younger(home: Home) -> None:
    for job, epoch in (("aaaaaaaaaaaaaaaa", 3), ("aaaaaaaaaaaaaaaa", 4), ("bbbbbbbbbbbbbbbb", 11)):
        stage(home, "data.orders.0.parquet", job=job, epoch=epoch)
    (home.staging / "not-a-job").write_bytes(b"")
    (home.staging / "link").symlink_to(home.outputs)

    removed = sweep(FS, home, {("aaaaaaaaaaaaaaaa", 4)}, upto_epoch=10)

    assert removed == ["aaaaaaaaaaaaaaaa/3", "link", "not-a-job"]
    assert sorted(p.name for p in home.staging.iterdir()) == ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"]
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
