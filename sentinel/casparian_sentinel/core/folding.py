"""Folding events into the state: what each class of event changes.

`apply` is the only function that writes a `State`, both in the running sentinel and in a replay of the log. It repeats decisions
and judges nothing, with one exception: it refuses a step that is not in the table of job states, which no valid log contains.
The indexes of the open jobs (queues, leases by worker, who waits) are updated by `enter` and `leave`, rebuilt by `rebuild`, and
checked against the jobs by `validate`. Events that change nothing here (`NOT_FOLDED`) matter only to the projection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import (
    ContentsRecognised,
    Event,
    FailureClosed,
    FilesObserved,
    FilesRevised,
    FilesTagged,
    IntakePaused,
    IntakeResumed,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobDeadLettered,
    JobDue,
    JobFailed,
    JobLeased,
    JobOutputsCommitted,
    JobProgressed,
    JobQueued,
    JobReplayed,
    JobRetryScheduled,
    JobStarted,
    LeaseExpired,
    LogRepaired,
    QuarantineKept,
    QuarantineRecorded,
    ScanFinished,
    ScanStarted,
    SentinelStarted,
    SentinelStopped,
    SourceAdded,
    SourceRemoved,
    TagRuleAdded,
    TagRuleRemoved,
    TornTailCut,
    Unknown,
    WeakerSandboxAccepted,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
)
from casparian_protocol.job_life import advance, may_follow, target_of
from casparian_protocol.jobs import ENDED, OPEN, JobState
from casparian_sentinel.core import breaker
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.ready import Entry, ReadyQueue
from casparian_sentinel.core.registry import fold as registry
from casparian_sentinel.core.state import (
    ANSWERED_LIMIT,
    COMMITTED,
    FAILED,
    Commit,
    Keeping,
    OpenJob,
    Source,
    State,
)


def enter(state: State, job: OpenJob) -> None:
    """Add an open job to the indexes of its state."""
    now = job.state
    if now is JobState.QUEUED:
        state.queue_of(job).push(job.lane, job.priority, job.queued_seq, job.job_id)
    elif now is JobState.LEASED or now is JobState.RUNNING:
        held = state.epochs_held.get(job.worker_id)
        if held is None:
            held = state.epochs_held[job.worker_id] = {}
        held[job.job_id] = job.epoch
        if job.runs_alone:
            state.alone_held[job.job_id] = None
    elif now is JobState.COMMITTED:
        state.promoting[job.job_id] = None
    elif now is JobState.RETRY_WAIT:
        state.waiting[job.job_id] = None


def leave(state: State, job: OpenJob) -> None:
    """Remove a job from the indexes of its state; queues drop stale entries by themselves."""
    before = job.state
    if before is JobState.LEASED or before is JobState.RUNNING:
        held = state.epochs_held[job.worker_id]
        del held[job.job_id]
        if not held:
            del state.epochs_held[job.worker_id]
        state.alone_held.pop(job.job_id, None)
        breaker.unleased(state, job)
    elif before is JobState.COMMITTED:
        del state.promoting[job.job_id]
    elif before is JobState.RETRY_WAIT:
        del state.waiting[job.job_id]


def rebuild(state: State) -> None:
    """Rebuild all indexes of the open jobs, which are already in `state.jobs`, and of the parsers that wait for them to end."""
    lanes: dict[str, list[Entry]] = {}
    alone_lanes: dict[str, list[Entry]] = {}
    for job in state.jobs.values():
        state.open_keys[job.key] = job.job_id
        if job.state is JobState.QUEUED:
            mine = alone_lanes if job.runs_alone else lanes
            mine.setdefault(job.lane, []).append((-job.priority, job.queued_seq, job.job_id))
        else:
            enter(state, job)
    for lane, entries in lanes.items():
        state.ready.load(lane, entries)
    for lane, entries in alone_lanes.items():
        state.ready_alone.load(lane, entries)
    for line in state.parsers.values():
        if line.waits_for_jobs():
            state.waiting_lines[line.name] = None


def validate(state: State) -> None:
    """Raise `AssertionError` if an index does not match the open jobs. O(open jobs): for tests, not for production."""
    rebuilt = State()
    rebuilt.jobs, rebuilt.parsers = state.jobs, state.parsers
    rebuild(rebuilt)
    kept, expected = _lists(state), _lists(rebuilt)
    wrong = {name: (kept[name], made) for name, made in expected.items() if kept[name] != made}
    by_state = Counter(job.state for job in state.jobs.values())
    wrong |= {
        f"counts of {each}": (state.counts[each], by_state[each])
        for each in OPEN
        if state.counts[each] != by_state[each]
    }
    of_parser = Counter(job.work.parser for job in state.jobs.values())
    wrong |= {
        f"open jobs of {line.name}": (line.open_jobs, of_parser[line.name])
        for line in state.parsers.values()
        if line.open_jobs != of_parser[line.name]
    }
    for each in state.breakers.values():
        job = state.jobs.get(each.probe)
        if each.probe and (job is None or job.worker_id == "" or job.lane != each.lane):
            wrong[f"probe of {each.lane}"] = (each.probe, "no lease of that lane")
    assert not wrong, f"indexes that do not match the open jobs (index, expected): {wrong}"


def _lists(state: State) -> dict[str, object]:
    return {
        "open_keys": state.open_keys,
        "ready": _queued_in(state.ready),
        "ready_alone": _queued_in(state.ready_alone),
        "alone_held": state.alone_held,
        "waiting": state.waiting,
        "promoting": state.promoting,
        "epochs_held": state.epochs_held,
        "waiting_lines": state.waiting_lines,
    }


def _queued_in(queue: ReadyQueue) -> dict[str, list[Entry]]:
    """The waiting jobs of each lane, without stale entries."""
    return {name: entries for name, entries in queue.current().items() if entries}


#: An event about an open job.
OfJob: TypeAlias = (
    JobLeased
    | JobStarted
    | JobOutputsCommitted
    | JobCompleted
    | JobFailed
    | JobDeadLettered
    | JobRetryScheduled
    | JobDue
    | LeaseExpired
    | JobCancelRequested
    | JobCancelled
)


class Recorded(Protocol):
    """A record of the log (`casparian_sentinel.log.format.LogRecord`)."""

    @property
    def seq(self) -> int: ...
    @property
    def ts(self) -> int: ...
    @property
    def type(self) -> str: ...
    def decoded(self) -> Event: ...


class UnfoldableLog(CasparianError):
    """The log has an event that this version cannot have written."""

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(
            f"Event {seq} of the log cannot be folded: {what}.",
            remedy="Use the version that wrote this log, or run `casparian log verify`.",
        )


def evolve(state: State, recorded: Recorded) -> None:
    """Fold one record of the log into `state`. Raises `UnfoldableLog`."""
    try:
        event = recorded.decoded()
        apply(state, recorded.seq, recorded.ts, event)
        if isinstance(event, JobQueued | JobReplayed):
            state.jobs[event.job.job_id].is_checked = False
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        what = f"{recorded.type} has missing or invalid fields ({type(cause).__name__}: {str(cause)[:100]})"
        raise UnfoldableLog(recorded.seq, what) from cause


def apply(state: State, seq: int, ts: int, event: Event) -> None:
    """Fold one event, whether it was read from the log or just decided."""
    handler = HANDLERS.get(event.__class__)
    if handler is not None:
        handler(state, seq, ts, event)
    elif event.__class__ not in NOT_FOLDED:
        name = event.type if isinstance(event, Unknown) else event.about.name
        raise UnfoldableLog(seq, f"{name!r} is not a type of event")
    state.seq = seq


# --- life of a job ---


def _turned(state: State, seq: int, ts: int, event: OfJob) -> OpenJob:
    """The event's open job, moved to the state that the event leads to."""
    job = state.jobs.get(event.job_id)
    if job is None:
        raise UnfoldableLog(seq, f"job {event.job_id} is not open")
    before, target = job.state, target_of(event)
    if target is None:
        advance(job, seq, ts, event)
        return job
    if not may_follow(before, event, target):
        raise UnfoldableLog(seq, f"{event.about.name} cannot move job {job.job_id} from {before} to {target}")
    is_same_lease = target is JobState.RUNNING
    if not is_same_lease and before is not JobState.QUEUED:
        leave(state, job)
    advance(job, seq, ts, event)
    state.counts[before] -= 1
    state.counts[target] += 1
    if target in ENDED:
        _end(state, job)
    elif not is_same_lease:
        enter(state, job)
    if before is JobState.QUEUED:
        state.queue_of(job).prune(job.lane)
    return job


