"""What a long history costs, in a campaign: the gates of `bench scale`, a queue of 300,000 jobs, and boot."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.rows.scale import Lives, boot_seconds, least_cpu, with_past, write_past
from bench.world import daemon, new_home, pretend_files, queue_no_op, register_no_op, wait_for_tables
from casparian_console.facts.store import Facts
from casparian_console.messages import Answer
from casparian_protocol.client import Client
from casparian_protocol.home import Home
from casparian_protocol.queries.jobs import JobGroups, JobsByStatus

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

PAST_JOBS = 1_000_000
OPEN_JOBS = 300_000


def test_a_batch_is_applied_in_ten_milliseconds_after_a_million_jobs(tmp_path: Path) -> None:
    with with_past(tmp_path / "state.duckdb", PAST_JOBS) as projection:
        lives = Lives(projection, PAST_JOBS)
        lives.as_they_come(3)
        batches = [each for _ in range(3) for each in lives.as_they_come(20)]
        assert least_cpu(batches) <= 10  # ms of processor time: other programs on the machine must not decide this
        assert projection.poison_count == 0
        assert sum(row["jobs"] for row in projection.ask(JobsByStatus())) == PAST_JOBS + 63
        assert sum(row["jobs"] for row in projection.ask(JobGroups())) == PAST_JOBS + 63


def test_boot_takes_a_second_with_a_million_past_jobs(tmp_path: Path) -> None:
    write_past(Home(tmp_path / "h"), PAST_JOBS)
    assert min(boot_seconds(Home(tmp_path / "h")) for _ in range(3)) <= 1


def test_a_console_has_its_picture_in_three_seconds_with_300_000_open_jobs(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with daemon(home, 0) as client:
        register_no_op(client, home, tmp_path)
        pretend_files(client, home, tmp_path / "files", OPEN_JOBS)
        while queue_no_op(client, tmp_path / "files"):
            pass
        wait_for_tables(client, int(client.request("ping")["seq"]))
        assert min(_connect(home) for _ in range(3)) <= 3


def _connect(home: Home) -> float:
    """Seconds from nothing to a picture that knows of every job, as the console's loop gets there."""
    began = time.perf_counter()
    facts = Facts()
    with Client.connect(home) as client:
        taken = client.snapshot()
        for effect in facts.hear(taken):
            found = client.ask(effect.query)
            facts.on_answer(Answer(effect.tag, found.seq, found.rows))
    assert taken.left_out > 0
    assert facts.is_known
    assert facts.waiting == OPEN_JOBS
    return time.perf_counter() - began
