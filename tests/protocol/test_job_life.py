"""A job's life is what its events make of it: the same for the core, the tables, the console and `story`."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol import events as e
from casparian_protocol.job_life import JobLife, advance, may_follow, target_of
from casparian_protocol.jobs import ENDED, NEXT, JobError, JobState
from tests.protocol.test_events import SPEC

JOB = SPEC.job_id
MEMORY = JobError(code="MEMORY_ERROR", retryable=True)


def event(name: str, life: JobLife, target: JobState) -> e.Event:
    """An event of this type that leads a job from where it stands to `target`."""
    match name:
        case "JobLeased":
            return e.JobLeased(job_id=JOB, worker_id="w1", attempt=life.next_attempt, sandbox="none")
        case "JobStarted":
            return e.JobStarted(job_id=JOB, epoch=life.epoch, guest_pid=9)
        case "JobOutputsCommitted":
            counts: dict[str, Any] = {"rows": 1, "quarantined": 0, "skipped": 0, "part_names": 2}
            return e.JobOutputsCommitted(job_id=JOB, epoch=life.epoch, versions={"o": 1}, seconds=1.0, **counts)
        case "JobCompleted":
            counts = {"rows": 1, "quarantined": 0, "skipped": 0}
            return e.JobCompleted(job_id=JOB, epoch=life.epoch, status=target, seconds=1.0, damaged=(), **counts)
        case "JobFailed":
            return e.JobFailed(job_id=JOB, epoch=life.epoch, error=MEMORY)
        case "JobRetryScheduled":
            retry = {"retry_count": life.retry_count + 1, "not_before": 99}
            return e.JobRetryScheduled(job_id=JOB, epoch=life.epoch, error=MEMORY, delay_seconds=2.0, **retry)
        case "JobDeadLettered":
            return e.JobDeadLettered(job_id=JOB, epoch=life.epoch, reason="poison", retry_count=life.retry_count)
        case "JobDue":
            return e.JobDue(job_id=JOB)
        case "LeaseExpired":
            return e.LeaseExpired(job_id=JOB, epoch=life.epoch, worker_id="w1", reason="lost", is_loss=True)
        case "JobCancelled":
            return e.JobCancelled(job_id=JOB, reason="pointless")
        case _:
            return e.JobReplayed(job=SPEC, from_state=life.state)


def lived(*names: str) -> JobLife:
    """The life of a job with these events, from its queueing (event 1, at 1 µs) on; each a sequence and a µs later."""
    life = JobLife()
    advance(life, 1, 1, e.JobQueued(job=SPEC))
    for seq, name in enumerate(names, 2):
        target = next(state for state, by in NEXT[life.state].items() if by == name)
        advance(life, seq, seq, event(name, life, target))
    return life


def test_a_job_is_leased_runs_commits_and_is_published() -> None:
    leased: dict[str, Any] = {"attempt": 1, "worker_id": "w1", "epoch": 2, "leased_at": 2}
    assert lived() == JobLife(last_seq=1)
    assert lived("JobLeased") == JobLife(state=JobState.LEASED, last_seq=2, **leased)
    assert lived("JobLeased", "JobStarted", "JobOutputsCommitted", "JobCompleted") == JobLife(
        state=JobState.COMPLETED, started_at=3, guest_pid=9, ended_at=5, last_seq=5, **leased
    )


def test_a_lost_worker_costs_an_attempt_and_no_retry() -> None:
    life = lived("JobLeased", "JobStarted", "LeaseExpired")

    assert (life.state, life.losses, life.retry_count) == (JobState.QUEUED, 1, 0)
    assert (life.attempt, life.next_attempt) == (1, 2)
    assert (life.worker_id, life.epoch, life.leased_at, life.guest_pid) == ("", 0, 0, 0)


def test_a_retry_waits_and_remembers_that_memory_ran_out() -> None:
    life = lived("JobLeased", "JobStarted", "JobRetryScheduled")
    assert (life.state, life.retry_count, life.memory_failures) == (JobState.RETRY_WAIT, 1, 1)
    assert (life.not_before, life.delay_seconds, life.epoch) == (99, 2.0, 0)

    again = lived("JobLeased", "JobStarted", "JobRetryScheduled", "JobDue", "JobLeased")
    assert (again.state, again.attempt, again.epoch, again.not_before) == (JobState.LEASED, 2, 6, 0)


def test_a_job_that_is_replayed_begins_a_new_life() -> None:
    assert lived("JobLeased", "JobStarted", "JobDeadLettered").reason == "poison"
    assert lived("JobLeased", "JobStarted", "JobDeadLettered", "JobReplayed") == JobLife(last_seq=5)


def test_asking_to_cancel_changes_no_state_and_is_remembered() -> None:
    life = lived("JobLeased")
    asked = e.JobCancelRequested(job_id=JOB, reason="pointless")
    advance(life, 3, 3, asked)

    assert target_of(asked) is None
    assert (life.state, life.is_cancel_requested, life.reason) == (JobState.LEASED, True, "pointless")


def test_events_about_rows_or_progress_leave_the_life_unchanged() -> None:
    life = lived("JobLeased")
    advance(life, 9, 9, e.FailureClosed(job_id=JOB, reason="known"))
    assert life == lived("JobLeased")


@given(st.lists(st.integers(0, 5), max_size=30))
def test_every_walk_through_the_table_of_states_is_followed(choices: list[int]) -> None:
    life = JobLife()
    for seq, choice in enumerate(choices, 1):
        ways = sorted(NEXT[life.state].items())
        if not ways:
            break
        target, name = ways[choice % len(ways)]
        told = event(name, life, target)
        assert target_of(told) is target
        assert may_follow(life.state, told)
        before = life.state
        advance(life, seq, seq, told)
        assert (life.state, life.last_seq) == (target, seq)
        assert bool(life.ended_at) == (life.state in ENDED)
        assert bool(life.epoch) == (life.state in (JobState.LEASED, JobState.RUNNING, JobState.COMMITTED)) or (
            life.state in ENDED and before is not JobState.QUEUED
        )


def test_a_state_is_followed_by_those_of_the_table_and_no_other() -> None:
    for state, after in NEXT.items():
        told = {
            (name, target): event(name, JobLife(), target) for each in NEXT.values() for target, name in each.items()
        }
        assert {way for way, each in told.items() if may_follow(state, each)} == {(n, t) for t, n in after.items()}
