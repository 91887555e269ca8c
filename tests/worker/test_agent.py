"""A worker process in conversation with a sentinel: leases in, offers out, and what is said again until it is answered."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from casparian_protocol.wire.messages import (
    Bye,
    Cancel,
    Committed,
    Drain,
    Fail,
    Failed,
    Fenced,
    Finish,
    Heartbeat,
    Hello,
    Refusal,
    Refused,
    Released,
    Shutdown,
    SinkCounts,
    Sinks,
    Started,
    Want,
)
from casparian_worker.guest import probe
from tests.crash.mounts import filled, move_onto_tmpfs
from tests.worker.small_sentinel import SmallSentinel, WorkerProcess, held
from tests.worker.test_execute import wait_until_gone

GOOD = "def parse(path):\n    yield {'a': open(path).read(), 'n': 1}\n"
ENDLESS = "import time\ndef parse(path, ctx):\n    while True: time.sleep(0.1); ctx.progress(1, 2, 'files')\n"


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[SmallSentinel]:
    (tmp_path / "in.txt").write_text("hello")
    with SmallSentinel(tmp_path) as sentinel:
        yield sentinel


def test_a_job_is_fetched_run_offered_until_answered_and_forgotten(sentinel: SmallSentinel, tmp_path: Path) -> None:
    with WorkerProcess(sentinel.home, "--slots", "2") as worker:
        hello = sentinel.join()
        assert (hello.worker_id, hello.pid, hello.slots, hello.sandbox) == ("w1", worker.process.pid, 2, probe().level)
        assert sentinel.hear(Want).credit == 4
        job = sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=5)
        sentinel.assign(job)
        started = sentinel.hear(Started).jobs[0]
        assert (started.job_id, started.epoch) == (job.job.job_id, 5)
        offer = sentinel.hear(Finish)
        manifest = offer.jobs[0].manifest
        assert manifest is not None
        assert (manifest.valid_rows, [file.name for file in manifest.files]) == (1, ["data.rows.0.parquet"])
        assert sentinel.home.staged(job.job.job_id, 5, "data.rows.0.parquet").stat().st_size > 0
        assert sentinel.hear(Finish).jobs[0].epoch == 5  # not answered, said again
        sentinel.send(Committed(jobs=[held(job)]))
        sentinel.send(Drain())
        sentinel.hear(Bye)
        assert worker.process.wait(10) == 0
        assert sentinel.home.staged(job.job.job_id, 5, "data.rows.0.parquet").exists()
        reports = [said.sinks for said in sentinel.heard if isinstance(said, Sinks)]
        assert 1 <= len(reports) <= 2  # what changed, not with every heartbeat
        (written,) = reports[-1]
        assert written == SinkCounts(
            uri="parquet://outputs", output="rows", rows=1, bytes=manifest.files[0].bytes, latency=written.latency
        )
        assert sum(written.latency) == 2  # a write and a sync


def children_of(pid: int) -> list[int]:
    return [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]


@pytest.mark.parametrize("is_warm", [True, False])
def test_guests_are_forked_by_a_process_that_ends_when_no_job_needs_it(
    sentinel: SmallSentinel, tmp_path: Path, is_warm: bool
) -> None:
    settings = f"[warm]\nenabled = {str(is_warm).lower()}\nidle_seconds = 0.2\n"
    sentinel.home.config_file.write_text(settings, encoding="utf-8")
    with WorkerProcess(sentinel.home) as worker:
        sentinel.join()
        job = sentinel.assignment(ENDLESS, tmp_path / "in.txt", epoch=5)
        sentinel.assign(job)
        guest = sentinel.hear(Started).jobs[0].guest_pid
        (child,) = children_of(worker.process.pid)
        assert (child == guest) is not is_warm
        assert children_of(child) == ([guest] if is_warm else [])
        sentinel.send(Cancel(job_id=job.job.job_id, epoch=5))
        sentinel.hear(Released)
        deadline_s = time.monotonic() + 20
        while children_of(worker.process.pid):
            sentinel.hear(Heartbeat)
            assert time.monotonic() < deadline_s


def test_a_failure_is_told_with_its_code_until_it_is_recorded(sentinel: SmallSentinel, tmp_path: Path) -> None:
    with WorkerProcess(sentinel.home) as worker:
        sentinel.join()
        job = sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=5)
        del sentinel.blobs[job.job.work.contracts["rows"]]
        sentinel.assign(job)
        failure = sentinel.hear(Fail)
        assert failure.error.code == "CONTRACT_MISSING"
        assert sentinel.hear(Fail).epoch == 5
        sentinel.send(Failed(jobs=[held(job)]))
        worker.process.send_signal(signal.SIGTERM)
        sentinel.hear(Bye)
        assert worker.process.wait(10) == 0


@pytest.mark.parametrize("folder", ["artifacts", "logs", ".staging"])
def test_a_job_on_a_full_disk_fails_with_its_code_and_the_next_one_runs(
    sentinel: SmallSentinel, tmp_path: Path, folder: str
) -> None:
    place = sentinel.home.root / folder
    with ExitStack() as stack:
        move_onto_tmpfs(stack, place, "256k")
        stack.enter_context(WorkerProcess(sentinel.home))
        sentinel.join()
        job = sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=5)
        with filled(place):
            sentinel.assign(job)
            assert sentinel.hear(Fail).error.code == "DISK_FULL"
        sentinel.send(Failed(jobs=[held(job)]))

        sentinel.assign(sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=6))
        assert sentinel.hear(Finish).jobs[0].epoch == 6


def test_a_cancelled_job_is_stopped_released_and_leaves_nothing(sentinel: SmallSentinel, tmp_path: Path) -> None:
    with WorkerProcess(sentinel.home):
        sentinel.join()
        job = sentinel.assignment(ENDLESS, tmp_path / "in.txt", epoch=5)
        sentinel.assign(job)
        guest = sentinel.hear(Started).jobs[0].guest_pid
        while not (beat := sentinel.hear(Heartbeat)).jobs or beat.jobs[0].progress is None:
            continue
        assert beat.jobs[0].guest_pid == guest
        began = time.monotonic()
        sentinel.send(Cancel(job_id=job.job.job_id, epoch=5))
        assert sentinel.hear(Released).jobs == [held(job)]
        assert time.monotonic() - began < 10  # at once; ENDLESS never ends by itself
        wait_until_gone(guest)
        assert not list(sentinel.home.staging.iterdir())


def test_a_fenced_finish_is_deleted(sentinel: SmallSentinel, tmp_path: Path) -> None:
    with WorkerProcess(sentinel.home) as worker:
        sentinel.join()
        job = sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=5)
        sentinel.assign(job)
        sentinel.hear(Finish)
        sentinel.send(Fenced(jobs=[held(job)]))
        sentinel.send(Drain())
        sentinel.hear(Bye)
        assert worker.process.wait(10) == 0
        assert not list(sentinel.home.staging.iterdir())


def test_a_new_sentinel_is_told_what_is_held_and_offered_it_again(sentinel: SmallSentinel, tmp_path: Path) -> None:
    with WorkerProcess(sentinel.home, "--slots", "2"):
        sentinel.join()
        done = sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=5)
        runs = sentinel.assignment(ENDLESS, tmp_path / "in.txt", epoch=6)
        sentinel.assign(done, runs)
        sentinel.hear(Finish)
        while not any(isinstance(said, Started) and said.jobs[0].epoch == 6 for said in sentinel.heard):
            sentinel.hear(Started)
        sentinel.close()
        sentinel.open()
        sentinel.hear(Heartbeat)
        sentinel.send(
            Refused(
                reason="send hello first: this connection is not registered",
                code=Refusal.SAY_HELLO,
                of_kind="heartbeat",
            )
        )
        hello = sentinel.join()
        assert {item.epoch for item in hello.holding} == {5, 6}
        assert sentinel.hear(Finish).jobs[0].epoch == 5
        sentinel.hear(Want)
        sentinel.send(Shutdown())
        assert sentinel.hear(Released).jobs == [held(runs)]
        sentinel.hear(Bye)


def test_jobs_beyond_the_slots_wait_and_are_given_back_by_a_drain(sentinel: SmallSentinel, tmp_path: Path) -> None:
    with WorkerProcess(sentinel.home, "--slots", "1") as worker:
        sentinel.join()
        first = sentinel.assignment(
            "import time\ndef parse(path, ctx):\n    time.sleep(0.5)\n    ctx.skip('all')\n",
            tmp_path / "in.txt",
            epoch=5,
        )
        second = sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=6)
        sentinel.assign(first, second)
        sentinel.hear(Started)
        worker.process.send_signal(signal.SIGTERM)
        assert sentinel.hear(Released).jobs == [held(second)]
        assert sentinel.hear(Finish).jobs[0].epoch == 5
        sentinel.send(Committed(jobs=[held(first)]))
        sentinel.hear(Bye)


def test_without_a_sentinel_guests_are_stopped_before_the_lease_ends_and_the_worker_leaves(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    with (
        SmallSentinel(tmp_path, lease_seconds=3.0) as sentinel,
        WorkerProcess(sentinel.home, CASPARIAN_LIVENESS__REJOIN_SECONDS="1.0") as worker,
    ):
        sentinel.join()
        job = sentinel.assignment(ENDLESS, tmp_path / "in.txt", epoch=5)
        sentinel.assign(job)
        guest = sentinel.hear(Started).jobs[0].guest_pid
        sentinel.close()
        wait_until_gone(guest)
        assert worker.process.wait(15) == 0


def test_guests_die_with_a_killed_worker(sentinel: SmallSentinel, tmp_path: Path) -> None:
    with WorkerProcess(sentinel.home) as worker:
        sentinel.join()
        sentinel.assign(sentinel.assignment(ENDLESS, tmp_path / "in.txt", epoch=5))
        guest = sentinel.hear(Started).jobs[0].guest_pid
        worker.process.kill()
        worker.process.wait()
        wait_until_gone(guest)


def test_a_worker_on_a_machine_without_a_sandbox_refuses_jobs_and_logs_why(
    sentinel: SmallSentinel, tmp_path: Path
) -> None:
    with WorkerProcess(sentinel.home, is_bare=True, CASPARIAN_SANDBOX__MINIMUM="strong"):
        assert sentinel.join().sandbox == "none"
        sentinel.assign(sentinel.assignment(GOOD, tmp_path / "in.txt", epoch=5))
        error = sentinel.hear(Fail).error
        assert (error.code, error.retryable) == ("SANDBOX_UNAVAILABLE", False)
        assert "Missing: Landlock (" in error.message and "a filter of system calls (" in error.message
    assert "Every job that runs a parser will be refused" in (sentinel.home.root / "worker.out").read_text()


def test_a_process_that_escaped_its_group_and_session_ends_with_its_guest(
    sentinel: SmallSentinel, tmp_path: Path
) -> None:
    source = (
        "import os, time\n"
        "def parse(path, ctx):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            open(path + '.escaped', 'w').write(str(os.getpid()))\n"
        "            time.sleep(60)\n"
        "        os._exit(0)\n"
        "    while not os.path.exists(path + '.escaped') or not open(path + '.escaped').read(): time.sleep(0.01)\n"
        "    yield {'a': 'x', 'n': 1}\n"
    )
    with WorkerProcess(sentinel.home, is_bare=True):
        sentinel.join()
        sentinel.assign(sentinel.assignment(source, tmp_path / "in.txt", epoch=5))
        sentinel.hear(Finish)
        escaped = int((tmp_path / "in.txt.escaped").read_text())
        assert not Path(f"/proc/{escaped}").exists()


def test_a_worker_of_another_version_leaves_when_refused(sentinel: SmallSentinel) -> None:
    with WorkerProcess(sentinel.home) as worker:
        sentinel.hear(Hello)
        sentinel.send(
            Refused(
                reason="protocol: you speak version 1, this sentinel speaks 2",
                code=Refusal.PROTOCOL_VERSION,
                of_kind="hello",
            )
        )
        assert worker.process.wait(15) == 1
