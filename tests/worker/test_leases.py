"""A worker's decisions, without a socket, a thread or a clock: what happens goes in, what must be done comes out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from casparian_protocol.jobs import JobError, JobInput, JobSpec, Manifest, ParseWork
from casparian_protocol.wire import Rhythm
from casparian_protocol.wire.messages import (
    PROTOCOL_VERSION,
    Assign,
    Assignment,
    Beat,
    Cancel,
    Committed,
    Drain,
    Fail,
    Failed,
    Fenced,
    Finish,
    FinishedJob,
    Heartbeat,
    Held,
    Hello,
    Refusal,
    Refused,
    Released,
    Shutdown,
    Started,
    StartedJob,
    Want,
    Welcome,
)
from casparian_worker.execute.run import StopCause
from casparian_worker.leases import LeaseTable, Stage
from casparian_worker.reports import Usage
from casparian_worker.steps import (
    AttemptsEnded,
    AttemptStaged,
    AttemptStarted,
    AttemptStopped,
    ContactLost,
    Drop,
    Failure,
    Input,
    LeaseKey,
    Leave,
    Output,
    Send,
    Start,
    Stop,
    Sync,
    Tick,
    Unsent,
)

LEASE_SECONDS = 10.0
RESEND_SECONDS = 2.0
HELLO = Hello(protocol=PROTOCOL_VERSION, worker_id="w1", host="h", pid=1, slots=2, version="0", sandbox="none")
MANIFEST = Manifest(source_hash="x")
FAILURE = Failure(JobError(code="TIMEOUT"))


def key(number: int, epoch: int = 0) -> LeaseKey:
    return f"{number:016x}", epoch or number


def held(*keys: LeaseKey) -> list[Held]:
    return [Held(job_id=job_id, epoch=epoch) for job_id, epoch in keys]


def assignment(number: int, epoch: int = 0) -> Assignment:
    job_id, epoch = key(number, epoch)
    spec = JobSpec(job_id=job_id, key=str(number), work=ParseWork(input=JobInput(path="x")))
    return Assignment(job=spec, attempt=1, epoch=epoch, leased_at=1)


def tick() -> Tick:
    return Tick(Usage(), 1, {})


def welcome(*keep: LeaseKey, drop: Sequence[LeaseKey] = ()) -> Welcome:
    return Welcome(
        worker_id="w1",
        protocol=PROTOCOL_VERSION,
        heartbeat_seconds=1.0,
        lease_timeout_seconds=LEASE_SECONDS,
        keep=held(*keep),
        drop=held(*drop),
    )


def refused(code: str, of_kind: str = "heartbeat") -> Refused:
    return Refused(reason="why", code=code, of_kind=of_kind)


class Worker:
    """A table and its clock."""

    def __init__(self, *, is_welcome: bool = True, patience_seconds: float | None = 60.0) -> None:
        self.now_s = 100.0
        self.table = LeaseTable(
            HELLO,
            Rhythm.of(1.0, LEASE_SECONDS),
            self.now_s,
            resend_seconds=RESEND_SECONDS,
            patience_seconds=patience_seconds,
        )
        if is_welcome:
            self.after(0.0, tick(), welcome())

    def after(self, seconds: float, *happened: Input) -> list[Output]:
        """What comes out when these things happen then."""
        self.now_s += seconds
        return [output for one in happened for output in self.table.step(self.now_s, one)]

    def now(self, *happened: Input) -> list[Output]:
        return self.after(0.0, *happened)

    @property
    def stages(self) -> dict[LeaseKey, Stage]:
        return {lease.key: lease.stage for lease in self.table}


def running(*numbers: int) -> Worker:
    worker = Worker()
    worker.now(Assign(jobs=[assignment(number) for number in numbers]))
    worker.now(*(AttemptStarted(key(number), 7) for number in numbers))
    return worker


def finished(number: int = 1) -> Worker:
    worker = running(number)
    worker.now(AttemptStaged(key(number)), AttemptsEnded([(key(number), MANIFEST)]))
    return worker


def finish(number: int) -> Send:
    job_id, epoch = key(number)
    return Send(Finish(jobs=[FinishedJob(job_id=job_id, epoch=epoch, manifest=MANIFEST)]), [])


def fail(number: int, failure: Failure = FAILURE) -> Send:
    job_id, epoch = key(number)
    return Send(Fail(job_id=job_id, epoch=epoch, error=failure.error, uncommitted=failure.uncommitted))


def released(*keys: LeaseKey) -> Send:
    return Send(Released(jobs=held(*keys)))


def want(credit: int) -> Send:
    return Send(Want(credit=credit))


# --- joining


def test_it_says_hello_until_it_is_welcome_and_then_how_much_it_would_take() -> None:
    worker = Worker(is_welcome=False)
    assert worker.now(tick()) == [Send(HELLO)]
    assert worker.after(0.5, tick()) == []
    assert worker.after(0.5, tick()) == [Send(HELLO)]
    assert worker.now(welcome()) == [want(4)]


def test_a_sentinel_that_does_not_know_it_hears_its_hello_at_once_and_not_too_often() -> None:
    worker = running(1)
    assert worker.after(3.0, refused(Refusal.SAY_HELLO)) == [
        Send(HELLO.model_copy(update={"holding": held(key(1))})),
    ]
    assert worker.after(0.1, refused(Refusal.SAY_HELLO)) == []


def test_a_name_that_is_taken_and_another_version_make_it_leave() -> None:
    for code in (Refusal.NAME_TAKEN, Refusal.PROTOCOL_VERSION):
        worker = Worker(is_welcome=False)
        assert worker.now(refused(code, "hello")) == [Leave(refused="why")]
        assert worker.now(tick()) == []


def test_a_sentinel_in_trouble_of_its_own_is_asked_again() -> None:
    worker = Worker(is_welcome=False)
    worker.now(tick())
    for code in (Refusal.INTERNAL, Refusal.DISK):
        assert worker.now(refused(code, "hello")) == []
        assert worker.after(1.0, tick()) == [Send(HELLO)]


# --- the life of a lease


def test_a_lease_is_started_synced_offered_until_it_is_answered_and_forgotten() -> None:
    worker = Worker()
    assert worker.now(Assign(jobs=[assignment(1)])) == [Start(assignment(1))]
    job_id, epoch = key(1)
    started = Send(Started(jobs=[StartedJob(job_id=job_id, epoch=epoch, guest_pid=7)]))
    assert worker.now(AttemptStarted(key(1), 7)) == [started]
    assert worker.now(AttemptStaged(key(1))) == [Sync(key(1)), want(4)]
    assert worker.now(AttemptsEnded([(key(1), MANIFEST)])) == [finish(1)]
    beat = Send(Heartbeat(seq=1))
    assert worker.after(RESEND_SECONDS - 1, tick()) == [beat]
    assert worker.after(1.0, tick())[1:] == [finish(1)]
    assert worker.now(Committed(jobs=held(key(1)))) == []
    assert worker.stages == {}


def test_what_could_not_be_made_durable_is_dropped_and_has_failed() -> None:
    worker = running(1)
    worker.now(AttemptStaged(key(1)))
    assert worker.now(AttemptsEnded([(key(1), FAILURE)])) == [Drop(key(1)), fail(1)]


def test_a_failure_is_told_until_it_is_recorded() -> None:
    worker = running(1)
    assert worker.now(AttemptsEnded([(key(1), FAILURE)])) == [fail(1), want(4)]
    assert fail(1) in worker.after(RESEND_SECONDS, tick())
    assert worker.now(Failed(jobs=held(key(1)))) == []
    assert worker.stages == {}


def test_bad_rows_of_a_failed_attempt_stay_for_the_sentinel_to_keep() -> None:
    worker = running(1)
    kept = Failure(JobError(code="QUARANTINE_EXCEEDED"), MANIFEST)
    worker.now(AttemptStaged(key(1)))
    assert worker.now(AttemptsEnded([(key(1), kept)])) == [fail(1, kept)]
    assert worker.now(Failed(jobs=held(key(1)))) == []


def test_a_heartbeat_names_the_running_jobs_and_no_others() -> None:
    worker = running(1, 2)
    worker.now(Assign(jobs=[assignment(3)]), AttemptsEnded([(key(2), FAILURE)]))
    (output,) = worker.after(1.0, tick())
    job_id, epoch = key(1)
    assert output == Send(Heartbeat(seq=1, jobs=[Beat(job_id=job_id, epoch=epoch, guest_pid=7)]))


def test_the_same_assignment_twice_is_one_lease() -> None:
    worker = running(1)
    assert worker.now(Assign(jobs=[assignment(1)])) == []
    assert worker.stages == {key(1): Stage.RUNNING}


def test_an_assignment_that_comes_again_after_its_end_is_given_back_and_never_run_again() -> None:
    worker = finished()
    worker.now(Committed(jobs=held(key(1))))
    assert worker.now(Assign(jobs=[assignment(1)])) == [released(key(1)), want(4)], "the sentinel has counted it"


def test_of_two_leases_of_one_job_the_newer_is_run() -> None:
    worker = running(1)
    newer, older = assignment(1, epoch=9), assignment(1, epoch=5)
    assert worker.now(Assign(jobs=[newer])) == [
        Stop(key(1), StopCause.FENCED),
        Start(newer),
        want(3),
    ]
    assert worker.now(Assign(jobs=[older])) == [released(key(1, 5)), want(3)]
    assert worker.stages == {key(1, 9): Stage.WAITING}


def test_what_is_committed_before_it_was_offered_is_not_forgotten() -> None:
    worker = running(1)
    assert worker.now(Committed(jobs=held(key(1)))) == []
    assert worker.stages == {key(1): Stage.RUNNING}


# --- leases taken back


@pytest.mark.parametrize(
    ("news", "answer"),
    [
        ([], Stop(key(1), StopCause.FENCED)),
        ([AttemptStarted(key(1), 7)], Stop(key(1), StopCause.FENCED)),
        ([AttemptStarted(key(1), 7), AttemptStaged(key(1)), AttemptsEnded([(key(1), MANIFEST)])], Drop(key(1))),
    ],
)
def test_a_fenced_lease_is_given_up_in_every_stage(news: Sequence[Input], answer: Output) -> None:
    worker = Worker()
    worker.now(Assign(jobs=[assignment(1)]), *news)
    assert answer in worker.now(Fenced(jobs=held(key(1))))
    assert worker.stages == {}


def test_what_was_staged_under_a_lease_that_is_gone_is_dropped_whenever_it_is_ready() -> None:
    worker = running(1, 2)
    worker.now(AttemptStaged(key(2)), Fenced(jobs=held(key(1), key(2))))
    assert worker.now(AttemptStaged(key(1))) == [Drop(key(1))]
    assert worker.now(AttemptsEnded([(key(2), MANIFEST)])) == [Drop(key(2))]


def test_a_cancelled_job_is_stopped_and_released_when_it_has_ended() -> None:
    worker = running(1)
    job_id, epoch = key(1)
    assert worker.now(Cancel(job_id=job_id, epoch=epoch)) == [Stop(key(1), StopCause.CANCELLED)]
    assert worker.now(AttemptStopped(key(1))) == [released(key(1)), want(4)]


def test_a_job_that_is_cancelled_while_it_waits_never_begins() -> None:
    worker = Worker()
    worker.now(Assign(jobs=[assignment(1)]))
    job_id, epoch = key(1)
    assert worker.now(Cancel(job_id=job_id, epoch=epoch)) == [
        Stop(key(1), StopCause.CANCELLED),
        released(key(1)),
        want(4),
    ]
    assert worker.now(AttemptStopped(key(1))) == []


def test_a_cancel_that_overtakes_its_assignment_is_remembered() -> None:
    worker = Worker()
    job_id, epoch = key(1)
    assert worker.now(Cancel(job_id=job_id, epoch=epoch)) == [released(key(1))]
    assert worker.now(Assign(jobs=[assignment(1)])) == [released(key(1)), want(4)]


# --- the sentinel goes and comes


def test_a_new_welcome_takes_away_what_it_names_and_the_rest_is_offered_again_at_once() -> None:
    worker = running(1, 2)
    worker.now(AttemptStaged(key(1)), AttemptsEnded([(key(1), MANIFEST)]))
    assert worker.after(1.0, welcome(key(1), drop=[key(2)])) == [Stop(key(2), StopCause.FENCED), finish(1), want(4)]
    assert worker.stages == {key(1): Stage.FINISHED}


def test_a_welcome_that_comes_late_takes_nothing_away_that_was_assigned_since() -> None:
    """Simulation, seed 519: what was committed meanwhile was deleted."""
    worker = finished()
    assert Drop(key(1)) not in worker.after(1.0, welcome())
    assert worker.stages == {key(1): Stage.FINISHED}


def test_before_the_lease_ends_what_runs_is_stopped_and_what_is_offered_waits() -> None:
    worker = running(1, 2)
    worker.now(AttemptStaged(key(1)), AttemptsEnded([(key(1), MANIFEST)]))
    outputs = worker.after(0.81 * LEASE_SECONDS, tick())
    assert outputs[-2:] == [Stop(key(2), StopCause.LEASE_LOST), ContactLost()]
    assert worker.stages == {key(1): Stage.FINISHED}
    assert worker.after(1.0, tick())[0] == Send(HELLO.model_copy(update={"holding": held(key(1))}))


def test_silence_makes_it_ask_with_a_hello_that_names_what_is_held() -> None:
    worker = running(1)
    outputs = worker.after(0.26 * LEASE_SECONDS, tick())
    assert outputs[-1] == Send(HELLO.model_copy(update={"holding": held(key(1))}))


def test_a_refusal_is_no_sign_that_a_lease_holds() -> None:
    worker = running(1)
    worker.after(0.7 * LEASE_SECONDS, refused(Refusal.TOO_MANY))
    assert Stop(key(1), StopCause.LEASE_LOST) in worker.after(0.2 * LEASE_SECONDS, tick())


def test_a_managed_worker_leaves_a_sentinel_that_is_silent_for_long_and_another_one_never_does() -> None:
    managed, by_hand = Worker(), Worker(patience_seconds=None)
    assert Leave() in managed.after(61.0, tick())
    assert Leave() not in by_hand.after(10_000.0, tick())


def test_credit_that_could_not_be_sent_is_sent_again() -> None:
    worker = Worker()
    assert worker.now(Unsent(Want(credit=4))) == []
    assert worker.now(tick()) == [Send(Heartbeat(seq=1)), want(4)]


def test_a_release_that_could_not_be_sent_is_made_good_by_a_hello() -> None:
    worker = Worker()
    worker.now(Unsent(Released(jobs=held(key(1)))))
    assert worker.after(1.0, tick()) == [Send(HELLO)]


def test_a_beat_that_nobody_takes_is_noticed() -> None:
    assert Worker().now(Unsent(Heartbeat(seq=1))) == [ContactLost()]


# --- quick jobs


def after_jobs(count: int, seconds: float) -> tuple[Worker, list[Output]]:
    """A worker that has run so many jobs, which took so long, and what came out at the end of the last one."""
    worker, outputs = Worker(), []
    for number in range(1, count + 1):
        worker.now(Assign(jobs=[assignment(number)]), AttemptStarted(key(number), 7))
        outputs = worker.after(seconds, AttemptStaged(key(number)))
        worker.now(AttemptsEnded([(key(number), MANIFEST)]), Committed(jobs=held(key(number))))
    return worker, outputs


@pytest.mark.parametrize(("seconds", "credit"), [(0.0, 16), (0.05, 16), (0.1, 8), (0.2, 4), (5.0, 4)])
def test_of_quick_jobs_a_worker_holds_more_but_not_for_long(seconds: float, credit: int) -> None:
    assert after_jobs(7, seconds)[1] == [Sync(key(7)), want(4)]
    assert after_jobs(8, seconds)[1] == [Sync(key(8)), want(credit)]


def test_quick_jobs_are_wanted_several_at_once() -> None:
    worker, _ = after_jobs(8, 0.05)
    numbers = range(9, 25)
    assert worker.now(Assign(jobs=[assignment(number) for number in numbers])) == [
        Start(assignment(number)) for number in numbers
    ]
    worker.now(*(AttemptStarted(key(number), 7) for number in numbers))
    wants = []
    for number in numbers:
        sync, *more = worker.after(0.0, AttemptStaged(key(number)))
        assert sync == Sync(key(number), may_wait=number < 24), "the last one has nothing to wait for"
        wants += more
    assert wants == [want(8), *(want(credit) for credit in range(9, 17))]


def test_a_job_that_takes_long_ends_that() -> None:
    worker, _ = after_jobs(8, 0.05)
    worker.now(Assign(jobs=[assignment(9), assignment(10)]), AttemptStarted(key(9), 7))
    assert worker.after(60.0, AttemptStaged(key(9))) == [Sync(key(9)), want(3)]


# --- leaving


def test_a_drain_gives_back_what_waits_finishes_what_runs_and_says_bye_when_all_is_answered() -> None:
    worker = running(1)
    worker.now(Assign(jobs=[assignment(2)]))
    assert worker.now(Drain()) == [Stop(key(2), StopCause.SHUTDOWN), released(key(2)), want(0)]
    assert worker.now(Assign(jobs=[assignment(3)])) == [released(key(3))]
    worker.now(AttemptStaged(key(1)), AttemptsEnded([(key(1), MANIFEST)]))
    assert worker.now(Committed(jobs=held(key(1)))) == [Leave(says_bye=True)]


def test_a_shutdown_stops_guests_and_waits_only_so_long_for_answers() -> None:
    worker = running(1, 2)
    worker.now(AttemptStaged(key(1)), AttemptsEnded([(key(1), MANIFEST)]))
    assert worker.now(Shutdown()) == [Stop(key(2), StopCause.SHUTDOWN), want(0)]
    assert worker.now(AttemptStopped(key(2))) == [released(key(2))]
    assert Leave(says_bye=True) not in worker.after(1.0, tick())
    assert Leave(says_bye=True) in worker.after(1.1, tick())


def test_with_empty_hands_a_drain_leaves_at_once() -> None:
    assert Worker().now(Drain()) == [want(0), Leave(says_bye=True)]


# --- whatever happens


class AnyOrder(RuleBasedStateMachine):
    """A sentinel, slots and a clock that do anything in any order, as long as slots speak of what they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.worker = Worker()
        self.epoch = 0
        self.assigned: list[Assignment] = []
        #: Given to a slot, and how far; a slot's news come in this order.
        self.in_slots: dict[LeaseKey, Stage] = {}
        self.stopped: set[LeaseKey] = set()
        self.started: list[LeaseKey] = []
        self.dropped: set[LeaseKey] = set()
        self.committed: set[LeaseKey] = set()

    def happens(self, happened: Input) -> None:
        for output in self.worker.after(0.1, happened):
            match output:
                case Start(given):
                    lease = given.job.job_id, given.epoch
                    self.started.append(lease)
                    self.in_slots[lease] = Stage.WAITING
                case Stop(lease, _):
                    self.stopped.add(lease)
                case Sync(lease):
                    self.in_slots[lease] = Stage.SYNCING
                case Drop(lease):
                    assert lease not in self.committed, "these files are the sentinel's"
                    assert lease not in self.dropped
                    self.dropped.add(lease)

    @rule(number=st.integers(1, 3))
    def assign(self, number: int) -> None:
        self.epoch += 1
        self.assigned.append(assignment(number, self.epoch))
        self.happens(Assign(jobs=self.assigned[-1:]))

    @rule(data=st.data())
    def assign_again(self, data: st.DataObject) -> None:
        if self.assigned:
            self.happens(Assign(jobs=[data.draw(st.sampled_from(self.assigned))]))

    @rule(kind=st.sampled_from([Committed, Failed, Fenced]), data=st.data())
    def answer(self, kind: type[Committed | Failed | Fenced], data: st.DataObject) -> None:
        """`committed` only for what was offered: the sentinel promises that."""
        leases = list(self.worker.table)
        if kind is not Fenced:
            leases = [lease for lease in leases if lease.stage in (Stage.FINISHED, Stage.FAILED)]
        if leases:
            lease = data.draw(st.sampled_from(leases))
            self.happens(kind(jobs=held(lease.key)))
            if kind is not Fenced:
                self.committed.add(lease.key)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.assigned:
            chosen = data.draw(st.sampled_from(self.assigned))
            self.happens(Cancel(job_id=chosen.job.job_id, epoch=chosen.epoch))

    @rule(data=st.data())
    def join_again(self, data: st.DataObject) -> None:
        keys = list(self.worker.stages)
        drop = data.draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []
        self.happens(welcome(drop=drop))

    @rule(seconds=st.sampled_from([0.1, 3.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.worker.now_s += seconds
        self.happens(tick())

    @rule(message=st.sampled_from([Unsent(Want(credit=1)), Unsent(HELLO), refused(Refusal.SAY_HELLO)]))
    def trouble(self, message: Input) -> None:
        self.happens(message)

    @rule(data=st.data(), is_good=st.booleans())
    def a_slot_speaks(self, data: st.DataObject, is_good: bool) -> None:
        if not self.in_slots:
            return
        lease = data.draw(st.sampled_from(list(self.in_slots)))
        stage = self.in_slots.pop(lease)
        if stage is Stage.SYNCING:
            self.happens(AttemptsEnded([(lease, MANIFEST if is_good else FAILURE)]))
        elif lease in self.stopped and is_good:
            self.happens(AttemptStopped(lease))
        elif stage is Stage.WAITING:
            self.in_slots[lease] = Stage.RUNNING
            self.happens(AttemptStarted(lease, 7))
        else:
            self.happens(AttemptStaged(lease) if is_good else AttemptsEnded([(lease, FAILURE)]))

    @invariant()
    def no_lease_is_started_twice(self) -> None:
        assert len(set(self.started)) == len(self.started)

    @invariant()
    def one_lease_a_job(self) -> None:
        jobs = [job_id for job_id, _epoch in self.worker.stages]
        assert len(set(jobs)) == len(jobs)

    @invariant()
    def what_runs_without_a_lease_was_told_to_stop(self) -> None:
        at_work = {lease for lease, stage in self.in_slots.items() if stage is not Stage.SYNCING}
        assert at_work - set(self.worker.stages) <= self.stopped

    @invariant()
    def what_is_held_is_somewhere(self) -> None:
        """A lease is either in a slot or its end was told and is told again: none is held for ever in silence."""
        told = {lease.key for lease in self.worker.table if lease.stage in (Stage.FINISHED, Stage.FAILED)}
        assert set(self.worker.stages) - told <= set(self.in_slots)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
