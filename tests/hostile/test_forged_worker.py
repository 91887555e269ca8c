"""A process that speaks the worker's protocol and lies: the jobs of others go on, and the sentinel serves on.

Whoever may open the socket is a process of this user; what such a process says counts for its own leases alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian_protocol.client import Client
from casparian_protocol.home import Home
from casparian_protocol.wire import messages as m
from tests.sentinel.daemon.world import Daemon, TinyWorker, completed, new_home, observe, register, running, until

ROOT = Path(__file__).parents[2]


class Scene:
    """A daemon, and an honest worker that asks for one job after another."""

    def __init__(self, daemon: Daemon, home: Home, client: Client, folder: Path) -> None:
        self.daemon, self.home, self.client, self.folder = daemon, home, client, folder
        self.count = 0

    def queue(self, count: int) -> None:
        names = [f"{self.count + number}.txt" for number in range(count)]
        self.count += count
        observe(self.client, self.home, self.folder / f"in-{self.count}", names)
        self.client.request("queue")

    def forge(self, attack: str, job: m.Assignment | None, worker: TinyWorker) -> list[str]:
        """What the forger was answered; it knows all that there is to know about the honest worker's job."""
        facts = {
            "endpoint": self.home.bus_endpoint,
            "worker_id": worker.worker_id,
            "pid": os.getpid(),
            "job_id": job.job.job_id if job else "0" * 16,
            "epoch": job.epoch if job else 1,
        }
        command = [sys.executable, "-m", "tests.hostile.forged_worker", attack, json.dumps(facts)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert not done.stderr, done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("forged")
    home = new_home(folder)
    with running(home, "--workers", "0") as daemon, daemon.client() as client:
        register(client, home, folder)
        yield Scene(daemon, home, client, folder)


@pytest.mark.parametrize(
    ("attack", "answers"),
    [
        ("takes_the_name", {"NAME_TAKEN", "SAY_HELLO"}),
        ("judges_the_jobs_of_others", {"welcome", "fenced"}),
        ("says_many_names", {"welcome", "NAME_TAKEN"}),
        ("sends_wrong_numbers", {"welcome", "MALFORMED"}),
        ("never_reads", set()),
    ],
)
def test_the_job_of_an_honest_worker_goes_on(scene: Scene, attack: str, answers: set[str]) -> None:
    before = completed(scene.client)
    scene.queue(1)
    with TinyWorker(scene.home, "honest") as worker:
        worker.connect()
        job = worker.take()
        worker.started(job)

        said = scene.forge(attack, job, worker)

        assert answers <= set(said)
        worker.send(m.Heartbeat(seq=1, jobs=[m.Beat(job_id=job.job.job_id, epoch=job.epoch)]))
        worker.finish(job, worker.stage(job))
        assert worker.receive(m.Committed).jobs[0].job_id == job.job.job_id
    until(lambda: completed(scene.client) == before + 1, "the honest worker's job is completed")
    assert scene.daemon.process.poll() is None
    assert scene.client.request("status")["queue"]["dead_letter"] == 0


def test_what_a_worker_took_is_given_back_when_its_process_ends(scene: Scene) -> None:
    """At once, though it was started by nobody that the sentinel knows, and said no goodbye."""
    before = completed(scene.client)
    scene.queue(3)
    with TinyWorker(scene.home, "honest") as worker:
        worker.connect()
        assert "has 3" in scene.forge("takes_everything_and_dies", None, worker)
        for _ in range(3):
            job = worker.take()
            worker.started(job)
            worker.finish(job, worker.stage(job))
            worker.receive(m.Committed)
    until(lambda: completed(scene.client) == before + 3, "all jobs are completed")
