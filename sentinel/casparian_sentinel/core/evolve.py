"""Folding events into the state: what each kind of event means for what is known.

`apply` is the only writer of a `State`, for the running sentinel and for a replay of the log alike. It repeats verdicts
and judges nothing, except that a step which the table of job states does not have is refused: no log of ours has one.
Events that change nothing here (`NOT_FOLDED`) matter to the projection only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from casparian_protocol.errors import RETRYABLE_ONCE, CasparianError
from casparian_protocol.jobs import NEXT, JobState
from casparian_sentinel.core import evolve_breaker as breaker
from casparian_sentinel.core import evolve_registry as registry
from casparian_sentinel.core.kinds import KINDS
from casparian_sentinel.core.state import (
    COMMITTED,
    FAILED,
    SETTLED_LIMIT,
    Commit,
    OpenJob,
    Source,
    State,
)

Data: TypeAlias = dict[str, Any]
_FOLLOWERS: dict[JobState, frozenset[JobState]] = {state: frozenset(after) for state, after in NEXT.items()}


class Recorded(Protocol):
    """An event of the log (`casparian_sentinel.log.event.Event`)."""

    @property
    def seq(self) -> int: ...
    @property
    def ts(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def data(self) -> dict[str, Any]: ...


class UnfoldableLog(CasparianError):
    """The log says something that this version cannot have written."""

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(
            f"Event {seq} of the log cannot be folded: {what}.",
            remedy="Use the version that wrote this log, or run `casparian log verify`.",
        )


def evolve(state: State, event: Recorded) -> None:
    """Fold one event of the log into `state`. Raises `UnfoldableLog`."""
    try:
        apply(state, event.seq, event.ts, event.type, event.data)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        what = f"{event.type} does not have what it must ({type(cause).__name__}: {str(cause)[:100]})"
        raise UnfoldableLog(event.seq, what) from cause


def apply(state: State, seq: int, ts: int, kind: str, data: Data) -> None:
    """`evolve` without an event object: for decisions that were made this moment."""
    handler = _HANDLERS.get(kind)
    if handler is not None:
        handler(state, seq, ts, data)
    elif kind not in NOT_FOLDED:
        raise UnfoldableLog(seq, f"{kind!r} is no type of event")
    state.seq = seq


# --- steps ---


def _job(state: State, seq: int, data: Data) -> OpenJob:
    job = state.jobs.get(data["job_id"])
    if job is None:
        raise UnfoldableLog(seq, f"job {data['job_id']} is not open")
    return job


def _move(state: State, seq: int, job: OpenJob, target: JobState) -> None:
    before = job.state
    if target not in _FOLLOWERS[before]:
        raise UnfoldableLog(seq, f"job {job.job_id} cannot go from {before} to {target}")
    state.counts[before] -= 1
    state.counts[target] += 1
    job.state = target


def _forget_lease(state: State, job: OpenJob) -> None:
    held = state.epochs_held.get(job.worker_id)
    if held is not None:
        held.pop(job.job_id, None)
        if not held:
            del state.epochs_held[job.worker_id]
    state.alone_held.pop(job.job_id, None)
    breaker.unleased(state, job)


def _leave_attempt(state: State, job: OpenJob) -> None:
    _forget_lease(state, job)
    job.worker_id = ""
    job.epoch = job.leased_at = job.guest_pid = 0


def _close(state: State, seq: int, job: OpenJob, target: JobState) -> None:
    """The job ends and leaves; the projection keeps its story."""
    before = job.state
    _move(state, seq, job, target)
    _forget_lease(state, job)
    del state.jobs[job.job_id]
    if state.open_keys.get(job.key) == job.job_id:
        del state.open_keys[job.key]
    if before is JobState.QUEUED:
        state.queue_of(job).prune(job.lane)
    elif before is JobState.RETRY_WAIT:
        del state.waiting[job.job_id]
    elif before is JobState.COMMITTED:
        del state.promoting[job.job_id]
    registry.job_closed(state, job.work.parser)


def _remember_answer(state: State, job_id: str, epoch: int, answer: str) -> None:
    settled = state.settled
    settled.pop(job_id, None)
    settled[job_id] = (epoch, answer)
    if len(settled) > SETTLED_LIMIT:
        settled.popitem(last=False)


# --- life of a job ---


def _queued(state: State, seq: int, ts: int, data: Data) -> None:
    spec = data["job"]
    facts = spec["work"]
    work = KINDS[facts["kind"]].folded(state, facts)
    job = OpenJob(
        job_id=spec["job_id"],
        key=spec["key"],
        work=work,
        priority=spec["priority"],
        generation=spec["generation"],
        rerun_of=spec["rerun_of"],
        queued_at=spec["queued_at"],
        queued_seq=seq,
    )
    state.jobs[job.job_id] = job
    state.open_keys[job.key] = job.job_id
    state.recent_keys.pop(job.key, None)
    state.recent_keys[job.key] = seq
    state.counts[JobState.QUEUED] += 1
    state.ready.push(job.lane, job.priority, seq, job.job_id)
    registry.job_opened(state, work.parser)


def _replayed(state: State, seq: int, ts: int, data: Data) -> None:
    state.counts[JobState(data["from_state"])] -= 1
    _queued(state, seq, ts, data)


def _leased(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _move(state, seq, job, JobState.LEASED)
    job.worker_id = data["worker_id"]
    job.epoch = seq
    job.leased_at = ts
    held = state.epochs_held.get(job.worker_id)
    if held is None:
        held = state.epochs_held[job.worker_id] = {}
    held[job.job_id] = seq
    if job.runs_alone:
        state.alone_held[job.job_id] = None
    breaker.leased(state, job)
    state.queue_of(job).prune(job.lane)


def _started(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _move(state, seq, job, JobState.RUNNING)
    job.guest_pid = data["guest_pid"]


def _outputs_committed(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _move(state, seq, job, JobState.COMMITTED)
    _forget_lease(state, job)
    job.commit = Commit(
        manifest=data.get("manifest"),
        manifest_blob=data.get("manifest_blob", ""),
        versions=data["versions"],
        rows=data["rows"],
        quarantined=data["quarantined"],
        skipped=data["skipped"],
        seconds=data["seconds"],
        part_names=data["part_names"],
    )
    state.promoting[job.job_id] = None
    _remember_answer(state, job.job_id, job.epoch, COMMITTED)
    registry.outputs_committed(state, job.work, data["versions"])
    breaker.succeeded(state, job.work)


def _completed(state: State, seq: int, ts: int, data: Data) -> None:
    _close(state, seq, _job(state, seq, data), JobState(data["status"]))


def _failed(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _remember_answer(state, job.job_id, job.epoch, FAILED)
    breaker.failed(state, job, data.get("error"))
    _close(state, seq, job, JobState.FAILED)


def _dead_lettered(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _remember_answer(state, job.job_id, job.epoch, FAILED)
    breaker.failed(state, job, data.get("error"))
    _close(state, seq, job, JobState.DEAD_LETTER)


def _retry_scheduled(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _remember_answer(state, job.job_id, job.epoch, FAILED)
    _move(state, seq, job, JobState.RETRY_WAIT)
    breaker.failed(state, job, data["error"])
    _leave_attempt(state, job)
    job.retry_count = data["retry_count"]
    job.memory_failures += data["error"]["code"] in RETRYABLE_ONCE
    job.not_before = data["not_before"]
    job.delay_seconds = data["delay_seconds"]
    state.waiting[job.job_id] = None


def _queue_again(state: State, job: OpenJob) -> None:
    state.queue_of(job).push(job.lane, job.priority, job.queued_seq, job.job_id)


def _due(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _move(state, seq, job, JobState.QUEUED)
    del state.waiting[job.job_id]
    _queue_again(state, job)


def _lease_expired(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    _move(state, seq, job, JobState.QUEUED)
    _leave_attempt(state, job)
    job.losses += data["is_loss"]
    _queue_again(state, job)


def _cancel_requested(state: State, seq: int, ts: int, data: Data) -> None:
    job = _job(state, seq, data)
    job.is_cancel_requested = True
    job.cancel_reason = data["reason"]


def _cancelled(state: State, seq: int, ts: int, data: Data) -> None:
    _close(state, seq, _job(state, seq, data), JobState.CANCELLED)


# --- workers, sentinel, files ---


def _joined(state: State, seq: int, ts: int, data: Data) -> None:
    state.joined[data["worker_id"]] = data


def _gone(state: State, seq: int, ts: int, data: Data) -> None:
    state.joined.pop(data["worker_id"], None)


def _sentinel_started(state: State, seq: int, ts: int, data: Data) -> None:
    state.scans.clear()  # whoever was scanning spoke to the process before this one


def _intake_paused(state: State, seq: int, ts: int, data: Data) -> None:
    state.intake_paused = data["reason"]


def _intake_resumed(state: State, seq: int, ts: int, data: Data) -> None:
    state.intake_paused = None


def _source_added(state: State, seq: int, ts: int, data: Data) -> None:
    state.sources[data["source_id"]] = Source(
        data["source_id"],
        data["name"],
        data["path"],
        data["poll_seconds"],
        data["options"],
        data.get("params") or {},
    )


def _source_removed(state: State, seq: int, ts: int, data: Data) -> None:
    state.sources.pop(data["source_id"], None)


def _rule_added(state: State, seq: int, ts: int, data: Data) -> None:
    state.rules[data["rule"]["id"]] = data["rule"]


def _rule_removed(state: State, seq: int, ts: int, data: Data) -> None:
    state.rules.pop(data["rule_id"], None)


def _scan_started(state: State, seq: int, ts: int, data: Data) -> None:
    state.scans[data["scan_id"]] = data.get("source_id", "")


def _scan_finished(state: State, seq: int, ts: int, data: Data) -> None:
    state.scans.pop(data["scan_id"], None)


_Handler: TypeAlias = Callable[[State, int, int, Data], None]
_HANDLERS: dict[str, _Handler] = {
    "JobQueued": _queued,
    "JobReplayed": _replayed,
    "JobLeased": _leased,
    "JobStarted": _started,
    "JobOutputsCommitted": _outputs_committed,
    "JobCompleted": _completed,
    "JobFailed": _failed,
    "JobDeadLettered": _dead_lettered,
    "JobRetryScheduled": _retry_scheduled,
    "JobDue": _due,
    "LeaseExpired": _lease_expired,
    "JobCancelRequested": _cancel_requested,
    "JobCancelled": _cancelled,
    "WorkerJoined": _joined,
    "WorkerLost": _gone,
    "WorkerLeft": _gone,
    "SentinelStarted": _sentinel_started,
    "IntakePaused": _intake_paused,
    "IntakeResumed": _intake_resumed,
    "SourceAdded": _source_added,
    "SourceRemoved": _source_removed,
    "TagRuleAdded": _rule_added,
    "TagRuleRemoved": _rule_removed,
    "ScanStarted": _scan_started,
    "ScanFinished": _scan_finished,
    **registry.HANDLERS,
}
#: Types that only the projection and the feed care about.
NOT_FOLDED = frozenset(
    {
        "JobProgressed",
        "QuarantineRecorded",
        "FilesObserved",
        "FilesTagged",
        "ContentsRecognised",
        "FailureClosed",
        "SentinelStopped",
        "TornTailCut",
        "LogRepaired",
    }
)
