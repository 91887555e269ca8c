"""Every interleaving of a small world: two workers, two jobs, one lease that expires, two crashes.

The real core, over a log that is a list: here it is orders that are tried, not disks. From each state every possible next
step is taken; states that are alike are looked at once. The judges of `invariants` look at each step.
Messages travel in order between two ends, as ZeroMQ's do; a crash of either end loses what is under way.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from casparian_protocol import messages as m
from casparian_protocol.codec import pack
from casparian_protocol.settings import LivenessSettings, RetrySettings
from casparian_sentinel.core import commands as c
from casparian_sentinel.core.decide import step
from casparian_sentinel.core.effects import DropStaging, Effect, KeepUncommitted, Promote, SendToWorker
from casparian_sentinel.core.evolve import evolve
from casparian_sentinel.core.live import Live, after_boot
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import State
from casparian_sentinel.log.event import Event
from tests.sentinel.core.play import ANN, ARTIFACT, CONTRACT, offer, spec
from tests.simulation.invariants import Judge, Violated

LIVENESS = LivenessSettings(lease_timeout_seconds=8, rejoin_seconds=4)
RETRY = RetrySettings()
NOW = c.Now(1_000_000, 100.0)
_OFFER = offer()
Place = tuple[str, int]
Action = tuple[str, Callable[["Small"], None]]


@dataclass(slots=True)
class SmallWorker:
    is_welcome: bool = False
    pid: int = 1
    running: dict[str, int] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)
    #: job → newest epoch heard of.
    newest: dict[str, int] = field(default_factory=dict)

    def copied(self) -> SmallWorker:
        return replace(self, running=dict(self.running), offered=dict(self.offered), newest=dict(self.newest))

    def key(self) -> list[Any]:
        held = (self.running, self.offered, self.newest)
        return [self.is_welcome, self.pid, *(sorted(leases.items()) for leases in held)]


@dataclass(slots=True)
class Small:
    """One state of the whole, which `copied` copies and `actions` continues."""

    workers: dict[str, SmallWorker]
    state: State = field(default_factory=State)
    live: Live = field(default_factory=lambda: Live(LIVENESS, RETRY))
    log: list[Event] = field(default_factory=list)
    #: Decisions that are not durable: their events and effects.
    pending: list[tuple[list[Event], list[Effect]]] = field(default_factory=list)
    to_worker: dict[str, list[m.Message]] = field(default_factory=dict)
    to_sentinel: dict[str, list[c.Command]] = field(default_factory=dict)
    promotions: list[Place] = field(default_factory=list)
    staging: set[Place] = field(default_factory=set)
    published: dict[str, int] = field(default_factory=dict)
    crashes_left: int = 2
    expiries_left: int = 1
    judge: Judge = field(default_factory=lambda: Judge(RETRY.max_retries, RETRY.max_worker_losses))
    durable: Judge = field(default_factory=lambda: Judge(RETRY.max_retries, RETRY.max_worker_losses))

    def copied(self) -> Small:
        live = self.live
        return replace(
            self,
            workers={name: worker.copied() for name, worker in self.workers.items()},
            state=load(dump(self.state)),
            live=replace(
                live,
                workers={name: replace(worker) for name, worker in live.workers.items()},
                jobs={name: replace(job) for name, job in live.jobs.items()},
                due=list(live.due),
                rejoin_until=dict(live.rejoin_until),
            ),
            log=list(self.log),
            pending=[(events, list(effects)) for events, effects in self.pending],
            to_worker={name: list(queue) for name, queue in self.to_worker.items()},
            to_sentinel={name: list(queue) for name, queue in self.to_sentinel.items()},
            promotions=list(self.promotions),
            staging=set(self.staging),
            published=dict(self.published),
            judge=_copied(self.judge),
            durable=_copied(self.durable),
        )

    def key(self) -> bytes:
        """Alike states have the same; the history that led here does not matter, what the judges remember does."""
        # Maps and lists of plain values; sets and maps in an order of their own.
        live = self.live
        return pack(
            [
                dump(self.state),
                sorted((w.worker_id, w.credit, w.pid, w.last_beat_s, sorted(w.beating)) for w in live.workers.values()),
                sorted(live.rejoin_until.items()),
                sorted(live.due),
                [[len(events), [_number(x) for x in effects]] for events, effects in self.pending],
                [[name, [_number(x) for x in queue]] for name, queue in sorted(self.to_worker.items())],
                [[name, [_number(x) for x in queue]] for name, queue in sorted(self.to_sentinel.items())],
                sorted(self.promotions),
                sorted(self.staging),
                sorted(self.published.items()),
                [worker.key() for _, worker in sorted(self.workers.items())],
                self.crashes_left,
                self.expiries_left,
                len(self.log),
                sorted(self.durable.commits.items()),
            ]
        )

    # --- the sentinel

    def do(self, command: c.Command) -> None:
        decision = step(self.state, self.live, command, NOW)
        events = [Event(decision.first_seq + i, *fact) for i, fact in enumerate(decision.facts())]
        for event in events:
            self.judge.see(event)
        if not events and not self.pending:
            self.release(decision.effects)
        elif events or decision.effects:
            self.pending.append((events, decision.effects))

    def sync(self) -> None:
        """One group commit: all that is pending becomes durable and takes effect."""
        pending, self.pending = self.pending, []
        for events, _ in pending:
            self.keep(events)
        for _, effects in pending:
            self.release(effects)

    def keep(self, events: list[Event]) -> None:
        for event in events:
            self.durable.see(event)
            self.log.append(event)

    def release(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendToWorker(worker_id=worker_id, message=message):
                    if isinstance(message, m.Committed):
                        for item in message.jobs:
                            self.durable.may_answer_committed(item.job_id, item.epoch)
                    self.to_worker[worker_id].append(message)
                case Promote():
                    self.promotions.append((effect.job_id, effect.epoch))
                case DropStaging() | KeepUncommitted():
                    self.staging.discard((effect.job_id, effect.epoch))
                case _:
                    pass

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
        self.expiries_left -= 1
        worker = self.live.workers.get(worker_id)
        if worker is not None:
            worker.last_beat_s = NOW.monotonic_s - LIVENESS.lease_timeout_seconds - 1
        elif worker_id in self.live.rejoin_until:
            self.live.rejoin_until[worker_id] = NOW.monotonic_s - 1
        self.do(c.Tick())
        self.do(c.Dispatch())

    def crash(self, kept: int) -> None:
        """So many events of those not yet synced survive."""
        self.crashes_left -= 1
        events = [event for events, _ in self.pending for event in events]
        self.keep(events[:kept])
        self.pending, self.promotions = [], []
        for name in self.workers:
            self.to_worker[name], self.to_sentinel[name] = [], []
        self.state = State()
        self.judge = Judge(RETRY.max_retries, RETRY.max_worker_losses)
        for event in self.log:
            evolve(self.state, event)
            self.judge.see(event)
        self.live = after_boot(self.state, NOW, LIVENESS, RETRY)
        self.do(c.RecordStart(pid=1, version="0", host="h", boot_id="b", mode="daemon"))
        self.staging = {place for place in self.staging if self.state.needs_staging(*place)}
        for worker in self.workers.values():
            worker.is_welcome = False

    # --- a worker

    def crash_worker(self, name: str) -> None:
        self.crashes_left -= 1
        self.workers[name] = SmallWorker(pid=self.workers[name].pid + 1)
        self.to_worker[name], self.to_sentinel[name] = [], []
        self.do(c.WorkerGone(name, "killed"))
        self.do(c.Dispatch())

    def hello(self, name: str) -> None:
        worker = self.workers[name]
        worker.is_welcome = True
        held = [m.Held(job_id=job, epoch=epoch) for job, epoch in {**worker.running, **worker.offered}.items()]
        said = m.Hello(
            protocol=1, worker_id=name, host="h", pid=worker.pid, slots=1, version="0", sandbox="none", holding=held
        )
        self.to_sentinel[name] += [c.HelloReceived(name, said), c.WantReceived(name, 1 - len(worker.running))]
        self.to_sentinel[name] += [self.offer(name, job, epoch) for job, epoch in worker.offered.items()]

    def offer(self, name: str, job_id: str, epoch: int) -> c.Command:
        return c.FinishReceived(name, [c.FinishedItem(job_id, epoch, _OFFER)])

    def finish(self, name: str, job_id: str) -> None:
        """Sealed, offered, ready for more."""
        worker = self.workers[name]
        worker.offered[job_id] = epoch = worker.running.pop(job_id)
        self.to_sentinel[name] += [self.offer(name, job_id, epoch), c.WantReceived(name, 1)]

    def receive(self, name: str) -> None:
        worker, message = self.workers[name], self.to_worker[name].pop(0)
        match message:
            case m.Assign():
                for given in message.jobs:
                    job, epoch = given.job.job_id, given.epoch
                    if epoch > worker.newest.get(job, 0):
                        known = {worker.running.get(job, 0), worker.offered.get(job, 0)} - {0}
                        self.forget(name, [m.Held(job_id=job, epoch=old) for old in known], is_ours=True)
                        worker.newest[job] = worker.running[job] = epoch
                        self.staging.add((job, epoch))
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

    def forget(self, name: str, leases: list[m.Held], *, is_ours: bool) -> None:
        for lease in leases:
            for held in (self.workers[name].running, self.workers[name].offered):
                if held.get(lease.job_id) == lease.epoch:
                    del held[lease.job_id]
                    if is_ours:
                        self.staging.discard((lease.job_id, lease.epoch))

    # --- what can happen

    def actions(self) -> Iterator[Action]:
        if self.pending:
            yield "sync", Small.sync
        if self.promotions:
            yield "promote", Small.promote
        for name, worker in self.workers.items():
            if self.to_worker[name]:
                yield f"{name} receives", partial(Small.receive, name=name)
            if self.to_sentinel[name]:
                yield f"{name} is heard", partial(_hear, name=name)
            if not worker.is_welcome:
                yield f"{name} says hello", partial(Small.hello, name=name)
            for job_id in worker.running:
                yield f"{name} finishes {job_id}", partial(Small.finish, name=name, job_id=job_id)
            if self.expiries_left:
                yield f"{name} expires", partial(Small.expire, worker_id=name)
            if self.crashes_left:
                yield f"{name} crashes", partial(Small.crash_worker, name=name)
        if self.crashes_left:
            waiting = sum(len(events) for events, _ in self.pending)
            for kept in {0, waiting // 2, waiting}:
                yield f"the sentinel crashes, {kept} events survive", partial(Small.crash, kept=kept)

    def check(self) -> None:
        """I9 after every step; I3 and I5 for what is published."""
        folded = State()
        for event in [*self.log, *(event for events, _ in self.pending for event in events)]:
            evolve(folded, event)
        if dump(folded) != dump(self.state):
            raise Violated("I9: the fold of the log differs from the state")
        for job_id, epoch in self.published.items():
            if self.durable.committed_jobs.get(job_id, (0, {}))[0] != epoch:
                raise Violated(f"I5: {job_id} is published under {epoch} without a durable record")
        for job_id, (epoch, _) in self.durable.committed_jobs.items():
            if (job_id, epoch) not in self.staging and self.published.get(job_id) != epoch:
                raise Violated(f"I3: the committed files of {job_id} under {epoch} are gone")


#: Words for messages and effects are slow to make, and copies of a world share the things themselves.
_NUMBERS: dict[int, tuple[object, int]] = {}
_NUMBER_OF_TEXT: dict[str, int] = {}


def _number(thing: object) -> int:
    """The same for things that say the same."""
    known = _NUMBERS.get(id(thing))
    if known is None:
        known = _NUMBERS[id(thing)] = thing, _NUMBER_OF_TEXT.setdefault(repr(thing), len(_NUMBER_OF_TEXT))
    return known[1]


def _hear(world: Small, name: str) -> None:
    world.do(world.to_sentinel[name].pop(0))
    world.do(c.Dispatch())


def _copied(judge: Judge) -> Judge:
    changed: dict[str, Any] = {
        name: copy.copy(getattr(judge, name))
        for name in ("keys", "current", "commits", "committed_jobs", "open_jobs", "completed", "retries", "losses")
    }
    return replace(judge, published=dict(judge.published), **changed)


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


def midway() -> Small:
    """Each worker has finished a job and is about to say so: from here on every crash meets a commit."""
    world = beginning()
    while not all(worker.offered for worker in world.workers.values()):
        calm = [act for name, act in world.actions() if "expires" not in name and "crashes" not in name]
        calm[-1](world)
        world.check()
    return world


@dataclass(slots=True)
class Walk:
    """How much was seen."""

    states: int = 0
    steps: int = 0
    depth: int = 0
    #: States in which nothing but a fault could happen: all work is done there.
    ends: int = 0


def walk(world: Small, depth: int) -> Walk:
    """Breadth first to `depth`; raises `Violated` with the steps that lead to it."""
    _NUMBERS.clear()
    _NUMBER_OF_TEXT.clear()
    seen = {world.key()}
    waiting: deque[tuple[Small, tuple[str, ...]]] = deque([(world, ())])
    found = Walk(states=1)
    while waiting:
        here, path = waiting.popleft()
        found.depth = len(path)
        actions = list(here.actions())
        if not any("expires" not in name and "crashes" not in name for name, _ in actions):
            found.ends += 1
            left = [
                place for place in here.staging if here.state.needs_staging(*place)
            ]  # the rest is swept each minute
            if here.judge.open_jobs or left:
                raise Violated(f"I4, I6: {sorted(here.judge.open_jobs)}, {left} after {path}")
        if len(path) == depth:
            continue
        for name, action in actions:
            there = here.copied()
            try:
                action(there)
                found.steps += 1
                key = there.key()
                if key in seen:
                    continue
                there.check()
            except Exception as broken:
                raise Violated(f"{broken}\nafter {[*path, name]}") from broken
            seen.add(key)
            found.states += 1
            waiting.append((there, (*path, name)))
    return found
