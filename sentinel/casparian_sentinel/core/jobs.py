"""Decisions that queue jobs, cancel them, and run them again.

At most one job with a given key is open or was recently queued. Together with the plan's look at the history, this is why no
work is done twice.
"""

from __future__ import annotations

from casparian_protocol.events import FailureClosed, JobCancelled, JobCancelRequested, JobQueued, JobReplayed
from casparian_protocol.events.base import as_map
from casparian_protocol.jobs import ENDED, JobSpec, JobState
from casparian_protocol.packing import pack
from casparian_sentinel.core.answers import Cancelled, JobChanged, Queued, Replayed, SkippedJobs
from casparian_sentinel.core.attempts import ask_to_cancel
from casparian_sentinel.core.commands import (
    CancelJob,
    CancelJobs,
    CloseFailures,
    QueueJobs,
    ReplayJob,
    ReplayJobs,
)
from casparian_sentinel.core.decision import DecisionBuilder
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.state import OpenJob, State

_SPEC_BYTES = 15 * 1024
_FREE_DISK = "Free disk space; work is accepted again automatically."
_MAY_REPLAY = {
    "retry": frozenset({JobState.FAILED, JobState.CANCELLED}),
    "replay": frozenset({JobState.DEAD_LETTER}),
    "rerun": ENDED,
}


# --- queue ---


def queue(decision: DecisionBuilder, command: QueueJobs) -> None:
    """Queue the jobs that may run and are not queued yet; the answer gives the reasons for the rest."""
    state = decision.state
    if state.intake_paused is not None:
        decision.reject(f"No new work is taken: {state.intake_paused}.", _FREE_DISK, "INTAKE_PAUSED")
        return
    keys: set[str] = set()
    queued = already = 0
    skipped: dict[tuple[str, str], int] = {}
    accepted: JobSpec | None = None
    for spec in command.jobs:
        if spec.key in keys or _is_taken(state, spec, command.position):
            already += 1
            continue
        is_known = accepted is not None and kind_of(spec.work).is_like(spec.work, accepted.work)
        reason = "" if is_known else refusal(state, spec)
        if reason:
            skipped[spec.work.parser, reason] = skipped.get((spec.work.parser, reason), 0) + 1
            continue
        accepted = spec
        keys.add(spec.key)
        decision.record(JobQueued(job=spec), cause=command.caused_by.get(spec.job_id, 0))
        queued += 1
    decision.answer(Queued(queued, already, tuple(SkippedJobs(*why, files) for why, files in skipped.items())))


def _is_taken(state: State, spec: JobSpec, position: int) -> bool:
    """Whether this work is open, or was queued after the position that the plan was computed at."""
    return spec.key in state.open_keys or spec.job_id in state.jobs or state.recent_keys.get(spec.key, 0) > position


def refusal(state: State, spec: JobSpec) -> str:
    """Why this job cannot be queued, or an empty text if it can."""
    return kind_of(spec.work).refusal(state, spec.work) or _too_large(spec)


def _too_large(spec: JobSpec) -> str:
    return "the job does not fit into an event" if len(pack(as_map(spec))) > _SPEC_BYTES else ""


# --- cancel, run again ---


def cancel(decision: DecisionBuilder, command: CancelJob) -> None:
    """Cancel a waiting job at once and a running job when its worker has stopped it; a committed job stays."""
    job = decision.state.jobs.get(command.job_id)
    if job is None:
        decision.reject(
            f"Job {command.job_id} is not open.",
            f"`casparian job show {command.job_id}` shows how it ended.",
            code="NOT_OPEN",
        )
    elif job.state is JobState.COMMITTED:
        decision.reject(
            f"Job {job.job_id} is committed; its files are being put in place.",
            "Committed work cannot be cancelled.",
            code="ALREADY_COMMITTED",
        )
    else:
        is_cancelled = _cancel_or_request(decision, job, command.reason)
        decision.answer(JobChanged(job.job_id, JobState.CANCELLED.value if is_cancelled else "CANCEL_REQUESTED"))


