"""File work that waits or cannot be done as it was decided: nothing that was promised is deleted meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.home import Home
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core import DropUnpublished, KeepUncommitted, Kept, Promote, Promoted
from casparian_sentinel.core.decision import Sweep
from casparian_sentinel.daemon.promoter import FileWork, Performed, perform
from casparian_sentinel.ports import RealFs
from tests.sentinel.commit.test_promotion import EPOCH, JOB, stage
from tests.sentinel.daemon.world import new_home

NAME = "quarantine.orders.0.parquet"
LOST = "f" * 64


def done(home: Home, *work: FileWork) -> Performed:
    return perform(home, BlobStore(RealFs(), home.blobs), work)


def test_quarantine_that_cannot_be_kept_now_survives_the_sweep_and_is_kept_later(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    keep = KeepUncommitted(JOB, EPOCH, stage(home, NAME))
    in_the_way = home.quarantine / "_uncommitted"
    in_the_way.write_text("a file where a directory must be")

    (stopped,) = done(home, keep).stopped
    assert stopped.work == keep
    done(home, Sweep(frozenset({(JOB, EPOCH)}), EPOCH + 1))
    in_the_way.unlink()

    assert done(home, keep) == Performed([Kept(JOB, EPOCH)], [])
    assert (in_the_way / JOB / NAME).is_file()


def test_committed_attempts_without_files_leave_nothing_staged(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    stage(home, NAME)
    other = home.staged("ffffffffffffffff", 8, NAME)
    other.touch()
    nowhere = [(f"{number:016x}", number) for number in range(1, 40)]

    assert done(home, DropUnpublished(((JOB, EPOCH), *nowhere))) == Performed([], [])

    assert list(home.staging.iterdir()) == [other]


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (Promote(JOB, EPOCH, None, LOST, {"orders": 1}), Promoted(JOB, EPOCH, (f"blobs/{LOST}",))),
        (KeepUncommitted(JOB, EPOCH, None, LOST), Kept(JOB, EPOCH, (f"blobs/{LOST}",))),
    ],
    ids=["committed", "kept"],
)
def test_files_whose_manifest_cannot_be_read_are_set_aside_before_the_sweep(
    tmp_path: Path, work: Promote | KeepUncommitted, told: Promoted | Kept
) -> None:
    home = new_home(tmp_path)
    stage(home, NAME)

    assert done(home, work) == Performed([told], [])
    done(home, Sweep(frozenset(), EPOCH + 1))

    assert (home.quarantine / "_damaged" / f"{JOB}-{EPOCH}" / NAME).is_file()
    assert not list(home.staging.iterdir())