def _end(state: State, job: OpenJob) -> None:
    """Remove an ended job; the projection keeps its history."""
    del state.jobs[job.job_id]
    if state.open_keys.get(job.key) == job.job_id:
        del state.open_keys[job.key]
    registry.job_closed(state, job.work.parser)


def _remember_answer(state: State, job_id: str, epoch: int, answer: str) -> None:
    answered = state.answered
    answered.pop(job_id, None)
    answered[job_id] = (epoch, answer)
    if len(answered) > ANSWERED_LIMIT:
        answered.popitem(last=False)


def _queued(state: State, seq: int, ts: int, event: JobQueued | JobReplayed) -> None:
    spec = event.job
    work = kind_of(spec.work).folded(state, spec.work)
    job = OpenJob(
        job_id=spec.job_id,
        key=spec.key,
        work=work,
        priority=spec.priority,
        generation=spec.generation,
        rerun_of=spec.rerun_of,
        queued_at=spec.queued_at,
        queued_seq=seq,
        last_seq=seq,
        is_checked=True,
    )
    state.jobs[job.job_id] = job
    state.open_keys[job.key] = job.job_id
    state.recent_keys.pop(job.key, None)
    state.recent_keys[job.key] = seq
    state.counts[JobState.QUEUED] += 1
    enter(state, job)
    registry.job_opened(state, work.parser)


