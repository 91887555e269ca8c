"""No decision records what could not be folded, whatever workers say and whatever falls due together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.events import JobCancelled, JobCompleted, JobLeased
from casparian_protocol.jobs import JobError, JobState
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision, DecisionBuilder, DropStaging, ImpossibleStep
from casparian_sentinel.core.folding import evolve
from casparian_sentinel.core.leasing import AHEAD_SECONDS
from casparian_sentinel.core.presence import PresenceDraft
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import State
from tests.sentinel.core.play import Table, assignments, effects, offer, sent, spec, types


def _started(*leases: m.Held) -> c.JobsStarted:
    items = [m.StartedJob(job_id=lease.job_id, epoch=lease.epoch, guest_pid=9) for lease in leases]
    return c.JobsStarted("w1", m.Started(jobs=items))


def _leased(table: Table, *numbers: int) -> list[m.Held]:
    table.queue(*(spec(number) for number in numbers))
    if "w1" not in table.presence.workers:
        table.hello()
    given = assignments(table.want(len(numbers)))
    return [m.Held(job_id=one.job.job_id, epoch=one.epoch) for one in given]


def _builder(table: Table) -> DecisionBuilder:
    now = c.Now(table.wall_us, table.now_s)
    return DecisionBuilder(table.state, PresenceDraft(table.presence), now, Decision())


def test_a_job_that_a_message_names_twice_starts_once() -> None:
    table = Table().with_parser()
    (lease,) = _leased(table, 1)
    assert types(table.do(_started(lease, lease))) == ["JobStarted"]


def test_a_step_that_the_jobs_state_does_not_allow_is_refused_where_it_is_recorded() -> None:
    table = Table().with_parser()
    (lease,) = _leased(table, 1)
    decision = _builder(table)
    decision.record(JobCancelled(job_id=lease.job_id, reason=""))
    for event in (
        JobCancelled(job_id=lease.job_id, reason=""),
        JobLeased(job_id="f" * 16, worker_id="w1", attempt=1, sandbox="none"),
        JobCompleted(
            job_id=lease.job_id, epoch=lease.epoch, status=JobState.COMPLETED, rows=0, quarantined=0, skipped=0,
            seconds=0.0, damaged=(),
        ),
    ):  # fmt: skip
        with pytest.raises(ImpossibleStep, match=event.job_id):
            decision.record(event)
    assert [event.about.name for event in decision.events] == ["JobCancelled"]


def test_what_a_tick_takes_back_it_does_not_assign_again() -> None:
    table = Table().with_parser()
    long, short = _leased(table, 1, 2)
    table.started(long)
    table.hello("w2", pid=8)
    table.want(1, "w2")
    table.presence.ahead_since = {(short.job_id, short.epoch): table.now_s}  # it was leased ahead, and nobody was idle
    asked_after_s = table.liveness.lease_timeout_seconds / 4
    assert asked_after_s > AHEAD_SECONDS
    table.presence.workers["w1"] = replace(
        table.presence.workers["w1"], asked_seq=table.state.seq, asked_at_s=table.now_s
    )
    table.now_s += asked_after_s
    table.beat(long)
    table.beat(worker="w2")

    decision = table.wait(0.0)

    assert types(decision) == ["LeaseExpired"]
    assert [item.job_id for message in sent(decision, m.Fenced) for item in message.jobs] == [short.job_id]
    assert not assignments(decision)


def test_a_lease_that_can_no_longer_be_assigned_ends_with_its_staging_and_its_worker_is_told() -> None:
    table = Table().with_parser()
    (lease,) = _leased(table, 1)
    table.started(lease)
    table.beat()  # the worker is silent about it
    job = table.job(lease.job_id)
    job.queued_at, job.is_checked = -1, False  # as it is in a log of a version that checked less
    quarter_s = table.liveness.lease_timeout_seconds / 4
    table.wait(quarter_s)  # what was leased since the last such look is not asked for yet
    table.beat()
    decision = table.wait(quarter_s)

    assert types(decision) == ["JobFailed"]
    assert sent(decision, m.Fenced) == [m.Fenced(jobs=[lease])]
    assert effects(decision) == [DropStaging(lease.job_id, lease.epoch)]
    assert not table.presence.jobs


_JOBS = 3
_NUMBERS = st.lists(st.tuples(st.integers(0, _JOBS), st.integers(-1, 2)), max_size=4)
_SAYS = st.tuples(st.sampled_from(["started", "beat", "finish", "fail", "release", "hello", "gone", "tick"]), _NUMBERS)


@settings(max_examples=150, deadline=None)
@given(st.lists(_SAYS, max_size=12))
def test_whatever_a_worker_says_the_state_can_be_folded(story: list[tuple[str, list[tuple[int, int]]]]) -> None:
    """Leases that it has, had, or never had, each any number of times."""
    table = Table().with_parser()
    table.queue(*(spec(number) for number in range(_JOBS)))
    table.hello()
    table.want(_JOBS)
    for kind, named in story:
        leases = [_named(table, number, off) for number, off in named]
        for command in _said(kind, leases):
            table.do(command)  # raises when a fold or `validate` does
        table.want(_JOBS)


def _named(table: Table, number: int, off: int) -> m.Held:
    job = table.state.jobs.get(f"{number:016x}")
    return m.Held(job_id=f"{number:016x}", epoch=max(1, (job.epoch if job is not None else 1) + off))


def _said(kind: str, leases: list[m.Held]) -> list[c.Command]:
    match kind:
        case "started":
            return [_started(*leases)]
        case "beat":
            beats = [m.Beat(job_id=lease.job_id, epoch=lease.epoch) for lease in leases]
            return [c.BeatReceived("w1", m.Heartbeat(seq=1, jobs=beats))]
        case "finish":
            return [c.FinishReceived("w1", [c.FinishedItem(one.job_id, one.epoch, offer(2, 1)) for one in leases])]
        case "fail":
            error = JobError(code="TIMEOUT")
            return [c.FailReceived("w1", m.Fail(job_id=one.job_id, epoch=one.epoch, error=error)) for one in leases]
        case "release":
            return [c.ReleaseReceived("w1", m.Released(jobs=leases))]
        case "hello":
            return [c.HelloReceived("w1", _hello(leases))]
        case "gone":
            return [c.WorkerGone("w1", "killed"), c.HelloReceived("w1", _hello(leases))]
        case _:
            return [c.Tick(), *(c.Promoted(one.job_id, one.epoch) for one in leases)]


def _hello(leases: list[m.Held]) -> m.Hello:
    return m.Hello(
        protocol=m.PROTOCOL_VERSION, worker_id="w1", host="here", pid=7, slots=4, version="0", sandbox="none",
        holding=leases,
    )  # fmt: skip


def test_a_job_of_a_log_or_a_snapshot_is_checked_again_before_a_worker_gets_it() -> None:
    table = Table().with_parser()
    table.queue(spec(1))
    assert table.job().is_checked
    folded = State()
    for record in table.log:
        evolve(folded, record)
    loaded = load(dump(table.state))
    for state in (folded, loaded):
        assert not state.jobs[spec(1).job_id].is_checked
        assert state.jobs[spec(1).job_id] == table.job()
        assert state.jobs[spec(1).job_id].spec() == spec(1)
