"""Every event names what led to it: a request, an event of the same job, or what happened to a worker or a parser."""

from __future__ import annotations

from itertools import pairwise

import msgpack

from casparian_protocol.events.packing import pack_event
from casparian_protocol.jobs import JobError
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.handlers import step
from casparian_sentinel.log.format import LogRecord, body_of, unpack_events
from tests.sentinel.core.play import ANN, Table, spec


def last(table: Table, kind: str) -> LogRecord:
    found: LogRecord = next(event for event in reversed(table.log) if event.type == kind)
    return found


def test_within_a_job_each_event_leads_to_the_next() -> None:
    table = Table().with_parser()
    lease = table.running()
    table.finish(lease)
    table.do(c.Promoted(lease.job_id, lease.epoch))

    life = ["JobQueued", "JobLeased", "JobStarted", "JobOutputsCommitted", "JobCompleted"]
    for before, after in pairwise(life):
        assert last(table, after).cause == last(table, before).seq


def test_a_request_and_what_told_of_the_file_are_causes_of_a_queued_job() -> None:
    table = Table().with_parser()
    job = spec()
    asked = step(table.state, table.presence, c.QueueJobs([job], 0), c.Now(1, 1.0), "queue:3f2a")
    assert asked.causes == ["queue:3f2a"]

    told = step(table.state, table.presence, c.QueueJobs([spec(2)], 0, caused_by={spec(2).job_id: 7}), c.Now(1, 1.0))
    assert told.causes == [7]


def test_a_lost_worker_is_the_cause_of_its_leases_end() -> None:
    table = Table().with_parser()
    table.running()
    table.do(c.WorkerGone("w1", "killed"))

    assert last(table, "LeaseExpired").cause == last(table, "WorkerLost").seq


def test_a_pause_is_caused_by_the_failure_and_causes_the_recall() -> None:
    table = Table().with_parser()
    table.running()
    table.queue(spec(2))
    table.want(1)
    table.do(c.PauseParser("advice", "holidays", ANN))
    assert last(table, "LeaseExpired").cause == last(table, "ParserPaused").seq


def test_a_circuit_breaker_opens_because_of_the_failure_that_was_one_too_many() -> None:
    table = Table().with_parser()
    for number in range(1, table.presence.breaker.consecutive_failures + 1):
        lease = table.running(spec(number))
        error = JobError(code="INVALID_DATA", origin="parser", fingerprint=f"{number:016x}")
        table.do(c.FailReceived("w1", m.Fail(job_id=lease.job_id, epoch=lease.epoch, error=error)))

    assert last(table, "ParserPaused").cause == last(table, "JobFailed").seq


def test_an_approval_is_the_cause_of_the_version_that_becomes_current() -> None:
    table = Table().with_parser()

    approved = last(table, "ContractApproved").seq
    assert {last(table, kind).cause for kind in ("OutputVersionCreated", "ParserCurrentChanged")} == {approved}


def test_causes_lie_in_the_log_and_logs_without_them_are_read() -> None:
    table = Table().with_parser()
    table.running()
    facts = [event[1:] if event.cause else event[1:-1] for event in table.log]

    assert unpack_events(body_of([pack_event(fact) for fact in facts]), 1) == table.log
    without = [pack_event(fact[:5]) for fact in facts]
    assert unpack_events(body_of(without), 1) == [event._replace(cause=0) for event in table.log]
    packed = [msgpack.unpackb(pack_event(fact)) for fact in facts]
    assert {len(event) for event in packed} == {5}, "programs of before causes were recorded read five parts"
