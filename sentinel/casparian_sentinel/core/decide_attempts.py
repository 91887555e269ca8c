"""How an attempt begins, and how it ends with a verdict: committed, failed, retried. All other ends are `decide_returns`'.

Every answer can be asked for again: what a worker repeats gets the same answer from the state, what is late is fenced. An
attempt's staging is dropped by the decision that ends it without a commit.
"""

from __future__ import annotations

from zlib import crc32

from casparian_protocol.errors import RETRYABLE_ONCE, ErrorCode
from casparian_protocol.events import JobCompleted, JobFailed, JobOutputsCommitted, JobRetryScheduled, JobStarted
from casparian_protocol.jobs import PART_NAMES, JobError, JobState
from casparian_protocol.wire.messages import Committed, Failed, Fenced, Held
from casparian_sentinel.core.case import Case
from casparian_sentinel.core.commands import (
    AbandonAttempt,
    FailReceived,
    FinishedItem,
    FinishReceived,
    JobsStarted,
    Promoted,
    ReleaseReceived,
)
from casparian_sentinel.core.decide_breaker import after_failure, after_success
from casparian_sentinel.core.decide_returns import (
    cancelled,
    dead_letter,
    give_back,
    held,
    internal_error,
    own_error,
    recall,
)
from casparian_sentinel.core.effects import DropStaging, KeepUncommitted, PlanFiles, Promote, PublishCatalogue
from casparian_sentinel.core.fitting import fitting
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.live import LiveJob
from casparian_sentinel.core.manifests import (
    ERROR_BESIDE_MANIFEST_BYTES,
    fitted,
    needs_blob,
    quarantine_of,
)
from casparian_sentinel.core.state import COMMITTED, FAILED, OpenJob, State

_HELD = (JobState.LEASED, JobState.RUNNING)
_JITTER = 0.2
#: The job's file did not have the content, which may lie elsewhere by now: a log that was rotated while its job waited.
_NOT_IN_PLACE = frozenset({ErrorCode.INPUT_CHANGED, ErrorCode.FILE_NOT_FOUND})
_DAMAGED_BYTES = 8 * 1024


def current_attempt(state: State, job_id: str, epoch: int, worker_id: str) -> OpenJob | None:
    """The job, if this worker has it under this very epoch."""
    job = state.jobs.get(job_id)
    if job is None or job.epoch != epoch or job.worker_id != worker_id or job.state not in _HELD:
        return None
    return job


# --- started ---


def started(case: Case, command: JobsStarted) -> None:
    fenced: list[Held] = []
    for item in command.message.jobs:
        job = current_attempt(case.state, item.job_id, item.epoch, command.worker_id)
        if job is None:
            if not _is_settled(case.state, item.job_id, item.epoch):
                fenced.append(held(item.job_id, item.epoch))
        elif job.state is JobState.LEASED:
            note_start(case, job, item.guest_pid)
    if fenced:
        case.send(command.worker_id, Fenced(jobs=fenced))


def note_start(case: Case, job: OpenJob, guest_pid: int) -> None:
    case.record(JobStarted(job_id=job.job_id, epoch=job.epoch, guest_pid=guest_pid))
    now_s = case.now.monotonic_s
    case.live.jobs[job.job_id] = LiveJob(job.job_id, job.epoch, job.worker_id, now_s, now_s)


def _is_settled(state: State, job_id: str, epoch: int) -> bool:
    return state.settled.get(job_id, (0, ""))[0] == epoch


# --- finish ---


def finish(case: Case, command: FinishReceived) -> None:
    """Commit every item under a current epoch; answer what was answered before; fence the rest."""
    committed: list[Held] = []
    fenced: list[Held] = []
    seen: set[str] = set()
    for item in command.items:
        if item.job_id in seen:  # named twice in one message: the first decides
            continue
        seen.add(item.job_id)
        is_committed = _finish_one(case, item, command.worker_id)
        (committed if is_committed else fenced).append(held(item.job_id, item.epoch))
    if committed:
        case.send(command.worker_id, Committed(jobs=committed))
    if fenced:
        case.send(command.worker_id, Fenced(jobs=fenced))


