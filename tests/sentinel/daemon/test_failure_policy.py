"""One failure policy: what fails by a fault of ours is refused or set apart, counted and told, and the daemon continues."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
import zmq

from casparian_protocol.bounds import Scalar
from casparian_protocol.events import Event, JobDeadLettered, JobDue, JobFailed, ParserPaused
from casparian_protocol.jobs import JobError, Manifest, OutputAccounting, ViolationCount
from casparian_protocol.tagging import TagRule
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.operations.daemon import ParkedCommit, Reading
from casparian_sentinel import core as c
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core import FilesDone, Promoted, handlers
from casparian_sentinel.core.decision import Decision, Promote, Rejected
from casparian_sentinel.core.folding import UnfoldableLog
from casparian_sentinel.daemon.bus import FeedPublisher
from casparian_sentinel.daemon.failures import BURST_LINES, FailureLines, InternalErrors
from casparian_sentinel.daemon.journal import INTERNAL_TRIES, Engine, Entry, StateBroken
from casparian_sentinel.daemon.promoter import Promoter, perform
from casparian_sentinel.local import LocalSentinel
from casparian_sentinel.log import LogFull
from casparian_sentinel.operations.steps import OperationRefused
from casparian_sentinel.ports import RealClock, RealFs
from tests.sentinel.commit.test_promotion import stage
from tests.sentinel.core.play import ANN, CONTRACT, DIGEST, Table, offer, sent, spec, types
from tests.sentinel.daemon.world import TinyWorker, new_home, observe, put, register, running, until

RULE = TagRule(id="r1", name="n", pattern="*", tag="t")


class TableClock:
    def __init__(self, table: Table) -> None:
        self._table = table

    def wall_microseconds(self) -> int:
        return self._table.wall_us

    def monotonic_seconds(self) -> float:
        return self._table.now_s


class Desk:
    """An engine over the core on the table; what it journals can be looked at."""

    def __init__(self) -> None:
        self.table = Table().with_parser()
        self.entries: list[Entry] = []
        self.engine = Engine(self.table.state, self.table.presence, TableClock(self.table), self.entries.append)

    def submit(self, command: c.Command) -> list[Decision]:
        """The decisions that the command led to."""
        before = len(self.entries)
        self.engine.submit(command)
        return [entry.decision for entry in self.entries[before:]]


@pytest.fixture
def desk(caplog: pytest.LogCaptureFixture) -> Desk:
    return Desk()


@contextmanager
def failing(kind: type, when: Callable[[Any], bool] = lambda command: True) -> Iterator[None]:
    """The handler of this command does its work and then fails."""
    handler = handlers._HANDLERS[kind]

    def fails(decision: Any, command: Any) -> None:
        handler(decision, command)
        if when(command):
            raise ZeroDivisionError("a fault of ours")

    with patch.dict(handlers._HANDLERS, {kind: fails}):
        yield


def _finish(*leases: m.Held, manifest: Manifest | None = None) -> c.FinishReceived:
    return c.FinishReceived("w1", [c.FinishedItem(one.job_id, one.epoch, manifest or offer()) for one in leases])


# --- decisions ---


def test_a_handler_that_fails_refuses_its_command_and_leaves_no_trace(desk: Desk) -> None:
    known = desk.table.state.seq
    with failing(c.AddRule):
        (decision,) = desk.submit(c.AddRule(RULE, ANN))

    assert isinstance(decision.answer, Rejected) and decision.answer.code == "INTERNAL"
    assert "ZeroDivisionError" in decision.answer.problem
    assert (desk.table.state.seq, desk.table.state.rules, decision.events) == (known, {}, [])
    assert desk.engine.internal.view().places == {"deciding AddRule": 1}
    (decision,) = desk.submit(c.AddRule(RULE, ANN))
    assert types(decision) == ["TagRuleAdded"]


def test_a_finish_that_fails_again_and_again_fails_its_attempt_with_the_fault_ours(desk: Desk) -> None:
    lease = desk.table.running()
    with failing(c.FinishReceived):
        for _ in range(INTERNAL_TRIES - 1):
            (decision,) = desk.submit(_finish(lease))
            (refused,) = sent(decision, m.Refused)
            assert (refused.code, refused.of_kind) == (m.Refusal.INTERNAL, "finish")
        ended, _refused = desk.submit(_finish(lease))

    assert types(ended) == ["JobFailed"]
    error = ended.events[0].to_data()["error"]
    assert (error["code"], error["origin"], error["retryable"]) == ("INTERNAL", "sentinel", False)
    assert sent(ended, m.Fenced)[0].jobs == [lease]  # it deletes what it staged
    assert not desk.table.state.jobs and not desk.table.state.breakers


def test_what_one_finished_job_does_wrong_is_not_the_matter_of_the_others(desk: Desk) -> None:
    good, bad = desk.table.running(spec(1)), desk.table.running(spec(2))
    with failing(c.FinishReceived, lambda command: any(item.job_id == bad.job_id for item in command.items)):
        decisions = desk.submit(_finish(bad, good))

    assert [types(decision) for decision in decisions] == [[], ["JobOutputsCommitted"], []]
    assert [held for decision in decisions for told in sent(decision, m.Committed) for held in told.jobs] == [good]
    assert len([told for decision in decisions for told in sent(decision, m.Refused)]) == 1


def test_a_beat_that_cannot_be_taken_still_is_a_sign_of_life(desk: Desk) -> None:
    lease = desk.table.running()
    desk.table.now_s += 50
    with failing(c.BeatReceived, lambda command: bool(command.message.jobs)):
        desk.submit(c.BeatReceived("w1", m.Heartbeat(seq=1, jobs=[m.Beat(job_id=lease.job_id, epoch=lease.epoch)])))

    assert desk.table.presence.workers["w1"].last_beat_s == desk.table.now_s
    desk.table.now_s += 50
    with failing(c.WantReceived):
        desk.submit(c.WantReceived("w1", 2))
    assert desk.table.presence.workers["w1"].last_beat_s == desk.table.now_s


def test_a_duty_of_the_clock_that_fails_holds_up_no_other(desk: Desk) -> None:
    lease = desk.table.running()
    desk.table.fail(lease)  # waits for its retry
    desk.table.now_s += 100
    from casparian_sentinel.core import clock

    def fails(case: Any) -> None:
        raise ZeroDivisionError

    with patch.dict(clock.DUTIES, {"silent workers": fails}):
        decisions = desk.submit(c.Tick())

    assert "JobDue" in [kind for decision in decisions for kind in types(decision)]


def test_folding_that_fails_ends_all_deciding(desk: Desk) -> None:
    with patch.object(handlers, "apply", side_effect=UnfoldableLog(1, "it cannot be")), pytest.raises(UnfoldableLog):
        desk.submit(c.AddRule(RULE, ANN))

    assert not desk.entries, "nothing of it may become durable"
    with pytest.raises(StateBroken):
        desk.submit(c.Tick())


def test_nothing_is_decided_upon_what_could_not_be_written(desk: Desk) -> None:
    def full(entry: Entry) -> None:
        raise LogFull(Path("log"), 0)

    engine = Engine(desk.table.state, desk.table.presence, TableClock(desk.table), full)
    with pytest.raises(LogFull):
        engine.submit(c.AddRule(RULE, ANN))
    assert RULE.id in desk.table.state.rules and engine.is_broken
    with pytest.raises(StateBroken):
        engine.submit(c.AddRule(RULE, ANN))


def test_an_event_beyond_its_bound_is_refused_before_anything_is_folded(desk: Desk) -> None:
    known = desk.table.state.seq
    long: dict[str, Scalar] = {f"k{n}": "é" * 1000 for n in range(9)}
    policy: dict[str, Scalar] = {"dir": "é" * 4096, "allow": True, "keep_days": 3, **long}
    with patch("casparian_sentinel.core.registry.parsers._POLICY_KEYS", frozenset(policy)):
        (decision,) = desk.submit(c.SetQuarantinePolicy("advice", "", policy, ANN))

    assert isinstance(decision.answer, Rejected) and decision.answer.code == "TOO_LARGE"
    assert desk.table.state.seq == known and desk.engine.internal.total == 0


def test_bad_rows_of_fifty_columns_with_long_names_fit_into_an_event(desk: Desk) -> None:
    lease = desk.table.running()
    violations = [ViolationCount(code="type", column=f"{n:03}" + "ü" * 252, rows=n + 1) for n in range(60)]
    accounting = OutputAccounting(
        status="partial_success",
        received=1833,
        valid=3,
        quarantined=1830,
        violations=violations,
        contract_hash=CONTRACT,
    )
    files = [
        {
            "name": f"{kind}.orders.0.parquet",
            "kind": kind,
            "output": "orders",
            "rows": rows,
            "bytes": 1,
            "digest": DIGEST,
        }
        for kind, rows in (("data", 3), ("quarantine", 1830))
    ]
    manifest = Manifest.model_validate({"files": files, "outputs": {"orders": accounting}, "source_hash": "f" * 64})
    item = c.FinishedItem(lease.job_id, lease.epoch, manifest, manifest_blob="b" * 64)
    (decision,) = desk.submit(c.FinishReceived("w1", [item]))

    assert types(decision) == ["JobOutputsCommitted", "QuarantineRecorded"]
    facts = decision.events[1].to_data()
    shown = facts["counts"]
    assert shown and shown[0][2] == 60  # the most frequent first
    assert len(shown) + facts["left_out"] == 60
    assert sum(rows for _, _, rows in shown) + facts["left_out_rows"] == facts["rows"] == 1830


def test_a_queued_job_that_no_message_can_carry_fails_and_the_next_one_is_leased(desk: Desk) -> None:
    desk.table.queue(spec(1), spec(2))
    job = desk.table.job(spec(1).job_id)
    job.generation, job.is_checked = -1, False  # as it is in a log of a version that checked less
    desk.table.hello()
    (decision,) = desk.submit(c.WantReceived("w1", 2))

    assert types(decision) == ["JobLeased", "JobLeased", "JobFailed"]
    assert decision.events[2].to_data()["error"]["code"] == "INTERNAL"
    assert [one.job.job_id for told in sent(decision, m.Assign) for one in told.jobs] == [spec(2).job_id]


# --- what is told ---


def test_tracebacks_of_a_loop_of_failures_do_not_fill_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    errors = InternalErrors(lambda: now[0])
    with caplog.at_level(logging.ERROR):
        for _ in range(1000):
            errors.note("somewhere", ValueError("x"))
        now[0] = 61.0
        errors.note("somewhere", ValueError("x"))

    assert errors.total == 1001
    assert len(caplog.records) == 7
    assert "995 more are not listed" in caplog.text


def test_failures_of_jobs_are_one_line_each_and_a_flood_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    lines = FailureLines(lambda: now[0])
    error = JobError(code="INVALID_DATA", message="line 3\n  is odd")
    kinds: list[Event] = [
        JobFailed(job_id="j1", epoch=1, error=error),
        JobDeadLettered(job_id="j2", epoch=2, reason="poison", error=error, retry_count=0),
        ParserPaused(name="p", version="1", reason="[CIRCUIT_BREAKER] Parser 'p' paused"),
        JobDue(job_id="j3"),
    ]
    with caplog.at_level(logging.INFO):
        lines.list_failures(Decision(events=kinds))
        assert [record.getMessage() for record in caplog.records] == [
            "Job j1 failed: INVALID_DATA: line 3 is odd",
            "Job j2 is a dead letter, it lost too many workers: INVALID_DATA: line 3 is odd",
            "[CIRCUIT_BREAKER] Parser 'p' paused (version 1)",
        ]
        lines.list_failures(Decision(events=[kinds[0]] * 1000))
        assert len(caplog.records) == BURST_LINES
        now[0] = 3.0
        lines.each_second()
    assert f"{1003 - BURST_LINES} more failures are not listed" in caplog.text


# --- promotions ---


def test_one_folder_that_cannot_be_written_parks_its_job_and_all_other_commits_go_on(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    (home.outputs / "refused").write_text("a file where a directory must be")
    good, bad = "a" * 16, "b" * 16
    works = []
    for job, output in ((bad, "refused"), (good, "orders")):
        manifest = stage(home, f"data.{output}.0.parquet", job=job)
        works.append(Promote(job, 5, manifest, "", {output: 1}))

    async def story() -> tuple[list[Promoted], list[ParkedCommit], list[Promoted]]:
        promoted: list[Promoted] = []
        news = asyncio.Event()
        errors: list[object] = []

        def done(group: FilesDone) -> None:
            promoted.extend(one for one in group.items if isinstance(one, Promoted))
            news.set()

        promoter = Promoter(
            home,
            BlobStore(RealFs(), home.blobs),
            RealClock(),
            on_done=done,
            on_error=lambda place, error: errors.append(error),
            on_failure=errors.append,
        )
        for work in works:
            promoter.add(work)
        await asyncio.wait_for(news.wait(), 20)
        first = list(promoted)
        parked = promoter.parked()  # both were looked at in one group
        promoter.add(works[0])  # the core names it each minute
        assert promoter.parked() == parked and promoter.is_busy
        (home.outputs / "refused").unlink()
        news.clear()
        await asyncio.wait_for(news.wait(), 20)
        assert not promoter.parked() and not promoter.is_busy and not errors
        promoter.close()
        return first, parked, promoted

    first, parked, promoted = asyncio.run(story())

    assert [one.job_id for one in first] == [good]
    assert [(one.job_id, one.errno, one.reason) for one in parked] == [(bad, 20, "Not a directory")]
    assert parked[0].path.startswith("outputs/refused/v1/part-")
    assert [one.job_id for one in promoted] == [good, bad]


def test_a_group_with_one_refused_folder_promotes_all_others(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    (home.outputs / "refused").write_text("a file where a directory must be")
    works = [
        Promote(job, 5, stage(home, f"data.{output}.0.parquet", job=job), "", {output: 1})
        for job, output in (("a" * 16, "orders"), ("b" * 16, "refused"), ("c" * 16, "trades"))
    ]

    performed = perform(home, BlobStore(RealFs(), home.blobs), works)

    assert [one.job_id for one in performed.done] == ["a" * 16, "c" * 16]
    assert [one.work for one in performed.stopped] == [works[1]]


# --- blobs ---


def test_a_blob_of_another_kind_is_refused_when_it_is_named(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    strange = [
        put(home, b"no Arrow"),
        put(home, _arrow(pa.table({"n": [1]}))),
        put(home, _arrow(pa.table({"id": [[1]]}))),
    ]
    half = put(home, _arrow(pa.table({"change": ["new"], "id": ["a"], "path": ["/a"], "rel_path": ["a"]}))[:-40])
    with LocalSentinel(home) as sentinel:
        scan_id = sentinel.request("begin_scan", {"roots": ["/data"]})["scan_id"]
        before = sentinel.seq
        for blob in (*strange, half):
            for op, args in (("observe", {"scan_id": scan_id}), ("tag", {"tag": "t", "files": 1})):
                with pytest.raises(OperationRefused, match=f"{op}: blob") as refused:
                    sentinel.request(op, {**args, "blob": blob})
                assert refused.value.reply_code == "BAD_BLOB"
        assert sentinel.seq == before, "nothing of it is in the log"


def _arrow(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


# --- a daemon whose handler fails ---


def test_a_poisonous_finish_never_becomes_a_loop_of_crashes(tmp_path: Path) -> None:
    """The worker repeats it, over a kill and a restart of the daemon too, until it is answered for good."""
    home = new_home(tmp_path)
    module = ("-m", "tests.sentinel.daemon.faulty_daemon")
    with TinyWorker(home) as worker:
        with running(home, module=module) as daemon, daemon.client() as client:
            register(client, home, tmp_path)
            observe(client, home, tmp_path / "in", ["a.txt"])
            worker.connect()
            assignment = worker.take()
            manifest = worker.stage(assignment)
            worker.finish(assignment, manifest)
            assert worker.receive(m.Refused).code == m.Refusal.INTERNAL
            daemon.kill()
        with running(home, module=module) as daemon, daemon.client() as client:
            assert worker.connect().keep == worker.holding
            for _ in range(INTERNAL_TRIES):
                worker.finish(assignment, manifest)
            assert worker.receive(m.Fenced).jobs == worker.holding
            worker.holding = []
            status = client.request("status")
            assert status["internal_errors"]["count"] == INTERNAL_TRIES
            assert "ZeroDivisionError" in status["internal_errors"]["last"]
            answer = client.query(
                "select status, error_code from cf_processing_queue", at_least_seq=client.request("ping")["seq"]
            )
            assert answer.rows == [["FAILED", "INTERNAL"]]
            line = f"Job {assignment.job.job_id} failed: INTERNAL:"
            until(lambda: line in home.daemon_log.read_text(), "the failure is in the daemon's log")
            assert "Traceback" in home.daemon_log.read_text()
            assert daemon.stop() == 0


def test_the_trouble_of_a_status_survives_json(desk: Desk) -> None:
    assert json.loads(desk.engine.internal.view().model_dump_json()) == {"count": 0, "places": {}, "last": ""}


def test_a_reading_that_fails_when_a_console_subscribes_is_noted_and_harms_nobody(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/feed.sock"
    noted: list[str] = []
    broken: list[object] = []

    def fail() -> Sequence[Reading]:
        raise ZeroDivisionError("a fault of ours")

    async def life() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: broken.append(context))
        came = asyncio.Event()

        def note(place: str, error: Exception) -> None:
            noted.append(f"{place}: {error}")
            came.set()

        context: zmq.Context[zmq.Socket[bytes]]
        with zmq.Context() as context, context.socket(zmq.SUB) as console:
            feed = FeedPublisher(context, endpoint, fail, note)
            console.connect(endpoint)
            console.subscribe(b"")
            await asyncio.wait_for(came.wait(), 20)
            feed.publish_metrics()
            feed.close()
            console.close(linger=0)

    asyncio.run(life())
    assert noted == ["publishing metrics: a fault of ours"] * 2
    assert broken == []
