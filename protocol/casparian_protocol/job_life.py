"""The life of a job: its state, and how each event changes it.

This is the only fold of job events. The sentinel's core, the projection, the console and `story` build on it, and each adds
what only it needs. `advance` applies an event without checking it; `may_follow` checks transitions, and only the core calls it.
Errors and row counts stay in the events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from casparian_protocol.errors import RETRYABLE_ONCE
from casparian_protocol.events import (
    Event,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobDeadLettered,
    JobDue,
    JobFailed,
    JobLeased,
    JobOutputsCommitted,
    JobQueued,
    JobReplayed,
    JobRetryScheduled,
    JobStarted,
    LeaseExpired,
)
from casparian_protocol.jobs import NEXT, JobState


@dataclass(slots=True, kw_only=True)
class JobLife:
    """A job's state, and the counts of its attempts. Times are µs UTC, 0 = not (yet)."""

    state: JobState = JobState.QUEUED
    #: The number of the latest attempt that counts; 0 before the first.
    attempt: int = 0
    retry_count: int = 0
    memory_failures: int = 0
    #: Attempts that ended with their worker.
    losses: int = 0
    worker_id: str = ""
    #: The epoch of the current lease or commit: the sequence of the event that leased it. 0 while no worker holds the job.
    epoch: int = 0
    leased_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    guest_pid: int = 0
    #: When the next retry is due, and how long the wait is.
    not_before: int = 0
    delay_seconds: float = 0.0
    is_cancel_requested: bool = False
    #: Why it will be or was cancelled, or was given up.
    reason: str = ""
    #: The sequence of the latest event that `advance` applied.
    last_seq: int = 0

    @property
    def next_attempt(self) -> int:
        """The number of the current or next attempt. A lease that was given back untouched is not counted."""
        return 1 + self.retry_count + self.losses


def target_of(event: Event) -> JobState | None:
    """The state that the event puts its job into; None if it does not change the state."""
    if event.__class__ is JobCompleted:
        return event.status
    leads_to = event.about.leads_to
    return leads_to[0] if leads_to else None


def may_follow(state: JobState, event: Event, target: JobState | None = None) -> bool:
    """Whether this event may move a job that is in this state: the table of states names both, event and target.

    `target` is `target_of(event)`, for a caller that knows it.
    """
    target = target or target_of(event)
    return target is not None and NEXT[state].get(target) == event.about.name


def advance(life: JobLife, seq: int, ts: int, event: Event) -> None:
    """Apply an event of the job to `life`."""
    turn = _TURNS.get(event.__class__)
    if turn is not None:
        turn(life, seq, ts, event)
        life.last_seq = seq


# --- the events -------------------------------------------------------------------------------------------------------


def _leased(life: JobLife, seq: int, ts: int, event: JobLeased) -> None:
    life.state = JobState.LEASED
    life.worker_id = event.worker_id
    life.attempt = event.attempt
    life.epoch = seq
    life.leased_at = ts
    life.started_at = life.not_before = 0


def _started(life: JobLife, seq: int, ts: int, event: JobStarted) -> None:
    life.state = JobState.RUNNING
    life.started_at = ts
    life.guest_pid = event.guest_pid


def _committed(life: JobLife, seq: int, ts: int, event: JobOutputsCommitted) -> None:
    life.state = JobState.COMMITTED


def _completed(life: JobLife, seq: int, ts: int, event: JobCompleted) -> None:
    life.state = event.status
    life.ended_at = ts


def _failed(life: JobLife, seq: int, ts: int, event: JobFailed) -> None:
    life.state = JobState.FAILED
    life.ended_at = ts


def _dead_lettered(life: JobLife, seq: int, ts: int, event: JobDeadLettered) -> None:
    life.state = JobState.DEAD_LETTER
    life.ended_at = ts
    life.reason = event.reason


def _cancel_requested(life: JobLife, seq: int, ts: int, event: JobCancelRequested) -> None:
    life.is_cancel_requested = True
    life.reason = event.reason


def _cancelled(life: JobLife, seq: int, ts: int, event: JobCancelled) -> None:
    life.state = JobState.CANCELLED
    life.ended_at = ts
    life.reason = event.reason


def _retry_scheduled(life: JobLife, seq: int, ts: int, event: JobRetryScheduled) -> None:
    life.state = JobState.RETRY_WAIT
    life.retry_count = event.retry_count
    life.memory_failures += event.error.code in RETRYABLE_ONCE
    life.not_before = event.not_before
    life.delay_seconds = event.delay_seconds
    _leave_attempt(life)


def _due(life: JobLife, seq: int, ts: int, event: JobDue) -> None:
    life.state = JobState.QUEUED


def _lease_expired(life: JobLife, seq: int, ts: int, event: LeaseExpired) -> None:
    life.state = JobState.QUEUED
    life.losses += event.is_loss
    life.attempt = life.next_attempt - 1
    _leave_attempt(life)


def _leave_attempt(life: JobLife) -> None:
    life.worker_id = ""
    life.epoch = life.leased_at = life.guest_pid = 0


def _queued(life: JobLife, seq: int, ts: int, event: JobQueued | JobReplayed) -> None:
    """Start again: earlier attempts do not count."""
    fresh = JobLife()
    for name in JobLife.__dataclass_fields__:
        setattr(life, name, getattr(fresh, name))


_TURNS: dict[type[Event], Callable[[JobLife, int, int, Any], None]] = {
    JobQueued: _queued,
    JobReplayed: _queued,
    JobLeased: _leased,
    JobStarted: _started,
    JobOutputsCommitted: _committed,
    JobCompleted: _completed,
    JobFailed: _failed,
    JobRetryScheduled: _retry_scheduled,
    JobDue: _due,
    JobDeadLettered: _dead_lettered,
    JobCancelRequested: _cancel_requested,
    JobCancelled: _cancelled,
    LeaseExpired: _lease_expired,
}
