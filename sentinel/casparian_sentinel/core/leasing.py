"""Which worker gets which job: leases for ready jobs, within the workers' credit, in messages of bounded size.

A job that ran out of memory gets one more attempt alone on its host. When it is next in the queue, the host that will be idle
soonest gets no other work until the job has run there.
"""

from __future__ import annotations

from casparian_protocol.bounds import trusted
from casparian_protocol.events import JobFailed, JobLeased
from casparian_protocol.jobs import JobState
from casparian_protocol.jobs.kinds import Briefing, JobFacts
from casparian_protocol.wire.messages import Assign, Assignment, Cancel, Fenced
from casparian_sentinel.core.attempts import give_back, held, internal_error
from casparian_sentinel.core.commands import Dispatch
from casparian_sentinel.core.decision import DecisionBuilder, DropStaging
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.manifests import fitted
from casparian_sentinel.core.presence import ConnectedWorker
from casparian_sentinel.core.state import OpenJob, State

ASSIGN_JOBS = 100
ASSIGN_BYTES = 48 * 1024
#: How long a job leased ahead may wait behind another job while a worker is idle.
AHEAD_SECONDS = 2.0
#: The size of an assignment without its work and its key: field names, ids and numbers.
FIXED_BYTES = 350


def dispatch(decision: DecisionBuilder, command: Dispatch) -> None:
    """Lease ready jobs in even shares to the workers that want them, the least busy worker first."""
    wanting = [worker for worker in decision.presence.workers.values() if worker.credit > 0 and not worker.is_draining]
    if not wanting or not _may_lease(decision):
        return
    state = decision.state
    closed, probing = _lease_alone(decision, wanting)
    if closed:
        wanting = [worker for worker in wanting if worker.host not in closed]
    ready = _next(state, sum(worker.credit for worker in wanting), probing)
    if not ready:
        return
    wanting.sort(key=lambda worker: len(state.epochs_held.get(worker.worker_id, ())))
    taken = 0
    for position, worker in enumerate(wanting):
        share = -(-(len(ready) - taken) // (len(wanting) - position))
        given = ready[taken : taken + min(share, worker.credit)]
        lease(decision, worker, given)
        taken += len(given)
    leftover = ready[taken:]
    for each in wanting:  # an even share may be more than one worker wants, and less than another wants
        worker = decision.presence.workers[each.worker_id]
        given, leftover = leftover[: worker.credit], leftover[worker.credit :]
        lease(decision, worker, given)


def lease_to(decision: DecisionBuilder, worker: ConnectedWorker) -> None:
    """Lease as much as this worker wants."""
    if worker.credit <= 0 or worker.is_draining or not _may_lease(decision):
        return
    closed, probing = _lease_alone(decision, [worker])
    if worker.host not in closed:
        lease(decision, worker, _next(decision.state, worker.credit, probing))


def rebalance(decision: DecisionBuilder) -> None:
    """Take back jobs that were leased ahead and wait behind a longer job, as many as idle workers could start at once.

    If a worker started such a job in the meantime, it is fenced and stops: at worst the first seconds of a job are done twice.
    """
    state, presence, now_s = decision.state, decision.presence, decision.now.monotonic_s
    ahead = [
        job
        for worker_id in presence.workers
        for job_id in decision.leases_of(worker_id)
        if (job := state.jobs[job_id]).state is JobState.LEASED
    ]
    presence.ahead_since = {
        (job.job_id, job.epoch): presence.ahead_since.get((job.job_id, job.epoch), now_s) for job in ahead
    }
    idle = sum(
        worker.credit > 0 and not worker.is_draining and not decision.leases_of(worker.worker_id)
        for worker in presence.workers.values()
    )
    is_needed = not (state.alone_held or _next(state, 1, set()) or _next_alone(state, 1))
    if not idle or not is_needed or not _may_lease(decision):
        return
    busy_lanes = state.blocked_lanes() | state.probing_lanes()
    waiting = [job for job in ahead if job.lane not in busy_lanes and not job.is_cancel_requested]
    waiting = [job for job in waiting if now_s - presence.ahead_since[job.job_id, job.epoch] >= AHEAD_SECONDS]
    for job in sorted(waiting, key=lambda job: job.turn)[:idle]:
        worker_id, item = job.worker_id, held(job.job_id, job.epoch)
        give_back(decision, job, "recalled")
        decision.send(worker_id, Fenced(jobs=[item]))


def _next(state: State, limit: int, probing: set[str]) -> list[str]:
    """The next job ids. `probing` has the lanes that got their probe since this decision began."""
    return state.ready.peek(limit, state.blocked_lanes() | probing, state.probing_lanes()) if limit else []


def _lease_alone(decision: DecisionBuilder, wanting: list[ConnectedWorker]) -> tuple[set[str], set[str]]:
    """Lease jobs that need a host to themselves to hosts that are idle.

    Returns the hosts that get nothing else (they run such a job, or must become idle for one), and the lanes that a job leased
    here probes.
    """
    state = decision.state
    closed = {_host_of(decision, state.jobs[job_id].worker_id) for job_id in state.alone_held}
    probing: set[str] = set()
    if not state.ready_alone:
        return closed, probing
    held: dict[str, int] = {}
    for worker_id, leases in state.epochs_held.items():
        host = _host_of(decision, worker_id)
        held[host] = held.get(host, 0) + len(leases)
    hosts = {worker.host for worker in decision.presence.workers.values() if not worker.is_draining} - closed
    takers = {worker.host: worker for worker in reversed(wanting) if worker.host in hosts and not held.get(worker.host)}
    soonest_idle = sorted(hosts, key=lambda host: (host not in takers, held.get(host, 0), host))
    for host, job_id in zip(soonest_idle, _next_alone(state, len(hosts)), strict=False):
        closed.add(host)  # hosts that can take a job now come first, so that the first jobs are leased first
        if host in takers:
            lease(decision, takers[host], [job_id])
            probing.add(state.jobs[job_id].lane)
    return closed, probing & state.probing_lanes()


def _next_alone(state: State, limit: int) -> list[str]:
    """Jobs that need a host to themselves and are next in the queue; jobs queued earlier go first."""
    blocked, probing = state.blocked_lanes(), state.probing_lanes()
    first = state.ready.peek(1, blocked, probing)
    turn = state.jobs[first[0]].turn if first else None
    alone = state.ready_alone.peek(limit, blocked, probing)
    return [job_id for job_id in alone if turn is None or state.jobs[job_id].turn < turn]


def _host_of(decision: DecisionBuilder, worker_id: str) -> str:
    """The worker's host, even if it has not rejoined yet; "" if unknown."""
    worker = decision.presence.workers.get(worker_id)
    joined = decision.state.joined.get(worker_id)
    if worker is not None:
        return worker.host
    return joined.host if joined is not None else ""


def _may_lease(decision: DecisionBuilder) -> bool:
    return not (
        decision.presence.is_draining or decision.presence.is_stopping or decision.state.intake_paused is not None
    )


def lease(decision: DecisionBuilder, worker: ConnectedWorker, job_ids: list[str]) -> None:
    """Record `JobLeased` for each job (its sequence number is the epoch), and send the assignments in as few messages as fit."""
    given: list[tuple[OpenJob, int]] = []
    for job_id in job_ids:
        job = decision.state.jobs[job_id]
        leased = JobLeased(job_id=job_id, worker_id=worker.worker_id, attempt=job.next_attempt, sandbox=worker.sandbox)
        given.append((job, decision.record(leased)))
    credit = decision.presence.workers[worker.worker_id].credit - len(given)
    decision.presence.change_worker(worker.worker_id, credit=credit)
    _assign(decision, worker, given, decision.now.wall_us)


def ask_after_leases(decision: DecisionBuilder, worker: ConnectedWorker) -> None:
    """Ask about leases that this worker does not mention: an `assign` or a `released` may have been lost.

    A worker that has the attempt ignores the repeated message; a worker that gave it up answers so again.
    """
    state = decision.state
    silent: list[OpenJob] = []
    for job_id, epoch in decision.leases_of(worker.worker_id).items():
        job = state.jobs[job_id]
        if epoch > worker.asked_seq:
            continue
        if job.is_cancel_requested:
            decision.send(worker.worker_id, Cancel(job_id=job_id, epoch=epoch))
        elif job_id not in worker.beating:
            silent.append(job)
    for job in silent:
        _assign(decision, worker, [(job, job.epoch)], job.leased_at)
    decision.presence.change_worker(worker.worker_id, asked_seq=state.seq, asked_at_s=decision.now.monotonic_s)


def _assign(
    decision: DecisionBuilder, worker: ConnectedWorker, given: list[tuple[OpenJob, int]], leased_at: int
) -> None:
    state = decision.state
    assignments: list[Assignment] = []
    size_bytes = 0
    before: OpenJob | None = None
    briefing: Briefing | None = None
    for job, epoch in given:
        kind = kind_of(job.work)
        is_alike = before is not None and kind.shares(job.work, before.work)
        try:
            if not is_alike:
                briefing = kind.briefing(state, job.work)
            assignment = _assignment(job, epoch, leased_at, briefing)
        except ValueError as unfit:  # queued by a version with fewer checks; it must not block the other jobs
            _fail_unfit(decision, job, epoch, unfit)
            before = None
            continue
        job_bytes = FIXED_BYTES + 4 * len(job.key)
        job_bytes += kind.own_bytes(job.work) if is_alike else kind.packed_bytes(state, job.work, briefing)
        if assignments and (len(assignments) >= ASSIGN_JOBS or size_bytes + job_bytes > ASSIGN_BYTES):
            decision.send(worker.worker_id, Assign(jobs=assignments))
            assignments, size_bytes = [], 0
        before = job
        assignments.append(assignment)
        size_bytes += job_bytes
    if assignments:
        decision.send(worker.worker_id, Assign(jobs=assignments))


def _fail_unfit(decision: DecisionBuilder, job: OpenJob, epoch: int, unfit: ValueError) -> None:
    error = internal_error(f"This job cannot be given to any worker: {' '.join(str(unfit).split())[:500]}")
    decision.record(JobFailed(job_id=job.job_id, epoch=epoch, error=fitted(error)), cause=epoch)
    if job.epoch == epoch:  # leased earlier, perhaps by a version that could send it: the worker that has it must stop
        decision.presence.jobs.drop(job.job_id)
        decision.send(job.worker_id, Fenced(jobs=[held(job.job_id, epoch)]))
        decision.do(DropStaging(job.job_id, epoch))


def _assignment(job: OpenJob, epoch: int, leased_at: int, briefing: Briefing | None) -> Assignment:
    """The job as its worker gets it. Raises `ValueError` for a job that does not fit the message."""
    values: JobFacts = {
        "job": job.spec(),
        "attempt": job.next_attempt,
        "epoch": epoch,
        "leased_at": leased_at,
        "briefing": briefing,
        "is_alone": job.runs_alone,
    }
    return trusted(Assignment, values) if job.is_checked else Assignment(**values)