def _finish_one(case: Case, item: FinishedItem, worker_id: str) -> bool:
    state = case.state
    job = current_attempt(state, item.job_id, item.epoch, worker_id)
    if job is None:
        if state.settled.get(item.job_id) == (item.epoch, COMMITTED):
            return True
        _drop_if_dead(case, item.job_id, item.epoch)
        return False
    case.live.jobs.pop(item.job_id, None)
    if job.is_cancel_requested:
        cancelled(case, job)
        return False
    problem = item.problem or kind_of(job.work).problem(state, job.work, item)
    if problem:
        error = own_error("PROTOCOL_ERROR", problem)
        case.record(JobFailed(job_id=job.job_id, epoch=job.epoch, error=fitted(error)))
        case.do(DropStaging(job.job_id, job.epoch))
        return False
    _commit(case, job, item)
    return True


def _drop_if_dead(case: Case, job_id: str, epoch: int) -> None:
    """Drop what a fenced attempt staged, unless the epoch is somebody's or its end decided about the staging already."""
    job = case.state.jobs.get(job_id)
    if (job is None or job.epoch != epoch) and not _is_settled(case.state, job_id, epoch):
        case.do(DropStaging(job_id, epoch))


def _commit(case: Case, job: OpenJob, item: FinishedItem) -> None:
    manifest = item.manifest
    targets = job.work.output_versions
    versions: dict[str, int] = {}
    rows = quarantined = 0
    for output, counts in manifest.outputs.items():
        versions[output] = targets[output]
        rows += counts.valid
        quarantined += counts.quarantined
    if not item.manifest_blob and needs_blob(manifest):
        raise ValueError(f"the manifest of job {job.job_id} belongs into a blob before it is offered to the core")
    counted = manifest.records if manifest.records is not None and manifest.records.is_counted else None
    committed = case.record(
        JobOutputsCommitted(
            job_id=job.job_id,
            epoch=job.epoch,
            manifest=None if item.manifest_blob else manifest,
            manifest_blob=item.manifest_blob,
            versions=versions,
            rows=rows,
            quarantined=quarantined,
            skipped=manifest.skipped_records if manifest.skipped else 0,
            records_given=counted.given if counted is not None else None,
            records_unaccounted=counted.unaccounted if counted is not None else None,
            bytes_accounted=counted.bytes_given + counted.bytes_skipped if counted is not None else None,
            seconds=manifest.total_seconds,
            part_names=PART_NAMES,
        )
    )
    for output in versions if quarantined else ():
        if manifest.outputs[output].quarantined:
            aside = quarantine_of(manifest, job.job_id, output, versions[output], is_committed=True)
            case.record(aside, cause=committed)
    kind_of(job.work).record_commit(case, job, job.work, item, committed)
    after_success(case, job, committed)
    case.do(Promote(job.job_id, job.epoch, manifest, item.manifest_blob, versions))


def promoted(case: Case, command: Promoted) -> None:
    job = case.state.jobs.get(command.job_id)
    if job is None or job.commit is None or job.epoch != command.epoch:
        return
    commit = job.commit
    damaged = fitting(command.damaged, room_bytes=_DAMAGED_BYTES, limit=len(command.damaged))
    left_out = len(command.damaged) - len(damaged)
    status = JobState.PARTIAL_SUCCESS if commit.quarantined else JobState.COMPLETED
    case.record(
        JobCompleted(
            job_id=job.job_id,
            epoch=job.epoch,
            status=status,
            rows=commit.rows,
            quarantined=commit.quarantined,
            skipped=commit.skipped,
            seconds=commit.seconds,
            damaged=tuple(damaged),
            damaged_left_out=left_out,
        )
    )
    if commit.versions:
        case.do(PublishCatalogue())


# --- fail ---


def fail(case: Case, command: FailReceived) -> None:
    message = command.message
    job = current_attempt(case.state, message.job_id, message.epoch, command.worker_id)
    answer = held(message.job_id, message.epoch)
    if job is None:
        if case.state.settled.get(message.job_id) == (message.epoch, FAILED):
            case.send(command.worker_id, Failed(jobs=[answer]))
        else:
            _drop_if_dead(case, message.job_id, message.epoch)
            case.send(command.worker_id, Fenced(jobs=[answer]))
        return
    case.live.jobs.pop(job.job_id, None)
    if job.is_cancel_requested:
        cancelled(case, job)
    else:
        retries = _may_retry(job, message.error)
        failed = _retry(case, job, message.error) if retries else _fail_for_good(case, job, command)
        if message.error.code in _NOT_IN_PLACE:
            case.do(PlanFiles())
        if paused := after_failure(case, job, message.error, failed):
            recall(case, job.work.parser, job.work.parser_version, cause=paused, but=job.job_id)
    case.send(command.worker_id, Failed(jobs=[answer]))


