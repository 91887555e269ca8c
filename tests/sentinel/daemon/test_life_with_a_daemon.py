"""The daemon as a process with a real log, real sockets and real files; the worker is tiny but real on the wire."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.feed import FeedEvent, Metric
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobError
from casparian_protocol.jobs.kinds import ScanBriefing, ScanWork
from casparian_protocol.packing import pack
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import UPLOAD_PIECE_BYTES
from casparian_protocol.wire.operations.daemon import Snapshot
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.views import end_of_log
from casparian_sentinel.ports import RealFs
from tests.sentinel.daemon.world import (
    PATIENCE_SECONDS,
    Daemon,
    TinyWorker,
    completed,
    event_types,
    new_home,
    observe,
    register,
    running,
    until,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the tests that leave nothing behind which another would mind."""
    with running(new_home(tmp_path_factory.mktemp("served"))) as daemon:
        yield daemon


def log_types(home: Home) -> list[str]:
    upto = end_of_log(RealFs(), home.log)
    assert upto is not None
    with LogReader(RealFs(), home.log) as reader:
        return [event.type for event in reader.events(1, upto)]


def test_a_file_becomes_a_job_becomes_a_published_output(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as worker:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        worker.connect()
        assignment = worker.take()
        worker.started(assignment)
        worker.finish(assignment, worker.stage(assignment))
        assert worker.receive(m.Committed).jobs[0].job_id == assignment.job.job_id
        until(lambda: completed(client) == 1, "the job is completed")

        [published] = home.output_version("orders", 1).glob(f"part-{assignment.job.job_id}-0-*.parquet")
        assert published.is_file()
        assert os.readlink(home.outputs / "orders" / "current") == "v1"
        assert not list(home.staging.iterdir())
        rows = client.query(
            "select status, rows_valid from cf_processing_queue", at_least_seq=client.request("ping")["seq"]
        )
        assert rows.rows == [["COMPLETED", 3]]
        worker.send(m.Bye())
        assert daemon.stop() == 0
    assert log_types(home)[-1] == "SentinelStopped"
    assert home.catalog_db.is_file()


def test_planning_twice_queues_once(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt", "b.txt"])
        first = client.request("queue")
        until(lambda: client.request("status")["queue"]["queued"] == 2, "both files are queued, by whichever plan")
        second = client.request("queue")
        assert first["queued"] <= 2
        assert (second["queued"], second["skipped"]) == (0, [])


def test_without_an_approved_contract_files_are_skipped_and_the_reason_is_told(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client:
        register(client, home, tmp_path, approve=False)
        observe(client, home, tmp_path / "in", ["a.txt", "b.txt"])
        skipped = client.request("queue")["skipped"]
    assert [(item["parser"], item["files"]) for item in skipped] == [("orders", 2)]
    assert "no approved contract for orders" in skipped[0]["reason"]


def test_a_repeated_finish_gets_the_same_answer_and_commits_once(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as worker:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        worker.connect()
        assignment = worker.take()
        manifest = worker.stage(assignment)
        worker.finish(assignment, manifest)
        worker.receive(m.Committed)
        until(lambda: completed(client) == 1, "the job is completed")
        worker.finish(assignment, manifest)
        worker.receive(m.Committed)
        assert event_types(client).count("JobOutputsCommitted") == 1


def test_a_stale_epoch_is_fenced(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as old, TinyWorker(home, "new") as new:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        old.connect()
        late = old.take()
        manifest = old.stage(late)
        old.send(m.Released(jobs=old.holding))
        new.connect()
        current = new.take()
        assert current.epoch > late.epoch
        old.finish(late, manifest)
        assert old.receive(m.Fenced).jobs[0].epoch == late.epoch
        new.finish(current, new.stage(current))
        new.receive(m.Committed)


def test_a_manifest_that_lies_about_its_file_fails_the_job(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as worker:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        worker.connect()
        assignment = worker.take()
        manifest = worker.stage(assignment)
        path = home.staged(assignment.job.job_id, assignment.epoch, "data.orders.0.parquet")
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        worker.finish(assignment, manifest)
        worker.receive(m.Fenced)
        until(lambda: "JobFailed" in event_types(client), "the failure is recorded")
        until(lambda: not list(home.staging.iterdir()), "its staging is dropped")


def test_a_killed_sentinel_adopts_running_jobs_when_it_returns(home: Home, tmp_path: Path) -> None:
    with TinyWorker(home) as worker:
        first = Daemon(home)
        with first.client() as client:
            register(client, home, tmp_path)
            observe(client, home, tmp_path / "in", ["a.txt"])
            worker.connect()
            assignment = worker.take()
            worker.started(assignment)
            manifest = worker.stage(assignment)
        first.kill()
        with running(home) as second, second.client() as client:
            welcome = worker.connect()
            assert [held.epoch for held in welcome.keep] == [assignment.epoch]
            worker.finish(assignment, manifest)
            worker.receive(m.Committed)
            until(lambda: completed(client) == 1, "the job is completed")
            types = event_types(client)
            assert types.count("JobLeased") == 1
            assert types.count("SentinelStarted") == 2
            assert second.process.pid == client.request("ping")["pid"]
            worker.send(m.Bye())


def test_a_second_daemon_is_refused_with_the_owners_pid(served: Daemon) -> None:
    argv = [sys.executable, "-m", "casparian_sentinel.daemon.main", "--home", str(served.home.root)]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert second.returncode == 1
    assert f"pid {served.process.pid}" in second.stderr
    with served.client() as client:
        assert client.request("ping")["pid"] == served.process.pid


def test_malformed_messages_are_refused_by_field_and_disturb_nobody(served: Daemon) -> None:
    with TinyWorker(served.home, "rude") as rude, served.client() as client:
        rude.connect()
        for frames, reason in (
            ((b"want", b"\x81\xa6credit\xa3ten"), "credit"),
            ((b"nonsense", b"\x80"), "unknown kind"),
            ((b"want",), "expected the frames"),
            ((b"want", b"\xc1"), "not msgpack"),
            ((b"welcome", b"\x80"), "worker_id"),
        ):
            rude.send_raw(*frames)
            assert reason in rude.receive(m.Refused).reason
            assert client.request("ping")["pid"] == served.process.pid
        assert "rude" in [worker["id"] for worker in client.request("status")["workers"]]


def test_who_did_not_say_hello_is_refused(served: Daemon) -> None:
    with TinyWorker(served.home) as worker:
        worker.connect()
        worker.send(m.Bye())
        worker.send(m.Want(credit=1))
        assert "hello" in worker.receive(m.Refused).reason


def test_bytes_that_are_not_zeromq_do_not_harm(served: Daemon) -> None:
    with served.client() as client:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(served.home.bus_endpoint.removeprefix("ipc://"))
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.request("ping")["pid"] == served.process.pid


def test_bad_requests_say_what_is_wrong(served: Daemon) -> None:
    with served.client() as client:
        for op, args, words in (
            ("fly", {}, "no operation 'fly'"),
            ("cancel", {"job": "x"}, "cancel: job_id"),
            ("cancel", {"job_id": "abcd1234"}, "no job abcd1234"),
            ("remove_source", {"source": "nothing"}, "no source 'nothing'"),
        ):
            with pytest.raises(RequestRefused, match=words):
                client.request(op, args)


def test_the_feed_is_gapless_from_its_snapshot(served: Daemon) -> None:
    with served.client() as client, served.client() as other, client.follow() as feed:
        assert isinstance(feed.next(PATIENCE_SECONDS), Snapshot)
        start = other.request("ping")["seq"]
        for number in range(50):
            other.request("add_source", {"name": f"s{number}", "path": f"/data/{number}"})
        seen: list[int] = []
        while len(seen) < 50:
            item = feed.next(PATIENCE_SECONDS)
            assert item is not None
            if isinstance(item, FeedEvent):
                seen.append(item.seq)
        assert seen == list(range(start + 1, start + 51))


def test_what_a_worker_wrote_is_on_the_feed_and_a_malformed_report_is_not(served: Daemon) -> None:
    written = m.SinkCounts(uri="parquet://outputs", output="orders", rows=7, bytes=70, errors=1, latency=[0, 0, 9])
    with TinyWorker(served.home, "writer") as worker, served.client() as client, client.follow() as feed:
        worker.connect()
        worker.send_raw(b"sinks", pack({"since": 1, "sinks": [{**written.model_dump(), "rows": -7}]}))
        assert "sinks.0.rows" in worker.receive(m.Refused).reason
        worker.send(m.Sinks(since=1, sinks=[written]))

        def reading() -> list[dict[str, Any]]:
            item = feed.next(0.1)
            return item.values["sinks"] if isinstance(item, Metric) and item.name == "sinks" else []

        assert until(reading, "the report is on the feed") == [
            {**written.model_dump(exclude={"latency"}), "p50_ms": 0.2, "p99_ms": 0.2}
        ]


def test_the_first_signal_drains_and_lets_a_running_job_finish(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as worker:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        worker.connect()
        assignment = worker.take()
        worker.started(assignment)
        daemon.process.terminate()
        worker.receive(m.Drain)
        worker.finish(assignment, worker.stage(assignment))
        worker.receive(m.Committed)
        worker.receive(m.Shutdown)
        worker.send(m.Bye())
        assert daemon.process.wait(PATIENCE_SECONDS) == 0
    assert "JobCompleted" in log_types(home)


def test_stop_now_takes_back_what_runs(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as worker:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        worker.connect()
        assignment = worker.take()
        client.request("stop", {"now": True})
        worker.receive(m.Shutdown)
        worker.send(m.Released(jobs=[m.Held(job_id=assignment.job.job_id, epoch=assignment.epoch)]))
        worker.send(m.Bye())
        assert daemon.process.wait(PATIENCE_SECONDS) == 0
    assert log_types(home)[-3:] == ["LeaseExpired", "WorkerLeft", "SentinelStopped"]


def test_nobody_answers_after_the_end(home: Home) -> None:
    with running(home) as daemon:
        daemon.stop()
    with pytest.raises(NoSentinel):
        Client.connect(home)


def test_staging_of_dead_attempts_is_swept_at_the_start(home: Home) -> None:
    home.staged("00112233aabbccdd", 1, "data.orders.0.parquet").write_bytes(b"left over")
    with running(home):
        until(lambda: not list(home.staging.iterdir()), "the staging is swept")


def test_until_idle_ends_by_itself(home: Home) -> None:
    daemon = Daemon(home, "--workers", "0", "--until-idle")
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    assert log_types(home) == ["SentinelStarted", "SentinelStopped"]


def test_a_polled_source_is_scanned_and_its_files_become_jobs(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "in"
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as worker:
        register(client, home, tmp_path)
        client.request("add_source", {"name": "in", "path": str(source), "poll_seconds": 3600})
        worker.connect()
        scan = worker.take()
        assert isinstance(scan.job.work, ScanWork) and scan.job.work.root == str(source)
        assert scan.briefing == ScanBriefing(wanted_tags=["orders"])
        worker.finish(scan, worker.stage_scan(scan, source, ["a.txt"]))
        worker.receive(m.Committed)
        parse = worker.take()
        assert parse.job.work.subject == str(source / "a.txt")
        worker.finish(parse, worker.stage(parse))
        worker.receive(m.Committed)
        until(lambda: completed(client) == 2, "both jobs are completed")


def test_an_ended_job_can_run_again(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client, TinyWorker(home) as worker:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        worker.connect()
        first = worker.take()
        error = JobError(code="INVALID_DATA", message="bad", origin="parser")
        worker.send(m.Fail(job_id=first.job.job_id, epoch=first.epoch, error=error))
        worker.receive(m.Failed)
        assert client.request("retry", {"job_id": first.job.job_id[:6]})["state"] == "QUEUED"
        second = worker.take()
        assert second.job.job_id == first.job.job_id
        worker.finish(second, worker.stage(second))
        worker.receive(m.Committed)
        until(lambda: completed(client) == 1, "the job is completed")
        with pytest.raises(RequestRefused, match="`retry` does not apply to it"):
            client.request("retry", {"job_id": first.job.job_id})
        again = client.request("rerun", {"job_id": first.job.job_id})
        third = worker.take()
        assert third.job.job_id == again["job_id"] != first.job.job_id
        assert (third.job.rerun_of, third.job.generation) == (first.job.job_id, 1)


def test_a_queued_job_can_be_cancelled(home: Home, tmp_path: Path) -> None:
    with running(home) as daemon, daemon.client() as client:
        register(client, home, tmp_path)
        observe(client, home, tmp_path / "in", ["a.txt"])
        job = until(lambda: client.request("snapshot")["jobs"], "the file is queued")[0]
        assert client.request("cancel", {"job_id": job["job_id"][:8], "reason": "no"})["state"] == "CANCELLED"
        with pytest.raises(RequestRefused, match="is CANCELLED"):
            client.request("cancel", {"job_id": job["job_id"]})


def test_blobs_are_fetched_by_hash(served: Daemon, tmp_path: Path) -> None:
    with served.client() as client, TinyWorker(served.home) as worker:
        contract = register(client, served.home, tmp_path)
        worker.connect()
        worker.send(m.Fetch(hash=contract))
        assert worker.receive(m.Blob).is_found
        worker.send(m.Fetch(hash="0" * 64))
        assert not worker.receive(m.Blob).is_found


def test_an_artifact_that_was_tampered_with_is_not_registered(served: Daemon, tmp_path: Path) -> None:
    with served.client() as client, pytest.raises(RequestRefused, match="not trusted"):
        register(client, served.home, tmp_path, tamper=True)


def test_a_blob_is_uploaded_in_pieces_and_bytes_for_another_operation_are_refused(home: Home) -> None:
    content = os.urandom(UPLOAD_PIECE_BYTES + 17)
    with running(home) as daemon, daemon.client() as client:
        digest = client.upload(content)

        assert (home.blobs / digest[:2] / digest).read_bytes() == content
        with pytest.raises(RequestRefused, match="ping takes no attachment"):
            client.request("ping", attachments=[b"x"])
        with pytest.raises(RequestRefused, match="upload takes one attachment"):
            client.request("upload", {"size": 1, "digest": digest})
