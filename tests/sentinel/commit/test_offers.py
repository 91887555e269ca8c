"""What a finished attempt offers, read before anything is decided."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pytest

from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import CHANGES, JobError, Manifest, StagedFile
from casparian_protocol.packing import MalformedMessage, pack
from casparian_protocol.parsers import blake3_of
from casparian_protocol.wire.messages import Fail, Finish, FinishedJob
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.commit import offers
from casparian_sentinel.ports import RealFs
from tests.sentinel.commit.test_promotion import EPOCH, JOB, stage
from tests.sentinel.core.play import Table, spec
from tests.sentinel.operations.test_revise import FILE, changes
from tests.sentinel.projection.test_files import as_blob, bomb, one_change


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "h")
    make_home(home)
    return home


@pytest.fixture
def blobs(home: Home) -> BlobStore:
    return BlobStore(RealFs(), home.blobs)


def finished(**more: object) -> FinishedJob:
    return FinishedJob.model_validate({"job_id": JOB, "epoch": EPOCH, **more})


def scanned(home: Home, content: bytes, digest: str = "") -> Manifest:
    """The manifest of a scan whose changes are these."""
    home.staged(JOB, EPOCH, CHANGES).write_bytes(content)
    file = StagedFile(
        name=CHANGES, kind="changes", output="", rows=1, bytes=len(content), digest=digest or blake3_of(content)
    )
    return Manifest(files=[file])


def test_a_manifest_travels_in_its_message_or_beside_it() -> None:
    small, large = Manifest(source_hash="a" * 64), Manifest(source_hash="b" * 64)
    message = Finish(jobs=[finished(manifest=small), finished(manifest_attachment=0)])
    read = offers.read_manifests(message, [pack(large.model_dump())])
    assert [manifest for _job, manifest in read] == [small, large]


@pytest.mark.parametrize(
    ("attachments", "problem"),
    [
        ([], "jobs.0: it has neither a manifest nor an attachment"),
        ([b"\xc1"], "."),
        ([pack({"files": 7})], r"jobs\.0\.manifest\.files"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_a_malformed_message(attachments: list[bytes], problem: str) -> None:
    with pytest.raises(MalformedMessage, match=problem):
        offers.read_manifests(Finish(jobs=[finished(manifest_attachment=0)]), attachments)


def test_only_files_of_a_current_lease_are_looked_at(home: Home, blobs: BlobStore) -> None:
    table = Table().with_parser()
    lease = table.running(spec(1))
    stale = FinishedJob(job_id=lease.job_id, epoch=lease.epoch - 1)
    current = FinishedJob(job_id=lease.job_id, epoch=lease.epoch)
    assert offers.current_epochs(table.state, "w1", [stale]) == frozenset()
    assert offers.current_epochs(table.state, "w2", [current]) == frozenset()
    assert offers.current_epochs(table.state, "w1", [current]) == {lease.job_id}

    missing = stage(home, "data.orders.0.parquet").model_copy()
    home.staged(JOB, EPOCH, "data.orders.0.parquet").unlink()
    (late,) = offers.prepare_finish(home, blobs, "w1", [(finished(), missing)], frozenset()).items
    (looked_at,) = offers.prepare_finish(home, blobs, "w1", [(finished(), missing)], frozenset({JOB})).items
    assert late.problem == ""
    assert looked_at.problem == "data.orders.0.parquet: No such file or directory"


def test_a_sound_offer_has_no_problem_and_needs_no_blob(home: Home, blobs: BlobStore) -> None:
    manifest = stage(home, "data.orders.0.parquet")
    assert not offers.needs_thread([manifest])
    (item,) = offers.prepare_finish(home, blobs, "w1", [(finished(), manifest)], frozenset({JOB})).items
    assert (item.problem, item.manifest_blob, item.blobs) == ("", "", {})


def test_changes_of_a_scan_become_a_blob_before_they_are_decided(home: Home, blobs: BlobStore) -> None:
    content = changes("new", FILE)
    manifest = scanned(home, content)
    assert offers.needs_thread([manifest])
    (item,) = offers.prepare_finish(home, blobs, "w1", [(finished(), manifest)], frozenset({JOB})).items
    assert item.problem == ""
    assert blobs.get(item.blobs[CHANGES]) == content


@pytest.mark.parametrize(
    ("content", "digest", "problem"),
    [
        (b"not Arrow", "", "changes.arrow: The blob is not a set of changes"),
        (b"not Arrow", "a" * 64, "changes.arrow does not match its digest"),
        (
            as_blob(one_change(id=pa.array([None], pa.string()))),
            "",
            "changes.arrow: The blob is not a set of changes: the column id",
        ),
        (
            as_blob(pa.concat_tables([one_change()] * 2)),
            "",
            "changes.arrow: The blob is not a set of changes: 2 changes name only 1",
        ),
        (bomb(1 << 20, 129), "", "changes.arrow: The blob holds 135,266,304 rows; at most 10,000,000"),
    ],
)
def test_changes_that_the_tables_cannot_take_fail_the_attempt(
    home: Home, blobs: BlobStore, content: bytes, digest: str, problem: str
) -> None:
    manifest = scanned(home, content, digest)
    (item,) = offers.prepare_finish(home, blobs, "w1", [(finished(), manifest)], frozenset({JOB})).items
    assert item.problem.startswith(problem)


@pytest.mark.parametrize(
    "false", [{"kind": "changes"}, {"kind": "quarantine"}, {"output": "trades"}, {"name": CHANGES}], ids=str
)
def test_a_name_that_does_not_fit_is_the_workers_fault_and_not_the_disks(
    home: Home, blobs: BlobStore, false: dict[str, str]
) -> None:
    true = stage(home, "data.orders.0.parquet")
    manifest = true.model_copy(update={"files": [true.files[0].model_copy(update=false)]})
    (item,) = offers.prepare_finish(home, blobs, "w1", [(finished(), manifest)], frozenset({JOB})).items
    name = false.get("name", "data.orders.0.parquet")
    assert item.problem == f"the file name '{name}' does not fit its kind and output"


def test_changes_that_go_away_after_their_check_are_the_workers_fault(
    home: Home, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = scanned(home, changes("new", FILE))
    home.staged(JOB, EPOCH, CHANGES).unlink()
    monkeypatch.setattr(offers, "problem_of_files", lambda *_checked: "")
    (item,) = offers.prepare_finish(home, blobs, "w1", [(finished(), manifest)], frozenset({JOB})).items
    assert item.problem == "changes.arrow: No such file or directory"


def test_an_offer_that_the_disk_cannot_check_does_not_delay_the_others(home: Home) -> None:
    class BadSector(RealFs):
        def open_regular(self, directory: int, name: str) -> int:
            if name.endswith(".data.orders.1.parquet"):
                raise OSError(errno.EIO, "Input/output error")
            return super().open_regular(directory, name)

    blobs = BlobStore(BadSector(), home.blobs)
    other = "b" * len(JOB)
    good, bad = stage(home, "data.orders.0.parquet"), stage(home, "data.orders.1.parquet", job=other)
    both = [(finished(job_id=other), bad), (finished(), good)]
    prepared = offers.prepare_finish(home, blobs, "w1", both, frozenset({JOB, other}))
    assert [(item.job_id, item.problem) for item in prepared.items] == [(JOB, "")]
    with pytest.raises(OSError, match="Input/output error"):
        offers.prepare_finish(home, blobs, "w1", both[:1], frozenset({JOB, other}))


def test_what_a_failed_attempt_left_is_a_blob_when_it_is_large(blobs: BlobStore, home: Home) -> None:
    error = JobError(code="TIMEOUT", message="it failed", retryable=True)
    plain = offers.prepare_fail(blobs, "w1", Fail(job_id=JOB, epoch=EPOCH, error=error))
    small = Fail(job_id=JOB, epoch=EPOCH, error=error, uncommitted=stage(home, "quarantine.orders.0.parquet"))
    assert (plain.uncommitted_blob, offers.prepare_fail(blobs, "w1", small).uncommitted_blob) == ("", "")