def _replayed(state: State, seq: int, ts: int, event: JobReplayed) -> None:
    state.counts[event.from_state] -= 1
    _queued(state, seq, ts, event)


def _leased(state: State, seq: int, ts: int, event: JobLeased) -> None:
    breaker.leased(state, _turned(state, seq, ts, event))


def _outputs_committed(state: State, seq: int, ts: int, event: JobOutputsCommitted) -> None:
    job = _turned(state, seq, ts, event)
    job.commit = Commit(
        manifest=event.manifest,
        manifest_blob=event.manifest_blob,
        versions=event.versions,
        rows=event.rows,
        quarantined=event.quarantined,
        skipped=event.skipped,
        seconds=event.seconds,
        part_names=event.part_names,
    )
    _remember_answer(state, job.job_id, job.epoch, COMMITTED)
    registry.outputs_committed(state, job.work, event.versions)
    breaker.succeeded(state, job.work)


def _attempt_failed(state: State, seq: int, ts: int, event: JobFailed | JobDeadLettered | JobRetryScheduled) -> None:
    job = _turned(state, seq, ts, event)
    _remember_answer(state, job.job_id, event.epoch, FAILED)
    breaker.failed(state, job, event.error)


def _failed(state: State, seq: int, ts: int, event: JobFailed) -> None:
    _attempt_failed(state, seq, ts, event)
    if event.tells_when_kept:
        state.keeping[event.job_id, event.epoch] = Keeping(seq, event.uncommitted, event.uncommitted_blob)


def _kept(state: State, seq: int, ts: int, event: QuarantineKept) -> None:
    state.keeping.pop((event.job_id, event.epoch), None)


# --- workers, sentinel, files ---


def _joined(state: State, seq: int, ts: int, event: WorkerJoined) -> None:
    state.joined[event.worker_id] = event


def _gone(state: State, seq: int, ts: int, event: WorkerLost | WorkerLeft) -> None:
    state.joined.pop(event.worker_id, None)


def _sentinel_started(state: State, seq: int, ts: int, event: SentinelStarted) -> None:
    state.scans.clear()  # those scans reported to the previous process


def _intake_paused(state: State, seq: int, ts: int, event: IntakePaused) -> None:
    state.intake_paused = event.reason


def _intake_resumed(state: State, seq: int, ts: int, event: IntakeResumed) -> None:
    state.intake_paused = None


def _source_added(state: State, seq: int, ts: int, event: SourceAdded) -> None:
    state.sources[event.source_id] = Source(
        event.source_id,
        event.name,
        event.path,
        event.poll_seconds,
        event.options,
        event.params,
    )


def _source_removed(state: State, seq: int, ts: int, event: SourceRemoved) -> None:
    state.sources.pop(event.source_id, None)


def _rule_added(state: State, seq: int, ts: int, event: TagRuleAdded) -> None:
    state.rules[event.rule.id] = event.rule


def _rule_removed(state: State, seq: int, ts: int, event: TagRuleRemoved) -> None:
    state.rules.pop(event.rule_id, None)


def _scan_started(state: State, seq: int, ts: int, event: ScanStarted) -> None:
    state.scans[event.scan_id] = seq


def _scan_finished(state: State, seq: int, ts: int, event: ScanFinished) -> None:
    state.scans.pop(event.scan_id, None)


#: What each class of event does to the state.
HANDLERS: dict[type[Event], Callable[[State, int, int, Any], object]] = {
    JobQueued: _queued,
    JobReplayed: _replayed,
    JobLeased: _leased,
    JobStarted: _turned,
    JobOutputsCommitted: _outputs_committed,
    JobCompleted: _turned,
    JobFailed: _failed,
    JobDeadLettered: _attempt_failed,
    JobRetryScheduled: _attempt_failed,
    JobDue: _turned,
    LeaseExpired: _turned,
    JobCancelRequested: _turned,
    JobCancelled: _turned,
    QuarantineKept: _kept,
    WorkerJoined: _joined,
    WorkerLost: _gone,
    WorkerLeft: _gone,
    SentinelStarted: _sentinel_started,
    IntakePaused: _intake_paused,
    IntakeResumed: _intake_resumed,
    SourceAdded: _source_added,
    SourceRemoved: _source_removed,
    TagRuleAdded: _rule_added,
    TagRuleRemoved: _rule_removed,
    ScanStarted: _scan_started,
    ScanFinished: _scan_finished,
    **registry.HANDLERS,
}
#: Events that only the projection and the feed use.
NOT_FOLDED: frozenset[type[Event]] = frozenset(
    {
        JobProgressed,
        QuarantineRecorded,
        FilesObserved,
        FilesRevised,
        FilesTagged,
        ContentsRecognised,
        FailureClosed,
        SentinelStopped,
        TornTailCut,
        LogRepaired,
        WeakerSandboxAccepted,
    }
)
