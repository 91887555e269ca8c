"""A job as data: its states, its specification, and the error of a failed attempt.

These are the maps inside job events and assignments. `NEXT` lists the allowed transitions: the core refuses any other, and
docs/reference/job-states.md is generated from the table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from casparian_protocol.bounds import IdText, Int32, JobId, Microseconds, Scalar, ShortText, SmallCount
from casparian_protocol.jobs.kinds import AnyWork, JobFacts, facts_of_work, with_work


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

    #: Faster than Enum's own hash, which is Python code; states are keys in every fold.
    __hash__ = str.__hash__


class OutputStatus(StrEnum):
    """The state of a version of an output. At most one version of an output is live."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"
    REMOVED = "removed"


MEANING: dict[JobState, str] = {
    JobState.QUEUED: "waiting, due",
    JobState.LEASED: "given to a worker under an epoch",
    JobState.RUNNING: "the guest has started",
    JobState.COMMITTED: "outputs recorded, promotion in progress",
    JobState.COMPLETED: "published, without quarantined rows",
    JobState.PARTIAL_SUCCESS: "published, with quarantined rows",
    JobState.RETRY_WAIT: "transient failure, due later",
    JobState.FAILED: "permanent failure; an operator may retry",
    JobState.DEAD_LETTER: "retries or poison limit exhausted",
    JobState.CANCELLED: "stopped by an operator",
}

#: The allowed transitions of each state, with their events.
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

#: A job counts once in every summary. One that was leased ahead waits at its worker until its guest has started.
PENDING = frozenset({JobState.QUEUED, JobState.LEASED, JobState.RETRY_WAIT})
IN_PROGRESS = frozenset({JobState.RUNNING, JobState.COMMITTED})
OPEN = PENDING | IN_PROGRESS
ENDED = frozenset(JobState) - OPEN
#: Ended with rows published; an error that such a job has is that of an earlier attempt.
SUCCEEDED = frozenset({JobState.COMPLETED, JobState.PARTIAL_SUCCESS})

#: Words that users may use in filters, besides the names of the states.
FILTERS: dict[str, frozenset[JobState]] = {
    "queued": PENDING,
    "running": IN_PROGRESS,
    "completed_with_warnings": frozenset({JobState.PARTIAL_SUCCESS}),
}
#: Words of earlier versions, still understood.
FORMER_FILTERS = {"pending": PENDING}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class JobSpec(_Model):
    """Everything about a job that is fixed when it is queued (event `JobQueued`)."""

    job_id: JobId
    #: Identity of the work: input, artifact, contracts, parameters, generation. At most one open job and one commit per key.
    key: ShortText
    work: AnyWork
    priority: Int32 = 0
    generation: SmallCount = 0
    rerun_of: IdText = ""
    queued_at: Microseconds = 0

    def flat(self) -> JobFacts:
        """The job as one flat map for users: the fields of its kind and those of every job."""
        facts = {**self.__dict__, **facts_of_work(self.work)}
        return {"type": facts.pop("kind"), **{name: value for name, value in facts.items() if name != "work"}}

    @model_validator(mode="before")
    @classmethod
    def _of_older_version(cls, value: Any) -> Any:
        """Convert jobs of older versions, which tables and exports may still have."""
        return with_work(value) if isinstance(value, dict) and "work" not in value else value


class JobError(_Model):
    """Why an attempt failed: structured, bounded, and without control characters."""

    code: Annotated[str, Field(max_length=64)]
    exception: Annotated[str, Field(max_length=256)] = ""
    message: Annotated[str, Field(max_length=2048)] = ""
    #: Normalised: file names without directories, no line numbers.
    trace: Annotated[str, Field(max_length=4096)] = ""
    context: dict[ShortText, Scalar] = Field(default_factory=dict, max_length=24)
    #: The number of entries of `context` that did not fit into the event.
    left_out: SmallCount = 0
    #: 16 hex digits; the same cause has the same fingerprint on every machine.
    fingerprint: Annotated[str, Field(max_length=16)] = ""
    #: What the worker thinks. Nothing follows from it: the core goes by the code.
    retryable: bool = False
    #: Where the error arose. `sentinel`: a bug in Casparian.
    origin: Literal["parser", "worker", "environment", "sentinel"] = "worker"
