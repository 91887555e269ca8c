"""What the simulation found, told as the shortest story that shows it."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
from blake3 import blake3

from casparian_protocol.home import Home
from casparian_protocol.jobs import Manifest, OutputAccounting, StagedFile
from casparian_sentinel.commit.offers import problem_of_files
from casparian_sentinel.commit.promote import Promotion, PromotionStopped, promote_group
from casparian_sentinel.log.errors import LogBroken
from casparian_sentinel.log.writer import RESERVE_NAME, LogWriter
from casparian_sentinel.ports import write_all
from tests.simulation.simfs import Fault, SimFs

HOME = Home(Path("/home"))
JOB, EPOCH = "00112233aabbccdd", 5
NAME = "data.orders.0.parquet"


def staged(fs: SimFs) -> Promotion:
    """A synced attempt on a quiet disk."""
    content = b"rows"
    for directory in (HOME.outputs, HOME.quarantine, HOME.staging):
        fs.make_directory(directory)
    write_all(fs, fs.create(HOME.staged(JOB, EPOCH, NAME)), content, 0)
    fs.sync_everything()
    digest = blake3(content).hexdigest()
    file = StagedFile(name=NAME, kind="data", output="orders", rows=1, bytes=len(content), digest=digest)
    accounting = OutputAccounting(status="success", received=1, valid=1, quarantined=0)
    return Promotion(JOB, EPOCH, Manifest(files=[file], outputs={"orders": accounting}), {"orders": 1})


@pytest.mark.parametrize("failing_sync", range(1, 8))
def test_a_promotion_repeated_after_a_failed_sync_syncs_all_directories_again(failing_sync: int) -> None:
    """Seed 3699: the new output directory was there at the second try, so nobody synced its name."""
    for seed in range(20):
        fs = SimFs(random.Random(seed))
        promotion = staged(fs)
        fs.faults.append(Fault(("sync",), failing_sync, errno.EIO))
        try:
            promote_group(fs, HOME, [promotion])
        except PromotionStopped:
            promote_group(fs, HOME, [promotion])
        fs.cut_power()

        assert any(name.startswith(f"part-{JOB}-0") for name in fs.names(HOME.output_version("orders", 1))), (
            f"seed {seed}"
        )


@pytest.mark.parametrize(("code", "is_fatal"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_a_reserve_that_cannot_be_made_is_no_surprise(code: int, is_fatal: bool) -> None:
    """Seed 5816: the error of the file's creation passed the writer by, and ended in the loop."""
    fs = SimFs(random.Random(0))
    fs.make_directory(HOME.log)
    log, _recovery = LogWriter.open(fs, HOME.log, reserve_bytes=4096)
    fs.unlink(HOME.log / RESERVE_NAME)
    fs.faults.append(Fault(("create",), 1, code))

    if is_fatal:
        with pytest.raises(LogBroken, match="reserve"):
            log.restore_reserve()
    else:
        assert not log.restore_reserve()
        assert log.restore_reserve()


def test_a_disk_that_does_not_let_us_look_blames_no_worker() -> None:
    """Seed 306: the sentinel's own EIO became the job's PROTOCOL_ERROR, for good."""
    fs = SimFs(random.Random(0))
    manifest = staged(fs).manifest
    fs.faults.append(Fault(("open",), 2, errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        problem_of_files(fs, HOME, JOB, EPOCH, manifest)
    assert problem_of_files(fs, HOME, JOB, EPOCH, manifest) == ""
    fs.unlink(HOME.staged(JOB, EPOCH, NAME))
    assert NAME in problem_of_files(fs, HOME, JOB, EPOCH, manifest)
