"""SCAN: its facts become events only when the events can hold them."""

from __future__ import annotations

import pytest

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.events import FilesObserved, JobFailed, ScanFinished
from casparian_protocol.jobs import CHANGES, JobSpec, Manifest, StagedFile
from casparian_protocol.jobs.kinds import ScanWork
from tests.sentinel.core.play import DIGEST, Table

_CHANGES = StagedFile(name=CHANGES, kind="changes", rows=1, bytes=1, digest=DIGEST)


def scanned(**facts: object) -> list[object]:
    """The events of a scan that offers these facts."""
    table = Table()
    lease = table.running(JobSpec(job_id="1" * 16, key="scan", work=ScanWork(root="/in")))
    manifest = Manifest.model_validate({"files": [_CHANGES], "facts": facts})
    return list(table.finish(lease, manifest, blobs={CHANGES: DIGEST}).events)


def test_the_facts_of_a_scan_are_in_its_events_and_missing_ones_are_0() -> None:
    found = scanned(new=3, files=COUNT_MAX, unreadable=1, complete=True)
    (observed,) = [event for event in found if isinstance(event, FilesObserved)]
    (finished,) = [event for event in found if isinstance(event, ScanFinished)]
    assert (observed.blob, observed.new, observed.changed) == (DIGEST, 3, 0)
    assert (finished.files, finished.bytes, finished.unreadable, finished.complete) == (COUNT_MAX, 0, 1, True)


@pytest.mark.parametrize(
    "name", ["new", "changed", "vanished", "renamed", "tagged", "files", "bytes", "unchanged", "unreadable"]
)
@pytest.mark.parametrize("value", [-1, COUNT_MAX + 1, True, "3", ["3"]])
def test_what_is_no_count_fails_the_scan_by_its_name(name: str, value: object) -> None:
    (failed,) = scanned(**{name: value, "complete": True})
    assert isinstance(failed, JobFailed)
    assert failed.error.code == "PROTOCOL_ERROR"
    assert failed.error.message == f"facts.{name}: {value!r} is not a count between 0 and 9,007,199,254,740,991"


@pytest.mark.parametrize("value", ["yes", 1])
def test_complete_is_true_or_false(value: object) -> None:
    (failed,) = scanned(complete=value)
    assert isinstance(failed, JobFailed)
    assert failed.error.message == f"facts.complete: {value!r} is neither true nor false"


def test_an_invented_fact_fails_the_scan() -> None:
    (failed,) = scanned(new=3, invented=["x"])
    assert isinstance(failed, JobFailed)
    assert failed.error.message == "facts.invented: ['x'] is not a count between 0 and 9,007,199,254,740,991"
