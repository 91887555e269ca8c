"""Every interleaving of a small world: two workers, two jobs, one lease that expires, two crashes.

The real core, over a log that is a list: here it is orders that are tried, not disks. From each state every possible next
step is taken and the judges of `invariants` look at each; states that are alike (`likeness`) are looked at once. Messages
travel in order between two ends, as ZeroMQ's do; a crash of either end loses what is under way. A group commit survives a
crash up to any decision, as batches do.

One step is left out where the order cannot matter: while a message waits for a worker, only that worker and the faults are
next. What others do meanwhile reads and writes nothing that this worker does, so each history that is left out differs from one
that is taken by swapping neighbours that do not notice; faults are never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from casparian_protocol.settings import LivenessSettings, RetrySettings
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import (
    DropStaging,
    DropUnpublished,
    Effect,
    KeepUncommitted,
    Promote,
    SendToWorker,
)
from casparian_sentinel.core.folding import evolve, validate
from casparian_sentinel.core.handlers import step
from casparian_sentinel.core.presence import WorkerPresence, after_boot
from casparian_sentinel.core.state import State
from casparian_sentinel.log.format import LogRecord
from tests.sentinel.core.play import ANN, ARTIFACT, CONTRACT, offer, spec
from tests.simulation.copies import copied_live, copied_state, known_of
from tests.simulation.invariants import Judge, Violated

LIVENESS = LivenessSettings(lease_timeout_seconds=8, rejoin_seconds=4)
RETRY = RetrySettings()
NOW = c.Now(1_000_000, 100.0)
_OFFER = offer()
Place = tuple[str, int]
Action = tuple[str, Callable[["Small"], None]]
#: What a worker says in one breath: heard together.
Breath = tuple[c.Command, ...]


@dataclass(slots=True)
class SmallWorker:
    is_welcome: bool = False
    pid: int = 1
    running: dict[str, int] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)
    #: job → newest epoch heard of.
    newest: dict[str, int] = field(default_factory=dict)

    def copied(self) -> SmallWorker:
        return SmallWorker(self.is_welcome, self.pid, self.running.copy(), self.offered.copy(), self.newest.copy())


def _judge() -> Judge:
    return Judge(RETRY.max_retries, RETRY.max_worker_losses)


@dataclass(slots=True)
class Small:
    """One state of the whole, which `copied` copies and `actions` continues."""

    workers: dict[str, SmallWorker]
    state: State = field(default_factory=State)
    #: The fold of the log; replaced, never written to, so that copies share it. So are the judges and the log.
    durable_state: State = field(default_factory=State)
    presence: WorkerPresence = field(default_factory=lambda: WorkerPresence(LIVENESS, RETRY))
    log: tuple[LogRecord, ...] = ()
    #: Decisions that are not durable: their events and effects.
    pending: list[tuple[list[LogRecord], list[Effect]]] = field(default_factory=list)
    to_worker: dict[str, list[m.Message]] = field(default_factory=dict)
    to_sentinel: dict[str, list[Breath]] = field(default_factory=dict)
    #: Workers that the sentinel's process has a connection to.
    bound: set[str] = field(default_factory=set)
    promotions: list[Place] = field(default_factory=list)
    staging: set[Place] = field(default_factory=set)
    published: dict[str, int] = field(default_factory=dict)
    crashes_left: int = 2
    expiries_left: int = 1
    judge: Judge = field(default_factory=_judge)
    durable: Judge = field(default_factory=_judge)
    #: Copies share `state` and `presence` until one of them is about to write.
    is_sharing: bool = False

    def copied(self) -> Small:
        """For one step; this one is not to be used for another step afterwards, unless through a copy."""
        return Small(
            {name: worker.copied() for name, worker in self.workers.items()},
            self.state,
            self.durable_state,
            self.presence,
            self.log,
            self.pending.copy(),
            {name: queue.copy() for name, queue in self.to_worker.items()},
            {name: queue.copy() for name, queue in self.to_sentinel.items()},
            self.bound.copy(),
            self.promotions.copy(),
            self.staging.copy(),
            self.published.copy(),
            self.crashes_left,
            self.expiries_left,
            self.judge,
            self.durable,
            is_sharing=True,
        )

    # --- the sentinel

    def own(self) -> None:
        if self.is_sharing:
            self.state, self.presence, self.is_sharing = copied_state(self.state), copied_live(self.presence), False

    def do(self, command: c.Command) -> None:
        self.own()
        decision = step(self.state, self.presence, command, NOW)
        events = [LogRecord(decision.first_seq + i, *fact) for i, fact in enumerate(decision.facts())]
        if events:
            self.judge = self.judge.copied()
            for event in events:
                self.judge.see(event)
        if not events and not self.pending:
            self.release(decision.effects)
        elif events or decision.effects:
            self.pending.append((events, decision.effects))

    def sync(self) -> None:
        """One group commit: all that is pending becomes durable and takes effect."""
        pending, self.pending = self.pending, []
        self.keep([event for events, _ in pending for event in events])
        for _, effects in pending:
            self.release(effects)

    def keep(self, events: list[LogRecord]) -> None:
        self.durable, self.durable_state = self.durable.copied(), copied_state(self.durable_state)
        self.log += tuple(events)
        for event in events:
            self.durable.see(event)
            evolve(self.durable_state, event)

    def release(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendToWorker(worker_id=worker_id, message=message):
                    self.send(worker_id, message)
                case Promote():
                    self.promotions.append((effect.job_id, effect.epoch))
                case DropUnpublished(attempts=attempts):
                    self.staging.difference_update(attempts)
                case DropStaging() | KeepUncommitted():
                    self.staging.discard((effect.job_id, effect.epoch))
                case _:
                    pass

    def send(self, worker_id: str, message: m.Message) -> None:
        if isinstance(message, m.Committed):
            for item in message.jobs:
                self.durable.may_answer_committed(item.job_id, item.epoch)
        elif isinstance(message, m.Assign):
            for given in message.jobs:
                if given.epoch > self.durable.last_seq:
                    raise Violated(f"I7: event {given.epoch} was assigned and is not durable")
        if worker_id in self.bound:
            self.to_worker[worker_id].append(message)

    def hear(self, name: str) -> None:
        for command in self.to_sentinel[name].pop(0):
            if isinstance(command, c.HelloReceived):
                self.bound.add(name)
            self.do(command)
        self.do(c.Dispatch())

    def promote(self) -> None:
        place = self.promotions.pop(0)
        job_id, epoch = place
        if self.durable.committed_jobs.get(job_id, (0, {}))[0] != epoch:
            raise Violated(f"I5: {place} is published without a durable record")
        if place in self.staging:
            self.staging.discard(place)
            self.published[job_id] = epoch
        elif self.published.get(job_id) != epoch:
            raise Violated(f"I3: the committed files of {place} are gone")
        self.do(c.Promoted(job_id, epoch))

    def expire(self, worker_id: str) -> None:
        """So much time passes that this worker is silent for too long, and only it."""
        self.own()
        self.expiries_left -= 1
        worker = self.presence.workers.get(worker_id)
        if worker is not None:
            silent_s = NOW.monotonic_s - LIVENESS.lease_timeout_seconds - 1
            self.presence.workers[worker_id] = replace(worker, last_beat_s=silent_s)
        elif worker_id in self.presence.rejoin_until:
            self.presence.rejoin_until[worker_id] = NOW.monotonic_s - 1
        self.do(c.Tick())
        self.do(c.Dispatch())

    def crash(self, decisions: int) -> None:
        """So many of the decisions not yet synced survive."""
        self.crashes_left -= 1
        self.keep([event for events, _ in self.pending[:decisions] for event in events])
        self.pending, self.promotions, self.bound = [], [], set()
        for name in self.workers:
            self.to_worker[name], self.to_sentinel[name] = [], []
        self.state, self.judge = copied_state(self.durable_state), self.durable
        self.is_sharing = False
        self.presence = after_boot(self.state, NOW, LIVENESS, RETRY)
        self.do(c.RecordStart(pid=1, version="0", host="h", boot_id="b", mode="daemon"))
        self.staging = {place for place in self.staging if self.state.needs_staging(*place)}
        for worker in self.workers.values():
            worker.is_welcome = False

    # --- a worker

    def crash_worker(self, name: str) -> None:
        self.crashes_left -= 1
        self.workers[name] = SmallWorker(pid=self.workers[name].pid + 1)
        self.to_worker[name], self.to_sentinel[name] = [], []
        self.bound.discard(name)
        self.do(c.WorkerGone(name, "killed"))
        self.do(c.Dispatch())

    def hello(self, name: str) -> None:
        worker = self.workers[name]
        worker.is_welcome = True
        held = [m.Held(job_id=job, epoch=epoch) for job, epoch in {**worker.running, **worker.offered}.items()]
        said = m.Hello(
            protocol=m.PROTOCOL_VERSION,
            worker_id=name,
            host="h",
            pid=worker.pid,
            slots=1,
            version="0",
            sandbox="none",
            holding=held,
        )
        offers = [_offer(name, job, epoch) for job, epoch in worker.offered.items()]
        self.to_sentinel[name].append((c.HelloReceived(name, said), self.want(name), *offers))

    def want(self, name: str) -> c.Command:
        return c.WantReceived(name, 1 - len(self.workers[name].running))

    def finish(self, name: str, job_id: str) -> None:
        """Synced, offered, ready for more."""
        worker = self.workers[name]
        worker.offered[job_id] = epoch = worker.running.pop(job_id)
        self.to_sentinel[name].append((_offer(name, job_id, epoch), self.want(name)))

    def receive(self, name: str) -> None:
        worker, message = self.workers[name], self.to_worker[name].pop(0)
        ran = len(worker.running)
        match message:
            case m.Assign():
                for given in message.jobs:
                    self.begin(name, given.job.job_id, given.epoch)
            case m.Welcome():
                self.forget(name, message.drop, is_ours=True)
            case m.Fenced():
                self.forget(name, message.jobs, is_ours=True)
            case m.Committed() | m.Failed():
                self.forget(name, message.jobs, is_ours=False)
            case m.Refused():
                worker.is_welcome = False
            case _:
                pass
        if len(worker.running) < ran:
            self.to_sentinel[name].append((self.want(name),))

    def begin(self, name: str, job_id: str, epoch: int) -> None:
        worker = self.workers[name]
        if epoch > worker.newest.get(job_id, 0):
            known = {worker.running.get(job_id, 0), worker.offered.get(job_id, 0)} - {0}
            self.forget(name, [m.Held(job_id=job_id, epoch=old) for old in known], is_ours=True)
            worker.newest[job_id] = worker.running[job_id] = epoch
            self.staging.add((job_id, epoch))

    def forget(self, name: str, leases: list[m.Held], *, is_ours: bool) -> None:
        for lease in leases:
            for held in (self.workers[name].running, self.workers[name].offered):
                if held.get(lease.job_id) == lease.epoch:
                    del held[lease.job_id]
                    if is_ours:
                        self.staging.discard((lease.job_id, lease.epoch))

    # --- what can happen

    def actions(self, *, are_all_wanted: bool = False) -> Iterator[Action]:
        """Faults, and what a worker with mail may do; else, or when all are wanted, what anybody may do."""
        yield from self.faults()
        for name, mail in self.to_worker.items():
            if mail and not are_all_wanted:
                yield from self.actions_of(name)
                return
        if self.pending:
            yield "sync", Small.sync
        if self.promotions:
            yield "promote", Small.promote
        for name in self.workers:
            if self.to_sentinel[name]:
                yield f"{name} is heard", partial(Small.hear, name=name)
            yield from self.actions_of(name)

    def actions_of(self, name: str) -> Iterator[Action]:
        worker = self.workers[name]
        if self.to_worker[name]:
            yield f"{name} receives", partial(Small.receive, name=name)
        if not worker.is_welcome:
            yield f"{name} says hello", partial(Small.hello, name=name)
        for job_id in worker.running:
            yield f"{name} finishes {job_id}", partial(Small.finish, name=name, job_id=job_id)

    def faults(self) -> Iterator[Action]:
        for name in self.workers:
            if self.expiries_left and (name in self.presence.workers or name in self.presence.rejoin_until):
                yield f"{name} expires", partial(Small.expire, worker_id=name)
            if self.crashes_left:
                yield f"{name} crashes", partial(Small.crash_worker, name=name)
        if self.crashes_left:
            for kept in range(len(self.pending) + 1):
                if kept == len(self.pending) or self.pending[kept][0]:  # without events there is nothing to keep
                    yield f"the sentinel crashes, {kept} decisions survive", partial(Small.crash, decisions=kept)

    def is_over(self) -> bool:
        """Nothing but a fault can happen."""
        return not (
            self.pending
            or self.promotions
            or any(self.to_worker.values())
            or any(self.to_sentinel.values())
            or any(not worker.is_welcome or worker.running for worker in self.workers.values())
        )

    # --- judgement

    def check(self) -> None:
        """After every step: I9, and I3 and I5 for what is published. The other promises are judged as events come."""
        folded = self.durable_state
        if self.pending:
            folded = copied_state(folded)
            for events, _ in self.pending:
                for event in events:
                    evolve(folded, event)
        if known_of(folded) != known_of(self.state):
            raise Violated("I9: the fold of the log differs from the state")
        for job_id, epoch in self.published.items():
            if self.durable.committed_jobs.get(job_id, (0, {}))[0] != epoch:
                raise Violated(f"I5: {job_id} is published under {epoch} without a durable record")
        for job_id, (epoch, _) in self.durable.committed_jobs.items():
            if (job_id, epoch) not in self.staging and self.published.get(job_id) != epoch:
                raise Violated(f"I3: the committed files of {job_id} under {epoch} are gone")

    def check_again(self) -> None:
        """The log from its beginning, as a check of what was carried along step by step."""
        folded, judge = State(), _judge()
        for event in self.log:
            evolve(folded, event)
            judge.see(event)
        validate(folded)
        validate(self.state)
        if known_of(folded) != known_of(self.durable_state) or judge != self.durable:
            raise Violated("I9: the fold of the log differs from what was carried along")

    def check_end(self) -> None:
        left = [place for place in self.staging if self.state.needs_staging(*place)]  # the rest is swept each minute
        if self.judge.open_jobs or left:
            raise Violated(f"I4, I6: {sorted(self.judge.open_jobs)}, {left} are left")


def _offer(name: str, job_id: str, epoch: int) -> c.Command:
    return c.FinishReceived(name, [c.FinishedItem(job_id, epoch, _OFFER)])


def beginning(jobs: int = 2, workers: int = 2, *, crashes: int = 2, expiries: int = 1) -> Small:
    """A parser is approved, jobs are queued, workers are about to say hello."""
    names = [f"w{number}" for number in range(workers)]
    world = Small({name: SmallWorker() for name in names}, crashes_left=crashes, expiries_left=expiries)
    world.to_worker = {name: [] for name in names}
    world.to_sentinel = {name: [] for name in names}
    facts = c.ContractFacts("contract", "scope", "orders", CONTRACT, 3)
    outputs = {"orders": CONTRACT}
    world.do(c.RegisterParser("p", "advice", "1.0", ARTIFACT, ANN, outputs=outputs, contracts=(facts,), entry="a.py"))
    world.do(c.DecideContract("advice", True, "", ANN))
    world.do(c.QueueJobs([spec(number) for number in range(jobs)], world.state.seq))
    world.sync()
    for name in names:
        world.hello(name)
    return world
