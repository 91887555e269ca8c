"""How an attempt ends without a verdict: given back, recalled, lost with its worker, cancelled.

Whoever has it is fenced from then on, and its staging is dropped by the decision that ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from casparian_protocol.errors import ErrorCode, fingerprint_of_code
from casparian_protocol.events import JobCancelled, JobDeadLettered, LeaseExpired
from casparian_protocol.jobs import JobError, JobState
from casparian_protocol.wire.messages import Cancel, Fenced, Held
from casparian_sentinel.core.case import Case
from casparian_sentinel.core.effects import DropStaging
from casparian_sentinel.core.manifests import fitted
from casparian_sentinel.core.state import OpenJob


def held(job_id: str, epoch: int) -> Held:
    return Held(job_id=job_id, epoch=epoch)


def own_error(code: str, message: str) -> JobError:
    """What nobody reported and the core itself concluded."""
    return JobError(code=code, message=message[:2048], origin="worker", fingerprint=fingerprint_of_code(code))


def internal_error(message: str) -> JobError:
    """The fault is ours: neither parser, worker nor machine."""
    code = ErrorCode.INTERNAL.value
    return JobError(code=code, message=message[:2048], origin="sentinel", fingerprint=fingerprint_of_code(code))


def give_back(case: Case, job: OpenJob, reason: str, *, is_loss: bool = False, cause: int = 0) -> None:
    """The attempt is over without a verdict: queued again, cancelled if somebody wanted that, poison if it killed enough.

    `cause`: the event that took it from its worker, if one did.
    """
    case.live.jobs.pop(job.job_id, None)
    if job.is_cancel_requested:
        cancelled(case, job)
        return
    limit = case.live.retry.max_worker_losses
    if is_loss and job.losses + 1 >= limit:
        error = own_error("WORKER_LOST", f"{limit} workers were lost while they ran this job")
        dead_letter(case, job, "poison", error, cause=cause)
        return
    case.record(
        LeaseExpired(job_id=job.job_id, epoch=job.epoch, worker_id=job.worker_id, reason=reason, is_loss=is_loss),
        cause=cause,
    )
    case.do(DropStaging(job.job_id, job.epoch))


def recall(case: Case, parser: str, version: str, *, cause: int, but: str = "") -> None:
    """Take back what was leased ahead and has not started: event `cause` paused its parser, or one version of it.

    A worker that has begun meanwhile is fenced and stops; what runs already may end. `but` has just ended.
    """
    fenced: dict[str, list[Held]] = {}
    for worker_id, leases in case.state.epochs_held.items():
        for job_id, epoch in leases.items():
            job = case.state.jobs[job_id]
            is_meant = job.work.parser == parser and version in ("", job.work.parser_version)
            if is_meant and job.state is JobState.LEASED and job_id != but:
                fenced.setdefault(worker_id, []).append(held(job_id, epoch))
    for worker_id, items in fenced.items():
        for item in items:
            give_back(case, case.state.jobs[item.job_id], "paused", cause=cause)
        case.send(worker_id, Fenced(jobs=items))


def lose_all(
    case: Case, worker_id: str, reason: str, *, keep: Iterable[str] = (), is_loss: bool = True, cause: int = 0
) -> None:
    """All leases of a worker that is no more end. Blamed are the jobs that ran; if none is known to have run, all."""
    kept = set(keep)
    jobs = [case.state.jobs[job_id] for job_id in case.state.epochs_held.get(worker_id, ()) if job_id not in kept]
    somebody_ran = any(job.state is JobState.RUNNING for job in jobs)
    for job in jobs:
        is_blamed = is_loss and (job.state is JobState.RUNNING or not somebody_ran)
        give_back(case, job, reason, is_loss=is_blamed, cause=cause)


def cancelled(case: Case, job: OpenJob) -> None:
    case.record(JobCancelled(job_id=job.job_id, reason=job.reason))
    case.do(DropStaging(job.job_id, job.epoch))


def ask_to_cancel(case: Case, job: OpenJob) -> None:
    case.send(job.worker_id, Cancel(job_id=job.job_id, epoch=job.epoch))


def dead_letter(
    case: Case, job: OpenJob, reason: Literal["retries", "poison"], error: JobError, *, cause: int = 0
) -> int:
    seq = case.record(
        JobDeadLettered(
            job_id=job.job_id,
            epoch=job.epoch,
            reason=reason,
            error=fitted(error),
            retry_count=job.retry_count,
        ),
        cause=cause,
    )
    case.do(DropStaging(job.job_id, job.epoch))
    return seq