def _may_retry(job: OpenJob, error: JobError) -> bool:
    if error.code in RETRYABLE_ONCE:
        return job.memory_failures == 0
    return error.retryable


def _retry(case: Case, job: OpenJob, error: JobError) -> int:
    """Let it wait for another attempt, or give it up; the sequence of the event."""
    retry = case.live.retry
    if job.retry_count >= retry.max_retries:
        return dead_letter(case, job, "retries", error)
    delay_seconds = back_off_seconds(job, retry.backoff_seconds)
    not_before = case.now.wall_us + int(delay_seconds * 1_000_000)
    scheduled = case.record(
        JobRetryScheduled(
            job_id=job.job_id,
            epoch=job.epoch,
            error=fitted(error),
            retry_count=job.retry_count + 1,
            not_before=not_before,
            delay_seconds=delay_seconds,
        )
    )
    case.live.schedule(case.now.monotonic_s + delay_seconds, not_before, job.job_id)
    case.do(DropStaging(job.job_id, job.epoch))
    return scheduled


def back_off_seconds(job: OpenJob, steps: list[float]) -> float:
    """The wait before the next attempt: the schedule's step ± 20 %, the same for the same job and attempt."""
    step = steps[min(job.retry_count, len(steps) - 1)]
    fraction = crc32(f"{job.job_id}:{job.next_attempt}".encode()) / 0xFFFF_FFFF
    return round(step * (1 - _JITTER + 2 * _JITTER * fraction), 3)


def _fail_for_good(case: Case, job: OpenJob, command: FailReceived) -> int:
    """The sequence of the event."""
    kept, error, blob = command.message.uncommitted, command.message.error, command.uncommitted_blob
    if kept is None or not kept.files or kind_of(job.work).problem_of_kept(job.work, kept):
        failed = case.record(JobFailed(job_id=job.job_id, epoch=job.epoch, error=fitted(error)))
        case.do(DropStaging(job.job_id, job.epoch))
        return failed
    if not blob and needs_blob(kept):
        raise ValueError(
            f"the kept quarantine of job {job.job_id} belongs into a blob before it is offered to the core"
        )
    failed = case.record(
        JobFailed(
            job_id=job.job_id,
            epoch=job.epoch,
            error=fitted(error) if blob else fitted(error, ERROR_BESIDE_MANIFEST_BYTES),
            uncommitted=None if blob else kept,
            uncommitted_blob=blob,
        )
    )
    for output in sorted({file.output for file in kept.files}):
        version = job.work.output_versions.get(output, 1)
        case.record(quarantine_of(kept, job.job_id, output, version, is_committed=False), cause=failed)
    case.do(KeepUncommitted(job.job_id, job.epoch, kept))
    return failed


def abandon(case: Case, command: AbandonAttempt) -> None:
    """The attempt fails by an error of ours; its worker deletes what it staged and forgets it."""
    job = current_attempt(case.state, command.job_id, command.epoch, command.worker_id)
    case.send(command.worker_id, Fenced(jobs=[held(command.job_id, command.epoch)]))
    if job is None:
        return
    case.live.jobs.pop(job.job_id, None)
    if job.is_cancel_requested:
        cancelled(case, job)
        return
    error = internal_error(f"The end of this attempt could not be recorded: {command.reason}")
    case.record(JobFailed(job_id=job.job_id, epoch=job.epoch, error=fitted(error)))
    case.do(DropStaging(job.job_id, job.epoch))


# --- given back ---


def release(case: Case, command: ReleaseReceived) -> None:
    reason = "shutdown" if case.live.is_stopping else "released"
    seen: set[str] = set()
    for item in command.message.jobs:
        job = current_attempt(case.state, item.job_id, item.epoch, command.worker_id)
        if job is not None and item.job_id not in seen:
            seen.add(item.job_id)
            give_back(case, job, reason)