def cancel_jobs(decision: DecisionBuilder, command: CancelJobs) -> None:
    """Cancel each job as `cancel` does; the answer gives the reasons for jobs that stay as they are."""
    cancelled = requested = 0
    refused: dict[str, int] = {}
    for job_id in dict.fromkeys(command.job_ids):
        job = decision.state.jobs.get(job_id)
        if job is None or job.state is JobState.COMMITTED:
            reason = "it is not open" if job is None else "it is committed"
            refused[reason] = refused.get(reason, 0) + 1
        elif _cancel_or_request(decision, job, command.reason):
            cancelled += 1
        else:
            requested += 1
    decision.answer(Cancelled(cancelled, requested, refused))


def _cancel_or_request(decision: DecisionBuilder, job: OpenJob, reason: str) -> bool:
    """Cancel a waiting job, or ask the worker of a running one to stop it. Returns whether the job is cancelled already."""
    reason = reason[:512]
    if job.state not in (JobState.LEASED, JobState.RUNNING):
        decision.record(JobCancelled(job_id=job.job_id, reason=reason))
        return True
    if not job.is_cancel_requested:
        decision.record(JobCancelRequested(job_id=job.job_id, reason=reason))
    ask_to_cancel(decision, job)
    return False


def replay(decision: DecisionBuilder, command: ReplayJob) -> None:
    """`retry` and `replay` queue the same job again with its counts reset; `rerun` queues a new job of the next generation."""
    state, spec = decision.state, command.spec
    if command.ended_as not in _MAY_REPLAY[command.kind]:
        decision.reject(*_why_not(command))
    elif state.intake_paused is not None:
        decision.reject(f"No new work is taken: {state.intake_paused}.", _FREE_DISK, "INTAKE_PAUSED")
    elif _is_taken(state, spec, command.position):
        decision.reject(f"The work of job {spec.job_id} is queued already.", "Wait for its end.", "ALREADY_QUEUED")
    elif reason := refusal(state, spec):
        decision.reject(f"Job {spec.job_id} cannot run again: {reason}.", _remedy(command.kind), "NOT_RUNNABLE")
    else:
        if command.kind == "rerun":
            if spec.job_id == spec.rerun_of:
                raise ValueError(f"the rerun of job {spec.job_id} has its id")
            decision.record(JobQueued(job=spec))
        else:
            decision.record(JobReplayed(job=spec, from_state=command.ended_as))
        decision.answer(JobChanged(spec.job_id, JobState.QUEUED.value))


def close_failures(decision: DecisionBuilder, command: CloseFailures) -> None:
    """Close failures that need no more attention, with the reason a person gives. The jobs keep their states."""
    for job_id in command.job_ids:
        decision.record(FailureClosed(job_id=job_id, reason=command.reason))


def replay_jobs(decision: DecisionBuilder, command: ReplayJobs) -> None:
    """Queue ended jobs again if they may run. The answer counts the others by the reason for which they were refused."""
    state = decision.state
    if state.intake_paused is not None:
        decision.reject(f"No new work is taken: {state.intake_paused}.", _FREE_DISK, "INTAKE_PAUSED")
        return
    keys: set[str] = set()
    refused: dict[str, int] = {}
    for spec, ended_as in command.jobs:
        reason = refusal(state, spec)
        if spec.key in keys or _is_taken(state, spec, command.position):
            reason = "its work is queued already"
        if reason:
            refused[reason] = refused.get(reason, 0) + 1
            continue
        keys.add(spec.key)
        decision.record(JobReplayed(job=spec, from_state=ended_as))
    decision.answer(Replayed(len(keys), refused))


def _why_not(command: ReplayJob) -> tuple[str, str, str]:
    job_id, state = command.spec.job_id, command.ended_as
    if state not in ENDED:
        return f"Job {job_id} is {state}: it has not ended.", "Wait for its end, or cancel it.", "NOT_ENDED"
    remedy = {
        JobState.FAILED: f"Use `casparian job retry {job_id}`.",
        JobState.CANCELLED: f"Use `casparian job retry {job_id}`.",
        JobState.DEAD_LETTER: f"Use `casparian jobs replay {job_id}`.",
    }.get(state, f"Use `casparian job rerun {job_id}`.")
    return f"Job {job_id} ended as {state}; `{command.kind}` does not apply to it.", remedy, "WRONG_STATE"


def _remedy(kind: str) -> str:
    if kind == "rerun":
        return "`casparian parser list` shows what may run."
    return "`casparian job rerun` runs it with the parser's current version."
