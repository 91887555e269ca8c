"""The snapshot that readers of the feed begin with: its size follows what is under way, not the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.home import Home, make_home
from casparian_protocol.settings import Settings
from casparian_protocol.wire.operations.daemon import OpenGroup, QueueReading
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core.commands import Now, PauseIntake, ResumeIntake
from casparian_sentinel.operations import daemon
from casparian_sentinel.operations.steps import Context
from casparian_sentinel.ports import RealFs
from tests.sentinel.core.play import Table, spec


def _context(table: Table, root: Path) -> Context:
    home = Home(root)
    make_home(home)
    return Context(
        home=home, settings=Settings(), blobs=BlobStore(RealFs(), home.blobs), state=table.state, presence=table.presence,
        mode="daemon", version="0", pid=1, now=lambda: Now(0, 0.0), durable_seq=lambda: 7, projection=lambda: (7, ""),
    )  # fmt: skip


def test_a_snapshot_counts_every_open_job_and_lists_the_first_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "SNAPSHOT_WAITING_JOBS", 100)
    table = Table().with_parser()
    table.queue(*(spec(n) for n in range(1, 301)))
    taken = daemon.snapshot(_context(table, tmp_path))

    assert [job.job_id for job in taken.jobs] == [spec(n).job_id for n in range(1, 101)]
    assert taken.groups == [OpenGroup(type="PARSE", state="QUEUED", parser="advice", parser_version="1.0", jobs=300)]
    assert (taken.left_out, taken.totals["QUEUED"]) == (200, 300)


def test_jobs_under_way_are_listed_however_many_wait_before_them(tmp_path: Path) -> None:
    table = Table().with_parser()
    table.queue(*(spec(n) for n in range(1, 4)))
    table.hello("w1")
    table.want()
    taken = daemon.snapshot(_context(table, tmp_path))

    states = {job.job_id: job.state for job in taken.jobs}
    assert sorted(states.values()) == ["LEASED", "QUEUED", "QUEUED"]
    assert {group.state: group.jobs for group in taken.groups} == {"LEASED": 1, "QUEUED": 2}
    assert taken.left_out == 0


def test_snapshot_and_readings_say_whether_work_is_taken(tmp_path: Path) -> None:
    table = Table().with_parser()
    context = _context(table, tmp_path)
    told = []
    for command in (None, PauseIntake("disk: 1 MiB free"), ResumeIntake("700 MiB free")):
        if command is not None:
            table.do(command)
        (queue,) = [reading for reading in daemon.readings(context, 7) if isinstance(reading, QueueReading)]
        told.append((daemon.snapshot(context).intake, queue.intake))
    assert told == [("open", "open"), ("disk: 1 MiB free", "disk: 1 MiB free"), ("open", "open")]
