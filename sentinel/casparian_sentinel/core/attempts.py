"""The beginning and the end of an attempt: committed, failed, retried, given back, recalled, lost with its worker, or cancelled.

Workers may repeat any request: a repeated one gets the same answer from the state, and one that comes too late is fenced. The
decision that ends an attempt without a commit also drops its staging.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, TypeVar
from zlib import crc32

from casparian_protocol.bounds import trusted
from casparian_protocol.errors import RETRYABLE_ONCE, TRANSIENT, ErrorCode, fingerprint_of_code
from casparian_protocol.events import (
    JobCancelled,
    JobDeadLettered,
    JobFailed,
    JobRetryScheduled,
    JobStarted,
    LeaseExpired,
)
from casparian_protocol.jobs import JobError, JobState
from casparian_protocol.wire.messages import Cancel, Failed, Fenced, Held
from casparian_sentinel.core.breaker import after_failure
from casparian_sentinel.core.commands import AbandonAttempt
from casparian_sentinel.core.decision import (
    DecisionBuilder,
    DropStaging,
    KeepUncommitted,
    PlanFiles,
)
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.manifests import (
    ERROR_BESIDE_MANIFEST_BYTES,
    fitted,
    fitting,
    needs_blob,
    quarantine_of,
)
from casparian_sentinel.core.presence import RunningAttempt
from casparian_sentinel.core.state import FAILED, OpenJob, State
from casparian_sentinel.core.worker_commands import (
    FailReceived,
    JobsStarted,
    ReleaseReceived,
)

_HELD = (JobState.LEASED, JobState.RUNNING)
_JITTER = 0.2
#: The content was not at the job's path; it may be elsewhere by now, as when a log file is rotated while its job waits.
_NOT_IN_PLACE = frozenset({ErrorCode.INPUT_CHANGED, ErrorCode.FILE_NOT_FOUND})
_PATHS_BYTES = 8 * 1024


def held(job_id: str, epoch: int) -> Held:
    return trusted(Held, {"job_id": job_id, "epoch": epoch})  # from a message that was checked, or from the state


def own_error(code: str, message: str, origin: Literal["worker", "sentinel"] = "worker") -> JobError:
    """An error that the core itself concludes, without a report from a worker."""
    return JobError(code=code, message=message[:2048], origin=origin, fingerprint=fingerprint_of_code(code))


def internal_error(message: str) -> JobError:
    """An error that is Casparian's fault, not the parser's, the worker's or the machine's."""
    return own_error(ErrorCode.INTERNAL.value, message, "sentinel")


class _OfJob(Protocol):
    @property
    def job_id(self) -> str: ...


_Item = TypeVar("_Item", bound=_OfJob)


def once(items: Iterable[_Item]) -> Iterator[_Item]:
    """The first item for each job: a message may name a job twice."""
    seen: set[str] = set()
    for item in items:
        if item.job_id not in seen:
            seen.add(item.job_id)
            yield item


def current_attempt(state: State, job_id: str, epoch: int, worker_id: str) -> OpenJob | None:
    """The job, if this worker holds its lease under exactly this epoch."""
    job = state.jobs.get(job_id)
    if job is None or job.epoch != epoch or job.worker_id != worker_id or job.state not in _HELD:
        return None
    return job


def is_answered(state: State, job_id: str, epoch: int) -> bool:
    """Whether the end of this attempt was answered; a repeated request gets the same answer."""
    return state.answered.get(job_id, (0, ""))[0] == epoch


# --- started ---


def on_started(decision: DecisionBuilder, command: JobsStarted) -> None:
    fenced: list[Held] = []
    for item in once(command.message.jobs):
        job = current_attempt(decision.state, item.job_id, item.epoch, command.worker_id)
        if job is None:
            if not is_answered(decision.state, item.job_id, item.epoch):
                fenced.append(held(item.job_id, item.epoch))
        elif job.state is JobState.LEASED:
            note_start(decision, job, item.guest_pid)
    if fenced:
        decision.send(command.worker_id, Fenced(jobs=fenced))


def note_start(decision: DecisionBuilder, job: OpenJob, guest_pid: int) -> None:
    decision.record(JobStarted(job_id=job.job_id, epoch=job.epoch, guest_pid=guest_pid))
    now_s = decision.now.monotonic_s
    decision.presence.jobs[job.job_id] = RunningAttempt(job.job_id, job.epoch, job.worker_id, now_s, now_s)


# --- failed ---


def drop_if_dead(decision: DecisionBuilder, job_id: str, epoch: int) -> None:
    """Drop the staging of a fenced attempt, unless it is still needed or the attempt's end already decided about it."""
    state = decision.state
    if not state.needs_staging(job_id, epoch) and not is_answered(state, job_id, epoch):
        decision.do(DropStaging(job_id, epoch))


