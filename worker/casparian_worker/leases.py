"""The leases that a worker holds, and the messages it sends about them: a state machine.

`LeaseTable.step(now_s, input)` takes one input (a message of the sentinel, news of an attempt, a tick of the clock) and returns
the actions to take, in order. Every decision of a worker is made here. The agent owns sockets, threads, files and clocks; the
simulation runs this code against the real sentinel.

A lease is one job under one epoch. It leaves the table when the sentinel has answered its end, takes it back, or no longer
answers at all. Anything that needs an answer is sent again until it is answered. A message that could not be sent makes the
worker send hello again: a hello names every lease it holds, so the sentinel learns that it holds no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from casparian_protocol.jobs import Manifest
from casparian_protocol.wire import MessageTooLarge, ProgressMeter, Rhythm
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import encode
from casparian_worker.execute.run import StopCause
from casparian_worker.reports import RunningJob, finishes_of, heartbeat_of
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

#: Jobs held for each slot: one that runs, and one that waits. Of quick jobs there are more, so that one message assigns several,
#: but no more than run in `_HELD_SECONDS`, because another worker may be free sooner.
DEPTH, _DEPTH_MAX = 2, 8
_HELD_SECONDS = 0.4
#: The weight of the latest job in the mean of the seconds that jobs take, and how many are needed for a mean.
_LATEST, _JOBS_KNOWN = 0.2, 8
#: After a shutdown, how long to wait for answers to the offers.
_LAST_ANSWERS_SECONDS = 2.0
#: How many ended leases are remembered, so that a repeated assignment is given back and not run again.
_ENDED_MAX = 4096


class Stage(Enum):
    """The stage of a held job."""

    WAITING = "waiting for a slot"
    RUNNING = "running"
    SYNCING = "being made durable"
    FINISHED = "offered, not answered"
    FAILED = "failure sent, not answered"


@dataclass(slots=True)
class Lease:
    """One lease in hand."""

    assignment: m.Assignment
    stage: Stage = Stage.WAITING
    guest_pid: int = 0
    started_at_s: float = 0.0
    manifest: Manifest | None = None
    failure: Failure | None = None
    sent_at_s: float = 0.0
    meter: ProgressMeter = field(default_factory=ProgressMeter)

    @property
    def key(self) -> LeaseKey:
        return self.assignment.job.job_id, self.assignment.epoch

    @property
    def held(self) -> m.Held:
        return _held(self.key)


class LeaseTable:
    """All leases of one worker by job and epoch, and its registration with the sentinel."""

    def __init__(
        self, hello: m.Hello, rhythm: Rhythm, now_s: float, *, resend_seconds: float, patience_seconds: float | None
    ) -> None:
        """`hello` has no leases. A worker that hears nothing for `patience_seconds` leaves; None means never."""
        self._hello = hello
        self.rhythm = rhythm
        self._resend_seconds = resend_seconds
        self._patience_seconds = patience_seconds
        self._leases: dict[LeaseKey, Lease] = {}
        #: Ordered by their ends.
        self._ended: dict[LeaseKey, None] = {}
        self.is_welcome = False
        self.is_draining = False
        self._is_stopping = False
        self._stopping_since_s = 0.0
        self._has_left = False
        self._last_contact_s = now_s
        self._hello_at_s = float("-inf")
        self._beat_count = 0
        #: What the sentinel has at least: the credit that was sent, less what has come since. It has more if the two crossed.
        self._sent_credit: int | None = None
        #: How long jobs take, on average; and of how many jobs that is known, up to `_JOBS_KNOWN`.
        self._mean_seconds = 0.0
        self._known_jobs = 0
        self._outputs: list[Output] = []

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def at(self, *stages: Stage) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.stage in stages]

    def step(self, now_s: float, happened: Input) -> list[Output]:
        """Handle one input; returns the actions to take."""
        if self._has_left:
            return []
        if isinstance(happened, Unsent):  # nothing can be sent now
            return self._unsent(happened.message)
        match happened:
            case Tick():
                self._tick(now_s, happened)
            case AttemptStarted(key, guest_pid):
                self._started(now_s, key, guest_pid)
            case AttemptStopped(key):
                if self._forget(key):
                    self._release([key])
            case AttemptStaged(key):
                self._staged(now_s, key)
            case AttemptsEnded(ends):
                self._attempts_ended(now_s, ends)
            case m.Refused():  # a refusal does not renew leases
                self._refused(now_s, happened)
            case _:
                self._last_contact_s = now_s
                self._received(now_s, happened)
        self._send_credit()
        self._leave_if_done(now_s)
        outputs, self._outputs = self._outputs, []
        return outputs

    # --- messages of the sentinel

    def _received(self, now_s: float, message: m.Message) -> None:
        match message:
            case m.Welcome():
                self._welcomed(now_s, message)
            case m.Assign(jobs=jobs):
                for assignment in jobs:
                    self._assigned(assignment)
            case m.Committed(jobs=jobs) | m.Failed(jobs=jobs):
                self._take_answers(jobs)
            case m.Fenced(jobs=jobs):
                for lease in self._found(jobs):
                    self._give_up(lease, StopCause.FENCED)
            case m.Cancel():
                self._cancel((message.job_id, message.epoch))
            case m.Drain():
                self._drain()
            case m.Shutdown():
                self._shut_down(now_s)

    def _welcomed(self, now_s: float, welcome: m.Welcome) -> None:
        """Abandon the leases that the welcome names, keep all others, and offer the finished ones again.

        A lease that it does not name may have been assigned since the hello, so it is kept even if the welcome comes late. If the
        sentinel took it back too, the next heartbeat or offer is fenced.
        """
        self.is_welcome = True
        self.rhythm = Rhythm.of(welcome.heartbeat_seconds, welcome.lease_timeout_seconds)
        for lease in self._found(welcome.drop):
            self._give_up(lease, StopCause.FENCED)
        for lease in self:
            lease.sent_at_s = float("-inf")
        self._resend(now_s)
        self._sent_credit = None

    def _assigned(self, assignment: m.Assignment) -> None:
        """Take a new lease. One that already ended here is given back, because the sentinel did not hear of its end."""
        lease = Lease(assignment)
        job_id, epoch = lease.key
        if lease.key in self._leases:
            return
        if self._sent_credit:
            self._sent_credit -= 1
        others = [other for other in self if other.key[0] == job_id]
        if self.is_draining or lease.key in self._ended or any(other.key[1] > epoch for other in others):
            self._release([lease.key])
            return
        for other in others:
            self._give_up(other, StopCause.FENCED)
        self._leases[lease.key] = lease
        self._outputs.append(Start(assignment))

    def _take_answers(self, answered: Sequence[m.Held]) -> None:
        """The ends of these leases are recorded, so their staged files now belong to the sentinel."""
        for lease in self._found(answered):
            if lease.stage in (Stage.FINISHED, Stage.FAILED):
                self._forget(lease.key)

    def _cancel(self, key: LeaseKey) -> None:
        lease = self._leases.get(key)
        if lease is None:
            self._remember(key)
            self._release([key])
        elif lease.stage is Stage.WAITING:
            self._give_up(lease, StopCause.CANCELLED)
            self._release([key])
        elif lease.stage is Stage.RUNNING:
            self._outputs.append(Stop(key, StopCause.CANCELLED))

    def _refused(self, now_s: float, refused: m.Refused) -> None:
        if refused.code == m.Refusal.SAY_HELLO:
            self.is_welcome = False
            if now_s - self._hello_at_s > self.rhythm.hello_seconds / 2:
                self._say_hello(now_s)
        elif refused.of_kind == "hello" and refused.code not in (m.Refusal.INTERNAL, m.Refusal.DISK):
            self._leave(refused=refused.reason)  # wrong version or name, so repeating the hello changes nothing

    # --- the clock

    def _tick(self, now_s: float, tick: Tick) -> None:
        silent_s = now_s - self._last_contact_s
        since_hello_s = now_s - self._hello_at_s
        if not self.is_welcome:
            if since_hello_s >= self.rhythm.hello_seconds:
                self._say_hello(now_s)
        else:
            self._beat(now_s, tick)
            self._resend(now_s)
            if self.rhythm.must_ask(silent_s, since_hello_s):
                self._say_hello(now_s)  # the only message that a sentinel answers in any state
        if self.rhythm.has_lost(silent_s):
            self._lose_leases()
        if self._patience_seconds is not None and silent_s > max(self._patience_seconds, self.rhythm.lease_seconds):
            self._leave()

    def _beat(self, now_s: float, tick: Tick) -> None:
        self._beat_count += 1
        running = [
            RunningJob(lease.held, lease.guest_pid, tick.counters.get(lease.key), lease.meter)
            for lease in self.at(Stage.RUNNING)
        ]
        for message in heartbeat_of(running, self._beat_count, tick.usage, now_s, tick.wall_us):
            self._send(message)

    def _resend(self, now_s: float) -> None:
        """Send offers and failures again that were not answered."""
        late = [lease for lease in self if now_s - lease.sent_at_s >= self._resend_seconds]
        self._offer(now_s, [lease for lease in late if lease.stage is Stage.FINISHED])
        for lease in late:
            if lease.stage is Stage.FAILED:
                self._send_failure(now_s, lease)

    def _lose_leases(self) -> None:
        """No daemon answered in time: stop running jobs, which may be given to another worker soon. Offers keep waiting."""
        for lease in self.at(Stage.WAITING, Stage.RUNNING):
            self._give_up(lease, StopCause.LEASE_LOST)
        self.is_welcome = False
        self._outputs.append(ContactLost())

    def _unsent(self, message: m.Message) -> list[Output]:
        match message:
            case m.Heartbeat():
                return [ContactLost()]
            case m.Want():
                self._sent_credit = None
            case m.Hello():
                self._hello_at_s = float("-inf")
            case m.Released() | m.Started():
                self.is_welcome = (
                    False  # the next hello names all held leases, so the sentinel learns which are not held
                )
        return []

    # --- attempts

    def _started(self, now_s: float, key: LeaseKey, guest_pid: int) -> None:
        lease = self._leases.get(key)
        if lease is None:
            return
        lease.stage, lease.guest_pid, lease.started_at_s = Stage.RUNNING, guest_pid, now_s
        self._send(m.Started(jobs=[m.StartedJob(job_id=key[0], epoch=key[1], guest_pid=guest_pid)]))

    def _staged(self, now_s: float, key: LeaseKey) -> None:
        lease = self._leases.get(key)
        if lease is None:  # given up in the meantime
            self._outputs.append(Drop(key))
            return
        if lease.stage is Stage.RUNNING:
            weight = _LATEST if self._known_jobs else 1.0
            self._mean_seconds += weight * (now_s - lease.started_at_s - self._mean_seconds)
            self._known_jobs = min(_JOBS_KNOWN, self._known_jobs + 1)
        lease.stage = Stage.SYNCING
        self._outputs.append(Sync(key, may_wait=self._depth > DEPTH and bool(self.at(Stage.WAITING, Stage.RUNNING))))

    def _attempts_ended(self, now_s: float, ends: Sequence[tuple[LeaseKey, Manifest | Failure]]) -> None:
        finished: list[Lease] = []
        for key, end in ends:
            lease = self._leases.get(key)
            if lease is None:  # given up in the meantime
                self._outputs.append(Drop(key))
                continue
            if isinstance(end, Failure):
                if lease.stage is Stage.SYNCING and end.uncommitted is None:
                    self._outputs.append(Drop(key))
                lease.stage, lease.failure = Stage.FAILED, end
                self._send_failure(now_s, lease)
            else:
                lease.stage, lease.manifest = Stage.FINISHED, end
                finished.append(lease)
        self._offer(now_s, finished)

    def _give_up(self, lease: Lease, cause: StopCause) -> None:
        """The lease was taken away: forget it, stop the job, delete its staged files."""
        self._forget(lease.key)
        if lease.stage in (Stage.WAITING, Stage.RUNNING):
            self._outputs.append(Stop(lease.key, cause))
        elif lease.manifest is not None or (lease.failure is not None and lease.failure.uncommitted is not None):
            self._outputs.append(Drop(lease.key))

    def _forget(self, key: LeaseKey) -> bool:
        """Forget the lease; returns whether it was held."""
        if self._leases.pop(key, None) is None:
            return False
        self._remember(key)
        return True

    def _remember(self, key: LeaseKey) -> None:
        self._ended[key] = None
        if len(self._ended) > _ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def _found(self, named: Sequence[m.Held]) -> list[Lease]:
        found = (self._leases.get((held.job_id, held.epoch)) for held in named)
        return [lease for lease in found if lease is not None]

    # --- leaving

    def _drain(self) -> None:
        """Drain: take no more jobs, finish the running ones, leave."""
        if not self.is_draining:
            self.is_draining = True
            self._give_back_waiting()

    def _shut_down(self, now_s: float) -> None:
        """Stop guests, give back the leases, leave."""
        if self._is_stopping:
            return
        self.is_draining = self._is_stopping = True
        self._stopping_since_s = now_s
        self._give_back_waiting()
        for lease in self.at(Stage.RUNNING):
            self._outputs.append(Stop(lease.key, StopCause.SHUTDOWN))

    def _give_back_waiting(self) -> None:
        waiting = self.at(Stage.WAITING)
        for lease in waiting:
            self._give_up(lease, StopCause.SHUTDOWN)
        self._release([lease.key for lease in waiting])

    def _leave_if_done(self, now_s: float) -> None:
        if not self.is_draining or self._has_left or self.at(Stage.WAITING, Stage.RUNNING, Stage.SYNCING):
            return
        is_late = self._is_stopping and now_s - self._stopping_since_s > _LAST_ANSWERS_SECONDS
        if is_late or not self._leases:
            self._leave(says_bye=True)

    def _leave(self, *, says_bye: bool = False, refused: str = "") -> None:
        if self._has_left:
            return
        self._has_left = True
        for lease in self.at(Stage.WAITING, Stage.RUNNING):
            self._outputs.append(Stop(lease.key, StopCause.SHUTDOWN))
        self._outputs.append(Leave(says_bye, refused))

    # --- what is sent

    def _send(self, message: m.Message, attachments: Sequence[bytes] = ()) -> None:
        self._outputs.append(Send(message, attachments))

    def _say_hello(self, now_s: float) -> None:
        self._hello_at_s = now_s
        self._send(self._hello.model_copy(update={"holding": [lease.held for lease in self]}))

    def _offer(self, now_s: float, leases: Sequence[Lease]) -> None:
        manifests = []
        for lease in leases:
            assert lease.manifest is not None
            lease.sent_at_s = now_s
            manifests.append((lease.held, lease.manifest))
        for message, attachments in finishes_of(manifests):
            self._send(message, attachments)

    def _send_failure(self, now_s: float, lease: Lease) -> None:
        assert lease.failure is not None
        lease.sent_at_s = now_s
        job_id, epoch = lease.key
        failure = lease.failure
        message = m.Fail(job_id=job_id, epoch=epoch, error=failure.error, uncommitted=failure.uncommitted)
        try:
            encode(message)
        except MessageTooLarge:  # with thousands of files or columns, the failure matters more than their names
            message = m.Fail(job_id=job_id, epoch=epoch, error=failure.error)
        self._send(message)

    def _send_credit(self) -> None:
        """Send how many more jobs this worker would take, if that number changed."""
        at_work, most, sent = (
            len(self.at(Stage.WAITING, Stage.RUNNING)),
            self._depth * self._hello.slots,
            self._sent_credit,
        )
        credit = 0 if self.is_draining else max(0, most - at_work)
        if not self.is_welcome or self._has_left or credit == sent:
            return
        is_for_later = self._depth > DEPTH and sent is not None and sent < credit < most // 2
        if is_for_later:  # several at once
            return
        self._sent_credit = credit
        self._send(m.Want(credit=credit))

    @property
    def _depth(self) -> int:
        """How many jobs are held for each slot."""
        if self._known_jobs < _JOBS_KNOWN:
            return DEPTH
        return max(DEPTH, min(_DEPTH_MAX, int(_HELD_SECONDS / max(self._mean_seconds, 0.001))))

    def _release(self, keys: Sequence[LeaseKey]) -> None:
        if keys:
            self._send(m.Released(jobs=[_held(key) for key in keys]))


def _held(key: LeaseKey) -> m.Held:
    return m.Held(job_id=key[0], epoch=key[1])
