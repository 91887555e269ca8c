"""Every code of trust.md's table ends as the table says, and dead letters live again."""

from __future__ import annotations

import pytest

from casparian_protocol.errors import ErrorCode
from casparian_protocol.jobs import JobError, JobState
from casparian_protocol.settings import BreakerSettings, RetrySettings
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.attempts import back_off_seconds
from casparian_sentinel.core.decision import Rejected
from casparian_shim.errors import RETRYABLE_ONCE, TRANSIENT, retryable
from tests.sentinel.core.play import ANN, ARTIFACT, Table, assignments, spec, types

PERMANENT = sorted(set(ErrorCode) - TRANSIENT - RETRYABLE_ONCE)


@pytest.fixture
def table() -> Table:
    table = Table().with_parser()
    table.presence.breaker = BreakerSettings(consecutive_failures=100)
    return table


def attempts_until_the_end(table: Table, code: ErrorCode) -> tuple[int, str]:
    """Fail every attempt with this code, as a worker would report it; how many there were and how it ended."""
    lease = table.running()
    for attempt in range(1, 20):
        error = JobError(code=code, retryable=retryable(code), origin="parser")
        decision = table.do(c.FailReceived("w1", m.Fail(job_id=lease.job_id, epoch=lease.epoch, error=error)))
        if types(decision) != ["JobRetryScheduled"]:
            return attempt, types(decision)[0]
        table.wait(30)
        table.hello()
        given = assignments(table.want())[0]
        lease = m.Held(job_id=given.job.job_id, epoch=given.epoch)
    raise AssertionError(f"{code} is retried for ever")


@pytest.mark.parametrize("code", PERMANENT)
def test_a_permanent_failure_ends_at_once(table: Table, code: ErrorCode) -> None:
    assert attempts_until_the_end(table, code) == (1, "JobFailed")


@pytest.mark.parametrize("code", sorted(RETRYABLE_ONCE))
def test_a_lack_of_memory_is_tried_once_more(table: Table, code: ErrorCode) -> None:
    assert attempts_until_the_end(table, code) == (2, "JobFailed")


@pytest.mark.parametrize(("code", "opinion"), [("SCHEMA_MISMATCH", True), ("TIMEOUT", False), ("FUTURE_CODE", True)])
def test_the_code_decides_and_not_what_the_worker_thinks_of_it(table: Table, code: str, opinion: bool) -> None:
    decision = table.fail(table.running(), code, retryable=opinion)
    assert types(decision) == (["JobRetryScheduled"] if code == "TIMEOUT" else ["JobFailed"])


@pytest.mark.parametrize("code", sorted(TRANSIENT))
def test_a_transient_failure_is_tried_three_more_times_and_then_dead(table: Table, code: ErrorCode) -> None:
    assert attempts_until_the_end(table, code) == (4, "JobDeadLettered")


def test_one_lack_of_memory_among_time_outs_is_remembered(table: Table) -> None:
    lease = table.running()
    ends = []
    for code in ("MEMORY_ERROR", "TIMEOUT", "MEMORY_ERROR"):
        ends.append(types(table.fail(lease, code))[0])
        table.wait(30)
        table.hello()
        lease = next((m.Held(job_id=a.job.job_id, epoch=a.epoch) for a in assignments(table.want())), lease)
    assert ends == ["JobRetryScheduled", "JobRetryScheduled", "JobFailed"]


def test_the_wait_grows_within_a_fifth_and_is_the_same_for_the_same_attempt(table: Table) -> None:
    table.queue(*(spec(number) for number in range(1, 200)))
    waits = []
    for retry, step in enumerate([1.0, 4.0, 16.0, 16.0]):
        for number in range(1, 200):
            job = table.job(spec(number).job_id)
            job.retry_count = retry
            wait = back_off_seconds(job, table.retry.backoff_seconds)
            assert step * 0.8 <= wait <= step * 1.2
            assert wait == back_off_seconds(job, table.retry.backoff_seconds)
            waits.append(wait)
    assert len(set(waits)) > 300  # they do not all come back at the same moment


# --- dead letters ---


def dead(*numbers: int) -> Table:
    table = Table(retry=RetrySettings(max_retries=0)).with_parser()
    for number in numbers:
        table.fail(table.running(spec(number)))
    return table


def replay(table: Table, *numbers: int) -> c.Replayed:
    jobs = [(spec(number), JobState.DEAD_LETTER) for number in numbers]
    answer = table.do(c.ReplayJobs(jobs, table.state.seq, ANN)).answer
    assert isinstance(answer, c.Replayed)
    return answer


def test_replayed_dead_letters_wait_again_with_their_counts_reset() -> None:
    table = dead(1, 2, 3)

    assert replay(table, 1, 2) == c.Replayed(2, {})
    assert (table.count(JobState.DEAD_LETTER), table.count(JobState.QUEUED)) == (1, 2)
    assert (table.job(spec(1).job_id).retry_count, table.job(spec(1).job_id).next_attempt) == (0, 1)


def test_what_cannot_run_stays_dead_and_says_why() -> None:
    table = dead(1, 2)
    table.queue(spec(9, key="key-2"), position=table.state.seq)
    answer = replay(table, 1, 1, 2)
    assert answer == c.Replayed(1, {"its work is queued already": 2})

    table.do(c.RetireParser("advice", "1.0", ANN))
    table.do(c.CancelJob(spec(1).job_id, "", ANN))
    assert replay(table, 1) == c.Replayed(0, {"version 1.0 is retired": 1})


def test_nothing_is_replayed_while_the_disk_is_full() -> None:
    table = dead(1)
    table.do(c.PauseIntake("the disk is full"))

    again = c.ReplayJobs([(spec(1), JobState.DEAD_LETTER)], table.state.seq, ANN)
    assert isinstance(table.do(again).answer, Rejected)
    assert table.state.parsers["advice"].versions["1.0"].artifact == ARTIFACT


def test_what_the_core_itself_concluded_has_a_fingerprint_too(table: Table) -> None:
    lease = table.running()
    table.finish(lease, None, problem="its files are gone")

    error = table.log[-1].data["error"]
    assert (error["code"], len(error["fingerprint"])) == ("PROTOCOL_ERROR", 16)
