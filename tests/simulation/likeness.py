"""When two states of the small world are alike: whatever can happen to the one can happen to the other.

`likeness` is a short text of bytes that only alike states share. Names of workers do not matter, nor names of jobs, nor how
large an epoch is, only which is newer; nor what nobody will ever ask for again (answers to attempts that no worker holds, their
staging, which every sweep removes, and how a job that has ended came to its end).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b
from itertools import permutations
from typing import TYPE_CHECKING

from casparian_protocol.jobs import JobState
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
from casparian_sentinel.core.state import State
from casparian_sentinel.log.format import LogRecord

if TYPE_CHECKING:
    from tests.simulation.exhaustive import Place, Small

_WRITTEN = frozenset({"jobs", "epochs_held", "answered", "joined"})
_FOLLOWS_FROM_JOBS = frozenset({"promoting", "waiting", "counts", "open_keys", "ready", "ready_alone", "alone_held"})
_MATTERS_TO_WHO_QUEUES = frozenset({"seq", "recent_keys", "parsers", "contracts", "outputs", "policies", "last_works"})
_STAYS_AS_IT_IS = frozenset({"breakers", "sources", "rules", "scans", "intake_paused", "waiting_lines", "keeping"})
#: All fields of the core's state. Who adds one that bears on what happens next in the small world has `_Writer.core` write it.
CONSIDERED = _WRITTEN | _FOLLOWS_FROM_JOBS | _MATTERS_TO_WHO_QUEUES | _STAYS_AS_IT_IS
_EPOCHS = 1000  # numbers from here on are epochs
_GAP = -1
_STATUS = {status: number for number, status in enumerate(JobState)}
_ENDS_OF_JOBS = ("JobOutputsCommitted", "JobCompleted", "JobDeadLettered")
_EVENTS = {name: n for n, name in enumerate(("JobLeased", "LeaseExpired", *_ENDS_OF_JOBS), 1)}
_OTHER_EVENTS = {name: n for n, name in enumerate(("WorkerJoined", "WorkerLost", "SentinelStarted"), 10)}


def likeness(world: Small) -> bytes:
    """The smallest over all ways to number the workers that their looks leave open."""
    needed = _places(world)
    jobs = _numbers_of_jobs(world)
    looks = {name: _looks(world, name) for name in world.workers}
    in_order = sorted(looks.values())
    ways = [
        _written(world, dict(zip(names, range(len(names)), strict=True)), jobs, needed)
        for names in permutations(world.workers)
        if [looks[name] for name in names] == in_order
    ]
    return blake2b(min(ways), digest_size=16).digest()


def _looks(world: Small, name: str) -> tuple[int, ...]:
    """What tells most workers apart, without a look at names or epochs."""
    worker, presence = world.workers[name], world.presence.workers.get(name)
    return (
        worker.is_welcome,
        name in world.bound,
        len(worker.running),
        len(worker.offered),
        len(world.to_worker[name]),
        len(world.to_sentinel[name]),
        -1 if presence is None else presence.credit,
        name in world.presence.rejoin_until,
    )


def _numbers_of_jobs(world: Small) -> dict[str, int]:
    """Open ones by their place in the queue, then those that have ended."""
    open_jobs = world.durable_state.jobs
    known = world.durable.keys
    order = sorted(
        known, key=lambda job: (0, open_jobs[job].queued_seq) if job in open_jobs else (1, job in world.published)
    )
    return {job: number for number, job in enumerate(order)}


def _places(world: Small) -> set[Place]:
    """Attempts that somebody may still speak of."""
    places = set(world.promotions)
    for worker in world.workers.values():
        places.update(worker.running.items())
        places.update(worker.offered.items())
    for mail in world.to_worker.values():
        for message in mail:
            places.update(_of_message(message))
    for breaths in world.to_sentinel.values():
        for breath in breaths:
            for command in breath:
                places.update(_of_command(command))
    for _, effects in world.pending:
        for effect in effects:
            places.update(_of_effect(effect))
    for state in (world.state, world.durable_state):
        places.update((job.job_id, job.epoch) for job in state.jobs.values() if job.epoch)
    return places


def _of_message(message: m.Message) -> Iterable[Place]:
    match message:
        case m.Assign():
            return [(given.job.job_id, given.epoch) for given in message.jobs]
        case m.Welcome():
            return [(held.job_id, held.epoch) for held in message.drop]
        case m.Fenced() | m.Committed() | m.Failed():
            return [(held.job_id, held.epoch) for held in message.jobs]
    return ()


def _of_command(command: c.Command) -> Iterable[Place]:
    match command:
        case c.HelloReceived():
            return [(held.job_id, held.epoch) for held in command.message.holding]
        case c.FinishReceived():
            return [(item.job_id, item.epoch) for item in command.items]
    return ()


def _of_effect(effect: Effect) -> Iterable[Place]:
    match effect:
        case SendToWorker():
            return _of_message(effect.message)
        case Promote() | DropStaging() | KeepUncommitted():
            return [(effect.job_id, effect.epoch)]
        case DropUnpublished():
            return effect.attempts
    return ()


_KINDS: dict[type, int] = {
    kind: number
    for number, kind in enumerate(
        (
            *(m.Assign, m.Welcome, m.Fenced, m.Committed, m.Failed, m.Refused),
            *(c.HelloReceived, c.FinishReceived, c.WantReceived),
            *(Promote, DropStaging, KeepUncommitted, DropUnpublished),
        ),
        start=20,
    )
}


class _Writer:
    """One numbering of workers and jobs."""

    def __init__(self, workers: dict[str, int], jobs: dict[str, int], pids: dict[str, int]) -> None:
        self.out: list[int] = []
        self.workers = workers
        self.jobs = jobs
        self.pids = pids

    def places(self, places: Iterable[Place]) -> None:
        out, jobs = self.out, self.jobs
        for job_id, epoch in places:
            out += (jobs[job_id], _EPOCHS + epoch)
        out.append(_GAP)

    def core(self, state: State, needed: set[Place]) -> None:
        out = self.out
        for job_id, number in sorted(self.jobs.items(), key=lambda item: item[1]):
            job = state.jobs.get(job_id)
            if job is None:
                out.append(_GAP)
            else:
                holder = self.workers.get(job.worker_id, -2)
                out += (_STATUS[job.state], holder, _EPOCHS + job.epoch, _EPOCHS + job.queued_seq)
                out += (job.losses, job.retry_count)
            answered = state.answered.get(job_id)
            if answered is not None and (job_id, answered[0]) in needed:
                out += (-3, number, _EPOCHS + answered[0])
        for worker_id, held in state.epochs_held.items():
            out.append(self.workers[worker_id])
            self.places(held.items())
        for worker_id in self.workers:
            facts = state.joined.get(worker_id)
            out.append(-4 if facts is None else int(facts.pid == self.pids[worker_id]))

    def event(self, event: LogRecord) -> None:
        data = event.data
        number = _EVENTS.get(event.type)
        if number is not None:
            epoch = event.seq if event.type == "JobLeased" else data["epoch"]
            holder = self.workers.get(data.get("worker_id", ""), -2)
            self.out += (number, self.jobs[data["job_id"]], _EPOCHS + epoch, holder, bool(data.get("is_loss")))
            return
        name = data.get("worker_id", "")
        is_current = "pid" in data and name in self.pids and data["pid"] == self.pids[name]
        self.out += (_OTHER_EVENTS[event.type], self.workers.get(name, -2), is_current)

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, SendToWorker):
            self.out.append(self.workers[effect.worker_id])
            self.message(effect.message)
        elif type(effect) in _KINDS:
            self.out.append(_KINDS[type(effect)])
            self.places(_of_effect(effect))

    def message(self, message: m.Message) -> None:
        self.out.append(_KINDS[type(message)])
        self.places(_of_message(message))

    def command(self, command: c.Command) -> None:
        self.out.append(_KINDS[type(command)])
        if isinstance(command, c.WantReceived):
            self.out.append(command.credit)
        else:
            self.places(_of_command(command))

    def finished(self) -> bytes:
        """With epochs numbered by age."""
        epochs = sorted({number for number in self.out if number >= _EPOCHS})
        ranks = {epoch: _EPOCHS + rank for rank, epoch in enumerate(epochs)}
        return array("h", [ranks.get(number, number) for number in self.out]).tobytes()


def _written(world: Small, numbers: dict[str, int], jobs: dict[str, int], needed: set[Place]) -> bytes:
    names = sorted(numbers, key=numbers.__getitem__)
    ordered = {name: numbers[name] for name in names}
    writer = _Writer(ordered, jobs, {name: worker.pid for name, worker in world.workers.items()})
    out = writer.out
    out += (world.crashes_left, world.expiries_left)
    writer.core(world.durable_state, needed)
    for events, effects in world.pending:
        out.append(-5)
        for event in events:
            writer.event(event)
        out.append(_GAP)
        for effect in effects:
            writer.effect(effect)
    out.append(-6)
    for worker_id, presence in world.presence.workers.items():  # in the order in which they are given work
        out += (ordered[worker_id], presence.credit, presence.pid == world.workers[worker_id].pid)
    out.append(-7)
    out += sorted(ordered[worker_id] for worker_id in world.presence.rejoin_until)
    for name in names:
        _write_worker(world, writer, name)
    writer.places(world.promotions)
    writer.places(sorted(world.staging & needed, key=lambda place: (jobs[place[0]], place[1])))
    for job_id, number in jobs.items():
        committed = world.durable.committed_jobs.get(job_id)
        out += (number, job_id in world.published, committed is not None)
        if committed is not None and (job_id, committed[0]) in needed:
            out.append(_EPOCHS + committed[0])
    return writer.finished()


def _write_worker(world: Small, writer: _Writer, name: str) -> None:
    worker, out, jobs = world.workers[name], writer.out, writer.jobs
    out += (-8, worker.is_welcome, name in world.bound)
    for held in (worker.running, worker.offered):
        writer.places(sorted(held.items(), key=lambda place: jobs[place[0]]))
    coming = {place[0] for message in world.to_worker[name] for place in _of_message(message)}
    for _, effects in world.pending:
        coming.update(
            place[0]
            for effect in effects
            if isinstance(effect, SendToWorker) and effect.worker_id == name
            for place in _of_message(effect.message)
        )
    writer.places((job_id, worker.newest.get(job_id, 0)) for job_id in sorted(coming, key=jobs.__getitem__))
    for message in world.to_worker[name]:
        writer.message(message)
    for breath in world.to_sentinel[name]:
        out.append(-9)
        for command in breath:
            writer.command(command)
