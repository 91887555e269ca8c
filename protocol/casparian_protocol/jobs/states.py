"""The states of a job, as data: which there are, what they mean, what may follow what.

The table is the specification's (event-log.md, "States of a job"); the core refuses every step that is not in it and
docs/reference/job-states.md is generated from it.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "QUEUED"
    LEASED = "LEASED"
    RUNNING = "RUNNING"
    COMMITTED = "COMMITTED"
    COMPLETED = "COMPLETED"
    PARTIAL_SUCCESS = "PARTIAL_SUCCESS"
    RETRY_WAIT = "RETRY_WAIT"
    FAILED = "FAILED"
    DEAD_LETTER = "DEAD_LETTER"
    CANCELLED = "CANCELLED"

    #: Enum's own is Python code, and states are keys of every fold.
    __hash__ = str.__hash__


class OutputStatus(StrEnum):
    """Where a version of an output stands. At most one version of an output is live."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"
    REMOVED = "removed"


MEANING: dict[JobState, str] = {
    JobState.QUEUED: "waiting, due",
    JobState.LEASED: "given to a worker under an epoch",
    JobState.RUNNING: "the guest has started",
    JobState.COMMITTED: "outputs recorded, promotion under way",
    JobState.COMPLETED: "published, without quarantined rows",
    JobState.PARTIAL_SUCCESS: "published, with quarantined rows",
    JobState.RETRY_WAIT: "transient failure, due later",
    JobState.FAILED: "permanent failure; an operator may retry",
    JobState.DEAD_LETTER: "retries or poison limit exhausted",
    JobState.CANCELLED: "stopped by an operator",
}

#: What may follow each state, with the event that does it.
NEXT: dict[JobState, dict[JobState, str]] = {
    JobState.QUEUED: {JobState.LEASED: "JobLeased", JobState.CANCELLED: "JobCancelled"},
    JobState.LEASED: {
        JobState.RUNNING: "JobStarted",
        JobState.QUEUED: "LeaseExpired",
        JobState.RETRY_WAIT: "JobRetryScheduled",
        JobState.FAILED: "JobFailed",
        JobState.DEAD_LETTER: "JobDeadLettered",
        JobState.CANCELLED: "JobCancelled",
        JobState.COMMITTED: "JobOutputsCommitted",
    },
    JobState.RUNNING: {
        JobState.COMMITTED: "JobOutputsCommitted",
        JobState.RETRY_WAIT: "JobRetryScheduled",
        JobState.FAILED: "JobFailed",
        JobState.DEAD_LETTER: "JobDeadLettered",
        JobState.QUEUED: "LeaseExpired",
        JobState.CANCELLED: "JobCancelled",
    },
    JobState.COMMITTED: {JobState.COMPLETED: "JobCompleted", JobState.PARTIAL_SUCCESS: "JobCompleted"},
    JobState.COMPLETED: {},
    JobState.PARTIAL_SUCCESS: {},
    JobState.RETRY_WAIT: {JobState.QUEUED: "JobDue", JobState.CANCELLED: "JobCancelled"},
    JobState.FAILED: {JobState.QUEUED: "JobReplayed"},
    JobState.DEAD_LETTER: {JobState.QUEUED: "JobReplayed"},
    JobState.CANCELLED: {JobState.QUEUED: "JobReplayed"},
}

#: A job counts once in every summary.
#: A job that was leased ahead waits at its worker until its guest has started.
PENDING = frozenset({JobState.QUEUED, JobState.LEASED, JobState.RETRY_WAIT})
IN_PROGRESS = frozenset({JobState.RUNNING, JobState.COMMITTED})
OPEN = PENDING | IN_PROGRESS
ENDED = frozenset(JobState) - OPEN

#: Words that people may use in filters, besides the states' own names.
FILTERS: dict[str, frozenset[JobState]] = {
    "pending": PENDING,
    "running": IN_PROGRESS,
    "completed_with_warnings": frozenset({JobState.PARTIAL_SUCCESS}),
}