def fitting_paths(paths: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The paths that fit into an event, and how many are left out."""
    fit = tuple(fitting(paths, room_bytes=_PATHS_BYTES, limit=len(paths)))
    return fit, len(paths) - len(fit)


def on_fail(decision: DecisionBuilder, command: FailReceived) -> None:
    message = command.message
    job = current_attempt(decision.state, message.job_id, message.epoch, command.worker_id)
    answer = held(message.job_id, message.epoch)
    if job is None:
        if decision.state.answered.get(message.job_id) == (message.epoch, FAILED):
            decision.send(command.worker_id, Failed(jobs=[answer]))
        else:
            drop_if_dead(decision, message.job_id, message.epoch)
            decision.send(command.worker_id, Fenced(jobs=[answer]))
        return
    decision.presence.jobs.drop(job.job_id)
    if job.is_cancel_requested:
        cancelled(decision, job)
    else:
        retries = _may_retry(job, message.error)
        failed = _retry(decision, job, message.error) if retries else _fail_and_keep_quarantine(decision, job, command)
        if message.error.code in _NOT_IN_PLACE:
            decision.do(PlanFiles())
        if paused := after_failure(decision, job, message.error, failed):
            recall(decision, job.work.parser, job.work.parser_version, cause=paused, but=job.job_id)
    decision.send(command.worker_id, Failed(jobs=[answer]))


def _may_retry(job: OpenJob, error: JobError) -> bool:
    """Whether the error's code allows a retry (see `errors explain`). `error.retryable`, the worker's opinion, is ignored."""
    if error.code in RETRYABLE_ONCE:
        return job.memory_failures == 0
    return error.code in TRANSIENT


def _retry(decision: DecisionBuilder, job: OpenJob, error: JobError) -> int:
    """Schedule another attempt, or give the job up; returns the sequence number of the event."""
    retry = decision.presence.retry
    if job.retry_count >= retry.max_retries:
        return dead_letter(decision, job, "retries", error)
    delay_seconds = back_off_seconds(job, retry.backoff_seconds)
    not_before = decision.now.wall_us + int(delay_seconds * 1_000_000)
    scheduled = decision.record(
        JobRetryScheduled(
            job_id=job.job_id,
            epoch=job.epoch,
            error=fitted(error),
            retry_count=job.retry_count + 1,
            not_before=not_before,
            delay_seconds=delay_seconds,
        )
    )
    decision.presence.schedule(decision.now.monotonic_s + delay_seconds, not_before, job.job_id)
    decision.do(DropStaging(job.job_id, job.epoch))
    return scheduled


def back_off_seconds(job: OpenJob, steps: list[float]) -> float:
    """The wait before the next attempt: the schedule's step ± 20 %, always the same for the same job and attempt."""
    step = steps[min(job.retry_count, len(steps) - 1)]
    fraction = crc32(f"{job.job_id}:{job.next_attempt}".encode()) / 0xFFFF_FFFF
    return round(step * (1 - _JITTER + 2 * _JITTER * fraction), 3)


def dead_letter(
    decision: DecisionBuilder, job: OpenJob, reason: Literal["retries", "poison"], error: JobError, *, cause: int = 0
) -> int:
    """Give the job up until a person asks for another attempt; returns the sequence number of the event."""
    seq = decision.record(
        JobDeadLettered(
            job_id=job.job_id,
            epoch=job.epoch,
            reason=reason,
            error=fitted(error),
            retry_count=job.retry_count,
        ),
        cause=cause,
    )
    decision.do(DropStaging(job.job_id, job.epoch))
    return seq


def fail_without_files(decision: DecisionBuilder, job: OpenJob, error: JobError) -> int:
    """Fail the job without keeping any of its files; returns the sequence number of the event."""
    failed = decision.record(JobFailed(job_id=job.job_id, epoch=job.epoch, error=fitted(error)))
    decision.do(DropStaging(job.job_id, job.epoch))
    return failed


def _fail_and_keep_quarantine(decision: DecisionBuilder, job: OpenJob, command: FailReceived) -> int:
    """Fail the job and keep the quarantine that its worker offers; returns the sequence number of the event."""
    kept, error, blob = command.message.uncommitted, command.message.error, command.uncommitted_blob
    if kept is None or not kept.files or kind_of(job.work).problem_of_kept(job.work, kept):
        return fail_without_files(decision, job, error)
    if not blob and needs_blob(kept):
        raise ValueError(f"the kept quarantine of job {job.job_id} must be stored as a blob before the core decides")
    failed = decision.record(
        JobFailed(
            job_id=job.job_id,
            epoch=job.epoch,
            error=fitted(error) if blob else fitted(error, ERROR_BESIDE_MANIFEST_BYTES),
            uncommitted=None if blob else kept,
            uncommitted_blob=blob,
            tells_when_kept=True,
        )
    )
    for output in sorted({file.output for file in kept.files}):
        version = job.work.output_versions[output]
        decision.record(quarantine_of(kept, job.job_id, output, version, is_committed=False), cause=failed)
    decision.do(KeepUncommitted(job.job_id, job.epoch, kept))
    return failed


def abandon(decision: DecisionBuilder, command: AbandonAttempt) -> None:
    """Fail the attempt with an internal error; its worker deletes what it staged and forgets the attempt."""
    job = current_attempt(decision.state, command.job_id, command.epoch, command.worker_id)
    decision.send(command.worker_id, Fenced(jobs=[held(command.job_id, command.epoch)]))
    if job is None:
        return
    decision.presence.jobs.drop(job.job_id)
    if job.is_cancel_requested:
        cancelled(decision, job)
        return
    fail_without_files(
        decision, job, internal_error(f"The end of this attempt could not be recorded: {command.reason}")
    )


# --- given back, recalled, lost with its worker, cancelled ---


def on_released(decision: DecisionBuilder, command: ReleaseReceived) -> None:
    reason = "shutdown" if decision.presence.is_stopping else "released"
    for item in once(command.message.jobs):
        job = current_attempt(decision.state, item.job_id, item.epoch, command.worker_id)
        if job is not None:
            give_back(decision, job, reason)


def give_back(decision: DecisionBuilder, job: OpenJob, reason: str, *, is_loss: bool = False, cause: int = 0) -> None:
    """End the attempt without a verdict: its job is queued again, cancelled if that was requested, or dead after too many losses.

    `cause` is the event that took the attempt from its worker, if there is one.
    """
    decision.presence.jobs.drop(job.job_id)
    if job.is_cancel_requested:
        cancelled(decision, job)
        return
    limit = decision.presence.retry.max_worker_losses
    if is_loss and job.losses + 1 >= limit:
        error = own_error("WORKER_LOST", f"{limit} workers were lost while they ran this job")
        dead_letter(decision, job, "poison", error, cause=cause)
        return
    decision.record(
        LeaseExpired(job_id=job.job_id, epoch=job.epoch, worker_id=job.worker_id, reason=reason, is_loss=is_loss),
        cause=cause,
    )
    decision.do(DropStaging(job.job_id, job.epoch))


def recall(decision: DecisionBuilder, parser: str, version: str, *, cause: int, but: str = "") -> None:
    """Take back jobs that were leased ahead and have not started, because event `cause` paused their parser or one version of it.

    If the worker started such a job in the meantime, it is fenced and stops; jobs that already run may finish. `but` is the job
    whose attempt just ended.
    """
    fenced: dict[str, list[Held]] = {}
    for worker_id in decision.state.epochs_held:
        for job_id, epoch in decision.leases_of(worker_id).items():
            job = decision.state.jobs[job_id]
            is_meant = job.work.parser == parser and version in ("", job.work.parser_version)
            if is_meant and job.state is JobState.LEASED and job_id != but:
                fenced.setdefault(worker_id, []).append(held(job_id, epoch))
    for worker_id, items in fenced.items():
        for item in items:
            give_back(decision, decision.state.jobs[item.job_id], "paused", cause=cause)
        decision.send(worker_id, Fenced(jobs=items))


def lose_all(
    decision: DecisionBuilder,
    worker_id: str,
    reason: str,
    *,
    keep: Iterable[str] = (),
    is_loss: bool = True,
    cause: int = 0,
) -> None:
    """End all leases of a lost worker. The loss counts against its running jobs, or against all if none is known to run."""
    kept = set(keep)
    jobs = [decision.state.jobs[job_id] for job_id in decision.leases_of(worker_id) if job_id not in kept]
    somebody_ran = any(job.state is JobState.RUNNING for job in jobs)
    for job in jobs:
        is_blamed = is_loss and (job.state is JobState.RUNNING or not somebody_ran)
        give_back(decision, job, reason, is_loss=is_blamed, cause=cause)


def ask_to_cancel(decision: DecisionBuilder, job: OpenJob) -> None:
    decision.send(job.worker_id, Cancel(job_id=job.job_id, epoch=job.epoch))


def cancelled(decision: DecisionBuilder, job: OpenJob) -> None:
    decision.record(JobCancelled(job_id=job.job_id, reason=job.reason))
    decision.do(DropStaging(job.job_id, job.epoch))
